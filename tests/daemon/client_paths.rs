//! The default paths of the two programs, started without configuration by root or another user.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::process::getuid;
use tempfile::TempDir;

use crate::support::EVENT_TIMEOUT;
use crate::support::daemon::{run_with_timeout, utf8};

/// No account has this number, so no passwd entry and no `/run/user` directory exist for it.
const STRANGER_UID: u32 = 3_999_999;

/// A user with nothing but a home directory: not root, even if the tests run as root.
pub(crate) struct PlainUser {
    pub(crate) home: TempDir,
    bin: PathBuf,
}

impl PlainUser {
    pub(crate) fn new() -> Self {
        let home = TempDir::with_prefix("jobtrack-user-").expect("a temporary directory");
        let target = Path::new(env!("CARGO_BIN_EXE_jobtrack")).parent().expect("a directory");
        if !getuid().is_root() {
            return Self { home, bin: target.to_owned() };
        }
        // The build directory may be closed to other users.
        let bin = home.path().join("bin");
        fs::create_dir(&bin).expect("a directory");
        for program in ["jobtrack", "jobtrackd"] {
            // A copy would be open for writing while another test forks, and could then not be executed
            // ("Text file busy").
            let linked = fs::hard_link(target.join(program), bin.join(program));
            linked
                .or_else(|_| fs::copy(target.join(program), bin.join(program)).map(drop))
                .expect("a program");
        }
        fs::set_permissions(home.path(), PermissionsExt::from_mode(0o755)).expect("a mode");
        std::os::unix::fs::chown(home.path(), Some(STRANGER_UID), None).expect("an owner");
        Self { home, bin }
    }

    /// A shell that finds both programs by its `PATH`.
    pub(crate) fn shell(&self, env: &[(&str, &Path)]) -> Command {
        let mut shell = self.command("/bin/sh", env);
        shell.env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", self.bin.display()));
        shell
    }

    fn command(&self, program: &str, env: &[(&str, &Path)]) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command.env_clear().envs(env.iter().copied());
        if getuid().is_root() {
            command.uid(STRANGER_UID).gid(STRANGER_UID);
        }
        command
    }

    fn run(&self, program: &str, env: &[(&str, &Path)], arguments: &[&str]) -> Output {
        let mut command = self.command(program, env);
        run_with_timeout(command.args(arguments), "", EVENT_TIMEOUT)
    }

    /// Starts the daemon; the client of the same user must find it, and its database be there.
    async fn assert_daemon_is_found(&self, env: &[(&str, &Path)], database: &Path) {
        self.assert_daemon_is_found_from(env, env, database).await;
    }

    /// The same with other variables for the client than for the daemon.
    async fn assert_daemon_is_found_from(
        &self,
        daemon_env: &[(&str, &Path)],
        env: &[(&str, &Path)],
        database: &Path,
    ) {
        let mut daemon = self.command("jobtrackd", daemon_env);
        daemon.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut daemon = daemon.spawn().expect("jobtrackd starts");
        let polling = async {
            loop {
                let status = self.run("jobtrack", env, &["status"]);
                if status.status.success() {
                    return utf8(&status.stdout);
                }
                tokio::task::yield_now().await;
            }
        };
        let status = tokio::time::timeout(EVENT_TIMEOUT, polling).await;
        daemon.kill().expect("the daemon runs");
        daemon.wait().expect("the daemon ends");
        let status = status.expect("the client finds the daemon");
        assert!(status.contains(&database.display().to_string()), "{status}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_needs_no_environment_but_a_home() {
    let user = PlainUser::new();
    let home = user.home.path();
    let config = home.join(".config/jobtrack");
    fs::create_dir_all(&config).expect("a directory");
    fs::write(config.join("config.toml"), "[polling]\nprice = \"7s\"\n").expect("a file");
    let env = [("HOME", home)];
    let checked = user.run("jobtrackd", &env, &["--check"]);
    assert!(utf8(&checked.stdout).contains("price = \"7s\""), "{}", utf8(&checked.stdout));
    user.assert_daemon_is_found(&env, &home.join(".local/state/jobtrack/jobtrack.db")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn xdg_variables_come_before_the_home() {
    let user = PlainUser::new();
    let home = user.home.path();
    let (state, runtime) = (home.join("state"), home.join("runtime"));
    let env = [("HOME", home), ("XDG_STATE_HOME", &state), ("XDG_RUNTIME_DIR", &runtime)];
    user.assert_daemon_is_found(&env, &state.join("jobtrack/jobtrack.db")).await;
    assert!(runtime.join("jobtrack/control.sock").exists(), "the socket of the killed daemon");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_finds_the_daemon_whichever_variables_either_has() {
    let user = PlainUser::new();
    let home = user.home.path();
    let (state, runtime) = (home.join("state"), home.join("runtime"));
    let no_state = home.join("empty");
    let default_database = home.join(".local/state/jobtrack/jobtrack.db");
    let plain = [("HOME", home)];
    let with_runtime = [("HOME", home), ("XDG_RUNTIME_DIR", runtime.as_path())];
    let with_other_state = [("HOME", home), ("XDG_STATE_HOME", no_state.as_path())];
    user.assert_daemon_is_found_from(&plain, &with_runtime, &default_database).await;
    user.assert_daemon_is_found_from(&plain, &with_other_state, &default_database).await;
    // Killed daemons have left their sockets at all paths that come first.
    user.assert_daemon_is_found(&with_runtime, &default_database).await;
    assert!(runtime.join("jobtrack/control.sock").exists(), "a stale socket");
    user.assert_daemon_is_found_from(&plain, &with_runtime, &default_database).await;
    // A daemon at a path that the client cannot guess is named.
    let daemon_env = [("HOME", home), ("XDG_RUNTIME_DIR", state.as_path())];
    let mut daemon = user.command("jobtrackd", &daemon_env);
    daemon.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut daemon = daemon.spawn().expect("jobtrackd starts");
    let mut lines = BufReader::new(daemon.stderr.take().expect("a pipe")).lines();
    assert!(lines.any(|line| line.is_ok_and(|line| line.contains("is ready"))));
    let error = utf8(&user.run("jobtrack", &plain, &["status"]).stderr);
    daemon.kill().expect("the daemon runs");
    daemon.wait().expect("the daemon ends");
    let expected = format!("{}/jobtrack/control.sock", state.display());
    let (_, elsewhere) = error.split_once("; daemons listen at ").expect(&error);
    assert!(elsewhere.contains(&expected), "{error}");

    let env =
        [("HOME", home), ("XDG_STATE_HOME", no_state.as_path()), ("XDG_RUNTIME_DIR", &runtime)];
    let none = user.run("jobtrack", &env, &["status"]);
    assert_eq!(none.status.code(), Some(69));
    let error = utf8(&none.stderr);
    for part in [
        format!("{}/jobtrack/control.sock (nobody listens)", runtime.display()),
        format!("{}/jobtrack/control.sock (does not exist)", no_state.display()),
        format!("{}/.local/state/jobtrack/control.sock (nobody listens)", home.display()),
        "/run/jobtrack/control.sock (".to_owned(),
        "start jobtrackd".to_owned(),
    ] {
        assert!(error.contains(&part), "{part}: {error}");
    }
}

#[test]
fn a_tilde_in_an_argument_is_expanded() {
    let user = PlainUser::new();
    let env = [("HOME", user.home.path())];
    let client = user.run("jobtrack", &env, &["--socket=~/x.sock", "status"]);
    let expected = format!("no daemon at {}/x.sock (does not exist)", user.home.path().display());
    assert!(utf8(&client.stderr).contains(&expected), "{}", utf8(&client.stderr));
    let daemon = user.run("jobtrackd", &env, &["--config=~/missing.toml"]);
    let expected = format!("{}/missing.toml", user.home.path().display());
    assert!(utf8(&daemon.stderr).contains(&expected), "{}", utf8(&daemon.stderr));
    let homeless = user.run("jobtrack", &[("HOME", Path::new("/"))], &["--socket=~/x", "status"]);
    assert_eq!(homeless.status.code(), Some(2), "{}", utf8(&homeless.stderr));
}

#[test]
fn a_directory_that_cannot_be_created_is_named_with_what_to_set() {
    let user = PlainUser::new();
    let home = user.home.path();
    let file = home.join("file");
    fs::write(&file, "").expect("a file");
    let below = |name: &str| file.join("jobtrack").join(name).display().to_string();
    let state = user.run("jobtrackd", &[("HOME", home), ("XDG_STATE_HOME", &file)], &[]);
    assert_eq!(state.status.code(), Some(74));
    let expected = format!(
        "jobtrackd: cannot create {}: not a directory; set XDG_STATE_HOME or store.path\n",
        below("").trim_end_matches('/')
    );
    assert!(utf8(&state.stderr).ends_with(&expected), "{}", utf8(&state.stderr));
    let runtime = user.run("jobtrackd", &[("HOME", home), ("XDG_RUNTIME_DIR", &file)], &[]);
    assert_eq!(runtime.status.code(), Some(74));
    let expected = "not a directory; set XDG_RUNTIME_DIR or control.socket\n";
    assert!(utf8(&runtime.stderr).ends_with(expected), "{}", utf8(&runtime.stderr));
    if getuid().is_root() {
        // Without a home and a passwd entry only the system's directories are left.
        let homeless = user.run("jobtrackd", &[], &[]);
        let expected = "jobtrackd: cannot create /var/lib/jobtrack: permission denied; \
                        set XDG_STATE_HOME or store.path\n";
        assert!(utf8(&homeless.stderr).ends_with(expected), "{}", utf8(&homeless.stderr));
    }
}
