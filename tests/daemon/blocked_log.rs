//! A log that cannot be written, for whatever reason, disturbs neither polls nor clients nor the shutdown.

use std::fs::File;
use std::io::{PipeReader, Read, Write};
use std::os::fd::OwnedFd;
use std::process::Command;
use std::time::Duration;

use crate::support::daemon::{Daemon, DaemonHome, run_with_timeout, utf8};
use crate::support::fake_server::{FakeServer, JobEnd, JobScript};
use crate::support::{EVENT_TIMEOUT, FAST_POLLING_TOML, db, timed};
use rustix::pipe::fcntl_setpipe_size;

/// The shutdown waits for a blocked log for less than this.
const MAX_SHUTDOWN: Duration = Duration::from_secs(6);

const ENDLESS_JOBS: [&str; 8] = [
    "01ENDLESS0",
    "01ENDLESS1",
    "01ENDLESS2",
    "01ENDLESS3",
    "01ENDLESS4",
    "01ENDLESS5",
    "01ENDLESS6",
    "01ENDLESS7",
];

/// A fake Dune, most of whose jobs end after a second, and a daemon that logs as much as it can.
async fn noisy_daemon() -> (FakeServer, DaemonHome, Command) {
    let dune = FakeServer::start().await;
    for n in 0..100 {
        let script = JobScript::starting_at_first_request()
            .running(Duration::from_secs(1))
            .ending_with(JobEnd::Completed);
        dune.add_job(&format!("01LOGGED{n}"), script);
    }
    for id in ENDLESS_JOBS {
        let script = JobScript::starting_at_first_request().running(Duration::from_hours(1));
        dune.add_job(id, script.ending_with(JobEnd::Completed));
    }
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let mut command = home.daemon_command();
    command.env("RUST_LOG", "trace");
    (dune, home, command)
}

/// Adds jobs and waits for their end, while the log cannot be written; then until lines are lost.
async fn assert_jobs_end_and_lines_are_lost(name: &str, home: &DaemonHome, daemon: &Daemon) {
    daemon.wait_for_notification("READY=1", home);
    let ids: Vec<_> = (0..100).map(|n| format!("01LOGGED{n}")).collect();
    let added = home.run_client_with_input(&["add", "dune", "-", "-q"], &ids.join("\n"));
    assert!(added.status.success(), "{name}: {added:?}");
    let waited = home.run_client(&["wait", "1", "100", "--timeout", "25s"]);
    assert!(waited.status.success(), "{name}: {waited:?}");
    daemon.wait_for_status(home, |status| status["active_jobs"] == 0).await;
    // Each of their polls logs some lines.
    home.run_client_ok(&[&["add", "dune"], &ENDLESS_JOBS[..]].concat());
    daemon
        .wait_for_status(home, |status| status["lost_log_lines"].as_u64().is_some_and(|n| n > 0))
        .await;
    let status = home.run_client(&["status", "--fail"]);
    assert_eq!(status.status.code(), Some(1), "{name}");
    let text = utf8(&status.stdout);
    assert!(
        text.contains("degraded") && text.contains("the log cannot be written"),
        "{name}: {text}"
    );
}

fn assert_stops_in_time(name: &str, home: &DaemonHome, daemon: Daemon) {
    let (status, took) = timed(|| daemon.stop());
    assert!(status.success() && took < MAX_SHUTDOWN, "{name}: {status} after {took:?}");
    assert_eq!(db::history_violations(&home.database()), [""; 0], "{name}");
    let ended = db::query_value(&home.database(), "SELECT count(*) FROM jobs WHERE terminal");
    assert_eq!(ended, "100", "{name}");
}

/// A pipe that holds one page.
fn small_pipe() -> (PipeReader, OwnedFd) {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    fcntl_setpipe_size(&writer, 4096).expect("its size can be set");
    (reader, writer.into())
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_59_a_log_pipe_that_nobody_reads_stops_nothing() {
    let (_dune, home, command) = noisy_daemon().await;
    let (_reader, pipe) = small_pipe();
    let daemon = home.spawn_with_stderr(command, pipe);
    assert_jobs_end_and_lines_are_lost("an unread pipe", &home, &daemon).await;
    assert_stops_in_time("an unread pipe", &home, daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_59_the_lost_lines_are_told_of_when_the_pipe_is_read_again() {
    let (_dune, home, command) = noisy_daemon().await;
    let (mut reader, pipe) = small_pipe();
    let daemon = home.spawn_with_stderr(command, pipe);
    assert_jobs_end_and_lines_are_lost("a pipe read late", &home, &daemon).await;
    let reading = std::thread::spawn(move || {
        let mut log = String::new();
        reader.read_to_string(&mut log).map(|_| log)
    });
    daemon.wait_for_status(&home, |status| status["degraded_reasons"][0].is_null()).await;
    assert_stops_in_time("a pipe read late", &home, daemon);
    let log = reading.join().expect("no panic").expect("UTF-8");
    assert!(log.contains("lost because the log could not be written: "), "{log}");
    assert!(log.contains("SIGTERM received"), "the log goes on: {log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_58_a_log_whose_writes_fail_stops_nothing() {
    let full = || File::options().write(true).open("/dev/full").expect("a device").into();
    let without_reader = || std::io::pipe().expect("a pipe").1.into();
    let sinks: [(&str, OwnedFd); 2] =
        [("a full disk", full()), ("a closed pipe", without_reader())];
    for (name, sink) in sinks {
        let (_dune, home, command) = noisy_daemon().await;
        let daemon = home.spawn_with_stderr(command, sink);
        assert_jobs_end_and_lines_are_lost(name, &home, &daemon).await;
        assert_stops_in_time(name, &home, daemon);
    }
}

/// A terminal stopped by Ctrl-S and a terminal that nobody reads take no more bytes.
#[tokio::test(flavor = "multi_thread")]
async fn fault_59_a_stopped_terminal_stops_nothing() {
    let (_dune, home, command) = noisy_daemon().await;
    let master = rustix::pty::openpt(rustix::pty::OpenptFlags::RDWR).expect("a terminal");
    rustix::pty::grantpt(&master).expect("a terminal");
    rustix::pty::unlockpt(&master).expect("a terminal");
    let name = rustix::pty::ptsname(&master, Vec::new()).expect("its name");
    let terminal = File::options()
        .write(true)
        .open(name.to_str().expect("UTF-8"))
        .expect("the terminal can be opened");
    let daemon = home.spawn_with_stderr(command, OwnedFd::from(terminal));
    File::from(master.try_clone().expect("a descriptor")).write_all(b"\x13").expect("Ctrl-S");
    assert_jobs_end_and_lines_are_lost("a stopped terminal", &home, &daemon).await;
    assert_stops_in_time("a stopped terminal", &home, daemon);
    drop(master);
}

/// The error of the start is lost, its exit code is not.
#[test]
fn fault_59_a_failed_start_ends_although_nobody_reads_its_error() {
    let home = DaemonHome::without_config();
    home.write_config("bogus = 1\n");
    let (_reader, pipe) = small_pipe();
    let mut filled = File::from(pipe);
    filled.write_all(&[b'x'; 4096]).expect("the pipe holds a page");
    for arguments in [&["--check"][..], &[], &["--no-such-argument"]] {
        let mut command = home.daemon_command();
        command.args(arguments);
        let stderr = filled.try_clone().expect("a descriptor");
        let ended = home.spawn_with_stderr(command, stderr);
        let expected = if arguments == ["--no-such-argument"] { 2 } else { 78 };
        assert_eq!(ended.wait_for_exit().code(), Some(expected), "{arguments:?}");
    }
    let told = run_with_timeout(&mut home.daemon_command(), "", EVENT_TIMEOUT);
    assert!(utf8(&told.stderr).contains("bogus is not a setting"), "{told:?}");
}
