//! The pollers that are compared: how each is started and measured.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use tempfile::TempDir;
use tokio::process::Command;

use super::daemon::DaemonProgram;
use super::measurement::{Cost, Plan, measure};
use super::stand_in::Script;
use super::stand_in_process::StandInProcess;
use super::workload::unfinished_jobs;

const AIOHTTP: &str = "aiohttp==3.14.*";
const ASYNCIO_POLLER: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/asyncio_poller.py");

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Contender {
    Bare,
    BareCommit,
    Asyncio,
    Jobtrackd,
}

impl Contender {
    pub const ALL: [Self; 4] = [Self::Bare, Self::BareCommit, Self::Asyncio, Self::Jobtrackd];

    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::BareCommit => "bare-commit",
            Self::Asyncio => "asyncio",
            Self::Jobtrackd => "jobtrackd",
        }
    }

    pub fn description(self) -> &'static str {
        match self {
            Self::Bare => "bare loop (reqwest)",
            Self::BareCommit => "bare loop, each answer committed (reqwest, rusqlite)",
            Self::Asyncio => "asyncio poller (aiohttp, sqlite3)",
            Self::Jobtrackd => "`jobtrackd`",
        }
    }

    /// Runs this poller with a stand-in and a database of its own.
    pub async fn measure(self, plan: &Plan, daemon: &DaemonProgram) -> Cost {
        let jobs = unfinished_jobs(plan.rate);
        let stand_in = StandInProcess::start(Script::Stream, jobs).await;
        let directory = TempDir::with_prefix("jobtrack-cost-").expect("a directory");
        let database = directory.path().join("poller.db");
        let command = match self {
            Self::Bare => bare_loop(&stand_in, plan.rate, jobs, None),
            Self::BareCommit => bare_loop(&stand_in, plan.rate, jobs, Some(&database)),
            Self::Asyncio => asyncio_poller(&stand_in, plan.rate, jobs, &database),
            Self::Jobtrackd => {
                let mut running = daemon.start(&stand_in, plan.rate, jobs).await;
                let (pid, database) = (running.pid(), running.database());
                return measure(plan, pid, Some(&database), &stand_in, Some(&mut running)).await;
            }
        };
        let mut command = command;
        let child = command.kill_on_drop(true).spawn().expect("the poller starts");
        let pid = child.id().expect("it runs");
        let database = (self != Self::Bare).then_some(database.as_path());
        measure(plan, pid, database, &stand_in, None).await
    }
}

fn bare_loop(stand_in: &StandInProcess, rate: u32, jobs: u64, database: Option<&Path>) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["bare-loop", "--base-url", &stand_in.base_url]);
    command.arg(format!("--rate={rate}")).arg(format!("--jobs={jobs}"));
    if let Some(database) = database {
        command.arg("--database").arg(database);
    }
    command
}

fn asyncio_poller(stand_in: &StandInProcess, rate: u32, jobs: u64, database: &Path) -> Command {
    let mut command = Command::new(python_with_aiohttp());
    command.arg(ASYNCIO_POLLER).arg(&stand_in.base_url);
    command.arg(rate.to_string()).arg(jobs.to_string()).arg(database);
    command
}

/// An environment under `target` with the packages of the peers; made once, from `PyPI`.
fn python_with_aiohttp() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let environment = super::daemon::target_directory().join("peers");
        let python = environment.join("bin/python");
        let has_aiohttp = run(std::process::Command::new(&python).args(["-c", "import aiohttp"]));
        if !has_aiohttp {
            let mut create = std::process::Command::new("python3");
            assert!(run(create.args(["-m", "venv", "--clear"]).arg(&environment)), "{create:?}");
            let mut install = std::process::Command::new(&python);
            install.args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                AIOHTTP,
            ]);
            assert!(run(&mut install), "{install:?}");
        }
        python
    })
}

/// Whether the program ran and succeeded.
fn run(command: &mut std::process::Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
