//! Six hundred jobs of all three kinds in one daemon, on a bad day of their providers: each end is
//! the true one, each history is legal and lies where the truth lay, and nothing is kept that must
//! not be: no result row, no key.

mod history_check;

use std::time::Duration;

use crate::support::daemon::{Daemon, Home};
use crate::support::fake_server::{
    End, Fault, Kind, Life, Phase, StandIn, Target, Times, dataarts, dli,
};
use crate::support::{self, SOON, db};
use fastrand::Rng;
use history_check::{histories, is_true, keeps_what_it_may};
use serde_json::Value;

const JOBS: usize = 600;
const OPEN: &str = "requests_per_minute = 6000\nmax_in_flight = 16";

/// A job as it was put in.
struct Job {
    kind: Kind,
    id: String,
    ends: &'static str,
}

#[tokio::test(flavor = "multi_thread")]
async fn six_hundred_lives_of_three_kinds_are_told_as_they_were() {
    let cloud = StandIn::start().await;
    let home = home(&cloud);
    let daemon = home.start();
    let mut random = Rng::with_seed(11);
    let jobs: Vec<_> = (0..JOBS).map(|n| put(&cloud, n, &mut random)).collect();
    let name = |job: &Job| format!("{}/{}", provider(job.kind), job.id);
    let names = jobs.iter().map(name).collect::<Vec<_>>().join("\n");
    let added = home.jobtrack_with(&["add", "-", "-q"], &names);
    assert!(added.status.success(), "{added:?}");

    bad_day(&cloud, &home, &daemon).await;
    let mut wait = home.client(&["wait", "-", "--timeout", "80s"]);
    let waiting = move || support::daemon::finish_within(&mut wait, &names, 3 * SOON);
    let waited = tokio::task::spawn_blocking(waiting).await.expect("the client ran");
    assert_eq!(waited.status.code(), Some(1), "some failed: {}", home.log());

    assert_eq!(db::illegal_history(&home.database()), [""; 0]);
    let told = histories(&home);
    assert_eq!(told.len(), JOBS);
    for job in &jobs {
        is_true(job, &cloud.truth(&job.id), &told[&job.id]);
    }
    assert_eq!(cloud.violations(), [""; 0]);
    keeps_what_it_may(&home);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_documents_own_answers_are_understood() {
    let job = "208b08d4-0dc2-4dd7-8879-ddd4c020d7aa";
    let instance = "dwsscript/a1ad-448a-9d56-4154193d49c5";
    let older = r#"2017-10-30 03:45:11.441|{"error_code":"DLI.0999"}"#;
    let examples = [
        ("lake", job, dli::FINISHED_EXAMPLE, "2017-10-30 03:45:11.441|"),
        ("lake", job, dli::OLDER_FINISHED_EXAMPLE, older),
        ("scripts", instance, dataarts::FINISHED_EXAMPLE, "|"),
    ];
    for (provider, id, text, told) in examples {
        let cloud = StandIn::start().await;
        cloud.fault(Target::All, body(text), Times::Always);
        let home = home(&cloud);
        let _daemon = home.start();
        home.ok(&["add", provider, id]);
        home.ok(&["wait", "1", "--timeout", "25s"]);
        let row = db::value(&home.database(), "SELECT ended_at, message FROM jobs");
        assert_eq!(row, told, "{provider}");
    }
}

/// After some hundred polls a burst of refusals, later an outage that every provider feels.
async fn bad_day(cloud: &StandIn, home: &Home, daemon: &Daemon) {
    cloud.wait_for_requests(400, SOON).await;
    let refused = Fault::RateLimited { retry_after: Some("1".into()) };
    cloud.fault(Target::All, refused, Times::N(4));
    cloud.wait_for_requests(750, SOON).await;
    cloud.pause().await;
    let failed = |provider: &Value| provider["failures_in_a_row"].as_u64() >= Some(3);
    let all_failed = |status: &Value| {
        status["providers"].as_array().is_some_and(|providers| providers.iter().all(failed))
    };
    daemon.wait_for_status(home, all_failed).await;
    cloud.resume().await;
}

/// What one poll meets.
fn trouble(kind: Kind, random: &mut Rng) -> Fault {
    let overloaded = r#"{"error_code":"DLI.0999","error_msg":"Internal server error"}"#;
    let faults = [
        Fault::status(500, "{}"),
        Fault::status(503, "<html>Service Unavailable</html>"),
        Fault::Reset,
        Fault::CutBody,
        Fault::Slow(Duration::from_secs(1)),
        Fault::Slow(Duration::from_mins(1)),
        body("<html>Welcome</html>"),
        body("{}"),
        if kind == Kind::Dli { Fault::status(400, overloaded) } else { body(r#"{"status":"#) },
    ];
    faults[random.usize(..faults.len())].clone()
}

fn body(text: &str) -> Fault {
    Fault::Body { content_type: "application/json".into(), bytes: text.into() }
}

fn provider(kind: Kind) -> &'static str {
    match kind {
        Kind::Dune => "dune",
        Kind::Dli => "lake",
        Kind::DataArts => "scripts",
    }
}

/// A home with a provider of each kind, all at one stand-in.
fn home(cloud: &StandIn) -> Home {
    let home = Home::bare();
    let (base, key) = (cloud.base_url(), home.path("key"));
    let huawei = |kind| {
        format!(
            "[providers.{}]\nkind = \"{}\"\nbase_url = \"{base}\"\nproject_id = \"4f1\"\n\
             auth = {{ token = {{ file = \"{}\" }} }}\n{OPEN}\n",
            provider(kind),
            format!("{kind:?}").to_lowercase(),
            key.display()
        )
    };
    let polling = "[polling]\npolicy = \"backoff\"\nmin_interval = \"500ms\"\nmax_interval = \"4s\"\nrequest_timeout = \"5s\"\n";
    let (lake, scripts) = (huawei(Kind::Dli), huawei(Kind::DataArts));
    home.configure(&base, &format!("{OPEN}\n{polling}{lake}{scripts}"));
    home
}

/// A life of 1 to 25 s, and for every third job a fault that meets one of its polls.
fn put(cloud: &StandIn, n: usize, random: &mut Rng) -> Job {
    let kind = Kind::ALL[n % 3];
    let id = match kind {
        Kind::Dune => format!("01JOB{n:05}"),
        Kind::Dli => format!("208b08d4-0dc2-4dd7-8879-{n:012x}"),
        Kind::DataArts => format!("日报_{}.sql/a1ad-448a-{n}", n % 7),
    };
    let total = Duration::from_millis(random.u64(1000..25_000));
    let pending = total.mul_f64(random.f64() * 0.5);
    let running = total.saturating_sub(pending) / 3;
    let middle = if random.bool() { said(middle(kind, random), None) } else { Phase::Running };
    let (end, ends) = random.choice(ends(kind)).expect("not empty");
    let life = Life::new().pending(pending).running(running).step(running, middle);
    let life = life.running(running).step(Duration::ZERO, end);
    // Most answers with rows are some 50 KB long, a few several MB.
    let life = if n % 60 == 2 { life.rows(20_000) } else { life };
    cloud.put_for(kind, &id, life);
    if n % 9 < 3 {
        cloud.fault(Target::job(&id), trouble(kind, random), Times::Once);
    }
    Job { kind, id, ends }
}

fn said(word: &str, finished: Option<bool>) -> Phase {
    Phase::Said { word: word.to_owned(), finished }
}

/// A word that may be said in the midst of running; SCALING is known, the others are not.
fn middle(kind: Kind, random: &mut Rng) -> &'static str {
    match kind {
        Kind::Dli => random.choice([dli::SCALING, "SUSPENDED"]).expect("one of two"),
        Kind::Dune | Kind::DataArts => "DREAMING",
    }
}

/// All ends that a kind knows, and what they are to us.
fn ends(kind: Kind) -> Vec<(Phase, &'static str)> {
    let common =
        [(Phase::Ended(End::Completed), "succeeded"), (Phase::Ended(End::Failed), "failed")];
    let stopped = [End::Cancelled, End::Canceled].map(|end| (Phase::Ended(end), "cancelled"));
    let of_dune = [
        (Phase::Ended(End::CompletedPartial), "succeeded"),
        (Phase::Ended(End::Expired), "expired"),
        (said("EVAPORATED", Some(true)), "indeterminate"),
    ];
    match kind {
        Kind::Dune => common.into_iter().chain(stopped).chain(of_dune).collect(),
        Kind::Dli => common.into_iter().chain(stopped).collect(),
        Kind::DataArts => common.into(),
    }
}
