//! Dune's own client for Python beside a stand-in of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tokio::process::Command;

use super::metrics::ClientResult;
use super::plan::BenchPlan;
use super::support::daemon::utf8;
use super::support::fake_server::{API_KEY, ClockSample, FakeServer, JobScript, RateLimit};

/// The release that is compared.
const PYTHON_PACKAGE: &str = "dune-client==1.12.*";
const SCRIPT_PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/live/official.py");

/// A Python that has the client, in a directory of its own.
pub struct DuneClientEnv {
    dir: TempDir,
}

impl DuneClientEnv {
    /// Fetches the client from `PyPI`.
    pub async fn install() -> Self {
        let official = Self { dir: TempDir::with_prefix("dune-client-").expect("a directory") };
        run_ok(Command::new("python3").args(["-m", "venv"]).arg(official.dir.path())).await;
        let arguments =
            ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PYTHON_PACKAGE];
        run_ok(Command::new(official.python()).args(arguments)).await;
        official
    }

    fn python(&self) -> PathBuf {
        self.dir.path().join("bin/python")
    }

    /// Has it run the queries of a plan, each in a thread of its own.
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
        let begun = ClockSample::read();
        let queries = plan.runs.iter().map(|run| run.query_id.to_string());
        let mut command = Command::new(self.python());
        command.arg(Path::new(SCRIPT_PATH)).arg(dune.base_url()).args(queries);
        let told = run_ok(command.env("DUNE_API_KEY", API_KEY)).await;
        let ends = told.lines().filter_map(|line| {
            let (query, seen) = line.split_once(' ')?;
            let run = plan.runs.iter().find(|run| run.query_id.to_string() == query)?;
            Some((run.id.clone(), seen.parse().ok()?))
        });
        let ends: Vec<_> = ends.collect();
        ClientResult::new(name, &dune, plan.runs.len(), begun, &ends)
    }
}

/// Runs a program that must succeed; what it printed.
async fn run_ok(command: &mut Command) -> String {
    let output = command.kill_on_drop(true).output().await.expect("the program starts");
    assert!(output.status.success(), "{command:?}: {}", utf8(&output.stderr));
    utf8(&output.stdout)
}
