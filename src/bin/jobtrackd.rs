//! The daemon; see `jobtrack::daemon`.

use std::process::ExitCode;

fn main() -> ExitCode {
    jobtrack::daemon::main()
}
