//! Six hundred jobs of all three kinds in one daemon, with faults and outages of their providers:
//! each end and each history matches the script of the job, and neither result rows nor the key are
//! stored.

mod history_check;

use std::time::Duration;

use crate::support::daemon::{Daemon, DaemonHome};
use crate::support::fake_server::{
    FakeServer, Fault, FaultRepeat, FaultTarget, JobEnd, JobPhase, JobScript, ServiceKind,
    dataarts, dli,
};
use crate::support::{self, EVENT_TIMEOUT, db};
use fastrand::Rng;
use history_check::{assert_matches_true_history, assert_no_rows_or_secrets_stored, histories};
use serde_json::Value;

const JOB_COUNT: usize = 600;
const UNLIMITED_TOML: &str = "requests_per_minute = 6000\nmax_in_flight = 16";

struct ExpectedJob {
    kind: ServiceKind,
    id: String,
    expected_state: &'static str,
}

#[tokio::test(flavor = "multi_thread")]
async fn six_hundred_jobs_of_three_providers_are_recorded_correctly() {
    let server = FakeServer::start().await;
    let home = daemon_home(&server);
    let daemon = home.start();
    let mut random = Rng::with_seed(11);
    let jobs: Vec<_> = (0..JOB_COUNT).map(|n| add_random_job(&server, n, &mut random)).collect();
    let name = |job: &ExpectedJob| format!("{}/{}", provider_name(job.kind), job.id);
    let names = jobs.iter().map(name).collect::<Vec<_>>().join("\n");
    let added = home.run_client_with_input(&["add", "-", "-q"], &names);
    assert!(added.status.success(), "{added:?}");

    inject_outages(&server, &home, &daemon).await;
    let mut wait = home.client_command(&["wait", "-", "--timeout", "80s"]);
    let waiting = move || support::daemon::run_with_timeout(&mut wait, &names, 3 * EVENT_TIMEOUT);
    let waited = tokio::task::spawn_blocking(waiting).await.expect("the client ran");
    assert_eq!(
        waited.status.code(),
        Some(1),
        "some jobs fail, so the exit code must be 1: {}",
        home.log()
    );

    assert_eq!(db::history_violations(&home.database()), [""; 0]);
    let recorded = histories(&home);
    assert_eq!(recorded.len(), JOB_COUNT);
    for job in &jobs {
        assert_matches_true_history(job, &server.true_history(&job.id), &recorded[&job.id]);
    }
    assert_eq!(server.client_violations(), [""; 0]);
    assert_no_rows_or_secrets_stored(&home);
}

#[tokio::test(flavor = "multi_thread")]
async fn documented_example_responses_are_parsed() {
    let job = "208b08d4-0dc2-4dd7-8879-ddd4c020d7aa";
    let instance = "dwsscript/a1ad-448a-9d56-4154193d49c5";
    let older_row = r#"2017-10-30 03:45:11.441|{"error_code":"DLI.0999"}"#;
    let examples = [
        ("lake", job, dli::FINISHED_EXAMPLE, "2017-10-30 03:45:11.441|"),
        ("lake", job, dli::OLDER_FINISHED_EXAMPLE, older_row),
        ("scripts", instance, dataarts::FINISHED_EXAMPLE, "|"),
    ];
    for (provider, id, text, expected_row) in examples {
        let server = FakeServer::start().await;
        server.inject_fault(FaultTarget::All, json_fault(text), FaultRepeat::Always);
        let home = daemon_home(&server);
        let _daemon = home.start();
        home.run_client_ok(&["add", provider, id]);
        home.run_client_ok(&["wait", "1", "--timeout", "25s"]);
        let row = db::query_value(&home.database(), "SELECT ended_at, message FROM jobs");
        assert_eq!(row, expected_row, "{provider}");
    }
}

/// Injects a burst of rejections after 400 requests, and later an outage of the whole server.
async fn inject_outages(server: &FakeServer, home: &DaemonHome, daemon: &Daemon) {
    server.wait_for_requests(400, EVENT_TIMEOUT).await;
    let rate_limited = Fault::RateLimited { retry_after: Some("1".into()) };
    server.inject_fault(FaultTarget::All, rate_limited, FaultRepeat::Times(4));
    server.wait_for_requests(750, EVENT_TIMEOUT).await;
    server.pause().await;
    let failed = |provider: &Value| provider["consecutive_failures"].as_u64() >= Some(3);
    let all_failed = |status: &Value| {
        status["providers"].as_array().is_some_and(|providers| providers.iter().all(failed))
    };
    daemon.wait_for_status(home, all_failed).await;
    server.resume().await;
}

fn random_fault(kind: ServiceKind, random: &mut Rng) -> Fault {
    let dli_error = r#"{"error_code":"DLI.0999","error_msg":"Internal server error"}"#;
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
            Fault::status(400, dli_error)
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

/// A daemon with a provider of each kind, all on one server.
fn daemon_home(server: &FakeServer) -> DaemonHome {
    let home = DaemonHome::without_config();
    let (base, key) = (server.base_url(), home.path("key"));
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

/// Adds a job that takes 1 to 25 s; every third job has a fault in one of its polls.
fn add_random_job(server: &FakeServer, n: usize, random: &mut Rng) -> ExpectedJob {
    let kind = ServiceKind::ALL[n % 3];
    let id = match kind {
        ServiceKind::Dune => format!("01JOB{n:05}"),
        ServiceKind::Dli => format!("208b08d4-0dc2-4dd7-8879-{n:012x}"),
        ServiceKind::DataArts => format!("日报_{}.sql/a1ad-448a-{n}", n % 7),
    };
    let total = Duration::from_millis(random.u64(1000..25_000));
    let pending = total.mul_f64(random.f64() * 0.5);
    let running = total.saturating_sub(pending) / 3;
    let middle_phase = if random.bool() {
        custom_phase(intermediate_state(kind, random), None)
    } else {
        JobPhase::Running
    };
    let (end, expected_state) = random.choice(possible_ends(kind)).expect("not empty");
    let script =
        JobScript::new().pending(pending).running(running).with_phase(running, middle_phase);
    let script = script.running(running).with_phase(Duration::ZERO, end);
    // Most responses with rows have about 50 KB, a few have several MB.
    let script = if n % 60 == 2 { script.with_result_rows(20_000) } else { script };
    server.add_job_of(kind, &id, script);
    if n % 9 < 3 {
        server.inject_fault(FaultTarget::job(&id), random_fault(kind, random), FaultRepeat::Once);
    }
    ExpectedJob { kind, id, expected_state }
}

fn custom_phase(state: &str, finished: Option<bool>) -> JobPhase {
    JobPhase::Custom { state: state.to_owned(), finished }
}

/// A provider state that occurs while a job runs; the daemon knows SCALING but not the others.
fn intermediate_state(kind: ServiceKind, random: &mut Rng) -> &'static str {
    match kind {
        ServiceKind::Dli => random.choice([dli::SCALING, "SUSPENDED"]).expect("one of two"),
        ServiceKind::Dune | ServiceKind::DataArts => "DREAMING",
    }
}

/// All ends of a kind, with the job state that the daemon derives from each.
fn possible_ends(kind: ServiceKind) -> Vec<(JobPhase, &'static str)> {
    let common = [
        (JobPhase::Ended(JobEnd::Completed), "succeeded"),
        (JobPhase::Ended(JobEnd::Failed), "failed"),
    ];
    let cancelled =
        [JobEnd::Cancelled, JobEnd::Canceled].map(|end| (JobPhase::Ended(end), "cancelled"));
    let dune_only = [
        (JobPhase::Ended(JobEnd::CompletedPartial), "succeeded"),
        (JobPhase::Ended(JobEnd::Expired), "expired"),
        (custom_phase("EVAPORATED", Some(true)), "indeterminate"),
    ];
    match kind {
        ServiceKind::Dune => common.into_iter().chain(cancelled).chain(dune_only).collect(),
        ServiceKind::Dli => common.into_iter().chain(cancelled).collect(),
        ServiceKind::DataArts => common.into(),
    }
}
