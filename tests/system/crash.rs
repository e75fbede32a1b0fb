//! `kill -9` at a hundred random moments, during adds and polls: nothing that was acknowledged and
//! nothing that a reader saw is ever gone, and all goes on after each restart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::daemon::DaemonHome;
use crate::support::db;
use crate::support::fake_server::{FakeServer, JobEnd, JobScript};
use jobtrack::api::{AddOutcome, AddRequest, AddRequestEntry, Client};

const KILLS: usize = 100;

/// What the daemons have acknowledged, by remote id.
type AcknowledgedJobs = BTreeMap<String, i64>;

#[tokio::test(flavor = "multi_thread")]
async fn fault_01_02_a_hundred_kills_lose_nothing() {
    let dune = Arc::new(FakeServer::start().await);
    let home = Arc::new(DaemonHome::new(
        &dune.base_url(),
        "requests_per_minute = 30000\npolicy = \"backoff\"\nmax_interval = \"1s\"\nmin_interval = \"100ms\"",
    ));
    let mut random = fastrand::Rng::with_seed(11);
    let next = Arc::new(AtomicUsize::new(0));
    let mut acknowledged = AcknowledgedJobs::new();
    let mut seen: BTreeMap<i64, String> = BTreeMap::new();

    for _ in 0..KILLS {
        let daemon = home.start();
        let adding = tokio::spawn(add_until_daemon_exits(dune.clone(), home.clone(), next.clone()));
        let reading = tokio::spawn(read_until_new_transitions(home.clone(), seen.len()));
        // Not a wait for something: the random moment is the point.
        tokio::time::sleep(Duration::from_millis(random.u64(5..250))).await;
        daemon.kill();
        for (id, number) in adding.await.expect("the adder ends") {
            let before = acknowledged.insert(id.clone(), number);
            assert!(
                before.is_none_or(|before| before == number),
                "{id}: {before:?}, then {number}"
            );
        }
        reading.abort();
        if let Ok(rows) = reading.await {
            seen.extend(rows);
        }
        assert_nothing_lost(&home, &acknowledged, &seen);
        seen.extend(transitions(&home));
    }

    let _daemon = home.start();
    assert!(acknowledged.len() > KILLS, "too few adds to show anything: {}", acknowledged.len());
    let names: Vec<_> = acknowledged.keys().map(|id| format!("dune/{id}")).collect();
    let waited = home.run_client_with_input(&["wait", "-", "--timeout", "25s"], &names.join("\n"));
    assert!(waited.status.success(), "{}", home.run_client_ok(&["status"]));
    assert_nothing_lost(&home, &acknowledged, &seen);
    assert_eq!(db::history_violations(&home.database()), [""; 0]);
    assert_eq!(db::query_value(&home.database(), "PRAGMA integrity_check"), "ok");
    // Each add is sent twice, so that it also meets what a lost acknowledgement left behind.
    let twice = "SELECT count(*) - count(DISTINCT remote_id) FROM jobs";
    assert_eq!(db::query_value(&home.database(), twice), "0");
}

/// Adds jobs, twice each, until the daemon is gone.
async fn add_until_daemon_exits(
    dune: Arc<FakeServer>,
    home: Arc<DaemonHome>,
    next: Arc<AtomicUsize>,
) -> Vec<(String, i64)> {
    let mut acknowledged = Vec::new();
    // A steady trickle: the kills must meet adds and polls alike, and all must end in the end.
    let mut trickle = tokio::time::interval(Duration::from_millis(10));
    let client = Client::open(Some(&home.socket())).expect("a client");
    loop {
        trickle.tick().await;
        let first = next.fetch_add(2, Ordering::Relaxed);
        // The last ids of the batch before come again.
        let ids: Vec<_> =
            (first.saturating_sub(2)..first + 2).map(|n| format!("01JOB{n:06}")).collect();
        for id in &ids[ids.len() - 2..] {
            let life = JobScript::starting_at_first_request()
                .pending(Duration::from_millis(100))
                .running(Duration::from_millis(300))
                .ending_with(JobEnd::Completed);
            dune.add_job(id, life);
        }
        let jobs = ids.iter().map(|id| AddRequestEntry {
            similar_to: None,
            provider: "dune".into(),
            remote_id: id.clone(),
            labels: BTreeMap::new(),
            give_up_after: None,
        });
        let Ok(answer) = client.add(&AddRequest { jobs: jobs.collect() }).await else {
            return acknowledged;
        };
        for job in answer.jobs {
            assert_ne!(job.outcome, AddOutcome::Rejected, "{:?}", job.error);
            acknowledged.push((job.remote_id, job.id.expect("it is registered").0));
        }
    }
}

/// Reads the history over and over, beside the living daemon.
async fn read_until_new_transitions(
    home: Arc<DaemonHome>,
    row_count: usize,
) -> BTreeMap<i64, String> {
    loop {
        let reader = home.clone();
        let rows = tokio::task::spawn_blocking(move || transitions(&reader)).await;
        let rows = rows.expect("sqlite3 reads beside the daemon");
        if rows.len() > row_count + 20 {
            return rows;
        }
    }
}

fn transitions(home: &DaemonHome) -> BTreeMap<i64, String> {
    let rows = db::query_rows(&home.database(), "SELECT * FROM transition");
    rows.into_iter()
        .map(|row| {
            let (seq, _) = row.split_once('|').expect("columns");
            (seq.parse().expect("a number"), row)
        })
        .collect()
}

/// All that was acknowledged, and all that was read, is there, word for word.
fn assert_nothing_lost(
    home: &DaemonHome,
    acknowledged: &AcknowledgedJobs,
    seen: &BTreeMap<i64, String>,
) {
    let there: BTreeSet<_> =
        db::query_rows(&home.database(), "SELECT remote_id, id FROM jobs").into_iter().collect();
    for (id, number) in acknowledged {
        assert!(there.contains(&format!("{id}|{number}")), "{id} was acknowledged as {number}");
    }
    let rows = transitions(home);
    for (seq, row) in seen {
        assert_eq!(rows.get(seq), Some(row), "a reader saw transition {seq}");
    }
}
