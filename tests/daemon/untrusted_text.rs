//! Text of a service or a user, with characters that forge log lines or control a terminal, reaches
//! neither as it is. The database and JSON keep it.

use std::time::Duration;

use crate::support::daemon::{DaemonHome, utf8};
use crate::support::fake_server::{FakeServer, Fault, FaultRepeat, FaultTarget, JobEnd, JobScript};
use crate::support::{EVENT_TIMEOUT, FAST_POLLING_TOML, db};
use jobtrack::escape::is_unprintable;

/// Begins a line, sets a terminal's title, turns the direction of the text, and begins a line in three
/// other ways.
const HOSTILE: &str = "A\n2026-11-25T00:00:00.000Z  INFO job 1 ended: succeeded\r\u{1b}]0;title\u{7}\
                       \u{202e}\u{9b}2J\u{85}\u{2028}\u{2029}\u{2066}Z";

fn assert_printable(what: &str, text: &str) {
    let found = text.chars().find(|c| is_unprintable(*c) && *c != '\n');
    assert_eq!(found, None, "{what}: {text:?}");
    assert!(
        text.lines().all(|line| !line.starts_with("2026-11-25T00:00")),
        "{what}: a forged line in {text:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_72_a_hostile_state_word_is_escaped_in_the_log_and_on_the_terminal() {
    let dune = FakeServer::start().await;
    let states = vec![(Duration::from_hours(1), HOSTILE.to_owned())];
    dune.add_job("01HOSTILE", JobScript::from_states(states));
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01HOSTILE"]);
    let reported =
        |status: &serde_json::Value| status["providers"][0]["unknown_states"][0].as_str().is_some();
    daemon.wait_for_status(&home, reported).await;
    for arguments in [
        &["show", "1"][..],
        &["status"],
        &["history"],
        &["history", "-o", "csv"],
        &["list"],
        &["list", "-o", "wide"],
        &["list", "-o", "csv"],
        &["poll", "1"],
    ] {
        assert_printable(&format!("{arguments:?}"), &home.run_client_ok(arguments));
    }
    let log = home.wait_for_log("\\n2026-11-25T00:00:00.000Z  INFO", 1);
    assert_printable("the log", &log);
    let stored = db::query_value(&home.database(), "SELECT hex(provider_state) FROM jobs");
    let bytes: Vec<_> = HOSTILE.bytes().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(stored, bytes.concat(), "the database keeps the text");
    let json = home.run_client_ok(&["--json", "show", "1"]);
    assert_printable("JSON", &json);
    let job: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(job["provider_state"], HOSTILE);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_72_a_hostile_error_text_is_escaped_in_the_log_and_on_the_terminal() {
    let dune = FakeServer::start().await;
    let script = JobScript::new().running(Duration::from_hours(1)).ending_with(JobEnd::Completed);
    dune.add_job("01HOSTILE", script);
    let body = serde_json::json!({ "error": HOSTILE }).to_string();
    dune.inject_fault(FaultTarget::All, Fault::status(403, &body), FaultRepeat::Always);
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01HOSTILE"]);
    dune.wait_for_requests(1, EVENT_TIMEOUT).await;
    daemon.wait_for_status(&home, |status| status["providers"][0]["pause"].is_object()).await;
    for arguments in [&["show", "1"][..], &["status"], &["poll", "1"], &["check", "dune"]] {
        let output = home.run_client(arguments);
        assert_printable(&format!("{arguments:?}"), &utf8(&output.stdout));
        assert_printable(&format!("{arguments:?}"), &utf8(&output.stderr));
    }
    assert_printable("the log", &home.wait_for_log("request rejected", 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_72_hostile_arguments_and_names_are_escaped() {
    let home = DaemonHome::new("http://127.0.0.1:1", FAST_POLLING_TOML);
    let daemon = home.start();
    let label = format!("key={HOSTILE}");
    for arguments in [
        &["add", "dune", HOSTILE][..],
        &["add", "dune", "01FINE", "--label", &label],
        &["show", HOSTILE],
        &["list", HOSTILE],
        &["untrack", &format!("dune/{HOSTILE}")],
        &[HOSTILE],
    ] {
        let output = home.run_client(arguments);
        assert_printable(&format!("{arguments:?}"), &utf8(&output.stdout));
        assert_printable(&format!("{arguments:?}"), &utf8(&output.stderr));
    }
    assert_printable("list", &home.run_client_ok(&["list", "--all"]));
    assert_printable("the log", &home.log());
    drop(daemon);
    let started = home.run_daemon_to_exit(&["--config", &format!("/nowhere/{HOSTILE}")]);
    assert_printable("the error of the start", &utf8(&started.stderr));
}
