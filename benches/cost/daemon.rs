//! The daemon under test: the release build, with a budget that makes it poll at the wanted rate.
//!
//! The program that `cargo bench` builds beside a bench has the features of the dev-dependencies, so the
//! release is built here, as `cargo build --release` does.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use jobtrack::api::Client;
use serde_json::json;

use super::stand_in::GROUP;
use super::stand_in_process::StandInProcess;
use super::support::daemon::{Daemon, DaemonHome};
use super::workload::remote_id;

/// As many as one request may add.
const ADDED_TOGETHER: u64 = 1000;

/// The program, and settings of its provider beside the rate.
pub struct DaemonProgram {
    path: PathBuf,
    settings: String,
    /// A command that runs the daemon, such as `strace`.
    wrapper: Vec<String>,
}

/// A daemon at work. Jobs that end are replaced by [`Self::replace_ended`].
pub struct RunningDaemon {
    home: DaemonHome,
    daemon: Daemon,
    client: Client,
    next_job: u64,
    unfinished_jobs: u64,
}

impl DaemonProgram {
    /// Builds the release unless `path` names a program.
    pub fn new(path: Option<PathBuf>, settings: &str) -> Self {
        let path = path.unwrap_or_else(|| {
            let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
            let status = Command::new(cargo)
                .args(["build", "--quiet", "--release", "--locked", "--bin", "jobtrackd"])
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .status();
            assert!(status.is_ok_and(|status| status.success()), "the release cannot be built");
            target_directory().join("release/jobtrackd")
        });
        Self { path, settings: settings.to_owned(), wrapper: Vec::new() }
    }

    /// The same program, run by another.
    pub fn wrapped(&self, wrapper: &[&str]) -> Self {
        Self {
            path: self.path.clone(),
            settings: self.settings.clone(),
            wrapper: wrapper.iter().map(ToString::to_string).collect(),
        }
    }

    /// Starts a daemon with so many unfinished jobs. The price is so low that the budget alone
    /// determines the rate.
    pub async fn start(&self, stand_in: &StandInProcess, rate: u32, jobs: u64) -> RunningDaemon {
        let mut settings = String::from("price = \"10ms\"\n");
        writeln!(settings, "max_in_flight = {GROUP}\nrequests_per_minute = {}", rate * 60)
            .expect("a string");
        settings.push_str(&self.settings);
        let home = DaemonHome::new(&stand_in.base_url, &settings);
        let daemon = home.spawn(self.command(&home));
        daemon.wait_for_notification("READY=1", &home);
        let client = Client::open(Some(&home.socket())).expect("a client");
        let mut running =
            RunningDaemon { home, daemon, client, next_job: 0, unfinished_jobs: jobs };
        running.replace_ended(0).await;
        running
    }

    fn command(&self, home: &DaemonHome) -> Command {
        let mut words = self.wrapper.iter().cloned().chain([self.path.display().to_string()]);
        let mut command = Command::new(words.next().expect("a program"));
        command.args(words).arg("--config").arg(home.path("config.toml"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command
    }
}

impl RunningDaemon {
    pub fn pid(&self) -> u32 {
        self.daemon.pid()
    }

    pub fn database(&self) -> PathBuf {
        self.home.database()
    }

    /// Adds jobs until as many are unfinished as at the beginning, when `ends` jobs have ended.
    pub async fn replace_ended(&mut self, ends: u64) {
        let wanted = self.unfinished_jobs + ends;
        while self.next_job < wanted {
            let numbers = self.next_job..wanted.min(self.next_job + ADDED_TOGETHER);
            self.next_job = numbers.end;
            let jobs: Vec<_> = numbers
                .map(|number| json!({ "provider": "dune", "remote_id": remote_id(number) }))
                .collect();
            let request = serde_json::from_value(json!({ "jobs": jobs })).expect("a valid request");
            self.client.add(&request).await.expect("the jobs are added");
        }
    }
}

/// The directory `target`, of which this program is a part.
pub fn target_directory() -> PathBuf {
    let program = std::env::current_exe().expect("this program");
    program.ancestors().nth(3).map(Path::to_owned).expect("target/PROFILE/deps/PROGRAM")
}
