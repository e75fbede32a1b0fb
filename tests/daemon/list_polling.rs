//! Hundreds of DLI jobs by the real daemon: pages of the service's list answer for them, each end is
//! told as it was, and a killed daemon goes on with pages where it was.

use std::time::Duration;

use crate::support::daemon::DaemonHome;
use crate::support::fake_server::{FakeServer, JobEnd, JobScript, ServiceKind};
use crate::support::{self, db};
use jiff::{Timestamp, ToSpan};
use jobtrack::clock::Clock;

const JOB_COUNT: u64 = 300;

/// Jobs that were submitted within a day and end between 10 and 25 s from now.
fn add_jobs(server: &FakeServer) -> Vec<(String, &'static str)> {
    let mut random = fastrand::Rng::with_seed(3);
    let now = Timestamp::from_millisecond(Clock::utc_now().as_millis()).expect("a time");
    let mut add_job = |nth: u64| {
        let id = format!("lake-job-{nth:03}");
        let age = Duration::from_mins(random.u64(1..24 * 60));
        let begun = now - i64::try_from(age.as_secs()).expect("a day").seconds();
        let (end, state) = match nth % 7 {
            0 => (JobEnd::Failed, "failed"),
            1 => (JobEnd::Cancelled, "cancelled"),
            _ => (JobEnd::Completed, "succeeded"),
        };
        let remaining = Duration::from_millis(random.u64(10_000..25_000));
        let script = JobScript::new().submitted_at(begun).running(age + remaining).ending_with(end);
        server.add_job_of(ServiceKind::Dli, &id, script);
        (id, state)
    };
    (0..JOB_COUNT).map(&mut add_job).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn list_requests_cover_hundreds_of_jobs_and_survive_a_kill() {
    let cloud = FakeServer::start().await;
    let jobs = add_jobs(&cloud);
    let home = DaemonHome::without_config();
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
    let added = home.run_client_with_input(&["add", "lake", "-", "-q"], &ids.join("\n"));
    assert!(added.status.success());
    cloud.wait_for_list_requests(10, Duration::from_mins(1)).await;
    daemon.kill();
    let (before, pages) =
        (cloud.request_count() - cloud.list_request_count(), cloud.list_request_count());
    let _daemon = home.start();

    let names: Vec<_> = ids.iter().map(|id| format!("lake/{id}")).collect();
    let mut wait = home.client_command(&["wait", "-", "--timeout", "60s"]);
    let waited = tokio::task::spawn_blocking(move || {
        support::daemon::run_with_timeout(&mut wait, &names.join("\n"), Duration::from_mins(2))
    });
    let waited = waited.await.expect("the client ran");
    assert_eq!(waited.status.code(), Some(1), "some failed: {}", home.log());
    assert_eq!(db::history_violations(&home.database()), [""; 0]);

    let told = "SELECT remote_id, state, ended_at FROM jobs ORDER BY remote_id";
    let told = db::query_rows(&home.database(), told);
    let lived = jobs.iter().map(|(id, state)| {
        let ended = cloud.true_history(id).ended_at.expect("it ended").as_millisecond();
        format!("{id}|{state}|{}", support::jobs::sql(jobtrack::job::UtcTime::from_millis(ended)))
    });
    assert_eq!(told, lived.collect::<Vec<_>>());

    let (singly, pages) = (
        cloud.request_count() - cloud.list_request_count() - before,
        cloud.list_request_count() - pages,
    );
    let polls: u64 =
        db::query_value(&home.database(), "SELECT sum(polls) FROM jobs").parse().expect("n");
    assert!(pages >= 10, "{pages} pages");
    assert!(singly < ids.len() / 2, "{singly} single requests after the restart");
    assert!(
        cloud.request_count() as u64 * 2 < polls,
        "{} requests, {polls} looks",
        cloud.request_count()
    );
    assert_eq!(cloud.client_violations(), [""; 0]);
}
