//! What a provider's bad day means for a job: nothing. Each error and each bad answer goes through
//! the real daemon; the job stands as it stood, the failure is noted, and the end is seen all the
//! same once the provider answers again.

use std::time::Duration;

use crate::support::daemon::Home;
use crate::support::fake_server::{self, End, Fault, Kind, Life, StandIn, Target, Times};
use crate::support::{SOON, db};

const ID: &str = "01GBM4W2N0NMCGPZYW8AYK4YF1";
const QUICK: &str = "requests_per_minute = 1200\npolicy = \"backoff\"\nmin_interval = \"100ms\"\nmax_interval = \"200ms\"\nrequest_timeout = \"1s\"";

fn body(text: &[u8]) -> Fault {
    Fault::Body { content_type: "application/json".into(), bytes: text.to_vec() }
}

/// A provider that is put out for as long as `fault` lasts, with one job that is over long since.
async fn put_out(fault: Fault, times: Times) -> (StandIn, Home) {
    let dune = StandIn::start().await;
    dune.put(ID, Life::new().running(Duration::from_millis(1)).then(End::Completed));
    dune.fault(Target::All, fault, times);
    let home = Home::new(&dune.base_url(), QUICK);
    (dune, home)
}

/// After `fault`, twice, the job ends well, with two failed polls that were counted.
async fn is_survived(name: &str, fault: Fault) {
    let (dune, home) = put_out(fault, Times::N(2)).await;
    let _daemon = home.start();
    home.ok(&["add", "dune", ID]);
    dune.wait_for_requests(2, SOON).await;
    let waited = home.jobtrack(&["wait", "1", "--timeout", "25s"]);
    assert!(waited.status.success(), "{name}: {}", home.log());
    let counts =
        db::value(&home.database(), "SELECT failed_polls, polls, last_poll_error FROM jobs");
    assert_eq!(counts, "2|3|", "{name}: the failures are counted, a good answer clears the text");
    let states = db::query(&home.database(), "SELECT to_state FROM history");
    assert_eq!(states, ["registered", "pending", "running", "succeeded"], "{name}");
    assert!(!home.log().contains("standin-key"), "{name}: the key is in the log");
}

/// While `fault` lasts, the job stands as it stood and says why.
async fn changes_nothing(name: &str, fault: Fault, why: &str) {
    let (dune, home) = put_out(fault, Times::Always).await;
    let _daemon = home.start();
    home.ok(&["add", "dune", ID]);
    dune.wait_for_requests(1, SOON).await;
    let polled = home.polled();
    assert!(polled.contains("\"state\":\"registered\""), "{name}: {polled}");
    assert!(polled.contains(why), "{name}: {polled}");
    assert!(!polled.contains("standin-key"), "{name}: {polled}");
    assert!(!polled.contains(&dune.addr().port().to_string()), "{name}: a URL is in {polled}");
    assert_eq!(
        db::query(&home.database(), "SELECT to_state FROM history"),
        ["registered"],
        "{name}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_36_39_a_server_in_trouble_changes_nothing() {
    tokio::join!(
        is_survived("500", Fault::status(500, r#"{"error":"internal"}"#)),
        is_survived("502", Fault::status(502, "<html>Bad Gateway</html>")),
        is_survived("408", Fault::status(408, "")),
        is_survived("409", Fault::status(409, "")),
        is_survived("reset", Fault::Reset),
        is_survived("cut", Fault::CutBody),
        changes_nothing("504", Fault::status(504, ""), "HTTP 504"),
        changes_nothing("hang", Fault::Hang, "timed out"),
        changes_nothing("slow", Fault::Slow(Duration::from_mins(1)), "timed out"),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_40_41_45_an_answer_that_cannot_be_read_changes_nothing() {
    let other = br#"{"execution_id":"01OTHER","state":"QUERY_STATE_FAILED"}"#;
    let twice = br#"{"execution_id":"01GBM4W2N0NMCGPZYW8AYK4YF1","state":"QUERY_STATE_FAILED","state":"QUERY_STATE_COMPLETED"}"#;
    tokio::join!(
        is_survived("html", body(b"<html>Welcome</html>")),
        is_survived("nothing", body(b"")),
        is_survived("null", body(b"null")),
        is_survived("array", body(b"[]")),
        changes_nothing("truncated", body(br#"{"execution_id":"01GBM4W2N"#), "cannot be read"),
        changes_nothing("another job", body(other), "another execution"),
        changes_nothing("twice", body(twice), "duplicate field"),
        changes_nothing(
            "no state",
            body(br#"{"execution_id":"01GBM4W2N0NMCGPZYW8AYK4YF1"}"#),
            "missing field"
        ),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_42_an_endless_answer_changes_nothing() {
    tokio::join!(
        is_survived("huge", Fault::HugeBody(64 << 20)),
        is_survived("bomb", Fault::GzipBomb(64 << 20)),
        changes_nothing("chunks", Fault::EndlessChunks, "longer than"),
        changes_nothing("slow headers", Fault::SlowHeaders(Duration::from_secs(1)), "timed out"),
        changes_nothing("slow body", Fault::SlowBody(Duration::from_secs(1)), "timed out"),
    );
}

/// The whole provider is left alone, visibly, and a reload tries at once.
async fn pauses(name: &str, fault: Fault, why: &str) {
    let (dune, home) = put_out(fault, Times::Always).await;
    let daemon = home.start();
    home.ok(&["add", "dune", ID]);
    dune.wait_for_requests(1, SOON).await;
    daemon.wait_for_status(&home, |status| status["providers"][0]["paused"].is_object()).await;
    let status = home.ok(&["status"]);
    assert!(status.contains(why), "{name}: {status}");
    assert_eq!(home.jobtrack(&["status", "--fail"]).status.code(), Some(1), "{name}");
    assert_eq!(dune.count(), 1, "{name}: no second request while it is paused");
    let state = "SELECT state FROM jobs";
    assert_eq!(db::value(&home.database(), state), "registered", "{name}");
    dune.clear_faults();
    home.ok(&["reload"]);
    let waited = home.jobtrack(&["wait", "1", "--timeout", "25s"]);
    assert!(waited.status.success(), "{name}: {}", home.log());
    let log = home.log();
    assert_eq!(
        log.matches("refused; the provider").count(),
        1,
        "{name}: one line at the beginning\n{log}"
    );
    assert_eq!(log.matches("answers again").count(), 1, "{name}: one line at the end\n{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_33_34_43_a_refusal_pauses_the_provider_and_changes_no_job() {
    tokio::join!(
        pauses("401", Fault::status(401, r#"{"error":"invalid API Key"}"#), "invalid API Key"),
        pauses(
            "402",
            Fault::status(
                402,
                r#"{"error":"This API request would exceed your configured limits per billing cycle"}"#
            ),
            "billing cycle"
        ),
        pauses("403", Fault::status(403, ""), "HTTP 403"),
        pauses("wrong host", Fault::status(404, "<html>nothing here</html>"), "HTTP 404"),
        pauses("redirect", Fault::Redirect("http://127.0.0.1:9/elsewhere".into()), "HTTP 302"),
        pauses("429", Fault::RateLimited { retry_after: None }, "HTTP 429"),
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_37_retry_after_is_obeyed() {
    let (dune, home) =
        put_out(Fault::RateLimited { retry_after: Some("2".into()) }, Times::Once).await;
    let _daemon = home.start();
    home.ok(&["add", "dune", ID]);
    assert!(home.jobtrack(&["wait", "1", "--timeout", "25s"]).status.success());
    let requests = dune.requests();
    let apart = requests[1].at.mono - requests[0].at.mono;
    assert!(apart >= Duration::from_secs(2), "asked again after {apart:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_35_not_found_is_not_believed_at_once() {
    let dune = StandIn::start().await;
    let home = Home::new(&dune.base_url(), QUICK);
    let _daemon = home.start();
    home.ok(&["add", "dune", ID]);
    dune.wait_for_requests(4, SOON).await;
    let polled = home.polled();
    assert!(polled.contains("Object not found") && polled.contains("registered"), "{polled}");
    dune.put(ID, Life::new().running(Duration::from_millis(1)).then(End::Completed));
    assert!(home.jobtrack(&["wait", "1", "--timeout", "25s"]).status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_44_a_word_that_we_do_not_know_is_kept_and_reported_once() {
    let dune = StandIn::start().await;
    let half = Duration::from_millis(500);
    dune.put(
        ID,
        Life::from_first_request()
            .step(half, fake_server::dune::phase("QUERY_STATE_PENDING").expect("known"))
            .running(half)
            .then_says("QUERY_STATE_DREAMING", None),
    );
    dune.put("01OVER", Life::new().then_says("QUERY_STATE_EVAPORATED", Some(true)));
    let home = Home::new(&dune.base_url(), QUICK);
    let _daemon = home.start();
    home.ok(&["add", "dune", ID, "01OVER"]);
    assert_eq!(home.jobtrack(&["wait", "dune/01OVER", "--timeout", "25s"]).status.code(), Some(3));
    let over = "SELECT state, provider_state FROM jobs WHERE remote_id = '01OVER'";
    assert_eq!(db::value(&home.database(), over), "indeterminate|QUERY_STATE_EVAPORATED");
    let mut seen = String::new();
    while !seen.contains("unknown") {
        seen = home.polled();
    }
    home.ok(&["poll", "1"]);
    assert!(seen.contains("QUERY_STATE_DREAMING"), "{seen}");
    assert_eq!(home.log().matches("QUERY_STATE_DREAMING").count(), 1, "reported once");
    dune.put(ID, Life::new().then(End::Failed));
    assert_eq!(home.jobtrack(&["wait", "1", "--timeout", "25s"]).status.code(), Some(1));
    let steps = db::query(&home.database(), "SELECT to_state FROM history WHERE job_id = 1");
    assert_eq!(steps, ["registered", "pending", "running", "unknown", "failed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_46_an_outcome_is_final_and_a_contradiction_is_recorded() {
    let dune = StandIn::start().await;
    dune.put(ID, Life::new().running(Duration::from_millis(1)).then(End::Completed));
    let home = Home::new(&dune.base_url(), QUICK);
    let _daemon = home.start();
    home.ok(&["add", "dune", ID]);
    assert!(home.jobtrack(&["wait", "1", "--timeout", "25s"]).status.success());
    dune.put(ID, Life::new().running(Duration::from_mins(10)).then(End::Failed));
    let polled = home.polled();
    assert!(polled.contains("\"state\":\"succeeded\""), "{polled}");
    let anomaly = "SELECT job_id, reason FROM provider_event WHERE kind = 'anomaly'";
    assert_eq!(
        db::value(&home.database(), anomaly),
        "1|recorded as succeeded (QUERY_STATE_COMPLETED), now reported as running (QUERY_STATE_EXECUTING)"
    );
    assert_eq!(db::value(&home.database(), "SELECT count(*) FROM history"), "4");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_34_one_forbidden_job_does_not_hold_up_all_others_again_and_again() {
    let dune = StandIn::start().await;
    dune.put("01OURS", Life::new().running(Duration::from_hours(1)).then(End::Completed));
    dune.put("01THEIRS", Life::new().running(Duration::from_hours(1)).then(End::Completed));
    let forbidden = Fault::status(403, r#"{"error":"not yours"}"#);
    dune.fault(Target::job("01THEIRS"), forbidden, Times::Always);
    let home = Home::new(&dune.base_url(), QUICK);
    let daemon = home.start();
    home.ok(&["add", "dune", "01THEIRS", "01OURS"]);
    dune.wait_for_request_of("01THEIRS", SOON).await;
    daemon.wait_for_status(&home, |status| status["providers"][0]["paused"].is_object()).await;
    home.ok(&["reload"]);
    // From now on it is known to be about the job: both are asked on.
    dune.wait_for_requests_of("01OURS", 10, SOON).await;
    dune.wait_for_requests_of("01THEIRS", 4, SOON).await;
    dune.wait_for_requests_of("01OURS", 20, SOON).await;
    daemon.wait_for_status(&home, |status| status["providers"][0]["paused"].is_null()).await;
    let row = "SELECT state, last_poll_error FROM jobs WHERE remote_id = '01THEIRS'";
    assert_eq!(db::value(&home.database(), row), "registered|HTTP 403: not yours");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_34_a_signature_that_is_refused_is_not_tried_again_at_once() {
    let lake = StandIn::start().await;
    let ids: Vec<_> = (0..20).map(|n| format!("job-{n}")).collect();
    for id in &ids {
        lake.put_for(Kind::Dli, id, Life::new().then(End::Completed));
    }
    let home = Home::bare();
    let dir = home.path("");
    let dir = dir.display();
    let lake_config = format!(
        "[providers.lake]\nkind = \"dli\"\nbase_url = \"{}\"\nproject_id = \"4f1\"\n\
         auth = {{ ak = {{ file = \"{dir}/ak\" }}, sk = {{ file = \"{dir}/sk\" }} }}\n\
         max_in_flight = 1\n{QUICK}",
        lake.base_url()
    );
    home.configure(&lake.base_url(), &lake_config);
    let write = |name: &str, text: &str| std::fs::write(home.path(name), text).expect("a key");
    write("ak", fake_server::AK);
    write("sk", "outdated-sk");
    let daemon = home.start();
    home.ok(&[&["add", "lake"], &ids.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat());
    lake.wait_for_requests(1, SOON).await;
    let paused = |status: &serde_json::Value| status["providers"][1]["paused"].is_object();
    daemon.wait_for_status(&home, paused).await;
    let why = home.ok(&["status"]);
    assert!(why.contains("verify aksk signature fail"), "{why}");
    // Some more in a row would lock the key.
    assert_eq!(lake.count(), 1, "whatever the number of jobs");
    write("sk", fake_server::SK);
    home.ok(&["reload"]);
    let waited = home.jobtrack(&["wait", "1", "2", "3", "--timeout", "25s"]);
    assert!(waited.status.success(), "{}", home.log());
    for secret in [fake_server::AK, fake_server::SK, "outdated-sk"] {
        assert!(!home.log().contains(secret), "{secret} is in the log");
    }
}
