//! The real `jobtrackd`, in a temporary directory of its own, and the real `jobtrack` beside it.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::SOON;

/// The directory of a daemon: config, database, socket, log. Outlives its daemons.
pub struct Home {
    dir: TempDir,
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
    notices: UnixDatagram,
}

impl Home {
    /// With a provider `dune` at `base_url`, and `more` at the end of the config.
    pub fn new(base_url: &str, more: &str) -> Self {
        let home = Self::bare();
        home.configure(base_url, more);
        home
    }

    /// Without a config.
    pub fn bare() -> Self {
        Self { dir: TempDir::with_prefix("jobtrack-").expect("a temporary directory") }
    }

    /// Writes the config anew.
    pub fn configure(&self, base_url: &str, more: &str) {
        self.write_secret("key", "standin-key\n");
        let dir = self.dir.path().display();
        let text = format!(
            "[store]\npath = \"{dir}/state/jobtrack.db\"\n\
             [control]\nsocket = \"{dir}/run/control.sock\"\n\
             [providers.dune]\nkind = \"dune\"\nbase_url = \"{base_url}\"\n\
             api_key = {{ file = \"{dir}/key\" }}\n{more}\n"
        );
        self.write_config(&text);
    }

    /// Writes a file that only we can read.
    pub fn write_secret(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).expect("a secret's file");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(self.path(name), mode).expect("a secret's mode");
    }

    /// Writes this text as the config.
    pub fn write_config(&self, text: &str) {
        std::fs::write(self.path("config.toml"), text).expect("the config file");
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn database(&self) -> PathBuf {
        self.path("state/jobtrack.db")
    }

    pub fn socket(&self) -> PathBuf {
        self.path("run/control.sock")
    }

    /// All that the daemons of this home have logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// `jobtrackd`, to be started with more arguments or another environment.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jobtrackd"));
        clean(&mut command).arg("--config").arg(self.path("config.toml"));
        command
    }

    /// Starts the daemon and waits until it is ready.
    pub fn start(&self) -> Daemon {
        let daemon = self.spawn(self.command());
        daemon.wait_for("READY=1", self);
        daemon
    }

    /// Starts a command of [`Home::command`], without waiting.
    pub fn spawn(&self, mut command: Command) -> Daemon {
        let at = self.path(&format!("notify-{}", fastrand::u64(..)));
        let notices = UnixDatagram::bind(&at).expect("a socket for notifications");
        notices.set_read_timeout(Some(SOON)).expect("a deadline");
        let log = File::options().create(true).append(true).open(self.path("log"));
        let child = command
            .env("NOTIFY_SOCKET", &at)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("the log file"))
            .spawn()
            .expect("jobtrackd starts");
        Daemon { child, notices }
    }

    /// Runs `jobtrackd` to its end, which must come by itself.
    pub fn run_daemon(&self, arguments: &[&str]) -> Output {
        let mut command = self.command();
        command.args(arguments);
        finish_within(&mut command, "", SOON)
    }

    /// Runs the client to its end.
    pub fn jobtrack<I: AsRef<OsStr>>(&self, arguments: &[I]) -> Output {
        self.jobtrack_with(arguments, "")
    }

    /// Runs the client with this on its standard input.
    pub fn jobtrack_with<I: AsRef<OsStr>>(&self, arguments: &[I], input: &str) -> Output {
        finish_within(&mut self.client(arguments), input, SOON)
    }

    /// Runs the client, which must succeed; what it printed.
    pub fn ok<I: AsRef<OsStr>>(&self, arguments: &[I]) -> String {
        let output = self.jobtrack(arguments);
        assert!(output.status.success(), "{}\n{}", text(&output.stderr), self.log());
        text(&output.stdout)
    }

    /// Job 1 after a poll by hand, however that went.
    pub fn polled(&self) -> String {
        text(&self.jobtrack(&["--json", "poll", "1"]).stdout)
    }

    /// The client, to be started.
    pub fn client<I: AsRef<OsStr>>(&self, arguments: &[I]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jobtrack"));
        clean(&mut command).arg("--socket").arg(self.socket()).args(arguments);
        command
    }
}

impl Daemon {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a notification of the daemon's that has this in it.
    pub fn wait_for(&self, notice: &str, home: &Home) {
        let mut buffer = [0; 4096];
        loop {
            let size = match self.notices.recv(&mut buffer) {
                // A socket with a deadline is not asked again by itself after a signal.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                size => size.unwrap_or_else(|e| panic!("no {notice} came: {e}\n{}", home.log())),
            };
            if text(&buffer[..size]).contains(notice) {
                return;
            }
        }
    }

    /// Waits until the daemon's `status` is such; it is published anew several times a second.
    pub async fn wait_for_status(&self, home: &Home, such: impl Fn(&serde_json::Value) -> bool) {
        let client = jobtrack::api::Client::open(Some(&home.socket())).expect("a client");
        let asking = async {
            loop {
                let status = client.status().await.expect("the daemon answers");
                if such(&serde_json::to_value(status).expect("JSON")) {
                    return;
                }
            }
        };
        let late = tokio::time::timeout(SOON, asking).await.is_err();
        assert!(!late, "{}\n{}", home.ok(&["status"]), home.log());
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the daemon lives");
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().expect("the daemon lives");
        self.child.wait().expect("it ends");
    }

    /// SIGTERM, and its end.
    pub fn stop(self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Its end, which must come by itself.
    pub fn wait(mut self) -> ExitStatus {
        wait(&mut self.child, SOON)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nothing of the tester's own environment reaches what is tested.
fn clean(command: &mut Command) -> &mut Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).env("RUST_BACKTRACE", "1")
}

fn wait(child: &mut Child, limit: Duration) -> ExitStatus {
    let pid = Pid::from_child(child);
    let (done, ended) = mpsc::channel::<()>();
    let guard = thread::spawn(move || {
        if ended.recv_timeout(limit).is_err_and(|error| error == mpsc::RecvTimeoutError::Timeout) {
            let _ = kill_process(pid, Signal::KILL);
        }
    });
    let status = child.wait().expect("it ends");
    drop(done);
    guard.join().expect("the guard ends");
    assert!(status.signal() != Some(9), "it did not end within {limit:?}");
    status
}

/// Runs a program to its end, which must come in time.
pub fn finish_within(command: &mut Command, input: &str, limit: Duration) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    let feeding = thread::spawn(move || {
        let _ = stdin.write_all(input.as_bytes());
    });
    let drain = |mut pipe: Box<dyn Read + Send>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).map(|_| bytes)
        })
    };
    let stdout = drain(Box::new(child.stdout.take().expect("a pipe")));
    let stderr = drain(Box::new(child.stderr.take().expect("a pipe")));
    let status = wait(&mut child, limit);
    feeding.join().expect("the input was written");
    let read = |thread: thread::JoinHandle<std::io::Result<Vec<u8>>>| {
        thread.join().expect("the output was read").expect("the pipe is whole")
    };
    Output { status, stdout: read(stdout), stderr: read(stderr) }
}

/// Bytes that must be text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// The path as an argument.
pub fn arg(path: &Path) -> String {
    path.display().to_string()
}

/// Waits until a query of the database, in another process, has this answer.
pub async fn until(home: &Home, sql: &str, answer: &str) {
    let asking = async {
        while super::db::value(&home.database(), sql) != answer {
            tokio::task::yield_now().await;
        }
    };
    let late = tokio::time::timeout(SOON, asking).await.is_err();
    assert!(!late, "{sql}: {}\n{}", super::db::value(&home.database(), sql), home.log());
}
