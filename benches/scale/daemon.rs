//! The release build on a large database: start, memory, idle CPU, and the requests of its socket.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use jobtrack::api::Client;

use super::Arguments;
use super::process_cost::ProcessCost;
use super::queries::measure_requests;
use super::report::{Table, with_spread};
use super::stand_in::Script;
use super::stand_in_process::StandInProcess;
use super::support::daemon::{Daemon, DaemonHome};

/// The programs.
pub struct DaemonProgram {
    path: PathBuf,
}

impl DaemonProgram {
    /// Builds the release unless `path` names a program.
    pub fn new(path: Option<PathBuf>) -> Self {
        let path = path.unwrap_or_else(|| {
            let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
            let status = Command::new(cargo)
                .args(["build", "--quiet", "--release", "--locked", "--bins"])
                .current_dir(env!("CARGO_MANIFEST_DIR"))
                .status();
            assert!(status.is_ok_and(|status| status.success()), "the release cannot be built");
            target_directory().join("release/jobtrackd")
        });
        Self { path }
    }

    pub fn client(&self) -> PathBuf {
        self.path.with_file_name("jobtrack")
    }

    /// Starts the daemon; returns it when it is ready, with the time that this took.
    pub fn start(&self, home: &DaemonHome) -> (Daemon, Duration) {
        let mut command = Command::new(&self.path);
        command.arg("--config").arg(home.path("config.toml"));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        let started = Instant::now();
        let daemon = home.spawn(command);
        daemon.wait_for_notification("READY=1", home);
        (daemon, started.elapsed())
    }
}

/// The directory `target`, of which this program is a part.
pub fn target_directory() -> PathBuf {
    let program = std::env::current_exe().expect("this program");
    program.ancestors().nth(3).map(Path::to_owned).expect("target/PROFILE/deps/PROGRAM")
}

/// A home whose daemon uses `database` and sends one poll a second.
fn home_with(database: &Path, base_url: &str) -> DaemonHome {
    let home = DaemonHome::without_config();
    home.write_secret("key", "fake-api-key\n");
    home.write_config(&format!(
        "[store]\npath = \"{}\"\n[control]\nsocket = \"{}\"\n\
         [providers.dune]\nkind = \"dune\"\nbase_url = \"{base_url}\"\nrequests_per_minute = 60\n\
         api_key = {{ file = \"{}\" }}\n",
        database.display(),
        home.socket().display(),
        home.path("key").display(),
    ));
    home
}

/// The resident memory of a daemon without jobs, in MiB.
pub async fn measure_empty(program: &DaemonProgram) -> f64 {
    let home = DaemonHome::new("http://127.0.0.1:1", "");
    let (daemon, _) = program.start(&home);
    let client = Client::open(Some(&home.socket())).expect("a client");
    client.status().await.expect("the status");
    ProcessCost::new(daemon.pid()).resident_mib()
}

pub async fn measure(
    program: &DaemonProgram,
    database: &Path,
    jobs: u64,
    empty_mib: f64,
    arguments: &Arguments,
    table: &mut Table,
) {
    let stand_in = StandInProcess::start(Script::Unchanging, 0).await;
    let home = home_with(database, &stand_in.base_url);
    // The first start fills the caches of the kernel.
    assert!(program.start(&home).0.stop().success());
    let mut seconds = Vec::new();
    for _ in 1..arguments.rounds {
        let (daemon, took) = program.start(&home);
        seconds.push(took.as_secs_f64());
        assert!(daemon.stop().success());
    }
    let (daemon, took) = program.start(&home);
    seconds.push(took.as_secs_f64());
    table.add("start to ready, s", with_spread(&seconds, 2));
    let mut cost = ProcessCost::new(daemon.pid());
    let start_cpu = cost.read().nanoseconds as f64 / 1e9;
    table.add("CPU of a start, s", format!("{start_cpu:.2}"));
    let resident = cost.resident_mib();
    table.add("resident memory, MiB", format!("{resident:.1}"));
    let id_bytes = 26.0;
    let bytes = (resident - empty_mib) * f64::from(1 << 20) / jobs as f64 - id_bytes;
    table.add("bytes a job beyond its id", format!("{bytes:.0}"));
    wait_until_idle(&mut cost).await;
    let (before, polls) = (cost.read(), stand_in.counters().await.polls);
    tokio::time::sleep(Duration::from_secs(arguments.idle_seconds)).await;
    let (after, polled) = (cost.read(), stand_in.counters().await.polls - polls);
    let percent = (after - before).nanoseconds as f64 / 1e7 / arguments.idle_seconds as f64;
    table.add("CPU while idle, % of a core", format!("{percent:.2} ({polled} polls)"));
    let client = Client::open(Some(&home.socket())).expect("a client");
    measure_requests(&client, jobs, table).await;
    assert!(daemon.stop().success());
}

/// A large file is checked for damage after the start.
async fn wait_until_idle(cost: &mut ProcessCost) {
    for _ in 0..120 {
        let before = cost.read();
        tokio::time::sleep(Duration::from_secs(1)).await;
        if (cost.read() - before).nanoseconds < 50_000_000 {
            return;
        }
    }
}
