//! Hundreds of DLI jobs in the real daemon: it polls them with list requests, records each end
//! correctly, and continues with list requests after a kill.

use std::time::Duration;

use crate::support::daemon::DaemonHome;
use crate::support::fake_server::{FakeServer, JobEnd, JobScript, ServiceKind};
use crate::support::{self, db};
use jiff::{Timestamp, ToSpan};
use jobtrack::clock::Clock;

const JOB_COUNT: u64 = 300;

/// Adds jobs that were submitted within the last day and end 10 to 25 s from now. Returns their ids
/// and expected states.
fn add_jobs(server: &FakeServer) -> Vec<(String, &'static str)> {
    let mut random = fastrand::Rng::with_seed(3);
    let now = Timestamp::from_millisecond(Clock::start().utc_now().as_millis()).expect("a time");
    let mut add_job = |n: u64| {
        let id = format!("lake-job-{n:03}");
        let age = Duration::from_mins(random.u64(1..24 * 60));
        let submitted = now - i64::try_from(age.as_secs()).expect("a day").seconds();
        let (end, state) = match n % 7 {
            0 => (JobEnd::Failed, "failed"),
            1 => (JobEnd::Cancelled, "cancelled"),
            _ => (JobEnd::Completed, "succeeded"),
        };
        let remaining = Duration::from_millis(random.u64(10_000..25_000));
        let script =
            JobScript::new().submitted_at(submitted).running(age + remaining).ending_with(end);
        server.add_job_of(ServiceKind::Dli, &id, script);
        (id, state)
    };
    (0..JOB_COUNT).map(&mut add_job).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn list_requests_cover_hundreds_of_jobs_and_survive_a_kill() {
    let server = FakeServer::start().await;
    let jobs = add_jobs(&server);
    let home = DaemonHome::without_config();
    let lake = format!(
        "[providers.lake]\nkind = \"dli\"\nbase_url = \"{}\"\nproject_id = \"4f1\"\n\
         auth = {{ token = {{ file = \"{}\" }} }}\nrequests_per_minute = 12000\n\
         policy = \"backoff\"\nmin_interval = \"1s\"\nmax_interval = \"2s\"",
        server.base_url(),
        home.path("key").display()
    );
    home.configure(&server.base_url(), &lake);
    let daemon = home.start();
    let ids: Vec<_> = jobs.iter().map(|(id, _)| id.as_str()).collect();
    let added = home.run_client_with_input(&["add", "lake", "-", "-q"], &ids.join("\n"));
    assert!(added.status.success());
    server.wait_for_list_requests(10, Duration::from_mins(1)).await;
    daemon.kill();
    let list_requests_before = server.list_request_count();
    let single_requests_before = server.request_count() - list_requests_before;
    let _daemon = home.start();

    let names: Vec<_> = ids.iter().map(|id| format!("lake/{id}")).collect();
    let mut wait = home.client_command(&["wait", "-", "--timeout", "60s"]);
    let waited = tokio::task::spawn_blocking(move || {
        support::daemon::run_with_timeout(&mut wait, &names.join("\n"), Duration::from_mins(2))
    });
    let waited = waited.await.expect("the client ran");
    assert_eq!(
        waited.status.code(),
        Some(1),
        "some jobs fail, so the exit code must be 1: {}",
        home.log()
    );
    assert_eq!(db::history_violations(&home.database()), [""; 0]);

    let ends_sql = "SELECT remote_id, state, ended_at FROM jobs ORDER BY remote_id";
    let recorded = db::query_rows(&home.database(), ends_sql);
    let expected = jobs.iter().map(|(id, state)| {
        let ended = server.true_history(id).ended_at.expect("it ended").as_millisecond();
        format!("{id}|{state}|{}", support::jobs::sql(jobtrack::job::UtcTime::from_millis(ended)))
    });
    assert_eq!(recorded, expected.collect::<Vec<_>>());

    let list_requests = server.list_request_count() - list_requests_before;
    let single_requests =
        server.request_count() - server.list_request_count() - single_requests_before;
    let polls: u64 =
        db::query_value(&home.database(), "SELECT sum(polls) FROM jobs").parse().expect("a number");
    assert!(list_requests >= 10, "{list_requests} list requests after the restart");
    assert!(single_requests < ids.len() / 2, "{single_requests} single requests after the restart");
    assert!(
        server.request_count() as u64 * 2 < polls,
        "{} requests, {polls} polls",
        server.request_count()
    );
    assert_eq!(server.client_violations(), [""; 0]);
}
