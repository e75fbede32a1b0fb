//! What is recorded beside the jobs, and what goes: outages, the daemon's own downtime, old jobs.

use std::time::Duration;

use crate::support::daemon::{Home, finish_within, until};
use crate::support::fake_server::{End, Fault, Life, StandIn, Target, Times};
use crate::support::{QUICK, SOON, db};

fn long() -> Life {
    Life::new().running(Duration::from_hours(1)).then(End::Completed)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_a_provider_is_recorded_from_its_first_failure_to_its_end() {
    let dune = StandIn::start().await;
    dune.put("01LONG", long());
    let home = Home::new(&dune.base_url(), QUICK);
    let daemon = home.start();
    home.ok(&["add", "dune", "01LONG"]);
    dune.wait_for_requests(1, SOON).await;
    dune.fault(Target::All, Fault::status(503, ""), Times::N(5));
    dune.wait_for_requests(7, SOON).await;
    let closed = "SELECT provider, reason, failed_polls, ended_at > began_at FROM outages
                  WHERE provider IS NOT NULL AND ended_at IS NOT NULL";
    until(&home, closed, "dune|HTTP 503|5|1").await;
    let log = home.log();
    assert_eq!(log.matches("polls fail; no job changes state").count(), 1, "{log}");
    assert_eq!(log.matches("answers again").count(), 1, "{log}");
    daemon.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_that_outlives_the_daemon_is_closed_by_the_next_one() {
    let dune = StandIn::start().await;
    dune.put("01LONG", long());
    let home = Home::new(&dune.base_url(), QUICK);
    let daemon = home.start();
    home.ok(&["add", "dune", "01LONG"]);
    dune.wait_for_requests(1, SOON).await;
    dune.pause().await;
    let open = "SELECT count(*) FROM outages WHERE provider = 'dune' AND ended_at IS NULL";
    until(&home, open, "1").await;
    daemon
        .wait_for_status(&home, |status| status["providers"][0]["outage_since"].is_string())
        .await;
    daemon.kill();
    dune.resume().await;
    let _daemon = home.start();
    until(&home, open, "0").await;
    let own = "SELECT reason, ended_at >= began_at FROM outages WHERE provider IS NULL";
    assert_eq!(db::query(&home.database(), own), ["jobtrackd ended without a word|1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ordered_stop_is_told_from_a_crash() {
    let dune = StandIn::start().await;
    let home = Home::new(&dune.base_url(), QUICK);
    home.start().stop();
    let _daemon = home.start();
    let own = "SELECT reason FROM outages WHERE provider IS NULL";
    assert_eq!(db::query(&home.database(), own), ["jobtrackd was stopped"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_jobs_go_with_their_history_and_no_other() {
    let dune = StandIn::start().await;
    dune.put("01LONG", long());
    for n in 0..30 {
        dune.put(&format!("01SHORT{n}"), Life::new().then(End::Completed));
    }
    dune.put("01FAILED", Life::new().then(End::Failed));
    let keep = "[maintenance]\nprune = \"* * * * * *\"\nkeep = { succeeded = \"1s\", default = \"forever\" }";
    let home = Home::new(&dune.base_url(), &format!("{QUICK}\n{keep}"));
    let _daemon = home.start();
    let short: Vec<_> = (0..30).map(|n| format!("01SHORT{n}")).collect();
    home.jobtrack_with(&["add", "dune", "-"], &short.join("\n"));
    home.ok(&["add", "dune", "01LONG", "01FAILED"]);
    until(&home, "SELECT min(remote_id), max(remote_id), count(*) FROM jobs", "01FAILED|01LONG|2")
        .await;
    let orphans = "SELECT count(*) FROM transition WHERE job_id NOT IN (SELECT id FROM job)";
    assert_eq!(db::value(&home.database(), orphans), "0");
    let next = home.ok(&["add", "dune", "01SHORT1"]);
    assert!(next.starts_with("33 "), "a number is never used twice: {next}");
}

#[test]
fn a_table_of_the_users_takes_the_place_of_the_whole_default() {
    let home = Home::new("http://127.0.0.1:9", "[maintenance]\nkeep = { default = \"forever\" }");
    let config =
        jobtrack::config::load(Some(&home.path("config.toml")), &std::collections::BTreeMap::new());
    let keep = config.expect("a config").config.maintenance.retention;
    assert_eq!(keep.max_ages().count(), 0, "nothing is ever removed: {keep:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_missed_is_caught_up() {
    let dune = StandIn::start().await;
    dune.put("01OLD", Life::new().then(End::Completed));
    let daily = "[maintenance]\nprune = \"17 3 * * *\"\nkeep = { succeeded = \"1s\" }";
    let home = Home::new(&dune.base_url(), &format!("{QUICK}\n{daily}"));
    let daemon = home.start();
    home.ok(&["add", "dune", "01OLD"]);
    assert!(home.jobtrack(&["wait", "1"]).status.success());
    daemon.stop();
    // As if it had been off for two days; the operator's shell writes while nobody else does.
    let mut shell = std::process::Command::new("sqlite3");
    shell.arg(home.database()).arg(
        "INSERT OR REPLACE INTO milestone VALUES ('prune', datetime('now', '-2 days') || '.000');
         UPDATE job SET terminal_at = '2026-01-01 00:00:00.000';",
    );
    assert!(finish_within(&mut shell, "", SOON).status.success());
    let _daemon = home.start();
    until(&home, "SELECT count(*) FROM jobs", "0").await;
    until(&home, "SELECT at > datetime('now', '-1 hour') FROM milestone WHERE name = 'prune'", "1")
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_18_a_reader_that_stays_slows_nothing_and_is_told_of() {
    let dune = StandIn::start().await;
    let home = Home::new(&dune.base_url(), "");
    let _daemon = home.start();
    home.ok(&["add", "dune", "01FIRST"]);
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
    while !home.log().contains("the WAL grows") {
        assert!(next < 60_000, "{}", home.log());
        let lines: Vec<_> =
            (next..next + 1000).map(|n| format!("01WAL{n} {}", labels.join(" "))).collect();
        assert!(
            home.jobtrack_with(&["add", "dune", "-", "-q"], &lines.join("\n")).status.success()
        );
        next += 1000;
    }
    assert!(home.ok(&["status"]).contains("read transaction"), "{}", home.ok(&["status"]));
    drop(shell.stdin.take());
    shell.wait().expect("the shell ends");
    // The next commits cut it.
    let wal = home.path("state/jobtrack.db-wal");
    let cutting = async {
        let mut n = 0;
        while std::fs::metadata(&wal).expect("the WAL").len() > 64 << 20 {
            n += 1;
            home.ok(&["add", "dune", &format!("01CUT{n}")]);
        }
    };
    let late = tokio::time::timeout(SOON, cutting).await.is_err();
    assert!(!late, "{}", home.log());
}
