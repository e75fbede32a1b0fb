//! Two thousand jobs with lives of 1 to 60 s under one budget: each ends right, each history tells
//! the life that the stand-in gave it, and no minute holds more requests than are allowed.

use std::collections::HashMap;
use std::time::Duration;

use crate::support::daemon::DaemonHome;
use crate::support::fake_server::{FakeServer, JobEnd, JobScript, TrueHistory};
use crate::support::{self, db};
use jobtrack::job::UtcTime;

const JOB_COUNT: usize = 2000;
const REQUESTS_PER_MINUTE: usize = 6000;

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_jobs_are_recorded_truly() {
    let dune = FakeServer::start().await;
    let mut random = fastrand::Rng::with_seed(7);
    let ids: Vec<_> = (0..JOB_COUNT).map(|n| format!("01JOB{n:05}")).collect();
    let ends: HashMap<_, _> =
        ids.iter().map(|id| (id.clone(), add_random_job(&dune, id, &mut random))).collect();
    let home = DaemonHome::new(
        &dune.base_url(),
        &format!(
            "requests_per_minute = {REQUESTS_PER_MINUTE}\npolicy = \"backoff\"\nmax_interval = \"10s\""
        ),
    );
    let _daemon = home.start();
    let input = ids.join("\n");
    assert!(home.run_client_with_input(&["add", "dune", "-", "-q"], &input).status.success());

    let names: Vec<_> = ids.iter().map(|id| format!("dune/{id}")).collect();
    let names = names.join("\n");
    let mut wait = home.client_command(&["wait", "-", "--timeout", "170s"]);
    let waited = tokio::task::spawn_blocking(move || {
        support::daemon::run_with_timeout(&mut wait, &names, Duration::from_mins(3))
    })
    .await
    .expect("the client ran");
    assert_eq!(waited.status.code(), Some(1), "some failed: {}", home.log());

    assert_eq!(db::history_violations(&home.database()), [""; 0]);
    let mut told: HashMap<String, Vec<String>> = HashMap::new();
    let rows = "SELECT remote_id, to_state, coalesce(occurred_at, '') FROM history ORDER BY seq";
    for row in db::query_rows(&home.database(), rows) {
        let (id, step) = row.split_once('|').expect("three columns");
        told.entry(id.to_owned()).or_default().push(step.to_owned());
    }
    assert_eq!(told.len(), JOB_COUNT);
    for (id, end) in &ends {
        assert_eq!(told[id], expected_history(&dune.true_history(id), *end), "{id} {end:?}");
    }
    let most = dune.max_requests_in_window(Duration::from_mins(1));
    assert!(most <= REQUESTS_PER_MINUTE, "{most} requests in a minute");
    assert_eq!(dune.client_violations(), [""; 0]);
}

/// A life of 1 to 60 s, some of them without a start.
fn add_random_job(dune: &FakeServer, id: &str, random: &mut fastrand::Rng) -> JobEnd {
    let total = Duration::from_millis(random.u64(1000..60_000));
    let pending = total.mul_f64(random.f64() * 0.6);
    let ends = [
        JobEnd::Completed,
        JobEnd::Completed,
        JobEnd::Completed,
        JobEnd::CompletedPartial,
        JobEnd::Failed,
        JobEnd::Cancelled,
        JobEnd::Canceled,
    ];
    let end = ends[random.usize(..ends.len())];
    let life =
        JobScript::new().pending(pending).running(total.saturating_sub(pending)).ending_with(end);
    dune.add_job(id, life);
    end
}

/// The states of a life and their true times, as the database must have them.
fn expected_history(truth: &TrueHistory, end: JobEnd) -> Vec<String> {
    let at = |at: Option<jiff::Timestamp>| {
        at.map_or_else(String::new, |at| {
            support::jobs::sql(UtcTime::from_millis(at.as_millisecond()))
        })
    };
    let last = match end {
        JobEnd::Completed | JobEnd::CompletedPartial => "succeeded",
        JobEnd::Failed => "failed",
        JobEnd::Cancelled | JobEnd::Canceled => "cancelled",
        JobEnd::Expired => "expired",
    };
    vec![
        "registered|".to_owned(),
        format!("pending|{}", at(Some(truth.submitted_at))),
        format!("running|{}", at(truth.started_at)),
        format!("{last}|{}", at(truth.ended_at)),
    ]
}
