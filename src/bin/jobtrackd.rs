//! The daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    jobtrack::daemon::main()
}
