//! Two thousand jobs that take 1 to 60 s under one rate limit: each stored history matches the
//! job's script, and no minute has more requests than allowed.

use std::collections::HashMap;
use std::time::Duration;

use crate::support::daemon::DaemonHome;
use crate::support::fake_server::{FakeServer, JobEnd, JobScript, TrueHistory};
use crate::support::{self, db};
use jobtrack::job::UtcTime;

const JOB_COUNT: usize = 2000;
const REQUESTS_PER_MINUTE: usize = 6000;

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_jobs_are_recorded_correctly() {
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
    assert_eq!(
        waited.status.code(),
        Some(1),
        "some jobs fail, so the exit code must be 1: {}",
        home.log()
    );

    assert_eq!(db::history_violations(&home.database()), [""; 0]);
    let mut recorded: HashMap<String, Vec<String>> = HashMap::new();
    let rows = "SELECT remote_id, to_state, coalesce(occurred_at, '') FROM history ORDER BY seq";
    for row in db::query_rows(&home.database(), rows) {
        let (id, transition) = row.split_once('|').expect("three columns");
        recorded.entry(id.to_owned()).or_default().push(transition.to_owned());
    }
    assert_eq!(recorded.len(), JOB_COUNT);
    for (id, end) in &ends {
        assert_eq!(recorded[id], expected_history(&dune.true_history(id), *end), "{id} {end:?}");
    }
    let maximum = dune.max_requests_in_window(Duration::from_mins(1));
    assert!(maximum <= REQUESTS_PER_MINUTE, "{maximum} requests in a minute");
    assert_eq!(dune.client_violations(), [""; 0]);
}

/// Adds a job that takes 1 to 60 s and ends in a random way.
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
    let script =
        JobScript::new().pending(pending).running(total.saturating_sub(pending)).ending_with(end);
    dune.add_job(id, script);
    end
}

/// The transitions that the database must have: state and time of each.
fn expected_history(true_history: &TrueHistory, end: JobEnd) -> Vec<String> {
    let sql_time = |time: Option<jiff::Timestamp>| {
        time.map_or_else(String::new, |time| {
            support::jobs::sql(UtcTime::from_millis(time.as_millisecond()))
        })
    };
    let terminal_state = match end {
        JobEnd::Completed | JobEnd::CompletedPartial => "succeeded",
        JobEnd::Failed => "failed",
        JobEnd::Cancelled | JobEnd::Canceled => "cancelled",
        JobEnd::Expired => "expired",
    };
    vec![
        "registered|".to_owned(),
        format!("pending|{}", sql_time(Some(true_history.submitted_at))),
        format!("running|{}", sql_time(true_history.started_at)),
        format!("{terminal_state}|{}", sql_time(true_history.ended_at)),
    ]
}
