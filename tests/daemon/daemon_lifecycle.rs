//! The daemon as a service: start, reload, shutdown, a second daemon, a stale socket, event streams
//! that resume.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use crate::support::daemon::{DaemonHome, utf8, wait_for_query_value};
use crate::support::fake_server::{FakeServer, Fault, FaultRepeat, FaultTarget, JobEnd, JobScript};
use crate::support::{EVENT_TIMEOUT, FAST_POLLING_TOML, db, timed};
use rustix::process::Signal;

fn hour_long_script() -> JobScript {
    JobScript::new().running(Duration::from_hours(1)).ending_with(JobEnd::Completed)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_api_key_in_the_environment_is_a_sufficient_config() {
    let dune = FakeServer::start().await;
    dune.set_credentials("from-the-environment");
    dune.add_job("01GBM4W2N0NMCGPZYW8AYK4YF1", JobScript::new().ending_with(JobEnd::Completed));
    let home = DaemonHome::without_config();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_jobtrackd"));
    command
        .env_clear()
        .env("DUNE_API_KEY", "from-the-environment")
        .env("STATE_DIRECTORY", home.path("state"))
        .env("RUNTIME_DIRECTORY", home.path("run"))
        .env("JOBTRACK__PROVIDERS__DUNE__BASE_URL", dune.base_url());
    let daemon = home.spawn(command);
    daemon.wait_for_notification("READY=1", &home);
    home.run_client_ok(&["add", "dune", "01GBM4W2N0NMCGPZYW8AYK4YF1"]);
    assert!(home.run_client(&["wait", "1", "--timeout", "25s"]).status.success());
    assert_eq!(dune.credentials_seen(), ["from-the-environment"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_05_06_a_hanging_provider_does_not_delay_shutdown() {
    let dune = FakeServer::start().await;
    dune.add_job("01HANGS", hour_long_script());
    dune.inject_fault(FaultTarget::All, Fault::Hang, FaultRepeat::Always);
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01HANGS"]);
    dune.wait_for_requests(1, EVENT_TIMEOUT).await;
    let mut watch = home.client_command(&["watch"]);
    let mut watch = watch.stdout(std::process::Stdio::null()).spawn().expect("a watcher");
    let (ended, took) = timed(|| daemon.stop());
    assert!(ended.success() && took < Duration::from_secs(5), "{took:?}: {}", home.log());
    watch.kill().expect("the watcher runs");
    watch.wait().expect("the watcher ends");
    assert!(!home.socket().exists(), "a socket that nobody listens on is removed");
    let bytes =
        std::fs::metadata(home.path("state/jobtrack.db-wal")).expect("the WAL persists").len();
    assert!(bytes < 10_000_000);
    assert_eq!(db::query_value(&home.database(), "SELECT state FROM jobs"), "registered");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_07_08_74_a_reload_rejects_a_bad_config_and_applies_a_good_one() {
    let dune = FakeServer::start().await;
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    let good = std::fs::read_to_string(home.path("config.toml")).expect("the config");
    home.write_config(&format!("{good}\nrequests_per_minut = 5\n"));
    let rejected = home.run_client(&["reload"]);
    assert_eq!(rejected.status.code(), Some(1));
    let error = utf8(&rejected.stderr);
    assert!(error.contains("config.toml:") && error.contains("requests_per_minut "), "{error}");
    daemon.wait_for_notification("READY=1", &home);
    daemon.signal(Signal::HUP);
    daemon.wait_for_notification("RELOADING=1", &home);
    daemon.wait_for_notification("READY=1", &home);
    let rejected = "the old one stays in effect";
    let log = home.wait_for_log(rejected, 2);
    assert_eq!(log.matches(rejected).count(), 2, "{log}");
    let status = home.run_client(&["status", "--fail"]);
    let text = utf8(&status.stdout);
    assert_eq!(status.status.code(), Some(1), "the failure stays visible: {text}");
    assert!(text.contains("the reload at") && text.contains("requests_per_minut "), "{text}");

    home.write_config(&good.replace("3000", "77").replace("run/control", "run/other"));
    let report = home.run_client_ok(&["reload"]);
    let restart = "needs a restart: control.socket";
    assert!(report.contains("provider dune changed") && report.contains(restart), "{report}");
    home.run_client_ok(&["status", "--fail"]);
    daemon
        .wait_for_status(&home, |status| status["providers"][0]["requests_per_minute"] == 77)
        .await;
    for _ in 0..1000 {
        daemon.signal(Signal::HUP);
    }
    daemon.wait_for_notification("READY=1", &home);
    assert!(home.log().matches("config reloaded").count() < 200, "signals are coalesced");
    home.run_client_ok(&["status"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_a_removed_provider_are_polled_again_when_it_is_back() {
    let dune = FakeServer::start().await;
    dune.add_job(
        "01WAITS",
        JobScript::starting_at_first_request()
            .running(Duration::from_millis(500))
            .ending_with(JobEnd::Completed),
    );
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01WAITS"]);
    dune.wait_for_requests(1, EVENT_TIMEOUT).await;
    let good = std::fs::read_to_string(home.path("config.toml")).expect("the config");
    let (without, _) = good.split_once("[providers.dune]").expect("a provider");
    home.write_config(without);
    assert!(
        home.run_client_ok(&["reload"]).contains("provider dune removed; its jobs are not polled")
    );
    daemon.wait_for_status(&home, |status| status["degraded_reasons"][0].is_string()).await;
    let rejected = home.run_client(&["add", "dune", "01NEW"]);
    assert!(utf8(&rejected.stderr).contains("not configured"), "{}", utf8(&rejected.stderr));
    home.write_config(&good);
    home.run_client_ok(&["reload"]);
    assert!(home.run_client(&["wait", "1", "--timeout", "25s"]).status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_28_52_files_have_their_modes_and_live_sockets_are_kept() {
    let dune = FakeServer::start().await;
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    std::fs::create_dir_all(home.path("run")).expect("a directory");
    drop(UnixListener::bind(home.socket()).expect("a stale socket"));
    let daemon = home.start();
    let mode = |name: &str| {
        let found = std::fs::metadata(home.path(name)).expect(name);
        format!("{:o}", found.permissions().mode() & 0o777)
    };
    assert_eq!(mode("run/control.sock"), "660");
    assert_eq!(mode("state"), "750");
    for file in ["state/jobtrack.db", "state/jobtrack.db-wal", "state/jobtrack.db-shm"] {
        assert_eq!(mode(file), "640", "{file}");
    }

    let second = home.run_daemon_to_exit(&[]);
    assert_eq!(second.status.code(), Some(74));
    assert!(
        utf8(&second.stderr).contains("another jobtrackd uses this database"),
        "{}",
        utf8(&second.stderr)
    );
    let elsewhere = std::fs::read_to_string(home.path("config.toml")).expect("the config");
    home.write_config(&elsewhere.replace("/state/", "/state2/"));
    let third = home.run_daemon_to_exit(&[]);
    assert!(
        utf8(&third.stderr).contains("another jobtrackd listens on this socket"),
        "{}",
        utf8(&third.stderr)
    );
    let clean_shutdowns = "SELECT count(*) FROM last_event WHERE name = 'clean_shutdown'";
    assert_eq!(db::query_value(&home.path("state2/jobtrack.db"), clean_shutdowns), "1");
    home.run_client_ok(&["status"]);
    daemon.stop();

    std::fs::write(home.socket(), "precious").expect("a file");
    let rejected = home.run_daemon_to_exit(&[]);
    assert_eq!(rejected.status.code(), Some(74));
    assert!(utf8(&rejected.stderr).contains("not a socket"), "{}", utf8(&rejected.stderr));
    assert_eq!(std::fs::read_to_string(home.socket()).expect("it is still there"), "precious");
}

#[test]
fn an_invalid_log_level_is_logged_and_an_empty_one_counts_as_not_set() {
    for (value, is_valid) in
        [("jobtrack=loud", false), ("verbose", false), ("", true), (" ,", true)]
    {
        let home = DaemonHome::new("http://127.0.0.1:1", "");
        let mut command = home.daemon_command();
        command.env("RUST_LOG", value);
        let daemon = home.spawn(command);
        daemon.wait_for_notification("READY=1", &home);
        assert!(daemon.stop().success());
        let log = home.log();
        assert!(log.contains("is ready"), "{value:?} silences the log: {log}");
        assert_eq!(log.contains("RUST_LOG is invalid"), !is_valid, "{value:?}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_21_a_removed_database_file_ends_the_daemon() {
    let dune = FakeServer::start().await;
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01FIRST"]);
    std::fs::rename(home.database(), home.path("state/elsewhere.db"))
        .expect("an operator's mistake");
    let rejected = home.run_client(&["add", "dune", "01SECOND"]);
    assert!(!rejected.status.success(), "acknowledged into a file that is gone");
    assert_eq!(daemon.wait_for_exit().code(), Some(74));
    assert!(home.log().contains("removed or replaced"), "{}", home.log());
}

#[test]
fn fault_21_66_what_was_acknowledged_is_in_the_database_after_its_log_was_removed() {
    let home = DaemonHome::new("http://127.0.0.1:1", "");
    for (round, by) in [(1, "the next add"), (2, "a clean stop")] {
        let daemon = home.start();
        let ids: Vec<_> = (0..500).map(|number| format!("01ROUND{round}JOB{number}")).collect();
        home.run_client_with_input(&["add", "dune", "-", "-q"], &ids.join("\n"));
        std::fs::remove_file(home.path("state/jobtrack.db-wal")).expect("an operator's mistake");
        let code = if by == "a clean stop" {
            daemon.stop().code()
        } else {
            let rejected = home.run_client(&["add", "dune", "01LAST"]);
            assert!(!rejected.status.success(), "acknowledged into a file that is gone");
            daemon.wait_for_exit().code()
        };
        assert!(matches!(code, Some(0 | 74)), "{by}: {}", home.log());
        let verified = home.run_daemon_to_exit(&["verify"]);
        let printed = utf8(&verified.stdout);
        assert!(printed.contains(&format!(" {} jobs", 500 * round)), "{by}: {printed}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_of_events_resumes_without_a_gap() {
    let dune = FakeServer::start().await;
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    for n in 0..40 {
        let life = JobScript::starting_at_first_request()
            .running(Duration::from_millis(200))
            .ending_with(JobEnd::Completed);
        dune.add_job(&format!("01STREAM{n}"), life);
    }
    let daemon = home.start();
    let mut seen: Vec<i64> = Vec::new();
    let read = |after: Option<i64>, limit: usize| {
        let mut stream = UnixStream::connect(home.socket()).expect("the daemon listens");
        stream.set_read_timeout(Some(EVENT_TIMEOUT)).expect("a deadline");
        let resume = after.map_or_else(String::new, |seq| format!("Last-Event-ID: {seq}\r\n"));
        let head = format!("GET /v1/events?after=0 HTTP/1.1\r\nHost: x\r\n{resume}\r\n");
        stream.write_all(head.as_bytes()).expect("a request");
        let ids = BufReader::new(stream).lines().map_while(Result::ok).filter_map(|line| {
            line.strip_prefix("id: ").map(|id| id.parse::<i64>().expect("a number"))
        });
        ids.take(limit).collect::<Vec<_>>()
    };
    let ids: Vec<_> = (0..40).map(|n| format!("01STREAM{n}")).collect();
    home.run_client_with_input(&["add", "dune", "-"], &ids.join("\n"));
    while seen.len() < 120 {
        seen.extend(read(seen.last().copied(), 30));
    }
    assert_eq!(seen, (1..=120).collect::<Vec<_>>());
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn polls_resume_at_their_stored_times_without_a_burst() {
    let dune = FakeServer::start().await;
    for n in 0..50 {
        dune.add_job(&format!("01RESUMES{n}"), hour_long_script());
    }
    let slow = "requests_per_minute = 3000\npolicy = \"backoff\"\nmin_interval = \"20s\"\nmax_interval = \"20s\"";
    let home = DaemonHome::new(&dune.base_url(), slow);
    let daemon = home.start();
    let ids: Vec<_> = (0..50).map(|n| format!("01RESUMES{n}")).collect();
    home.run_client_with_input(&["add", "dune", "-"], &ids.join("\n"));
    dune.wait_for_requests(50, EVENT_TIMEOUT).await;
    // All answers are stored, not only all requests sent.
    wait_for_query_value(&home, "SELECT count(*) FROM jobs WHERE polls = 1", "50").await;
    daemon.stop();
    let daemon = home.start();
    // An on-demand poll is sent at once, the others when they are due.
    home.run_client_ok(&["poll", "1"]);
    assert_eq!(dune.request_count(), 51);
    daemon.stop();
}
