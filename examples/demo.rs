//! A demonstration of jobtrack that takes half a minute and needs no account.
//!
//! It starts a fake server for Dune, Data Lake Insight and DataArts Studio on loopback, and the
//! real daemon with its socket and database in a temporary directory. It adds jobs with the client,
//! shows the transitions as they happen, and queries the history with `sqlite3`. One program plays
//! all parts: the name under which it is started selects the demo, `jobtrackd` or `jobtrack`.

#[path = "../tests/support/fake_server/mod.rs"]
mod fake_server;

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fake_server::{FakeServer, JobEnd, JobScript, ServiceKind};

/// One provider of each kind, with its two jobs.
const JOBS: [(&str, [&str; 2]); 3] = [
    ("dune", ["01DEMO1QUICK", "01DEMO2FAILED"]),
    ("lake", ["demo-3-scaling", "demo-4-cancelled"]),
    ("scripts", ["report.sql/5", "report.sql/6"]),
];

const HISTORY_SQL: &str = "\
SELECT kind, h.remote_id, to_state, h.provider_state, evidence, occurred_at, observed_at
FROM history AS h JOIN jobs ON jobs.id = job_id
WHERE job_id IN (1, 3, 5) ORDER BY job_id, seq";

const RUNS_SQL: &str = "\
SELECT kind, remote_id, state, queue_s, run_s, detection_delay_s AS delay_s, polls, message
FROM runs ORDER BY terminal_at";

fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    match Path::new(&name).file_name().and_then(OsStr::to_str) {
        Some("jobtrackd") => return jobtrack::daemon::main(),
        Some("jobtrack") => return jobtrack::cli::main(),
        Some(_) | None => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let result = runtime
        .context("the runtime cannot be started")
        .and_then(|runtime| runtime.block_on(run_demo()));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run_demo() -> Result<()> {
    let server = FakeServer::start().await;
    add_job_scripts(&server);
    let demo = DemoEnv::create(&server.base_url())?;
    println!(
        "A fake server for three services listens at {}; two jobs run at each service.\n",
        server.base_url()
    );
    let daemon = demo.start_daemon()?;
    demo.wait_until_ready()?;

    for (provider, ids) in JOBS {
        let add = [&["add", provider, "--label", "demo=yes"][..], &ids].concat();
        print_command(&add);
        ensure!(demo.client_command(&add).status()?.success(), "the jobs could not be added");
    }
    print_command(&["watch", "--after", "0"]);
    let mut watch =
        demo.client_command(&["watch", "--after", "0"]).spawn().context("jobtrack watch")?;
    let wait = demo
        .client_command(&["wait", "--label", "demo=yes", "--timeout", "60s"])
        .stdout(Stdio::null())
        .status()?;
    watch.kill()?;
    watch.wait()?;
    print_command(&["wait", "--label", "demo=yes"]);
    println!("exit code {}: not all of them succeeded", wait.code().unwrap_or(-1));

    print_command(&["list", "--all"]);
    demo.client_command(&["list", "--all"]).status()?;
    demo.run_sqlite(HISTORY_SQL)?;
    demo.run_sqlite(RUNS_SQL)?;
    let requests = server.requests();
    let rejected = requests.iter().filter(|request| request.response_status != Some(200)).count();
    println!("\nThe daemon sent {} requests; {rejected} of them were rejected.", requests.len());
    stop_daemon(daemon)?;
    server.stop().await;
    Ok(())
}

/// Adds the jobs; they take one to ten seconds.
fn add_job_scripts(server: &FakeServer) {
    let ms = Duration::from_millis;
    let script = |pending, running| JobScript::new().pending(ms(pending)).running(ms(running));
    let states = [("LAUNCHING", 1000), ("RUNNING", 2500), ("SCALING", 2500), ("RUNNING", 2500)];
    let scaling = states.map(|(state, duration)| (ms(duration), state.to_owned())).to_vec();
    let [(_, queries), (_, jobs), (_, instances)] = JOBS;
    server.add_job_of(
        ServiceKind::Dune,
        queries[0],
        script(200, 700).ending_with(JobEnd::Completed),
    );
    server.add_job_of(
        ServiceKind::Dune,
        queries[1],
        script(1500, 5000).ending_with(JobEnd::Failed),
    );
    server.add_job_of(
        ServiceKind::Dli,
        jobs[0],
        JobScript::from_states(scaling).ending_with(JobEnd::Completed),
    );
    server.add_job_of(ServiceKind::Dli, jobs[1], script(2500, 2500).ending_with(JobEnd::Cancelled));
    server.add_job_of(
        ServiceKind::DataArts,
        instances[0],
        script(1000, 9000).ending_with(JobEnd::Completed),
    );
    server.add_job_of(
        ServiceKind::DataArts,
        instances[1],
        script(500, 3500).ending_with(JobEnd::Failed),
    );
}

/// The temporary directory of the daemon.
struct DemoEnv {
    dir: tempfile::TempDir,
}

impl DemoEnv {
    fn create(base_url: &str) -> Result<Self> {
        let dir = tempfile::TempDir::with_prefix("jobtrack-demo-")?;
        let path = dir.path().display();
        let secret = "{ env = \"FAKE_API_KEY\" }";
        let huawei = format!("project_id = \"demo\"\nauth = {{ token = {secret} }}");
        let common = format!(
            "[store]\npath = \"{path}/jobtrack.db\"\n[control]\nsocket = \"{path}/control.sock\"\n\
             [polling]\npolicy = \"backoff\"\nmax_interval = \"3s\"\n"
        );
        let kinds = ["dune", "dli", "dataarts"];
        let secrets = [format!("api_key = {secret}"), huawei.clone(), huawei];
        let providers =
            JOBS.into_iter().zip(kinds).zip(secrets).map(|(((name, _), kind), secret)| {
                format!(
                    "[providers.{name}]\nkind = \"{kind}\"\nbase_url = \"{base_url}\"\n{secret}\n\
                 requests_per_minute = 200\n"
                )
            });
        let config: String = [common].into_iter().chain(providers).collect();
        std::fs::write(dir.path().join("config.toml"), config)?;
        Ok(Self { dir })
    }

    fn command_as(name: &str) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg0(name).env("FAKE_API_KEY", fake_server::API_KEY);
        Ok(command)
    }

    fn start_daemon(&self) -> Result<Child> {
        let config = self.dir.path().join("config.toml");
        println!("$ jobtrackd --config {}", config.display());
        let mut command = Self::command_as("jobtrackd")?;
        command.arg("--config").arg(config).env("RUST_LOG", "warn");
        command.spawn().context("jobtrackd cannot be started")
    }

    /// Runs `jobtrack status` until it succeeds, for at most ten seconds.
    fn wait_until_ready(&self) -> Result<()> {
        for _ in 0..500 {
            let status = self
                .client_command(&["status"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()?;
            if status.success() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        anyhow::bail!("the daemon does not answer on its socket")
    }

    fn client_command(&self, arguments: &[&str]) -> Command {
        let mut command = Self::command_as("jobtrack").unwrap_or_else(|_| Command::new("jobtrack"));
        command.arg("--socket").arg(self.dir.path().join("control.sock")).args(arguments);
        command
    }

    fn run_sqlite(&self, query: &str) -> Result<()> {
        let database = self.dir.path().join("jobtrack.db");
        println!("\n$ sqlite3 -readonly -box {} \"{query}\"", database.display());
        let mut sqlite = Command::new("sqlite3");
        sqlite.args(["-readonly", "-box"]).arg(database).arg(query);
        match sqlite.status() {
            Ok(status) => ensure!(status.success(), "sqlite3 failed"),
            Err(_) => println!("(sqlite3 is not installed here: `apt install sqlite3`)"),
        }
        Ok(())
    }
}

fn print_command(arguments: &[&str]) {
    println!("\n$ jobtrack {}", arguments.join(" "));
}

fn stop_daemon(mut daemon: Child) -> Result<()> {
    let pid = rustix::process::Pid::from_child(&daemon);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    ensure!(daemon.wait()?.success(), "jobtrackd exited with an error");
    Ok(())
}
