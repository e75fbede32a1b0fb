//! The lines of the log: what they say about jobs, their form, and that a reload changes their level.

use serde_json::Value;

use crate::support::FAST_POLLING_TOML;
use crate::support::daemon::DaemonHome;
use crate::support::fake_server::{FakeServer, JobEnd, JobScript};

const SUCCEEDING: &str = "01GBM4W2N0NMCGPZYW8AYK4YF1";
const FAILING: &str = "01JQ5B2F8RKWPXG9ZT6H3VD4NA";

/// The lines of the log, which are JSON objects.
fn json_lines(home: &DaemonHome) -> Vec<Value> {
    let log = home.log();
    let parse =
        |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
    log.lines().map(parse).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_has_one_line_at_its_end_with_its_names_state_reason_and_labels() {
    let dune = FakeServer::start().await;
    dune.add_job(SUCCEEDING, JobScript::new().ending_with(JobEnd::Completed));
    dune.add_job(FAILING, JobScript::new().ending_with(JobEnd::Failed));
    let home = DaemonHome::new(
        &dune.base_url(),
        &format!("{FAST_POLLING_TOML}\n[log]\nformat = \"json\""),
    );
    let _daemon = home.start();
    home.run_client_ok(&[
        "add",
        "dune",
        SUCCEEDING,
        "--label",
        "team=a",
        "--label",
        "note=b \"c\"",
    ]);
    home.run_client_ok(&["add", "dune", FAILING]);
    home.run_client(&["wait", "1", "2", "--timeout", "25s"]);
    home.wait_for_log(" ended: ", 2);
    let ends: Vec<_> =
        json_lines(&home).into_iter().filter(|line| line["state"].is_string()).collect();
    assert_eq!(ends.len(), 2, "{ends:?}");
    let end_of = |id: &str| ends.iter().find(|line| line["remote_id"] == id).expect(id).clone();
    let (success, failure) = (end_of(SUCCEEDING), end_of(FAILING));
    assert_eq!((&success["level"], &success["state"]), (&"info".into(), &"succeeded".into()));
    assert_eq!(success["labels"], serde_json::json!({"team": "a", "note": "b \"c\""}));
    assert_eq!((&success["job"], &success["provider"]), (&1.into(), &"dune".into()));
    assert_eq!((&failure["level"], &failure["state"]), (&"warn".into(), &"failed".into()));
    assert!(failure["reason"].as_str().is_some_and(|reason| !reason.is_empty()), "{failure}");
    assert!(failure.get("labels").is_none(), "{failure}");
}

#[test]
fn jobs_that_are_added_together_have_one_line_for_each_commit() {
    let home = DaemonHome::new("http://127.0.0.1:1", "");
    let daemon = home.start();
    let ids: Vec<_> = (0..2000).map(|n| format!("01JQ5B2F8RKWPXG9ZT6H{n:06}")).collect();
    let added = home.run_client_with_input(&["add", "dune", "-"], &ids.join("\n"));
    assert!(added.status.success());
    assert!(daemon.stop().success());
    let lines = home.log().lines().filter(|line| line.contains("registered")).count();
    assert!((1..=20).contains(&lines), "{}", home.log());
}

#[test]
fn a_reload_changes_the_level_of_the_log() {
    let home = DaemonHome::new("http://127.0.0.1:1", "[log]\nlevel = \"error\"");
    let daemon = home.start();
    assert_eq!(home.log(), "");
    home.configure("http://127.0.0.1:1", "[log]\nlevel = \"debug\"\nformat = \"json\"");
    let reloaded = home.run_client_ok(&["reload"]);
    assert!(
        reloaded.contains("log.level changed") && reloaded.contains("log.format"),
        "{reloaded}"
    );
    home.run_client_ok(&["add", "dune", SUCCEEDING]);
    home.wait_for_log("DEBUG poll of job 1 failed", 1);
    home.configure("http://127.0.0.1:1", "[log]\nlevel = \"loud\"");
    assert!(!home.run_client(&["reload"]).status.success());
    assert!(daemon.stop().success());
    let log = home.log();
    assert!(
        log.contains("config not reloaded") && log.contains("log.level must be one of"),
        "{log}"
    );
}

#[test]
fn the_variable_rust_log_overrides_the_setting() {
    let home = DaemonHome::new("http://127.0.0.1:1", "[log]\nlevel = \"error\"");
    let mut command = home.daemon_command();
    command.env("RUST_LOG", "info");
    let daemon = home.spawn(command);
    daemon.wait_for_notification("READY=1", &home);
    assert!(daemon.stop().success());
    let log = home.log();
    assert!(log.contains("is ready"), "{log}");
    assert!(log.contains("log.level has no effect, because the variable RUST_LOG is set"), "{log}");
}
