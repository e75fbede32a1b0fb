//! A provider that is paused, whose polls fail, or that is not configured any more: `wait`, `watch`, `list` and `show`
//! tell the reason at once.

use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::FAST_POLLING_TOML;
use crate::support::daemon::{DaemonHome, utf8};
use crate::support::fake_server::{FakeServer, Fault, FaultRepeat, FaultTarget, JobEnd, JobScript};

/// A client that runs, with the lines of its standard error.
struct RunningClient {
    child: Child,
    notices: BufReader<std::process::ChildStderr>,
}

impl RunningClient {
    fn start(home: &DaemonHome, arguments: &[&str]) -> Self {
        let mut child = home
            .client_command(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the client starts");
        let notices = BufReader::new(child.stderr.take().expect("a pipe"));
        Self { child, notices }
    }

    fn next_notice(&mut self) -> String {
        let mut line = String::new();
        self.notices.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    /// The exit code, and the notices that were not read.
    fn finish(mut self) -> (Option<i32>, Vec<String>) {
        let rest = self.notices.lines().map(|line| line.expect("a line")).collect();
        (self.child.wait().expect("it exits").code(), rest)
    }
}

fn running() -> JobScript {
    JobScript::starting_at_first_request().running(Duration::from_hours(1))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_told_by_every_command_that_shows_unfinished_jobs() {
    let dune = FakeServer::start().await;
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    home.write_secret("key", "wrong\n");
    let daemon = home.start();
    let ids: Vec<_> = (1..=200).map(|n| format!("01WRONG{n}")).collect();
    let mut watch = RunningClient::start(&home, &["watch"]);
    home.run_client_with_input(&["add", "dune", "-", "-q", "--label", "batch=7"], &ids.join("\n"));
    daemon.wait_for_status(&home, |status| !status["providers"][0]["pause"].is_null()).await;

    let is_notice = |line: &str| {
        line.starts_with("dune is paused for ")
            && line.ends_with(": HTTP 401: invalid API Key; run: jobtrack check dune")
    };
    let wait = ["wait", "--label", "batch=7", "--timeout", "5s"];
    let (code, notices) = RunningClient::start(&home, &wait).finish();
    assert_eq!(code, Some(124));
    assert!(is_notice(&notices[0]), "{notices:?}");
    assert_eq!(notices[1..], ["timeout: not all jobs have ended"], "one line for 200 jobs");
    let (_, notices) = RunningClient::start(&home, &[&wait[..], &["-q"]].concat()).finish();
    assert_eq!(notices, ["timeout: not all jobs have ended"]);
    for command in
        [&["wait", "--json", "--label", "batch=7", "--timeout", "1s"][..], &["list", "-o", "json"]]
    {
        let (_, lines) = RunningClient::start(&home, command).finish();
        let objects: Vec<serde_json::Value> =
            lines.iter().map(|line| serde_json::from_str(line).expect("an object")).collect();
        assert!(objects[0]["notice"].as_str().is_some_and(is_notice), "{lines:?}");
        assert!(objects[1..].iter().all(|error| error["code"] == "timeout"), "{lines:?}");
    }
    let listed = home.run_client(&["list", "--limit", "2"]);
    assert_eq!(utf8(&listed.stderr).lines().filter(|line| is_notice(line)).count(), 1);
    let table = utf8(&listed.stdout);
    let rows: Vec<_> = table.lines().skip(1).collect();
    assert!(rows.len() == 2 && rows.iter().all(|line| line.contains(" in ")), "{table}");
    let shown = home.run_client_ok(&["show", "1"]);
    assert!(shown.contains("the provider is paused: HTTP 401: invalid API Key"), "{shown}");
    // The first rejection alone does not pause the other jobs.
    let mut notice = watch.next_notice();
    if notice.starts_with("the last poll of dune failed") {
        notice = watch.next_notice();
    }
    assert!(is_notice(&notice), "{notice}");
    watch.child.kill().expect("it runs");
    watch.finish();
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_tells_that_the_provider_does_not_know_the_job_and_that_it_is_removed() {
    let dune = FakeServer::start().await;
    dune.add_job("01RUNS", running());
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let _daemon = home.start();
    home.run_client_ok(&["add", "dune", "01RUNS", "01MISTYPED"]);
    let mut wait = RunningClient::start(&home, &["wait", "1", "2", "--timeout", "25s"]);
    let notice = wait.next_notice();
    assert!(notice.starts_with("the last poll of job 2 failed: HTTP 404"), "{notice}");
    assert!(notice.ends_with("; run: jobtrack show 2"), "{notice}");
    let config = std::fs::read_to_string(home.path("config.toml")).expect("a config");
    let (head, _) = config.split_once("[providers.dune]").expect("a provider");
    home.write_config(head);
    home.run_client_ok(&["reload"]);
    let notice = wait.next_notice();
    assert!(notice.starts_with("dune is not configured any more"), "{notice}");
    let shown = home.run_client_ok(&["show", "1"]);
    assert!(shown.contains("  none: the provider is not configured any more\n"), "{shown}");
    home.write_config(&config);
    home.run_client_ok(&["reload"]);
    home.run_client_ok(&["untrack", "1", "2"]);
    assert_eq!(wait.finish().0, Some(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_tells_that_its_job_fails_although_another_job_failed_last() {
    let dune = FakeServer::start().await;
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01MISTYPED1"]);
    home.run_client(&["poll", "1"]);
    // No poll of job 1 follows, so that the failed poll of job 2 stays the last.
    let hourly = FAST_POLLING_TOML.replace("100ms", "1h").replace("200ms", "1h");
    home.configure(&dune.base_url(), &hourly);
    home.run_client_ok(&["reload"]);
    home.run_client(&["poll", "1"]);
    home.run_client_ok(&["add", "dune", "01MISTYPED2"]);
    home.run_client(&["poll", "2"]);
    daemon
        .wait_for_status(&home, |status| status["providers"][0]["last_failed_poll"]["job_id"] == 2)
        .await;
    let mut wait = RunningClient::start(&home, &["wait", "1"]);
    let notice = wait.next_notice();
    assert!(notice.starts_with("the last poll of job 1 failed: HTTP 404"), "{notice}");
    home.run_client_ok(&["untrack", "1"]);
    assert_eq!(wait.finish(), (Some(3), Vec::new()));
    let listed = home.run_client(&["list"]);
    let notices = utf8(&listed.stderr);
    assert!(notices.starts_with("the last poll of job 2 failed: HTTP 404"), "{notices}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_tells_that_polls_fail_and_that_they_succeed_again() {
    let dune = FakeServer::start().await;
    dune.add_job("01RUNS", running());
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01RUNS"]);
    dune.inject_fault(FaultTarget::All, Fault::status(503, "{}"), FaultRepeat::Always);
    daemon
        .wait_for_status(&home, |status| {
            status["providers"][0]["consecutive_failures"].as_u64() > Some(1)
        })
        .await;
    let mut wait = RunningClient::start(&home, &["wait", "1", "--timeout", "28s"]);
    let notice = wait.next_notice();
    assert!(notice.contains("polls of dune failed: HTTP 503"), "{notice}");
    dune.clear_faults();
    assert_eq!(wait.next_notice(), "dune is polled again");
    home.run_client_ok(&["untrack", "1"]);
    assert_eq!(wait.finish(), (Some(3), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_wait_tells_when_the_rate_limit_allows_the_first_request() {
    let dune = FakeServer::start().await;
    dune.add_job("01RUNS", running());
    let slow = FAST_POLLING_TOML.replace("requests_per_minute = 3000", "requests_per_minute = 30");
    let home = DaemonHome::new(&dune.base_url(), &slow);
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01RUNS"]);
    home.run_client_ok(&["wait", "1", "--for", "running", "--timeout", "25s"]);
    daemon.kill();
    let _daemon = home.start();
    let mut wait = RunningClient::start(&home, &["wait", "1"]);
    let notice = wait.next_notice();
    assert!(notice.starts_with("the rate limit of dune allows the next request in 1"), "{notice}");
    home.run_client_ok(&["untrack", "1"]);
    assert_eq!(wait.finish(), (Some(3), Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_ends_at_the_first_failure_or_when_the_jobs_run() {
    let dune = FakeServer::start().await;
    dune.add_job("01RUNS", running());
    let brief = JobScript::starting_at_first_request().running(Duration::from_millis(300));
    dune.add_job("01FAILS", brief.clone().ending_with(JobEnd::Failed));
    dune.add_job("01ENDS", brief.ending_with(JobEnd::Completed));
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let _daemon = home.start();
    let added = home.run_client(&["add", "dune", "01ENDS", "--wait", "--timeout", "25s"]);
    assert_eq!(utf8(&added.stdout), "1 dune/01ENDS added\n1 dune/01ENDS succeeded\n");
    assert_eq!(added.status.code(), Some(0));
    home.run_client_ok(&["add", "dune", "01RUNS", "01FAILS"]);
    let waited = home.run_client(&["wait", "1", "2", "--for", "running", "--timeout", "25s"]);
    assert_eq!(waited.status.code(), Some(0), "{}", utf8(&waited.stderr));
    assert!(utf8(&waited.stdout).contains("2 dune/01RUNS running"), "{}", utf8(&waited.stdout));
    let waited = home.run_client(&["wait", "1", "2", "3", "--fail-fast", "-q", "--timeout", "25s"]);
    assert_eq!((waited.status.code(), waited.stdout.len()), (Some(1), 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_jobs_wait_prints_those_that_failed_and_a_summary() {
    let dune = FakeServer::start().await;
    let home = DaemonHome::new(&dune.base_url(), "requests_per_minute = 60000\nmax_in_flight = 16");
    let _daemon = home.start();
    let brief = || JobScript::starting_at_first_request().running(Duration::from_millis(100));
    let ids: Vec<_> = (1..=300).map(|n| format!("01MANY{n}")).collect();
    for id in &ids[1..] {
        dune.add_job(id, brief().ending_with(JobEnd::Completed));
    }
    dune.add_job(&ids[0], brief().ending_with(JobEnd::Failed));
    let command = ["add", "dune", "-", "-q", "--label", "batch=7"];
    home.run_client_with_input(&command, &ids.join("\n"));
    let waited = home.run_client(&["wait", "--label", "batch=7", "--timeout", "28s"]);
    assert_eq!(waited.status.code(), Some(1), "{}", utf8(&waited.stderr));
    let printed = utf8(&waited.stdout);
    let lines: Vec<_> = printed.lines().collect();
    assert!(lines[0].contains("01MANY1 failed"), "{printed}");
    assert_eq!(lines[1..], ["299 succeeded, 1 failed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wait_tells_that_the_daemon_does_not_answer() {
    let dune = FakeServer::start().await;
    dune.add_job("01RUNS", running());
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01RUNS"]);
    daemon.signal(Signal::STOP);
    let mut wait = RunningClient::start(&home, &["wait", "1", "--timeout", "28s"]);
    assert_eq!(wait.next_notice(), "jobtrackd has not answered for 10 s");
    daemon.signal(Signal::CONT);
    home.run_client_ok(&["untrack", "1"]);
    let (code, notices) = wait.finish();
    assert_eq!(code, Some(3));
    // A poll that was in flight when the daemon was stopped has failed.
    let is_expected =
        |notice: &String| notice.contains("jobtrackd was stopped, during the request");
    assert!(notices.iter().all(is_expected), "{notices:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_run_with_the_same_id_is_tracked_on_request() {
    let dune = FakeServer::start().await;
    let id = "01GBM4W2N0NMCGPZYW8AYK4YF1";
    let brief = JobScript::starting_at_first_request().running(Duration::from_millis(300));
    dune.add_job(id, brief.ending_with(JobEnd::Completed));
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let _daemon = home.start();
    home.run_client_ok(&["add", "dune", id, "-q", "--wait", "--timeout", "25s"]);
    dune.add_job(id, running());
    let known = home.run_client(&["add", "dune", id]);
    assert_eq!(utf8(&known.stdout), format!("1 dune/{id} existing\n"));
    let advice =
        "has ended and is not polled; if the service runs the same ID again, add it with --again";
    assert_eq!(utf8(&known.stderr), format!("dune/{id}: {advice}\n"));
    let added = ["add", "dune", id, "--again"];
    assert_eq!(home.run_client_ok(&added), format!("2 dune/{id} added\n"));
    assert_eq!(home.run_client_ok(&added), format!("2 dune/{id} existing\n"));
    home.run_client_ok(&["wait", id, "--for", "running", "--timeout", "25s"]);
    assert_eq!(home.run_client(&["wait", "1", "--timeout", "1s"]).status.code(), Some(0));

    let note = ["note", id, "asked for by the auditors"];
    let labelled = format!("2 dune/{id} note=asked for by the auditors\n");
    assert_eq!(home.run_client_ok(&note), labelled);
    let refused = home.run_client(&["label", "1", "team=data"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(utf8(&refused.stderr).contains("the newer job 2"), "{}", utf8(&refused.stderr));
}
