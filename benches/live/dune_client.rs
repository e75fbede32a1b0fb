//! Dune's own client for Python beside a stand-in of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;
use tokio::process::Command;

use super::metrics::Seen;
use super::plan::Plan;
use super::support::daemon::text;
use super::support::fake_server::{KEY, Life, Limit, Now, StandIn};

/// The release that is compared.
const PACKAGE: &str = "dune-client==1.12.*";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/live/official.py");

/// A Python that has the client, in a directory of its own.
pub struct Official {
    dir: TempDir,
}

impl Official {
    /// Fetches the client from `PyPI`.
    pub async fn install() -> Self {
        let official = Self { dir: TempDir::with_prefix("dune-client-").expect("a directory") };
        done(Command::new("python3").args(["-m", "venv"]).arg(official.dir.path())).await;
        let arguments = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE];
        done(Command::new(official.python()).args(arguments)).await;
        official
    }

    fn python(&self) -> PathBuf {
        self.dir.path().join("bin/python")
    }

    /// Has it run the queries of a plan, each in a thread of its own.
    pub async fn run(
        self: Arc<Self>,
        name: &'static str,
        plan: Arc<Plan>,
        retry_after: bool,
    ) -> Seen {
        let dune = StandIn::start().await;
        dune.limit(Limit { retry_after, ..plan.limit.into() });
        for run in &plan.runs {
            dune.put(&run.id, run.life(Life::from_first_request()));
        }
        let begun = Now::read();
        let queries = plan.runs.iter().map(|run| run.query.to_string());
        let mut command = Command::new(self.python());
        command.arg(Path::new(SCRIPT)).arg(dune.base_url()).args(queries);
        let told = done(command.env("DUNE_API_KEY", KEY)).await;
        let ends = told.lines().filter_map(|line| {
            let (query, seen) = line.split_once(' ')?;
            let run = plan.runs.iter().find(|run| run.query.to_string() == query)?;
            Some((run.id.clone(), seen.parse().ok()?))
        });
        let ends: Vec<_> = ends.collect();
        Seen::new(name, &dune, plan.runs.len(), begun, &ends)
    }
}

/// Runs a program that must succeed; what it printed.
async fn done(command: &mut Command) -> String {
    let output = command.kill_on_drop(true).output().await.expect("the program starts");
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
    text(&output.stdout)
}
