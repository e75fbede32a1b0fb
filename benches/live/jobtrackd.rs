//! Runs the real daemon, each time with a new database and a new fake server.

use std::sync::Arc;
use std::time::Duration;

use jobtrack::api::Client;
use serde_json::json;
use tokio::process::Command;
use tokio::task::block_in_place;

use super::metrics::ClientResult;
use super::plan::{BenchPlan, PlannedRun};
use super::support::daemon::{Daemon, DaemonHome, utf8};
use super::support::db;
use super::support::fake_server::{ClockSample, FakeServer, JobScript};

/// Remote ids, and the times of the detected ends in seconds since 1970.
const END_TIMES_SQL: &str = "\
SELECT remote_id, (julianday(observed_at) - 2440587.5) * 86400.0
FROM history WHERE to_state = 'succeeded'";

const RATE_LIMIT_WINDOW: Duration = Duration::from_secs(61);

/// Tracks the runs of a plan with a daemon whose provider has these settings.
pub async fn run_daemon(
    name: &'static str,
    settings: String,
    plan: Arc<BenchPlan>,
) -> ClientResult {
    let dune = FakeServer::start().await;
    let home =
        DaemonHome::new(&dune.base_url(), &format!("requests_per_minute = 6000\n{settings}"));
    record_past_runs(&dune, &home, &plan.past_runs).await;

    let limited = format!("requests_per_minute = {}\n{settings}", plan.limit);
    home.configure(&dune.base_url(), &limited);
    let daemon = block_in_place(|| home.start());
    if !plan.past_runs.is_empty() {
        // The daemon counts the requests of the one before as if they had ended when it started.
        tokio::time::sleep(RATE_LIMIT_WINDOW).await;
    }
    dune.set_rate_limit(plan.limit);
    let client = Client::open(Some(&home.socket())).expect("a client");
    let started = ClockSample::read();
    for run in &plan.runs {
        let arrival = started.wall.checked_add(run.starts_after).expect("minutes from now");
        dune.add_job(&run.id, run.job_script(JobScript::new().submitted_at(arrival)));
    }
    for run in &plan.runs {
        tokio::time::sleep_until((started.monotonic + run.starts_after).into()).await;
        add_jobs(&client, "now", [run]).await;
    }
    wait_for_success(&home, "now").await;
    stop_and_measure(name, &dune, &home, daemon, started, &plan)
}

/// Tracks the runs of a plan one after the other with a daemon of default settings: each starts `pause` after the end
/// of the one before it was detected.
pub async fn run_one_by_one(name: &'static str, plan: BenchPlan, pause: Duration) -> ClientResult {
    let dune = FakeServer::start().await;
    let settings = format!("requests_per_minute = {}", plan.limit);
    let home = DaemonHome::new(&dune.base_url(), &settings);
    let daemon = block_in_place(|| home.start());
    dune.set_rate_limit(plan.limit);
    let client = Client::open(Some(&home.socket())).expect("a client");
    let started = ClockSample::read();
    for run in &plan.runs {
        dune.add_job(&run.id, run.job_script(JobScript::new()));
        add_jobs(&client, &run.id, [run]).await;
        wait_for_success(&home, &run.id).await;
        tokio::time::sleep(pause).await;
    }
    stop_and_measure(name, &dune, &home, daemon, started, &plan)
}

/// The result of a daemon that has detected the end of all runs.
fn stop_and_measure(
    name: &'static str,
    dune: &FakeServer,
    home: &DaemonHome,
    daemon: Daemon,
    started: ClockSample,
    plan: &BenchPlan,
) -> ClientResult {
    let ids: Vec<_> = plan.runs.iter().map(|run| run.id.as_str()).collect();
    let rows = db::query_rows(&home.database(), END_TIMES_SQL);
    let ends = rows.iter().map(|row| {
        let (id, detected_at) = row.split_once('|').expect("two columns");
        (id.to_owned(), detected_at.parse().expect("seconds"))
    });
    let ends: Vec<_> = ends.filter(|(id, _)| ids.contains(&id.as_str())).collect();
    let result = ClientResult::new(name, dune, plan.runs.len(), started, &ends);
    assert!(block_in_place(|| daemon.stop()).success(), "{}", home.log());
    result
}

/// Tracks runs that have ended already with a daemon of its own, which stops afterwards: the durations that
/// it learned are in the database.
async fn record_past_runs(dune: &FakeServer, home: &DaemonHome, past_runs: &[PlannedRun]) {
    if past_runs.is_empty() {
        return;
    }
    let daemon = block_in_place(|| home.start());
    let now = ClockSample::read().wall;
    for run in past_runs {
        let submitted_at =
            now.checked_sub(run.duration + Duration::from_hours(1)).expect("hours before now");
        dune.add_job(&run.id, run.job_script(JobScript::new().submitted_at(submitted_at)));
    }
    let client = Client::open(Some(&home.socket())).expect("a client");
    add_jobs(&client, "past", past_runs).await;
    wait_for_success(home, "past").await;
    assert!(block_in_place(|| daemon.stop()).success(), "{}", home.log());
}

async fn add_jobs(client: &Client, label: &str, runs: impl IntoIterator<Item = &PlannedRun>) {
    let jobs = runs
        .into_iter()
        .map(|run| json!({ "provider": "dune", "remote_id": run.id, "labels": { "when": label } }));
    let request = json!({ "jobs": jobs.collect::<Vec<_>>() });
    let request = serde_json::from_value(request).expect("a valid request");
    client.add(&request).await.expect("the jobs are added");
}

/// Waits until all jobs with this label have succeeded.
async fn wait_for_success(home: &DaemonHome, label_value: &str) {
    let label = format!("when={label_value}");
    let wait = home.client_command(&["wait", "--label", &label, "--timeout", "14m"]);
    let output = Command::from(wait).output().await.expect("jobtrack starts");
    assert!(output.status.success(), "{}\n{}", utf8(&output.stderr), home.log());
}
