//! Runs Dune's own client for Python, each time against a new fake server.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tokio::process::Command;

use super::metrics::ClientResult;
use super::plan::BenchPlan;
use super::support::daemon::utf8;
use super::support::fake_server::{API_KEY, ClockSample, FakeServer, JobScript, RateLimit};

const PYTHON_PACKAGE: &str = "dune-client==1.12.*";
const SCRIPT_PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/live/run_queries.py");

/// A Python virtual environment with the client, removed when dropped.
pub struct DuneClientEnv {
    dir: TempDir,
}

impl DuneClientEnv {
    /// Installs the client from `PyPI`.
    pub async fn install() -> Self {
        let environment = Self { dir: TempDir::with_prefix("dune-client-").expect("a directory") };
        run_ok(Command::new("python3").args(["-m", "venv"]).arg(environment.dir.path())).await;
        let arguments =
            ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PYTHON_PACKAGE];
        run_ok(Command::new(environment.python()).args(arguments)).await;
        environment
    }

    fn python(&self) -> PathBuf {
        self.dir.path().join("bin/python")
    }

    /// Runs all queries of a plan at the same time, each in a thread of its own.
    pub async fn run(
        self: Arc<Self>,
        name: &'static str,
        plan: Arc<BenchPlan>,
        retry_after: bool,
    ) -> ClientResult {
        let dune = FakeServer::start().await;
        dune.set_rate_limit(RateLimit { send_retry_after: retry_after, ..plan.limit.into() });
        for run in &plan.runs {
            dune.add_job(&run.id, run.job_script(JobScript::starting_at_first_request()));
        }
        let started = ClockSample::read();
        let queries = plan.runs.iter().map(|run| run.query_id.to_string());
        let mut command = Command::new(self.python());
        command.arg(Path::new(SCRIPT_PATH)).arg(dune.base_url()).args(queries);
        let output = run_ok(command.env("DUNE_API_KEY", API_KEY)).await;
        let ends = output.lines().filter_map(|line| {
            let (query, detected_at) = line.split_once(' ')?;
            let run = plan.runs.iter().find(|run| run.query_id.to_string() == query)?;
            Some((run.id.clone(), detected_at.parse().ok()?))
        });
        let ends: Vec<_> = ends.collect();
        ClientResult::new(name, &dune, plan.runs.len(), started, &ends)
    }
}

/// Runs a program that must succeed, and returns its standard output.
async fn run_ok(command: &mut Command) -> String {
    let output = command.kill_on_drop(true).output().await.expect("the program starts");
    assert!(output.status.success(), "{command:?}: {}", utf8(&output.stderr));
    utf8(&output.stdout)
}
