//! Kills the daemon with SIGKILL at a hundred random moments, during adds and polls. Nothing that
//! was acknowledged and nothing that another process read is lost, and each restart resumes all
//! work.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::daemon::DaemonHome;
use crate::support::db;
use crate::support::fake_server::{FakeServer, JobEnd, JobScript};
use jobtrack::api::{AddOutcome, AddRequest, AddRequestEntry, Client};

const KILLS: usize = 100;

/// The job ids that the daemons acknowledged, by remote id.
type AcknowledgedJobs = BTreeMap<String, i64>;

#[tokio::test(flavor = "multi_thread")]
async fn fault_01_02_a_hundred_kills_lose_nothing() {
    let dune = Arc::new(FakeServer::start().await);
    let home = Arc::new(DaemonHome::new(
        &dune.base_url(),
        "requests_per_minute = 30000\npolicy = \"backoff\"\nmax_interval = \"1s\"\nmin_interval = \"100ms\"",
    ));
    let mut random = fastrand::Rng::with_seed(11);
    let next_job = Arc::new(AtomicUsize::new(0));
    let mut acknowledged = AcknowledgedJobs::new();
    let mut seen: BTreeMap<i64, String> = BTreeMap::new();

    for _ in 0..KILLS {
        let daemon = home.start();
        let adding =
            tokio::spawn(add_until_daemon_exits(dune.clone(), home.clone(), next_job.clone()));
        let reading = tokio::spawn(read_until_new_transitions(home.clone(), seen.len()));
        // This sleep does not wait for an event: it makes the moment of the kill random.
        tokio::time::sleep(Duration::from_millis(random.u64(5..250))).await;
        daemon.kill();
        for (id, job_id) in adding.await.expect("the adding task ends") {
            let previous = acknowledged.insert(id.clone(), job_id);
            assert!(
                previous.is_none_or(|previous| previous == job_id),
                "{id} was acknowledged as {previous:?}, then as {job_id}"
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
    assert!(
        acknowledged.len() > KILLS,
        "too few jobs were added for a meaningful test: {}",
        acknowledged.len()
    );
    let names: Vec<_> = acknowledged.keys().map(|id| format!("dune/{id}")).collect();
    let waited = home.run_client_with_input(&["wait", "-", "--timeout", "25s"], &names.join("\n"));
    assert!(waited.status.success(), "{}", home.run_client_ok(&["status"]));
    assert_nothing_lost(&home, &acknowledged, &seen);
    assert_eq!(db::history_violations(&home.database()), [""; 0]);
    assert_eq!(db::query_value(&home.database(), "PRAGMA integrity_check"), "ok");
    // Each job is added twice, so that an add also follows one whose acknowledgement was lost.
    let duplicates = "SELECT count(*) - count(DISTINCT remote_id) FROM jobs";
    assert_eq!(db::query_value(&home.database(), duplicates), "0");
}

/// Adds each job twice until the daemon is gone. Returns the acknowledged ids.
async fn add_until_daemon_exits(
    dune: Arc<FakeServer>,
    home: Arc<DaemonHome>,
    next_job: Arc<AtomicUsize>,
) -> Vec<(String, i64)> {
    let mut acknowledged = Vec::new();
    // Paced, so that kills hit polls as well as adds, and all jobs end within the test.
    let mut interval = tokio::time::interval(Duration::from_millis(10));
    let client = Client::open(Some(&home.socket())).expect("a client");
    loop {
        interval.tick().await;
        let first = next_job.fetch_add(2, Ordering::Relaxed);
        // The ids of the previous batch are added again.
        let ids: Vec<_> =
            (first.saturating_sub(2)..first + 2).map(|n| format!("01JOB{n:06}")).collect();
        for id in &ids[ids.len() - 2..] {
            let script = JobScript::starting_at_first_request()
                .pending(Duration::from_millis(100))
                .running(Duration::from_millis(300))
                .ending_with(JobEnd::Completed);
            dune.add_job(id, script);
        }
        let jobs = ids.iter().map(|id| AddRequestEntry {
            similar_to: None,
            again: false,
            provider: "dune".into(),
            remote_id: id.clone(),
            labels: BTreeMap::new(),
            give_up_after: None,
            price: None,
        });
        let Ok(response) = client.add(&AddRequest { jobs: jobs.collect() }).await else {
            return acknowledged;
        };
        for job in response.jobs {
            assert_ne!(job.outcome, AddOutcome::Rejected, "{:?}", job.error);
            acknowledged.push((job.remote_id, job.id.expect("an accepted job has an id").0));
        }
    }
}

/// Reads the transitions repeatedly while the daemon runs, until more than 20 new ones exist.
async fn read_until_new_transitions(
    home: Arc<DaemonHome>,
    row_count: usize,
) -> BTreeMap<i64, String> {
    loop {
        let reader = home.clone();
        let rows = tokio::task::spawn_blocking(move || transitions(&reader)).await;
        let rows = rows.expect("sqlite3 reads while the daemon runs");
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

/// Asserts that every acknowledged job and every transition that was read exists unchanged.
fn assert_nothing_lost(
    home: &DaemonHome,
    acknowledged: &AcknowledgedJobs,
    seen: &BTreeMap<i64, String>,
) {
    let stored: BTreeSet<_> =
        db::query_rows(&home.database(), "SELECT remote_id, id FROM jobs").into_iter().collect();
    for (id, job_id) in acknowledged {
        assert!(
            stored.contains(&format!("{id}|{job_id}")),
            "{id} was acknowledged as {job_id} and is not stored"
        );
    }
    let rows = transitions(home);
    for (seq, row) in seen {
        assert_eq!(rows.get(seq), Some(row), "transition {seq} was read before and changed");
    }
}
