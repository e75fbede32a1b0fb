//! The client; see `jobtrack::cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    jobtrack::cli::main()
}
