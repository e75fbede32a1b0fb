//! Secrets: what may be at their places, how long they are waited for, and when they are read again.

use std::process::Command;
use std::time::Duration;

use crate::support::daemon::{DaemonHome, path_arg, utf8};
use crate::support::fake_server::{FakeServer, JobEnd, JobScript};
use crate::support::timed;

const EXECUTION_ID: &str = "01GBM4W2N0NMCGPZYW8AYK4YF1";

fn make_pipe(home: &DaemonHome, name: &str) -> String {
    let path = path_arg(&home.path(name));
    assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
    path
}

/// A config with a provider for each of these places of a key.
fn config_with_keys(home: &DaemonHome, keys: &[String]) {
    let dir = path_arg(&home.path(""));
    let mut text = format!(
        "[store]\npath = \"{dir}state/jobtrack.db\"\n[control]\nsocket = \"{dir}run/control.sock\"\n"
    );
    for (number, key) in keys.iter().enumerate() {
        let provider = format!(
            "[providers.dune{number}]\nkind = \"dune\"\napi_key = {{ file = \"{key}\" }}\n"
        );
        text.push_str(&provider);
    }
    home.write_config(&text);
}

#[test]
fn fault_63_a_pipe_without_a_writer_fails_a_reload_in_time_and_delays_no_stop() {
    let home = DaemonHome::new("http://127.0.0.1:1", "");
    let daemon = home.start();
    let pipes: Vec<_> = (0..4).map(|number| make_pipe(&home, &format!("pipe{number}"))).collect();
    config_with_keys(&home, &pipes[..1]);
    let reload = home.run_client(&["reload"]);
    assert_eq!(reload.status.code(), Some(1), "{}", utf8(&reload.stderr));
    let message = utf8(&reload.stderr);
    assert!(message.contains("pipe0: is a pipe whose writer has not delivered"), "{message}");
    // Each pipe is waited for two seconds, which neither a request nor a stop waits for.
    config_with_keys(&home, &pipes);
    let mut reload = home.client_command(&["reload"]).spawn().expect("the client starts");
    home.run_client_ok(&["list"]);
    let (status, took) = timed(|| daemon.stop());
    assert!(status.success(), "{}", home.log());
    assert!(took < Duration::from_secs(6), "{took:?}");
    reload.wait().expect("the client ends");
}

#[test]
fn fault_63_a_start_with_a_pipe_ends_with_78_unless_its_writer_delivers() {
    let home = DaemonHome::without_config();
    let pipe = make_pipe(&home, "pipe");
    config_with_keys(&home, std::slice::from_ref(&pipe));
    let output = home.run_daemon_to_exit(&[]);
    assert_eq!(output.status.code(), Some(78), "{}", utf8(&output.stderr));
    let message = utf8(&output.stderr);
    assert!(message.contains("is a pipe whose writer has not delivered"), "{message}");
    std::thread::scope(|scope| {
        scope.spawn(|| std::fs::write(&pipe, "fake-api-key\n").expect("a reader"));
        let output = home.run_daemon_to_exit(&["--check"]);
        assert!(output.status.success(), "{}", utf8(&output.stderr));
    });
    for (place, expected) in [
        ("/dev/zero", "not a regular file but a device"),
        ("/tmp", "not a regular file but a directory"),
    ] {
        config_with_keys(&home, &[place.to_owned()]);
        let output = home.run_daemon_to_exit(&["--check"]);
        assert_eq!(output.status.code(), Some(78));
        assert!(utf8(&output.stderr).contains(expected), "{}", utf8(&output.stderr));
    }
}

#[test]
fn fault_55_a_key_with_something_around_it_is_told_and_not_shown() {
    let cases = [
        ("\"canary-key\"", "is in quotation marks: remove them"),
        ("DUNE_API_KEY=canary-key", "has the form NAME=value"),
        ("{\"key\": \"canary-key\"}", "is JSON"),
        ("canary-key canary-key", "contains white space"),
        ("canary-key\ncanary-key", "has more than one line"),
        ("canary-k\u{e9}y", "not ASCII"),
    ];
    let home = DaemonHome::without_config();
    config_with_keys(&home, &[path_arg(&home.path("key"))]);
    for (content, expected) in cases {
        home.write_secret("key", content);
        let output = home.run_daemon_to_exit(&["--check"]);
        assert_eq!(output.status.code(), Some(78), "{content}");
        let message = utf8(&output.stderr);
        assert!(message.contains(expected) && message.contains("/key"), "{content}: {message}");
        assert!(!message.contains("canary"), "{message}");
        // The same for a variable.
        let mut command = home.daemon_command();
        command.arg("--check").env("DUNE_API_KEY", content);
        home.write_config(&format!(
            "[store]\npath = \"{}\"\n[providers.dune]\nkind = \"dune\"\napi_key = {{ env = \"DUNE_API_KEY\" }}\n",
            home.database().display()
        ));
        let output = command.output().expect("jobtrackd starts");
        let message = utf8(&output.stderr);
        assert!(message.contains(expected) && message.contains("DUNE_API_KEY: "), "{message}");
        assert!(!message.contains("canary"), "{message}");
        config_with_keys(&home, &[path_arg(&home.path("key"))]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_63_a_renewed_key_is_used_at_the_first_refusal_of_the_old_one() {
    let dune = FakeServer::start().await;
    dune.add_job(
        EXECUTION_ID,
        JobScript::new().running(Duration::from_millis(1)).ending_with(JobEnd::Completed),
    );
    let home = DaemonHome::new(&dune.base_url(), "");
    let daemon = home.start();
    dune.set_credentials("renewed-api-key");
    home.write_secret("key", "renewed-api-key\n");
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    home.run_client_ok(&["wait", "1", "--timeout", "25s"]);
    assert_eq!(dune.credentials_seen(), ["fake-api-key", "renewed-api-key"]);
    assert!(daemon.stop().success());
    let log = home.log();
    assert!(!log.contains("paused") && !log.contains("api-key"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_63_a_key_that_is_renewed_during_a_pause_ends_it() {
    let dune = FakeServer::start().await;
    dune.add_job(
        EXECUTION_ID,
        JobScript::new().running(Duration::from_millis(1)).ending_with(JobEnd::Completed),
    );
    dune.set_credentials("renewed-api-key");
    let home = DaemonHome::new(&dune.base_url(), "");
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    home.wait_for_log("HTTP 401", 1);
    home.write_secret("key", "renewed-api-key\n");
    let (_, took) = timed(|| home.run_client_ok(&["wait", "1", "--timeout", "25s"]));
    assert!(took < Duration::from_secs(25), "a pause of a minute ends early: {took:?}");
    assert_eq!(dune.credentials_seen(), ["fake-api-key", "renewed-api-key"]);
    assert!(home.log().contains("the secret was replaced"), "{}", home.log());
    assert!(daemon.stop().success());
}
