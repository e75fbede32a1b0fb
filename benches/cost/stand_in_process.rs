//! Starts the stand-in in a process of its own and reads its counters.

use std::process::Stdio;

use clap::ValueEnum;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::stand_in::{Counters, Script};

/// A running stand-in; killed when dropped.
pub struct StandInProcess {
    _child: Child,
    pub base_url: String,
    http: reqwest::Client,
}

impl StandInProcess {
    pub async fn start(script: Script, initial_jobs: u64) -> Self {
        let script = script.to_possible_value().expect("no value is hidden");
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["stand-in", "--script", script.get_name()])
            .arg(format!("--initial-jobs={initial_jobs}"))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the stand-in starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut port = String::new();
        stdout.read_line(&mut port).await.expect("the stand-in prints its port");
        let base_url = format!("http://127.0.0.1:{}", port.trim());
        jobtrack::tls::install_cryptography();
        Self { _child: child, base_url, http: reqwest::Client::new() }
    }

    pub async fn counters(&self) -> Counters {
        let request = self.http.get(format!("{}/counters", self.base_url));
        let response = request.send().await.expect("the stand-in answers");
        response.json().await.expect("counters")
    }
}
