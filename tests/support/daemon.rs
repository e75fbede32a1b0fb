//! Runs the real `jobtrackd` and `jobtrack` in a temporary directory.
//!
//! Every wait has a deadline, and the processes get a clean environment.

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

/// The directory of a daemon: config, database, socket, log. Several daemons may use it in turn.
pub struct DaemonHome {
    dir: TempDir,
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
    notify_socket: UnixDatagram,
}

impl DaemonHome {
    /// Creates the directory with a config; see [`Self::configure`].
    pub fn new(base_url: &str, extra_toml: &str) -> Self {
        let home = Self::without_config();
        home.configure(base_url, extra_toml);
        home
    }

    pub fn without_config() -> Self {
        Self { dir: TempDir::with_prefix("jobtrack-").expect("a temporary directory") }
    }

    /// Writes a config with a provider `dune` at `base_url`, followed by `extra_toml`.
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

    /// Writes a file with mode 0600, as the daemon requires for secrets.
    pub fn write_secret(&self, name: &str, content: &str) {
        std::fs::write(self.path(name), content).expect("a secret file can be written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(self.path(name), mode).expect("its mode can be set");
    }

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

    /// The log of all daemons that ran in this directory.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Waits until the log has this text so many times, and returns the log. The daemon writes its log in
    /// a thread of its own, after it acts.
    #[expect(clippy::disallowed_methods, reason = "a deadline in real time")]
    pub fn wait_for_log(&self, text: &str, count: usize) -> String {
        let started = std::time::Instant::now();
        loop {
            let log = self.log();
            if log.matches(text).count() >= count {
                return log;
            }
            assert!(started.elapsed() < EVENT_TIMEOUT, "{text:?} is not {count} times in: {log}");
            thread::yield_now();
        }
    }

    /// The command `jobtrackd`; callers may add arguments or change the environment.
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

    /// Starts a command made by [`Self::daemon_command`], without waiting until it is ready.
    pub fn spawn(&self, command: Command) -> Daemon {
        let log = File::options().create(true).append(true).open(self.path("log"));
        self.spawn_with_stderr(command, log.expect("the log file"))
    }

    /// As [`Self::spawn`], with another place for the log.
    pub fn spawn_with_stderr(&self, mut command: Command, stderr: impl Into<Stdio>) -> Daemon {
        let socket_path = self.path(&format!("notify-{}", fastrand::u64(..)));
        let notify_socket = UnixDatagram::bind(&socket_path).expect("a socket for notifications");
        notify_socket.set_read_timeout(Some(EVENT_TIMEOUT)).expect("a deadline");
        let child = command
            .env("NOTIFY_SOCKET", &socket_path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .expect("jobtrackd starts");
        Daemon { child, notify_socket }
    }

    /// Runs `jobtrackd` with these arguments until it exits by itself.
    pub fn run_daemon_to_exit(&self, arguments: &[&str]) -> Output {
        let mut command = self.daemon_command();
        command.args(arguments);
        run_with_timeout(&mut command, "", EVENT_TIMEOUT)
    }

    pub fn run_client<I: AsRef<OsStr>>(&self, arguments: &[I]) -> Output {
        self.run_client_with_input(arguments, "")
    }

    pub fn run_client_with_input<I: AsRef<OsStr>>(&self, arguments: &[I], input: &str) -> Output {
        run_with_timeout(&mut self.client_command(arguments), input, EVENT_TIMEOUT)
    }

    /// Runs the client, which must succeed, and returns its standard output.
    pub fn run_client_ok<I: AsRef<OsStr>>(&self, arguments: &[I]) -> String {
        let output = self.run_client(arguments);
        assert!(output.status.success(), "{}\n{}", utf8(&output.stderr), self.log());
        utf8(&output.stdout)
    }

    /// Polls job 1 on demand and returns the printed JSON, whether the poll succeeded or not.
    pub fn poll_job_1(&self) -> String {
        utf8(&self.run_client(&["--json", "poll", "1"]).stdout)
    }

    /// The command `jobtrack` with these arguments.
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

    /// Waits until the daemon sends systemd a notification that contains this text.
    pub fn wait_for_notification(&self, notification: &str, home: &DaemonHome) {
        let mut buffer = [0; 4096];
        loop {
            let size = match self.notify_socket.recv(&mut buffer) {
                // The standard library does not retry an interrupted `recv`.
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                size => size.unwrap_or_else(|e| {
                    panic!("no notification {notification}: {e}\n{}", home.log())
                }),
            };
            if utf8(&buffer[..size]).contains(notification) {
                return;
            }
        }
    }

    /// Counts the notifications that contain this text until none of any kind came for so long. Earlier
    /// ones that nobody waited for do not count.
    pub fn count_notifications(&self, notification: &str, silence: Duration) -> usize {
        let mut buffer = [0; 4096];
        self.notify_socket.set_nonblocking(true).expect("a mode");
        while self.notify_socket.recv(&mut buffer).is_ok() {}
        self.notify_socket.set_nonblocking(false).expect("a mode");
        self.notify_socket.set_read_timeout(Some(silence)).expect("a deadline");
        let mut count = 0;
        while let Ok(size) = self.notify_socket.recv(&mut buffer) {
            count += usize::from(utf8(&buffer[..size]).contains(notification));
        }
        self.notify_socket.set_read_timeout(Some(EVENT_TIMEOUT)).expect("a deadline");
        count
    }

    /// Sends notifications of another process until none of the daemon's fits any more, as if systemd
    /// had stopped reading.
    pub fn fill_notification_queue(&self) {
        let address = self.notify_socket.local_addr().expect("an address");
        let other = UnixDatagram::unbound().expect("a socket");
        other.connect_addr(&address).expect("the socket exists");
        other.set_nonblocking(true).expect("a mode");
        while other.send(b"STATUS=waiting").is_ok() {}
    }

    /// The names of the daemon's threads.
    pub fn thread_names(&self) -> Vec<String> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it runs");
        let names = tasks.flatten().map(|task| std::fs::read_to_string(task.path().join("comm")));
        names.flatten().map(|name| name.trim_end().to_owned()).collect()
    }

    /// Requests the daemon's status until it satisfies `predicate`.
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
        kill_process(pid, signal).expect("the daemon runs");
    }

    /// Kills the daemon with SIGKILL and reaps it.
    pub fn kill(mut self) {
        self.child.kill().expect("the daemon runs");
        self.child.wait().expect("the daemon exits");
    }

    /// Sends SIGTERM and waits until the daemon exits.
    pub fn stop(self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait_for_exit()
    }

    /// Waits until the daemon exits by itself.
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

/// Clears the environment, so that variables of the caller do not affect the programs under test.
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
    let status = child.wait().expect("the process can be waited for");
    drop(exited_tx);
    watchdog.join().expect("the watchdog ends");
    assert!(
        status.signal() != Some(9),
        "the process was killed, or did not exit within {timeout:?}"
    );
    status
}

/// Runs a program until it exits, which it must do within `timeout`.
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
        thread.join().expect("the output was read").expect("the pipe can be read")
    };
    Output { status, stdout: join_reader(stdout), stderr: join_reader(stderr) }
}

pub fn utf8(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("UTF-8")
}

/// The path as an argument.
pub fn path_arg(path: &Path) -> String {
    path.display().to_string()
}

/// Waits until a database query in another process returns this value.
pub async fn wait_for_query_value(home: &DaemonHome, sql: &str, expected: &str) {
    let polling = async {
        while super::db::query_value(&home.database(), sql) != expected {
            tokio::task::yield_now().await;
        }
    };
    let timed_out = tokio::time::timeout(EVENT_TIMEOUT, polling).await.is_err();
    assert!(!timed_out, "{sql}: {}\n{}", super::db::query_value(&home.database(), sql), home.log());
}
