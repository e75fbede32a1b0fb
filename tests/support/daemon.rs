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

use super::EVENT_TIMEOUT;

/// The directory of a daemon: config, database, socket, log. Outlives its daemons.
pub struct DaemonHome {
    dir: TempDir,
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
    notify_socket: UnixDatagram,
}

impl DaemonHome {
    /// With a provider `dune` at `base_url`, and `more` at the end of the config.
    pub fn new(base_url: &str, extra_toml: &str) -> Self {
        let home = Self::without_config();
        home.configure(base_url, extra_toml);
        home
    }

    /// Without a config.
    pub fn without_config() -> Self {
        Self { dir: TempDir::with_prefix("jobtrack-").expect("a temporary directory") }
    }

    /// Writes the config anew.
    pub fn configure(&self, base_url: &str, extra_toml: &str) {
        self.write_secret("key", "fake-api-key\n");
        let dir = self.dir.path().display();
        let text = format!(
            "[store]\npath = \"{dir}/state/jobtrack.db\"\n\
             [control]\nsocket = \"{dir}/run/control.sock\"\n\
             [providers.dune]\nkind = \"dune\"\nbase_url = \"{base_url}\"\n\
             api_key = {{ file = \"{dir}/key\" }}\n{extra_toml}\n"
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
    pub fn daemon_command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jobtrackd"));
        isolate_env(&mut command).arg("--config").arg(self.path("config.toml"));
        command
    }

    /// Starts the daemon and waits until it is ready.
    pub fn start(&self) -> Daemon {
        let daemon = self.spawn(self.daemon_command());
        daemon.wait_for_notification("READY=1", self);
        daemon
    }

    /// Starts a command of [`Home::command`], without waiting.
    pub fn spawn(&self, mut command: Command) -> Daemon {
        let socket_path = self.path(&format!("notify-{}", fastrand::u64(..)));
        let notices = UnixDatagram::bind(&socket_path).expect("a socket for notifications");
        notices.set_read_timeout(Some(EVENT_TIMEOUT)).expect("a deadline");
        let log = File::options().create(true).append(true).open(self.path("log"));
        let child = command
            .env("NOTIFY_SOCKET", &socket_path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log.expect("the log file"))
            .spawn()
            .expect("jobtrackd starts");
        Daemon { child, notify_socket: notices }
    }

    /// Runs `jobtrackd` to its end, which must come by itself.
    pub fn run_daemon_to_exit(&self, arguments: &[&str]) -> Output {
        let mut command = self.daemon_command();
        command.args(arguments);
        run_with_timeout(&mut command, "", EVENT_TIMEOUT)
    }

    /// Runs the client to its end.
    pub fn run_client<I: AsRef<OsStr>>(&self, arguments: &[I]) -> Output {
        self.run_client_with_input(arguments, "")
    }

    /// Runs the client with this on its standard input.
    pub fn run_client_with_input<I: AsRef<OsStr>>(&self, arguments: &[I], input: &str) -> Output {
        run_with_timeout(&mut self.client_command(arguments), input, EVENT_TIMEOUT)
    }

    /// Runs the client, which must succeed; what it printed.
    pub fn run_client_ok<I: AsRef<OsStr>>(&self, arguments: &[I]) -> String {
        let output = self.run_client(arguments);
        assert!(output.status.success(), "{}\n{}", utf8(&output.stderr), self.log());
        utf8(&output.stdout)
    }

    /// Job 1 after a poll by hand, however that went.
    pub fn poll_job_1(&self) -> String {
        utf8(&self.run_client(&["--json", "poll", "1"]).stdout)
    }

    /// The client, to be started.
    pub fn client_command<I: AsRef<OsStr>>(&self, arguments: &[I]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jobtrack"));
        isolate_env(&mut command).arg("--socket").arg(self.socket()).args(arguments);
        command
    }
}

impl Daemon {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a notification of the daemon's that has this in it.
    pub fn wait_for_notification(&self, notification: &str, home: &DaemonHome) {
        let mut buffer = [0; 4096];
        loop {
            let size = match self.notify_socket.recv(&mut buffer) {
                // A socket with a deadline is not asked again by itself after a signal.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                size => {
                    size.unwrap_or_else(|e| panic!("no {notification} came: {e}\n{}", home.log()))
                }
            };
            if utf8(&buffer[..size]).contains(notification) {
                return;
            }
        }
    }

    /// Waits until the daemon's `status` is such; it is published anew several times a second.
    pub async fn wait_for_status(
        &self,
        home: &DaemonHome,
        predicate: impl Fn(&serde_json::Value) -> bool,
    ) {
        let client = jobtrack::api::Client::open(Some(&home.socket())).expect("a client");
        let polling = async {
            loop {
                let status = client.status().await.expect("the daemon answers");
                if predicate(&serde_json::to_value(status).expect("JSON")) {
                    return;
                }
            }
        };
        let timed_out = tokio::time::timeout(EVENT_TIMEOUT, polling).await.is_err();
        assert!(!timed_out, "{}\n{}", home.run_client_ok(&["status"]), home.log());
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
        self.wait_for_exit()
    }

    /// Its end, which must come by itself.
    pub fn wait_for_exit(mut self) -> ExitStatus {
        wait_with_timeout(&mut self.child, EVENT_TIMEOUT)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Nothing of the tester's own environment reaches what is tested.
fn isolate_env(command: &mut Command) -> &mut Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).env("RUST_BACKTRACE", "1")
}

fn wait_with_timeout(child: &mut Child, timeout: Duration) -> ExitStatus {
    let pid = Pid::from_child(child);
    let (exited_tx, exited_rx) = mpsc::channel::<()>();
    let watchdog = thread::spawn(move || {
        if exited_rx
            .recv_timeout(timeout)
            .is_err_and(|error| error == mpsc::RecvTimeoutError::Timeout)
        {
            let _ = kill_process(pid, Signal::KILL);
        }
    });
    let status = child.wait().expect("it ends");
    drop(exited_tx);
    watchdog.join().expect("the guard ends");
    assert!(status.signal() != Some(9), "it did not end within {timeout:?}");
    status
}

/// Runs a program to its end, which must come in time.
pub fn run_with_timeout(command: &mut Command, input: &str, timeout: Duration) -> Output {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    let stdin_writer = thread::spawn(move || {
        let _ = stdin.write_all(input.as_bytes());
    });
    let read_in_background = |mut pipe: Box<dyn Read + Send>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).map(|_| bytes)
        })
    };
    let stdout = read_in_background(Box::new(child.stdout.take().expect("a pipe")));
    let stderr = read_in_background(Box::new(child.stderr.take().expect("a pipe")));
    let status = wait_with_timeout(&mut child, timeout);
    stdin_writer.join().expect("the input was written");
    let join_reader = |thread: thread::JoinHandle<std::io::Result<Vec<u8>>>| {
        thread.join().expect("the output was read").expect("the pipe is whole")
    };
    Output { status, stdout: join_reader(stdout), stderr: join_reader(stderr) }
}

/// Bytes that must be text.
pub fn utf8(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// The path as an argument.
pub fn path_arg(path: &Path) -> String {
    path.display().to_string()
}

/// Waits until a query of the database, in another process, has this answer.
pub async fn wait_for_query_value(home: &DaemonHome, sql: &str, expected: &str) {
    let polling = async {
        while super::db::query_value(&home.database(), sql) != expected {
            tokio::task::yield_now().await;
        }
    };
    let timed_out = tokio::time::timeout(EVENT_TIMEOUT, polling).await.is_err();
    assert!(!timed_out, "{sql}: {}\n{}", super::db::query_value(&home.database(), sql), home.log());
}
