//! Outages, the daemon's own downtime, and the maintenance of the database.

use std::time::Duration;

use crate::support::daemon::{DaemonHome, run_with_timeout, wait_for_query_value};
use crate::support::fake_server::{FakeServer, Fault, FaultRepeat, FaultTarget, JobEnd, JobScript};
use crate::support::{EVENT_TIMEOUT, FAST_POLLING_TOML, db, timed};

fn hour_long_script() -> JobScript {
    JobScript::new().running(Duration::from_hours(1)).ending_with(JobEnd::Completed)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_a_provider_is_recorded_from_its_first_failure_to_its_end() {
    let dune = FakeServer::start().await;
    dune.add_job("01LONG", hour_long_script());
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01LONG"]);
    dune.wait_for_requests(1, EVENT_TIMEOUT).await;
    dune.inject_fault(FaultTarget::All, Fault::status(503, ""), FaultRepeat::Times(5));
    dune.wait_for_requests(7, EVENT_TIMEOUT).await;
    let closed = "SELECT provider, reason, failed_polls, ended_at > began_at FROM outages
                  WHERE provider IS NOT NULL AND ended_at IS NOT NULL";
    let outage = "dune|HTTP 503 with an empty body instead of the service's JSON|5|1";
    wait_for_query_value(&home, closed, outage).await;
    let log = home.wait_for_log("polls of dune succeed again", 1);
    assert_eq!(log.matches("polls of dune fail; job states are kept").count(), 1, "{log}");
    assert_eq!(log.matches("polls of dune succeed again").count(), 1, "{log}");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_that_outlives_the_daemon_is_closed_by_the_next_one() {
    let dune = FakeServer::start().await;
    dune.add_job("01LONG", hour_long_script());
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01LONG"]);
    dune.wait_for_requests(1, EVENT_TIMEOUT).await;
    dune.pause().await;
    let open = "SELECT count(*) FROM outages WHERE provider = 'dune' AND ended_at IS NULL";
    wait_for_query_value(&home, open, "1").await;
    daemon
        .wait_for_status(&home, |status| status["providers"][0]["outage_began_at"].is_string())
        .await;
    daemon.kill();
    dune.resume().await;
    let _daemon = home.start();
    wait_for_query_value(&home, open, "0").await;
    let downtime = "SELECT reason, ended_at >= began_at FROM outages WHERE provider IS NULL";
    assert_eq!(
        db::query_rows(&home.database(), downtime),
        ["jobtrackd stopped unexpectedly (crash, kill or power loss)|1"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_is_distinguished_from_a_crash() {
    let dune = FakeServer::start().await;
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    home.start().stop();
    let _daemon = home.start();
    let downtime = "SELECT reason FROM outages WHERE provider IS NULL";
    assert_eq!(db::query_rows(&home.database(), downtime), ["jobtrackd was stopped"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_jobs_are_pruned_with_their_history() {
    let dune = FakeServer::start().await;
    dune.add_job("01LONG", hour_long_script());
    for n in 0..30 {
        dune.add_job(&format!("01SHORT{n}"), JobScript::new().ending_with(JobEnd::Completed));
    }
    dune.add_job("01FAILED", JobScript::new().ending_with(JobEnd::Failed));
    let keep = "[maintenance]\nprune_schedule = \"* * * * * *\"\nretention = { succeeded = \"1s\", default = \"forever\" }";
    let home = DaemonHome::new(&dune.base_url(), &format!("{FAST_POLLING_TOML}\n{keep}"));
    let _daemon = home.start();
    let short: Vec<_> = (0..30).map(|n| format!("01SHORT{n}")).collect();
    home.run_client_with_input(&["add", "dune", "-"], &short.join("\n"));
    home.run_client_ok(&["add", "dune", "01LONG", "01FAILED"]);
    wait_for_query_value(
        &home,
        "SELECT min(remote_id), max(remote_id), count(*) FROM jobs",
        "01FAILED|01LONG|2",
    )
    .await;
    let orphans = "SELECT count(*) FROM transition WHERE job_id NOT IN (SELECT id FROM job)";
    assert_eq!(db::query_value(&home.database(), orphans), "0");
    let next = home.run_client_ok(&["add", "dune", "01SHORT1"]);
    assert!(next.starts_with("33 "), "a job id was used twice: {next}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_job_stays_when_the_others_are_pruned() {
    let dune = FakeServer::start().await;
    for id in ["01KEPT", "01OLD"] {
        dune.add_job(id, JobScript::new().ending_with(JobEnd::Completed));
    }
    let keep =
        "[maintenance]\nprune_schedule = \"* * * * * *\"\nretention = { succeeded = \"1h\" }";
    let home = DaemonHome::new(&dune.base_url(), &format!("{FAST_POLLING_TOML}\n{keep}"));
    let _daemon = home.start();
    home.run_client_ok(&["add", "dune", "01KEPT", "01OLD"]);
    assert_eq!(home.run_client_ok(&["pin", "1"]), "1 dune/01KEPT pinned\n");
    home.run_client_ok(&["wait", "1", "2"]);
    let age = "UPDATE job SET terminal_at = datetime('now', '-2 hours') || '.000'";
    db::run_script_ok(&home.database(), age);
    let left = "SELECT group_concat(remote_id || ' ' || state || ' ' || pinned) FROM jobs";
    wait_for_query_value(&home, left, "01KEPT succeeded 1").await;
    let history = db::query_value(&home.database(), "SELECT count(*) > 1 FROM history");
    assert_eq!(history, "1");
    assert!(home.run_client_ok(&["show", "1"]).contains("\npinned "));
    let listed = home.run_client_ok(&["list", "--all", "--columns", "id,pinned", "-o", "csv"]);
    assert_eq!(listed.lines().last(), Some("1,1"), "{listed}");

    assert!(home.run_client_ok(&["pin", "dune/01KEPT", "--json"]).contains("\"pinned\":true"));
    let missing = home.run_client(&["unpin", "999", "1"]);
    assert_eq!(missing.status.code(), Some(4), "{missing:?}");
    wait_for_query_value(&home, "SELECT count(*) FROM jobs", "0").await;
    assert_eq!(
        db::query_rows(&home.database(), "SELECT command, job_id, outcome FROM audit ORDER BY id"),
        ["pin|1|done", "pin|1|unchanged", "unpin||refused", "unpin|1|done"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dry_run_shows_what_the_next_maintenance_deletes_and_deletes_nothing() {
    let dune = FakeServer::start().await;
    let ids = ["01KEPT", "01OLD", "01OLDER"];
    for id in ids {
        dune.add_job(id, JobScript::new().ending_with(JobEnd::Completed));
    }
    let keep =
        "[maintenance]\nprune_schedule = \"17 3 * * *\"\nretention = { succeeded = \"30d\" }";
    let home = DaemonHome::new(&dune.base_url(), &format!("{FAST_POLLING_TOML}\n{keep}"));
    let _daemon = home.start();
    home.run_client_ok(&[&["add", "dune"], &ids[..]].concat());
    home.run_client_ok(&["wait", "1", "2", "3"]);
    home.run_client_ok(&["pin", "dune/01KEPT"]);
    let next = "maintenance: next at ";
    let dry_run = || home.run_client_ok(&["prune", "--dry-run"]);
    assert!(dry_run().starts_with(&format!("no job is to be deleted\n{next}")), "{}", dry_run());
    db::run_script_ok(
        &home.database(),
        "UPDATE job SET terminal_at = '2026-01-0' || id || ' 00:00:00.000'",
    );
    let counted = format!(
        "2 succeeded, ended 2026-01-02 00:00:00.000 to 2026-01-03 00:00:00.000 UTC\n{next}"
    );
    assert!(dry_run().starts_with(&counted), "{}", dry_run());
    assert!(dry_run().ends_with(" 03:17:00.000 UTC\n"), "{}", dry_run());
    let json = home.run_client_ok(&["prune", "--dry-run", "--json"]);
    assert!(json.contains("\"state\":\"succeeded\",\"count\":2"), "{json}");

    let refused = home.run_client(&["prune"]);
    let error = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{error}");
    assert!(error.contains("next at ") && error.contains("jobtrack prune --dry-run"), "{error}");
    assert_eq!(db::query_value(&home.database(), "SELECT count(*) FROM jobs"), "3");
    let config = std::fs::read_to_string(home.path("config.toml")).expect("the config");
    home.write_config(&config.replace("\"30d\"", "\"forever\""));
    home.run_client_ok(&["reload"]);
    assert!(dry_run().starts_with("no job is to be deleted\n"), "{}", dry_run());
}

#[test]
fn a_user_maintenance_table_replaces_the_default() {
    let home = DaemonHome::new(
        "http://127.0.0.1:9",
        "[maintenance]\nretention = { default = \"forever\" }",
    );
    let config = jobtrack::config::load(
        Some(&home.path("config.toml")),
        &std::collections::BTreeMap::new(),
        &jobtrack::provider::kind_schemas(),
    );
    let keep = config.expect("a config").config.maintenance.retention;
    assert_eq!(keep.max_ages().count(), 0, "nothing is ever deleted: {keep:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missed_maintenance_run_is_caught_up() {
    let dune = FakeServer::start().await;
    dune.add_job("01OLD", JobScript::new().ending_with(JobEnd::Completed));
    let daily =
        "[maintenance]\nprune_schedule = \"17 3 * * *\"\nretention = { succeeded = \"1s\" }";
    let home = DaemonHome::new(&dune.base_url(), &format!("{FAST_POLLING_TOML}\n{daily}"));
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01OLD"]);
    assert!(home.run_client(&["wait", "1"]).status.success());
    daemon.stop();
    // As if the daemon had been stopped for two days.
    let mut shell = std::process::Command::new("sqlite3");
    shell.arg(home.database()).arg(
        "INSERT OR REPLACE INTO last_event VALUES ('prune', datetime('now', '-2 days') || '.000');
         UPDATE job SET terminal_at = '2026-01-01 00:00:00.000';",
    );
    assert!(run_with_timeout(&mut shell, "", EVENT_TIMEOUT).status.success());
    let _daemon = home.start();
    wait_for_query_value(&home, "SELECT count(*) FROM jobs", "0").await;
    wait_for_query_value(
        &home,
        "SELECT happened_at > datetime('now', '-1 hour') FROM last_event WHERE name = 'prune'",
        "1",
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_67_a_clock_that_is_far_ahead_deletes_nothing_until_a_provider_confirms_it() {
    let dune = FakeServer::start().await;
    dune.add_job("01OLD", JobScript::new().ending_with(JobEnd::Completed));
    dune.add_job("01LONG", hour_long_script());
    let keep =
        "[maintenance]\nprune_schedule = \"* * * * * *\"\nretention = { succeeded = \"1h\" }";
    let home = DaemonHome::new(&dune.base_url(), &format!("{FAST_POLLING_TOML}\n{keep}"));
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01OLD"]);
    assert!(home.run_client(&["wait", "1"]).status.success());
    daemon.stop();
    // As if all that is stored were 400 days old: by the clock of the next start.
    db::run_script_ok(
        &home.database(),
        "UPDATE last_event SET happened_at = datetime('now', '-400 days') || '.000';
         UPDATE job SET terminal_at = datetime('now', '-400 days') || '.000';",
    );
    let daemon = home.start();
    daemon
        .wait_for_status(&home, |status| {
            let reasons = status["degraded_reasons"].to_string();
            reasons.contains("old jobs are not deleted")
        })
        .await;
    assert_eq!(db::query_value(&home.database(), "SELECT count(*) FROM jobs"), "1");
    let recorded = "SELECT happened_at < datetime('now', '-399 days') FROM last_event
                    WHERE name = 'certain_time'";
    assert_eq!(db::query_value(&home.database(), recorded), "1", "the wrong time is not a witness");
    // The Date of an answer agrees with the clock.
    home.run_client_ok(&["add", "dune", "01LONG"]);
    wait_for_query_value(&home, "SELECT group_concat(remote_id) FROM jobs", "01LONG").await;
    daemon
        .wait_for_status(&home, |status| status["degraded_reasons"] == serde_json::json!([]))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_18_a_long_reader_is_reported_and_slows_nothing() {
    let dune = FakeServer::start().await;
    let home = DaemonHome::new(&dune.base_url(), "");
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01FIRST"]);
    let before = median_add_time(&home, "BEFORE");
    let mut shell = std::process::Command::new("sqlite3");
    let mut shell = shell
        .arg("-readonly")
        .arg(home.database())
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("an operator's shell");
    let stdin = shell.stdin.as_mut().expect("a pipe");
    std::io::Write::write_all(stdin, b"BEGIN; SELECT count(*) FROM job;\n").expect("a transaction");
    let value = "x".repeat(250);
    let labels: Vec<_> = (0..30).map(|n| format!("k{n}={value}")).collect();
    let mut next = 0;
    while !home.log().contains("the write-ahead log of the database has grown") {
        assert!(next < 60_000, "{}", home.log());
        let lines: Vec<_> =
            (next..next + 1000).map(|n| format!("01WAL{n} {}", labels.join(" "))).collect();
        assert!(
            home.run_client_with_input(&["add", "dune", "-", "-q"], &lines.join("\n"))
                .status
                .success()
        );
        next += 1000;
    }
    assert!(
        home.run_client_ok(&["status"]).contains("read transaction"),
        "{}",
        home.run_client_ok(&["status"])
    );
    let wal = home.path("state/jobtrack.db-wal");
    let wal_bytes = || std::fs::metadata(&wal).expect("the WAL").len();
    assert!(wal_bytes() > 64 << 20, "the warning comes above 64 MiB: {}", wal_bytes());
    let during = median_add_time(&home, "DURING");
    assert!(during < before * 10, "an add took {before:?} before and {during:?} during it");
    drop(shell.stdin.take());
    shell.wait().expect("the shell ends");
    // The next commits truncate the WAL.
    let cutting = async {
        let mut n = 0;
        while wal_bytes() > 64 << 20 {
            n += 1;
            home.run_client_ok(&["add", "dune", &format!("01CUT{n}")]);
        }
    };
    let late = tokio::time::timeout(EVENT_TIMEOUT, cutting).await.is_err();
    assert!(!late, "{}", home.log());
    daemon
        .wait_for_status(&home, |status| {
            status["degraded_reasons"].as_array().is_some_and(Vec::is_empty)
        })
        .await;
}

/// The median time of nine adds, each with its commit.
fn median_add_time(home: &DaemonHome, name: &str) -> Duration {
    let mut times: Vec<_> = (0..9)
        .map(|number| {
            timed(|| home.run_client_ok(&["add", "dune", &format!("01{name}{number}")])).1
        })
        .collect();
    times.sort();
    times[4]
}
