//! Damaged answers through the real daemon: the state is recorded, or the job keeps its state.

use jobtrack::job::UtcTime;

use crate::support::daemon::{Daemon, DaemonHome};
use crate::support::db;
use crate::support::fake_server::{FakeServer, Fault, FaultRepeat, FaultTarget};

const EXECUTION_ID: &str = "01GBM4W2N0NMCGPZYW8AYK4YF1";
const JOB_ID: &str = "208b08d4-0dc2-4dd7-8879-ddd4c020d7aa";

/// A daemon with the providers `dune` and `lake` (DLI) on one fake server.
async fn start_daemon() -> (FakeServer, DaemonHome, Daemon) {
    let server = FakeServer::start().await;
    let url = server.base_url();
    let fast = "requests_per_minute = 6000\npolicy = \"backoff\"\nmin_interval = \"100ms\"\nmax_interval = \"100ms\"";
    let home = DaemonHome::without_config();
    let key_file = home.path("key");
    let lake = format!(
        "{fast}\n[providers.lake]\nkind = \"dli\"\nbase_url = \"{url}\"\nproject_id = \"4f1\"\n\
         auth = {{ token = {{ file = \"{}\" }} }}\n{fast}",
        key_file.display()
    );
    home.configure(&url, &lake);
    let daemon = home.start();
    (server, home, daemon)
}

fn answer_all(server: &FakeServer, body: impl Into<Vec<u8>>) {
    let fault = Fault::Body { content_type: "application/json".into(), bytes: body.into() };
    server.clear_faults();
    server.inject_fault(FaultTarget::All, fault, FaultRepeat::Always);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_41_42_damaged_and_long_texts_do_not_hide_the_end() {
    let statement = "select 1;".repeat(150_000);
    let bodies = [
        (
            format!(
                r#"{{"is_success":true,"job_id":"{JOB_ID}","message":"{{"error_code":"DLI.0999"}}","owner":"me","status":"FINISHED"}}"#
            ),
            r#"succeeded|{"error_code":"DLI.0999"}"#,
        ),
        (
            format!(
                r#"{{"status":"FAILED","message":"cut in the middle of \ud83d","job_id":"{JOB_ID}"}}"#
            ),
            "failed|cut in the middle of \u{fffd}",
        ),
        (
            format!(
                r#"{{"statement":"{statement}","status":"FAILED","message":"too long","job_id":"{JOB_ID}"}}"#
            ),
            "failed|too long",
        ),
    ];
    for (body, expected) in bodies {
        let (server, home, _daemon) = start_daemon().await;
        answer_all(&server, body);
        home.run_client_ok(&["add", "lake", JOB_ID]);
        home.run_client(&["wait", "1", "--timeout", "25s"]);
        let found = db::query_value(&home.database(), "SELECT state, message FROM jobs");
        assert_eq!(found, expected, "{}", home.log());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_41_a_state_in_a_text_that_is_cut_off_is_no_state() {
    let (server, home, _daemon) = start_daemon().await;
    home.run_client_ok(&["add", "lake", JOB_ID]);
    let texts = [
        r#"row "a","status":"FINISHED","b":"c"#,
        r#"row "a","status":"FINISHED","owner":"c"#,
        r#"row " a","status":"FINISHED","b":"c"#,
    ];
    for text in texts {
        let body = format!(r#"{{"job_id":"{JOB_ID}","is_success":true,"message":"{text}"}}"#);
        answer_all(&server, body);
        let polled = home.poll_job_1();
        assert!(polled.contains("\"state\":\"registered\""), "{text}: {polled}");
    }
    let body =
        r#"{"is_success":true,"message":"unterminated quote " at line 3","status":"FAILED"}"#;
    answer_all(&server, body);
    let polled = home.poll_job_1();
    assert!(polled.contains("\"state\":\"failed\""), "{polled}");
    let states = db::query_rows(&home.database(), "SELECT to_state FROM history ORDER BY seq");
    assert_eq!(states, ["registered", "failed"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_45_a_flag_as_text_is_no_state_of_the_job() {
    let (server, home, _daemon) = start_daemon().await;
    home.run_client_ok(&["add", "lake", JOB_ID]);
    for flag in ["\"false\"", "0", "null", "{}"] {
        answer_all(
            &server,
            format!(
                r#"{{"is_success":{flag},"message":"{{\"error_code\":\"DLI.0999\"}}","job_id":"{JOB_ID}","status":"FAILED"}}"#
            ),
        );
        let polled = home.poll_job_1();
        assert!(polled.contains("\"state\":\"registered\""), "{flag}: {polled}");
    }
    let states = db::query_rows(&home.database(), "SELECT to_state FROM history");
    assert_eq!(states, ["registered"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_45_an_id_in_other_case_is_followed_to_its_end() {
    let (server, home, _daemon) = start_daemon().await;
    answer_all(
        &server,
        format!(r#"{{"execution_id":"{EXECUTION_ID}","state":"QUERY_STATE_COMPLETED"}}"#),
    );
    let small = EXECUTION_ID.to_lowercase();
    home.run_client_ok(&["add", "dune", &small]);
    assert!(home.run_client(&["wait", "1", "--timeout", "25s"]).status.success(), "{}", home.log());
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    let jobs = db::query_rows(&home.database(), "SELECT id, remote_id, state FROM jobs");
    assert_eq!(jobs, [format!("1|{small}|succeeded")], "the id stays as it was added");
    let shown = home.run_client_ok(&["--json", "show", &format!("dune/{EXECUTION_ID}")]);
    assert!(shown.contains("\"id\":1"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_45_an_end_before_an_answer_that_said_running_is_not_recorded() {
    let (server, home, _daemon) = start_daemon().await;
    let started_ms = UtcTime::parse_rfc3339("2026-01-01T00:00:00Z").expect("a time").as_millis();
    let body = |state: &str| {
        format!(
            r#"{{"job_id":"{JOB_ID}","status":"{state}","start_time":{started_ms},"duration":5000}}"#
        )
    };
    answer_all(&server, body("RUNNING"));
    home.run_client_ok(&["add", "lake", JOB_ID]);
    let polled = home.poll_job_1();
    assert!(polled.contains("\"state\":\"running\""), "{polled}");
    answer_all(&server, body("FINISHED"));
    assert!(home.run_client(&["wait", "1", "--timeout", "25s"]).status.success(), "{}", home.log());
    let end = "SELECT occurred_at IS NULL, earliest_at IS NOT NULL, earliest_at <= observed_at
               FROM history WHERE to_state = 'succeeded'";
    assert_eq!(db::query_value(&home.database(), end), "1|1|1");
    let job = "SELECT ended_at IS NULL, run_s, detection_delay_s IS NULL FROM jobs";
    assert_eq!(db::query_value(&home.database(), job), "1|5.0|1");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_45_a_start_before_the_submission_keeps_the_order_of_the_history() {
    let (server, home, _daemon) = start_daemon().await;
    answer_all(
        &server,
        format!(
            r#"{{"execution_id":"{EXECUTION_ID}","state":"QUERY_STATE_COMPLETED","submitted_at":"2026-01-01T00:00:00.108Z",
                "execution_started_at":"2026-01-01T00:00:00.1Z","execution_ended_at":"2026-01-01T00:00:09Z"}}"#
        ),
    );
    home.run_client_ok(&["add", "dune", EXECUTION_ID]);
    assert!(home.run_client(&["wait", "1", "--timeout", "25s"]).status.success(), "{}", home.log());
    let history = "SELECT to_state, occurred_at FROM history ORDER BY seq";
    assert_eq!(
        db::query_rows(&home.database(), history),
        [
            "registered|",
            "pending|2026-01-01 00:00:00.108",
            "running|2026-01-01 00:00:00.100",
            "succeeded|2026-01-01 00:00:09.000"
        ]
    );
    let durations = "SELECT queue_s, run_s FROM runs";
    assert_eq!(db::query_value(&home.database(), durations), "0.0|8.9");
    let negative = "SELECT count(*) FROM spans WHERE seconds < 0 OR to_at < from_at";
    assert_eq!(db::query_value(&home.database(), negative), "0");
}
