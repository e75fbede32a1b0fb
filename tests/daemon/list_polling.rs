//! Hundreds of DLI jobs by the real daemon: pages of the service's list answer for them, each end is
//! told as it was, and a killed daemon goes on with pages where it was.

use std::time::Duration;

use crate::support::daemon::Home;
use crate::support::fake_server::{End, Kind, Life, StandIn};
use crate::support::{self, db};
use jiff::{Timestamp, ToSpan};
use jobtrack::clock::Clock;

const JOBS: u64 = 300;

/// Jobs that were submitted within a day and end between 10 and 25 s from now.
fn put(cloud: &StandIn) -> Vec<(String, &'static str)> {
    let mut random = fastrand::Rng::with_seed(3);
    let now = Timestamp::from_millisecond(Clock::utc_now().as_millis()).expect("a time");
    let mut put = |nth: u64| {
        let id = format!("lake-job-{nth:03}");
        let age = Duration::from_mins(random.u64(1..24 * 60));
        let begun = now - i64::try_from(age.as_secs()).expect("a day").seconds();
        let (end, state) = match nth % 7 {
            0 => (End::Failed, "failed"),
            1 => (End::Cancelled, "cancelled"),
            _ => (End::Completed, "succeeded"),
        };
        let left = Duration::from_millis(random.u64(10_000..25_000));
        let life = Life::new().submitted_at(begun).running(age + left).then(end);
        cloud.put_for(Kind::Dli, &id, life);
        (id, state)
    };
    (0..JOBS).map(&mut put).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_answer_for_hundreds_of_jobs_and_outlive_a_kill() {
    let cloud = StandIn::start().await;
    let jobs = put(&cloud);
    let home = Home::bare();
    let lake = format!(
        "[providers.lake]\nkind = \"dli\"\nbase_url = \"{}\"\nproject_id = \"4f1\"\n\
         auth = {{ token = {{ file = \"{}\" }} }}\nrequests_per_minute = 12000\n\
         policy = \"backoff\"\nmin_interval = \"1s\"\nmax_interval = \"2s\"",
        cloud.base_url(),
        home.path("key").display()
    );
    home.configure(&cloud.base_url(), &lake);
    let daemon = home.start();
    let ids: Vec<_> = jobs.iter().map(|(id, _)| id.as_str()).collect();
    let added = home.jobtrack_with(&["add", "lake", "-", "-q"], &ids.join("\n"));
    assert!(added.status.success());
    cloud.wait_for_lists(10, Duration::from_mins(1)).await;
    daemon.kill();
    let (before, pages) = (cloud.count() - cloud.lists(), cloud.lists());
    let _daemon = home.start();

    let names: Vec<_> = ids.iter().map(|id| format!("lake/{id}")).collect();
    let mut wait = home.client(&["wait", "-", "--timeout", "60s"]);
    let waited = tokio::task::spawn_blocking(move || {
        support::daemon::finish_within(&mut wait, &names.join("\n"), Duration::from_mins(2))
    });
    let waited = waited.await.expect("the client ran");
    assert_eq!(waited.status.code(), Some(1), "some failed: {}", home.log());
    assert_eq!(db::illegal_history(&home.database()), [""; 0]);

    let told = "SELECT remote_id, state, ended_at FROM jobs ORDER BY remote_id";
    let told = db::query(&home.database(), told);
    let lived = jobs.iter().map(|(id, state)| {
        let ended = cloud.truth(id).ended_at.expect("it ended").as_millisecond();
        format!("{id}|{state}|{}", jobtrack::job::UtcTime::from_millis(ended).to_sql())
    });
    assert_eq!(told, lived.collect::<Vec<_>>());

    let (singly, pages) = (cloud.count() - cloud.lists() - before, cloud.lists() - pages);
    let polls: u64 = db::value(&home.database(), "SELECT sum(polls) FROM jobs").parse().expect("n");
    assert!(pages >= 10, "{pages} pages");
    assert!(singly < ids.len() / 2, "{singly} single requests after the restart");
    assert!(cloud.count() as u64 * 2 < polls, "{} requests, {polls} looks", cloud.count());
    assert_eq!(cloud.violations(), [""; 0]);
}
