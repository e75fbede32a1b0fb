//! The real daemon beside a stand-in of its own.

use std::sync::Arc;
use std::time::Duration;

use jobtrack::api::Client;
use serde_json::json;
use tokio::process::Command;
use tokio::task::block_in_place;

use super::metrics::Seen;
use super::plan::{Plan, Run};
use super::support::daemon::{Home, text};
use super::support::db;
use super::support::fake_server::{Life, Now, StandIn};

const ENDS: &str = "\
SELECT remote_id, (julianday(observed_at) - 2440587.5) * 86400.0
FROM history WHERE to_state = 'succeeded'";

/// Has a daemon with these settings of its provider follow a plan.
pub async fn track(name: &'static str, settings: String, plan: Arc<Plan>) -> Seen {
    let dune = StandIn::start().await;
    let home = Home::new(&dune.base_url(), &format!("requests_per_minute = 6000\n{settings}"));
    learn(&dune, &home, &plan.past).await;

    let budget = format!("requests_per_minute = {}\n{settings}", plan.limit);
    home.configure(&dune.base_url(), &budget);
    let daemon = block_in_place(|| home.start());
    dune.limit(plan.limit);
    let client = Client::open(Some(&home.socket())).expect("a client");
    let begun = Now::read();
    for run in &plan.runs {
        let arrival = begun.wall.checked_add(run.arrives).expect("minutes from now");
        dune.put(&run.id, run.life(Life::new().submitted_at(arrival)));
    }
    for run in &plan.runs {
        tokio::time::sleep_until((begun.mono + run.arrives).into()).await;
        add(&client, "now", [run]).await;
    }
    until_over(&home, "now").await;
    let ids: Vec<_> = plan.runs.iter().map(|run| run.id.as_str()).collect();
    let rows = db::query(&home.database(), ENDS);
    let ends = rows.iter().map(|row| {
        let (id, seen) = row.split_once('|').expect("two columns");
        (id.to_owned(), seen.parse().expect("seconds"))
    });
    let ends: Vec<_> = ends.filter(|(id, _)| ids.contains(&id.as_str())).collect();
    let seen = Seen::new(name, &dune, plan.runs.len(), begun, &ends);
    assert!(block_in_place(|| daemon.stop()).success(), "{}", home.log());
    seen
}

/// Lets a daemon see runs that were over before, each by one request, and ends it: what it learned
/// is what is in the database.
async fn learn(dune: &StandIn, home: &Home, past: &[Run]) {
    if past.is_empty() {
        return;
    }
    let daemon = block_in_place(|| home.start());
    let now = Now::read().wall;
    for run in past {
        let long_ago = now.checked_sub(run.lasts + Duration::from_hours(1)).expect("not so long");
        dune.put(&run.id, run.life(Life::new().submitted_at(long_ago)));
    }
    let client = Client::open(Some(&home.socket())).expect("a client");
    add(&client, "past", past).await;
    until_over(home, "past").await;
    assert!(block_in_place(|| daemon.stop()).success(), "{}", home.log());
}

async fn add(client: &Client, when: &str, runs: impl IntoIterator<Item = &Run>) {
    let jobs = runs
        .into_iter()
        .map(|run| json!({ "provider": "dune", "remote_id": run.id, "labels": { "when": when } }));
    let request = json!({ "jobs": jobs.collect::<Vec<_>>() });
    let request = serde_json::from_value(request).expect("a request as it is documented");
    client.add(&request).await.expect("the jobs are added");
}

/// Waits until all with this label have succeeded.
async fn until_over(home: &Home, when: &str) {
    let label = format!("when={when}");
    let wait = home.client(&["wait", "--label", &label, "--timeout", "14m"]);
    let ended = Command::from(wait).output().await.expect("jobtrack starts");
    assert!(ended.status.success(), "{}\n{}", text(&ended.stderr), home.log());
}
