//! The client.

use std::process::ExitCode;

fn main() -> ExitCode {
    jobtrack::cli::main()
}
