//! The client of `jobtrackd`; its commands live in [`jobtrack::cli`].

use std::process::ExitCode;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    jobtrack::cli::run().await
}
