//! jobtrack at work, in half a minute and without an account anywhere.
//!
//! A stand-in for Dune on loopback, the real daemon with its socket and its database in a temporary
//! directory, jobs added through the socket, transitions shown as they come, and the history asked
//! with `sqlite3`. This one program plays all parts: by the name under which it is started it is the
//! demo, `jobtrackd` or `jobtrack`.

#[path = "../tests/support/standin/mod.rs"]
mod standin;

use std::ffi::OsStr;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use standin::{End, Life, StandIn};

const QUERY: &str = "\
SELECT remote_id, to_state, evidence, occurred_at, observed_at
FROM history WHERE remote_id IN ('01DEMO1QUICK', '01DEMO2CANCELLED') ORDER BY seq";

const RUNS: &str = "\
SELECT remote_id, state, pending_s, running_s, detection_delay_s AS delay_s, polls, message
FROM runs ORDER BY terminal_at";

fn main() -> ExitCode {
    let name = std::env::args_os().next().unwrap_or_default();
    match Path::new(&name).file_name().and_then(OsStr::to_str) {
        Some("jobtrackd") => return jobtrack::daemon::main(),
        Some("jobtrack") => return jobtrack::cli::main(),
        Some(_) | None => {}
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let shown = runtime.context("the runtime cannot be started").and_then(|it| it.block_on(show()));
    match shown {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn show() -> Result<()> {
    let dune = StandIn::start().await;
    let lives = play(&dune);
    let stage = Stage::set(&dune.base_url())?;
    println!("A stand-in for Dune answers at {}; six queries run there.\n", dune.base_url());
    let daemon = stage.daemon()?;
    stage.until_ready()?;

    let add = [&["add", "dune", "--label", "demo=yes"][..], &lives].concat();
    say(&add);
    ensure!(stage.client(&add).status()?.success(), "the jobs were not added");
    say(&["watch", "--after", "0"]);
    let mut watch = stage.client(&["watch", "--after", "0"]).spawn().context("jobtrack watch")?;
    let wait = stage
        .client(&["wait", "--label", "demo=yes", "--timeout", "60s"])
        .stdout(Stdio::null())
        .status()?;
    watch.kill()?;
    watch.wait()?;
    say(&["wait", "--label", "demo=yes"]);
    println!("exit code {}: not all of them succeeded", wait.code().unwrap_or(-1));

    say(&["list", "--all"]);
    stage.client(&["list", "--all"]).status()?;
    stage.ask(QUERY)?;
    stage.ask(RUNS)?;
    let requests = dune.requests();
    let refused = requests.iter().filter(|request| request.status != Some(200)).count();
    println!("\n{} requests told all this; {refused} were refused.", requests.len());
    end(daemon)?;
    dune.stop().await;
    Ok(())
}

/// Six lives, from a second to ten.
fn play(dune: &StandIn) -> [&'static str; 6] {
    let ms = Duration::from_millis;
    let life = |pending, running| Life::new().pending(ms(pending)).running(ms(running));
    dune.put("01DEMO1QUICK", life(200, 700).then(End::Completed));
    dune.put("01DEMO2CANCELLED", life(2500, 2500).then(End::Cancelled));
    dune.put("01DEMO3FAILED", life(1000, 5000).then(End::Failed));
    dune.put("01DEMO4PARTIAL", life(3000, 3500).then(End::CompletedPartial));
    dune.put("01DEMO5LONG", life(500, 9000).then(End::Completed));
    dune.put("01DEMO6QUEUED", life(8000, 2000).then(End::Completed));
    [
        "01DEMO1QUICK",
        "01DEMO2CANCELLED",
        "01DEMO3FAILED",
        "01DEMO4PARTIAL",
        "01DEMO5LONG",
        "01DEMO6QUEUED",
    ]
}

/// A temporary directory with a daemon's files.
struct Stage {
    dir: tempfile::TempDir,
}

impl Stage {
    fn set(base_url: &str) -> Result<Self> {
        let dir = tempfile::TempDir::with_prefix("jobtrack-demo-")?;
        let at = dir.path().display();
        let config = format!(
            "[store]\npath = \"{at}/jobtrack.db\"\n\n[control]\nsocket = \"{at}/control.sock\"\n\n\
             [polling]\nmax_interval = \"3s\"\n\n[providers.dune]\nkind = \"dune\"\n\
             base_url = \"{base_url}\"\napi_key = {{ env = \"DUNE_API_KEY\" }}\n\
             requests_per_minute = 200\n"
        );
        std::fs::write(dir.path().join("config.toml"), config)?;
        Ok(Self { dir })
    }

    fn program(name: &str) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg0(name).env("DUNE_API_KEY", standin::KEY);
        Ok(command)
    }

    fn daemon(&self) -> Result<Child> {
        let config = self.dir.path().join("config.toml");
        println!("$ jobtrackd --config {}", config.display());
        let mut command = Self::program("jobtrackd")?;
        command.arg("--config").arg(config).env("RUST_LOG", "warn");
        command.spawn().context("jobtrackd does not start")
    }

    /// The daemon answers as soon as it listens; `jobtrack` says so by its exit code.
    fn until_ready(&self) -> Result<()> {
        for _ in 0..500 {
            let status =
                self.client(&["status"]).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
            if status.success() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        anyhow::bail!("the daemon did not come up")
    }

    fn client(&self, arguments: &[&str]) -> Command {
        let mut command = Self::program("jobtrack").unwrap_or_else(|_| Command::new("jobtrack"));
        command.arg("--socket").arg(self.dir.path().join("control.sock")).args(arguments);
        command
    }

    fn ask(&self, query: &str) -> Result<()> {
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

fn say(arguments: &[&str]) {
    println!("\n$ jobtrack {}", arguments.join(" "));
}

fn end(mut daemon: Child) -> Result<()> {
    let pid = rustix::process::Pid::from_child(&daemon);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    ensure!(daemon.wait()?.success(), "jobtrackd did not end well");
    Ok(())
}
