//! Faults of the machine and of its users, each under its number in `docs/faults.md`.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::support::daemon::{DaemonHome, utf8, wait_for_query_value};
use crate::support::fake_server::{FakeServer, JobEnd, JobScript};
use crate::support::{EVENT_TIMEOUT, FAST_POLLING_TOML, db, timed};
use futures_util::future::BoxFuture;
use jobtrack::clock::Clock;
use jobtrack::job::{
    Answer, ConnectionCheck, NotFoundTimeout, Observation, ObservedState, ProviderTimes, RemoteId,
    UtcTime,
};
use jobtrack::policy::Backoff;
use jobtrack::provider::Provider;
use jobtrack::scheduler::{CommandError, ConfiguredProvider, JobSpec, Providers, Scheduler};
use jobtrack::store::Store;
use jobtrack::tracker::ProviderSettings;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

fn answer(state: ObservedState) -> Answer {
    let observation = Observation {
        similarity_keys: jobtrack::job::SimilarityKeys::Unknown,
        reported_duration: None,
        source: None,
        credits: None,
        list_time: None,
        state,
        provider_state: "VERBATIM".into(),
        times: ProviderTimes::default(),
        message: None,
        detail: serde_json::Map::new(),
    };
    Answer {
        result: Ok(observation),
        rate_limit: jobtrack::job::RateLimitInfo::default(),
        server_date: None,
        credential_replaced: false,
    }
}

/// The settings of a provider whose jobs are polled every 100 ms.
fn settings(name: &str) -> ProviderSettings {
    ProviderSettings {
        policy: jobtrack::tracker::PollPolicy::Backoff,
        name: name.parse().expect("a name"),
        account: None,
        requests_per_minute: 6000,
        max_in_flight: 8,
        backoff: Backoff { min: Duration::from_millis(100), max: Duration::from_millis(100) },
        give_up_after: Duration::from_hours(1),
        lost_after: NotFoundTimeout {
            previously_seen: Duration::from_hours(1),
            never_seen: Duration::from_hours(1),
        },
        request_timeout: Duration::from_secs(1),
        supports_list: false,
        connection_fingerprint: 0,
    }
}

fn job_spec(provider: &str, remote_id: &str) -> JobSpec {
    JobSpec {
        similarity_keys: jobtrack::job::SimilarityKeys::Unknown,
        provider: provider.parse().expect("a name"),
        remote_id: remote_id.parse().expect("an id"),
        labels: jobtrack::job::Labels::default(),
        give_up_after: None,
        price: None,
        added_by: None,
        is_new_run: false,
    }
}

/// Polls of a job return `running` and, once `has_ended` is set, `succeeded`. A poll of the job `panics`
/// panics.
#[derive(Debug, Default)]
struct TestProvider {
    has_ended: AtomicBool,
}

impl Provider for TestProvider {
    fn validate_id(&self, _: &RemoteId) -> Result<(), String> {
        Ok(())
    }

    fn credential_fingerprint(&self) -> u64 {
        0
    }

    fn poll<'a>(&'a self, id: &'a RemoteId, _: UtcTime) -> BoxFuture<'a, Answer> {
        let has_ended = self.has_ended.load(Ordering::Relaxed);
        let state = if has_ended { ObservedState::Succeeded } else { ObservedState::Running };
        Box::pin(async move {
            assert!(id.as_str() != "panics", "an unexpected response");
            answer(state)
        })
    }

    fn cancel<'a>(&'a self, _: &'a RemoteId, _: UtcTime) -> BoxFuture<'a, Answer<()>> {
        unreachable!("no test cancels a job")
    }

    fn check_connection(&self, _: UtcTime) -> BoxFuture<'_, ConnectionCheck> {
        unreachable!("no test checks the connection")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_10_a_panic_in_a_poll_counts_as_a_failed_poll() {
    let dir = tempfile::tempdir().expect("a directory");
    let store =
        Store::open(&dir.path().join("jobtrack.db"), &Clock::start()).await.expect("a store");
    let (mut newest, reader) = (store.writer.subscribe_newest_event(), store.reader.clone());
    let (_maintenance_sender, maintenance_tasks) = mpsc::channel(1);
    let (scheduler, handle) = Scheduler::new(
        Clock::start(),
        Box::new(store.writer),
        Arc::new(store.reader),
        maintenance_tasks,
    );
    let name: jobtrack::job::ProviderName = "panicking".parse().expect("a name");
    let provider = Arc::new(TestProvider { has_ended: AtomicBool::new(true) });
    let configured = ConfiguredProvider { kind: "dune", settings: settings("panicking"), provider };
    let stop = CancellationToken::new();
    let running = tokio::spawn(
        scheduler.run(Providers::from_iter([(name.clone(), configured)]), stop.clone()),
    );
    let jobs = ["panics", "fine"].map(|id| job_spec("panicking", id));
    let added = handle.add(jobs.to_vec()).await.expect("added");
    assert_eq!(added.len(), 2);
    newest
        .wait_for(|cursor| crate::support::jobs::seq(cursor) >= 3)
        .await
        .expect("the other job ends");
    let job = reader.stored_job(jobtrack::job::JobId(1)).await.expect("read").expect("a job");
    handle.poll_on_demand(job, EVENT_TIMEOUT).await.expect("the poll is committed");
    let job = reader.job(jobtrack::job::JobId(1)).await.expect("read").expect("a job");
    assert!(!job.terminal && job.failed_polls >= 1, "{job:?}");
    assert_eq!(
        job.last_poll_error.as_deref(),
        Some("internal error: the task of the request failed; please report it with the log")
    );
    stop.cancel();
    running.await.expect("the scheduler does not panic").expect("a clean shutdown");
}

/// A `sqlite3` shell that has run `statement` and stays open.
fn open_sqlite_shell(home: &DaemonHome, statement: &str) -> Child {
    let mut shell = Command::new("sqlite3")
        .arg(home.database())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sqlite3 is installed");
    let stdin = shell.stdin.as_mut().expect("a pipe");
    stdin.write_all(format!("{statement}\nSELECT 'ready';\n").as_bytes()).expect("a statement");
    let mut line = [0; 6];
    let stdout = shell.stdout.as_mut().expect("a pipe");
    std::io::Read::read_exact(stdout, &mut line).expect("the shell is ready");
    shell
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_17_an_external_write_lock_delays_only_writes() {
    let dune = FakeServer::start().await;
    let life = JobScript::starting_at_first_request()
        .running(Duration::from_secs(3))
        .ending_with(JobEnd::Completed);
    dune.add_job("01FIRST", life);
    dune.add_job(
        "01LONG",
        JobScript::new().running(Duration::from_hours(1)).ending_with(JobEnd::Completed),
    );
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01FIRST", "01LONG"]);
    wait_for_query_value(&home, "SELECT state FROM jobs WHERE id = 2", "running").await;
    let mut operator = open_sqlite_shell(&home, "BEGIN IMMEDIATE;");
    let before = dune.request_count_for_job("01LONG");
    let (rejected, took) = timed(|| home.run_client(&["add", "dune", "01SECOND"]));
    let why = utf8(&rejected.stderr);
    assert!(
        rejected.status.code() == Some(1) && why.contains("adding them again is safe"),
        "{why}"
    );
    assert!(took >= Duration::from_secs(5), "the client waited too short: {took:?}");
    dune.wait_for_requests_for("01LONG", before + 10, EVENT_TIMEOUT).await;
    home.run_client_ok(&["list"]);
    daemon.wait_for_status(&home, |status| status["unwritten_changes"] == 1).await;
    let problem = "cannot write to the database";
    let log = home.wait_for_log(problem, 1);
    assert_eq!(log.matches(problem).count(), 1, "{log}");
    drop(operator.stdin.take());
    operator.wait().expect("the shell ends");
    assert!(home.run_client(&["wait", "1", "--timeout", "25s"]).status.success());
    assert!(home.run_client_ok(&["add", "dune", "01SECOND"]).contains("01SECOND"));
    assert_eq!(db::history_violations(&home.database()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_19_a_state_that_an_operator_set_is_not_overwritten_blindly() {
    let dune = FakeServer::start().await;
    dune.add_job(
        "01EDITED",
        JobScript::new().running(Duration::from_hours(1)).ending_with(JobEnd::Completed),
    );
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let _daemon = home.start();
    home.run_client_ok(&["add", "dune", "01EDITED"]);
    dune.wait_for_requests(3, EVENT_TIMEOUT).await;
    let edit = "UPDATE job SET state = 'failed', terminal_at = '2026-01-01 00:00:00.000';";
    drop(open_sqlite_shell(&home, edit).wait_with_output());
    dune.add_job("01EDITED", JobScript::new().ending_with(JobEnd::Completed));
    let mut anomaly = String::new();
    while anomaly.is_empty() {
        home.run_client_ok(&["poll", "1"]);
        anomaly = db::query_value(&home.database(), "SELECT reason FROM provider_event");
    }
    assert_eq!(anomaly, "the database holds failed; expected running");
    assert_eq!(db::query_value(&home.database(), "SELECT state FROM jobs"), "failed");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_19_an_edit_is_noticed_while_the_job_keeps_its_state() {
    let dune = FakeServer::start().await;
    dune.add_job(
        "01EDITED",
        JobScript::new().running(Duration::from_hours(1)).ending_with(JobEnd::Completed),
    );
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01EDITED"]);
    wait_for_query_value(&home, "SELECT state FROM jobs", "running").await;
    let edit = "UPDATE job SET state = 'failed', terminal_at = '2026-01-01 00:00:00.000';";
    drop(open_sqlite_shell(&home, edit).wait_with_output());
    let anomaly = "SELECT reason FROM provider_event WHERE kind = 'anomaly'";
    wait_for_query_value(&home, anomaly, "the database holds failed; expected running").await;
    daemon.wait_for_status(&home, |status| status["active_jobs"] == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rejected_write_does_not_block_others() {
    let dune = FakeServer::start().await;
    let life = || {
        JobScript::starting_at_first_request()
            .running(Duration::from_secs(1))
            .ending_with(JobEnd::Completed)
    };
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    let trigger = "CREATE TRIGGER reject_end BEFORE UPDATE ON job
                   WHEN NEW.remote_id = '01REJECTED' AND NEW.state = 'succeeded'
                   BEGIN SELECT raise(ABORT, 'rejected'); END;";
    drop(open_sqlite_shell(&home, trigger).wait_with_output());
    let ids: Vec<_> = (0..20).map(|n| format!("01FREE{n}")).chain(["01REJECTED".into()]).collect();
    for id in &ids {
        dune.add_job(id, life());
    }
    assert!(home.run_client_with_input(&["add", "dune", "-"], &ids.join("\n")).status.success());
    wait_for_query_value(&home, "SELECT count(*) FROM jobs WHERE state = 'succeeded'", "20").await;
    daemon.wait_for_status(&home, |status| status["active_jobs"] == 0).await;
    home.wait_for_log("the update of job 21 is dropped", 1);
    home.run_client_ok(&["add", "dune", "01AFTER"]);
    assert_eq!(db::history_violations(&home.database()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_receives_the_reason_of_a_rejected_update() {
    let dune = FakeServer::start().await;
    dune.add_job("01REJECTED", JobScript::new().running(Duration::from_hours(1)));
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let _daemon = home.start();
    home.run_client_ok(&["add", "dune", "01REJECTED"]);
    wait_for_query_value(&home, "SELECT state FROM jobs", "running").await;
    let trigger = "CREATE TRIGGER reject_update BEFORE UPDATE ON job
                   BEGIN SELECT raise(ABORT, 'read-only by trigger'); END;";
    drop(open_sqlite_shell(&home, trigger).wait_with_output());
    for command in [["poll", "1"], ["untrack", "1"]] {
        let output = home.run_client(&command);
        let error = utf8(&output.stderr);
        assert!(!output.status.success(), "{command:?} succeeded");
        assert!(error.contains("read-only by trigger"), "{command:?}: {error}");
    }
    home.wait_for_log("read-only by trigger", 1);
    assert_eq!(db::query_value(&home.database(), "SELECT state FROM job"), "running");
}

#[tokio::test(flavor = "multi_thread")]
async fn callers_that_wait_for_a_change_receive_the_reason_of_its_rejection() {
    let home = DaemonHome::without_config();
    let store = Store::open(&home.database(), &Clock::start()).await.expect("a store");
    let reader = store.reader.clone();
    let (_maintenance_sender, maintenance_tasks) = mpsc::channel(1);
    let (scheduler, handle) = Scheduler::new(
        Clock::start(),
        Box::new(store.writer),
        Arc::new(store.reader),
        maintenance_tasks,
    );
    let provider = Arc::new(TestProvider::default());
    let configured =
        ConfiguredProvider { kind: "dune", settings: settings("one"), provider: provider.clone() };
    let stop = CancellationToken::new();
    let providers = Providers::from_iter([("one".parse().expect("a name"), configured)]);
    let running = tokio::spawn(scheduler.run(providers, stop.clone()));
    handle.add(vec![job_spec("one", "01ENDS")]).await.expect("added");
    let id = jobtrack::job::JobId(1);
    let job = async || reader.stored_job(id).await.expect("read").expect("a job");
    handle.poll_on_demand(job().await, EVENT_TIMEOUT).await.expect("the poll is committed");

    // While the operator's transaction is open, the end of the job is decided and not committed.
    let trigger = "BEGIN IMMEDIATE;
                   CREATE TRIGGER reject_end BEFORE UPDATE ON job WHEN NEW.state <> 'running'
                   BEGIN SELECT raise(ABORT, 'not by this program'); END;";
    let mut operator = open_sqlite_shell(&home, trigger);
    provider.has_ended.store(true, Ordering::Relaxed);
    let stored = job().await;
    let first = handle.poll_on_demand(stored.clone(), EVENT_TIMEOUT);
    let second = async {
        while handle.snapshot().await.unwritten_changes == 0 {
            handle.forecast(id).await.expect("the scheduler runs");
        }
        let waiters = async {
            tokio::join!(
                handle.poll_on_demand(stored.clone(), EVENT_TIMEOUT),
                handle.untrack(stored.clone(), "not needed".to_owned(), None),
            )
        };
        let mut waiters = std::pin::pin!(waiters);
        // The scheduler carries out commands in order: after the forecast both callers wait.
        tokio::select! {
            biased;
            results = &mut waiters => panic!("no reply before the commit: {results:?}"),
            forecast = handle.forecast(id) => drop(forecast.expect("the scheduler runs")),
        }
        let stdin = operator.stdin.as_mut().expect("a pipe");
        stdin.write_all(b"COMMIT;\n").expect("the shell listens");
        waiters.await
    };
    let (first, (second, untracked)) = tokio::join!(first, second);
    for result in [first, second, untracked] {
        let Err(CommandError::Storage(reason)) = result else { panic!("{result:?}") };
        assert!(reason.contains("not by this program"), "{reason}");
    }
    assert_eq!(job().await.current_state.state(), jobtrack::job::State::Running);
    drop(operator.stdin.take());
    operator.wait().expect("the shell ends");
    stop.cancel();
    running.await.expect("the scheduler does not panic").expect("a clean shutdown");
}
