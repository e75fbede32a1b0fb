//! Six hundred jobs of all three kinds in one daemon, on a bad day of their providers: each end is
//! the true one, each history is legal and lies where the truth lay, and nothing is kept that must
//! not be: no result row, no key.

mod history_check;

use std::time::Duration;

use crate::support::daemon::{Daemon, DaemonHome};
use crate::support::fake_server::{
    FakeServer, Fault, FaultRepeat, FaultTarget, JobEnd, JobPhase, JobScript, ServiceKind,
    dataarts, dli,
};
use crate::support::{self, EVENT_TIMEOUT, db};
use fastrand::Rng;
use history_check::{assert_matches_truth, assert_no_rows_or_secrets_stored, histories};
use serde_json::Value;

const JOB_COUNT: usize = 600;
const UNLIMITED_TOML: &str = "requests_per_minute = 6000\nmax_in_flight = 16";

/// A job as it was put in.
struct ExpectedJob {
    kind: ServiceKind,
    id: String,
    expected_state: &'static str,
}

#[tokio::test(flavor = "multi_thread")]
async fn six_hundred_jobs_of_three_providers_are_recorded_truly() {
    let cloud = FakeServer::start().await;
    let home = daemon_home(&cloud);
    let daemon = home.start();
    let mut random = Rng::with_seed(11);
    let jobs: Vec<_> = (0..JOB_COUNT).map(|n| add_random_job(&cloud, n, &mut random)).collect();
    let name = |job: &ExpectedJob| format!("{}/{}", provider_name(job.kind), job.id);
    let names = jobs.iter().map(name).collect::<Vec<_>>().join("\n");
    let added = home.run_client_with_input(&["add", "-", "-q"], &names);
    assert!(added.status.success(), "{added:?}");

    inject_outages(&cloud, &home, &daemon).await;
    let mut wait = home.client_command(&["wait", "-", "--timeout", "80s"]);
    let waiting = move || support::daemon::run_with_timeout(&mut wait, &names, 3 * EVENT_TIMEOUT);
    let waited = tokio::task::spawn_blocking(waiting).await.expect("the client ran");
    assert_eq!(waited.status.code(), Some(1), "some failed: {}", home.log());

    assert_eq!(db::history_violations(&home.database()), [""; 0]);
    let told = histories(&home);
    assert_eq!(told.len(), JOB_COUNT);
    for job in &jobs {
        assert_matches_truth(job, &cloud.true_history(&job.id), &told[&job.id]);
    }
    assert_eq!(cloud.client_violations(), [""; 0]);
    assert_no_rows_or_secrets_stored(&home);
}

#[tokio::test(flavor = "multi_thread")]
async fn documented_example_responses_are_parsed() {
    let job = "208b08d4-0dc2-4dd7-8879-ddd4c020d7aa";
    let instance = "dwsscript/a1ad-448a-9d56-4154193d49c5";
    let older = r#"2017-10-30 03:45:11.441|{"error_code":"DLI.0999"}"#;
    let examples = [
        ("lake", job, dli::FINISHED_EXAMPLE, "2017-10-30 03:45:11.441|"),
        ("lake", job, dli::OLDER_FINISHED_EXAMPLE, older),
        ("scripts", instance, dataarts::FINISHED_EXAMPLE, "|"),
    ];
    for (provider, id, text, told) in examples {
        let cloud = FakeServer::start().await;
        cloud.inject_fault(FaultTarget::All, json_fault(text), FaultRepeat::Always);
        let home = daemon_home(&cloud);
        let _daemon = home.start();
        home.run_client_ok(&["add", provider, id]);
        home.run_client_ok(&["wait", "1", "--timeout", "25s"]);
        let row = db::query_value(&home.database(), "SELECT ended_at, message FROM jobs");
        assert_eq!(row, told, "{provider}");
    }
}

/// After some hundred polls a burst of refusals, later an outage that every provider feels.
async fn inject_outages(server: &FakeServer, home: &DaemonHome, daemon: &Daemon) {
    server.wait_for_requests(400, EVENT_TIMEOUT).await;
    let refused = Fault::RateLimited { retry_after: Some("1".into()) };
    server.inject_fault(FaultTarget::All, refused, FaultRepeat::Times(4));
    server.wait_for_requests(750, EVENT_TIMEOUT).await;
    server.pause().await;
    let failed = |provider: &Value| provider["consecutive_failures"].as_u64() >= Some(3);
    let all_failed = |status: &Value| {
        status["providers"].as_array().is_some_and(|providers| providers.iter().all(failed))
    };
    daemon.wait_for_status(home, all_failed).await;
    server.resume().await;
}

/// What one poll meets.
fn random_fault(kind: ServiceKind, random: &mut Rng) -> Fault {
    let overloaded = r#"{"error_code":"DLI.0999","error_msg":"Internal server error"}"#;
    let faults = [
        Fault::status(500, "{}"),
        Fault::status(503, "<html>Service Unavailable</html>"),
        Fault::Reset,
        Fault::TruncatedBody,
        Fault::Delayed(Duration::from_secs(1)),
        Fault::Delayed(Duration::from_mins(1)),
        json_fault("<html>Welcome</html>"),
        json_fault("{}"),
        if kind == ServiceKind::Dli {
            Fault::status(400, overloaded)
        } else {
            json_fault(r#"{"status":"#)
        },
    ];
    faults[random.usize(..faults.len())].clone()
}

fn json_fault(text: &str) -> Fault {
    Fault::Body { content_type: "application/json".into(), bytes: text.into() }
}

fn provider_name(kind: ServiceKind) -> &'static str {
    match kind {
        ServiceKind::Dune => "dune",
        ServiceKind::Dli => "lake",
        ServiceKind::DataArts => "scripts",
    }
}

/// A home with a provider of each kind, all at one stand-in.
fn daemon_home(cloud: &FakeServer) -> DaemonHome {
    let home = DaemonHome::without_config();
    let (base, key) = (cloud.base_url(), home.path("key"));
    let huawei = |kind| {
        format!(
            "[providers.{}]\nkind = \"{}\"\nbase_url = \"{base}\"\nproject_id = \"4f1\"\n\
             auth = {{ token = {{ file = \"{}\" }} }}\n{UNLIMITED_TOML}\n",
            provider_name(kind),
            format!("{kind:?}").to_lowercase(),
            key.display()
        )
    };
    let polling = "[polling]\npolicy = \"backoff\"\nmin_interval = \"500ms\"\nmax_interval = \"4s\"\nrequest_timeout = \"5s\"\n";
    let (lake, scripts) = (huawei(ServiceKind::Dli), huawei(ServiceKind::DataArts));
    home.configure(&base, &format!("{UNLIMITED_TOML}\n{polling}{lake}{scripts}"));
    home
}

/// A life of 1 to 25 s, and for every third job a fault that meets one of its polls.
fn add_random_job(cloud: &FakeServer, n: usize, random: &mut Rng) -> ExpectedJob {
    let kind = ServiceKind::ALL[n % 3];
    let id = match kind {
        ServiceKind::Dune => format!("01JOB{n:05}"),
        ServiceKind::Dli => format!("208b08d4-0dc2-4dd7-8879-{n:012x}"),
        ServiceKind::DataArts => format!("日报_{}.sql/a1ad-448a-{n}", n % 7),
    };
    let total = Duration::from_millis(random.u64(1000..25_000));
    let pending = total.mul_f64(random.f64() * 0.5);
    let running = total.saturating_sub(pending) / 3;
    let middle = if random.bool() {
        custom_phase(intermediate_state(kind, random), None)
    } else {
        JobPhase::Running
    };
    let (end, ends) = random.choice(possible_ends(kind)).expect("not empty");
    let life = JobScript::new().pending(pending).running(running).with_phase(running, middle);
    let life = life.running(running).with_phase(Duration::ZERO, end);
    // Most answers with rows are some 50 KB long, a few several MB.
    let life = if n % 60 == 2 { life.with_result_rows(20_000) } else { life };
    cloud.add_job_of(kind, &id, life);
    if n % 9 < 3 {
        cloud.inject_fault(FaultTarget::job(&id), random_fault(kind, random), FaultRepeat::Once);
    }
    ExpectedJob { kind, id, expected_state: ends }
}

fn custom_phase(word: &str, finished: Option<bool>) -> JobPhase {
    JobPhase::Custom { state: word.to_owned(), finished }
}

/// A word that may be said in the midst of running; SCALING is known, the others are not.
fn intermediate_state(kind: ServiceKind, random: &mut Rng) -> &'static str {
    match kind {
        ServiceKind::Dli => random.choice([dli::SCALING, "SUSPENDED"]).expect("one of two"),
        ServiceKind::Dune | ServiceKind::DataArts => "DREAMING",
    }
}

/// All ends that a kind knows, and what they are to us.
fn possible_ends(kind: ServiceKind) -> Vec<(JobPhase, &'static str)> {
    let common = [
        (JobPhase::Ended(JobEnd::Completed), "succeeded"),
        (JobPhase::Ended(JobEnd::Failed), "failed"),
    ];
    let stopped =
        [JobEnd::Cancelled, JobEnd::Canceled].map(|end| (JobPhase::Ended(end), "cancelled"));
    let dune_only = [
        (JobPhase::Ended(JobEnd::CompletedPartial), "succeeded"),
        (JobPhase::Ended(JobEnd::Expired), "expired"),
        (custom_phase("EVAPORATED", Some(true)), "indeterminate"),
    ];
    match kind {
        ServiceKind::Dune => common.into_iter().chain(stopped).chain(dune_only).collect(),
        ServiceKind::Dli => common.into_iter().chain(stopped).collect(),
        ServiceKind::DataArts => common.into(),
    }
}
