//! Completions as a shell asks for them: with the jobs and providers of the daemon, and with nothing at all
//! where there is none.

use std::os::unix::net::UnixListener;
use std::process::{Command, Output};
use std::time::Duration;

use crate::support::daemon::{DaemonHome, run_with_timeout, utf8};
use crate::support::fake_server::{FakeServer, JobEnd, JobScript};
use crate::support::{EVENT_TIMEOUT, timed};

/// Asks as fish does, which also shows the help of each candidate. The last word is incomplete.
fn complete(home: &DaemonHome, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_jobtrack"));
    command
        .env_clear()
        .env("JOBTRACK_COMPLETE", "fish")
        .env("JOBTRACK_SOCKET", home.socket())
        .args(["--", "jobtrack"])
        .args(words);
    run_with_timeout(&mut command, "", EVENT_TIMEOUT)
}

/// The candidates that are no options, with their help after a tab.
fn candidates(home: &DaemonHome, words: &[&str]) -> Vec<String> {
    let output = complete(home, words);
    assert!(output.status.success(), "{words:?}: {}", utf8(&output.stderr));
    assert_eq!(utf8(&output.stderr), "");
    let printed = utf8(&output.stdout);
    printed.lines().filter(|line| !line.starts_with("--")).map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_providers_and_states_are_completed() {
    let dune = FakeServer::start().await;
    dune.add_job("01ENDED", JobScript::new().ending_with(JobEnd::Completed));
    dune.add_job("01LONG", JobScript::new().running(Duration::from_hours(1)));
    let home = DaemonHome::new(&dune.base_url(), crate::support::FAST_POLLING_TOML);
    let _daemon = home.start();
    home.run_client_ok(&["add", "dune", "01ENDED", "01LONG"]);
    home.run_client_ok(&["wait", "1"]);
    home.run_client_ok(&["poll", "2"]);

    let long = "2\tdune/01LONG running";
    assert_eq!(candidates(&home, &["show", ""]), [long, "1\tdune/01ENDED succeeded"]);
    assert_eq!(candidates(&home, &["wait", ""]), [long], "only a job that can still end");
    assert_eq!(candidates(&home, &["show", "1"]), ["1\tdune/01ENDED succeeded"]);
    assert_eq!(candidates(&home, &["history", "dune/01L"]), ["dune/01LONG\t2 running"]);
    for words in [&["add", ""][..], &["check", "d"], &["list", "--provider", ""]] {
        assert_eq!(candidates(&home, words), ["dune"], "{words:?}");
    }
    assert_eq!(
        candidates(&home, &["list", "--state", "un"]),
        ["unsuccessful", "unknown", "untracked"]
    );
    let commands = candidates(&home, &["ca"]);
    assert_eq!(commands, ["cancel\tCancel jobs at their provider"]);

    // The option on the command line counts, not the variable.
    let socket = home.socket().display().to_string();
    let elsewhere = DaemonHome::without_config();
    assert_eq!(candidates(&elsewhere, &["--socket", &socket, "check", ""]), ["dune"]);
    let option = format!("--socket={socket}");
    assert_eq!(candidates(&elsewhere, &[&option, "check", ""]), ["dune"]);
}

#[test]
fn without_a_daemon_nothing_is_printed() {
    let home = DaemonHome::without_config();
    assert_eq!(candidates(&home, &["show", ""]), [""; 0]);
    assert_eq!(candidates(&home, &["check", ""]), [""; 0]);
}

#[test]
fn a_daemon_that_does_not_answer_is_not_waited_for() {
    let home = DaemonHome::without_config();
    std::fs::create_dir(home.path("run")).expect("a directory");
    let _silent = UnixListener::bind(home.socket()).expect("a socket");
    let (found, took) = timed(|| candidates(&home, &["show", ""]));
    assert_eq!(found, [""; 0]);
    assert!(took < Duration::from_secs(5), "{took:?}");
}

/// The files of the packages, in the shells that are installed.
#[test]
fn the_completion_files_of_the_packages_define_a_completion() {
    let bin = std::path::Path::new(env!("CARGO_BIN_EXE_jobtrack")).parent().expect("a directory");
    let file = |name| format!("{}/packaging/completions/{name}", env!("CARGO_MANIFEST_DIR"));
    let bash = format!("source {} && complete -p jobtrack", file("jobtrack.bash"));
    let fish =
        format!("source {}; and complete --do-complete 'jobtrack ca'", file("jobtrack.fish"));
    let zsh = format!(
        "compdef() {{ print $1 $2 }}; _clap_dynamic_completer_jobtrack() {{ }}; source {}",
        file("_jobtrack")
    );
    for (shell, script, expected) in [
        ("bash", bash, "_clap_complete_jobtrack"),
        ("fish", fish, "cancel"),
        ("zsh", zsh, "jobtrack"),
    ] {
        if Command::new(shell).arg("--version").output().is_err() {
            println!("skipped: {shell} is not installed");
            continue;
        }
        let mut command = Command::new(shell);
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        command.args(["-c", &script]).env("PATH", path);
        let output = run_with_timeout(&mut command, "", EVENT_TIMEOUT);
        let printed = [&output.stdout, &output.stderr].map(|bytes| utf8(bytes)).concat();
        assert!(printed.contains(expected), "{shell}: {printed}");
    }
}
