//! A provider gets another name by `previous_names`: a start renames its jobs, history and outages;
//! a reload leaves that to the next start and reports which jobs wait.

use std::time::Duration;

use crate::support::daemon::{Daemon, DaemonHome, utf8, wait_for_query_value};
use crate::support::fake_server::{FakeServer, Fault, FaultRepeat, FaultTarget, JobEnd, JobScript};
use crate::support::{FAST_POLLING_TOML, db};
use serde_json::Value;

fn hour_long_script() -> JobScript {
    JobScript::new().running(Duration::from_hours(1)).ending_with(JobEnd::Completed)
}

/// Configures one provider of the fake server for each name, with more settings.
fn configure(home: &DaemonHome, dune: &FakeServer, providers: &[(&str, &str)]) {
    home.configure(&dune.base_url(), FAST_POLLING_TOML);
    let config = std::fs::read_to_string(home.path("config.toml")).expect("the config");
    let (head, dune) = config.split_once("[providers.dune]").expect("a provider");
    let sections = providers.iter().map(|(name, more)| format!("[providers.{name}]{dune}{more}\n"));
    home.write_config(&format!("{head}{}", sections.collect::<String>()));
}

/// The provider names in a view.
fn provider_names(home: &DaemonHome, view: &str) -> Vec<String> {
    let all = format!("SELECT DISTINCT provider FROM {view} WHERE provider IS NOT NULL ORDER BY 1");
    db::query_rows(&home.database(), &all)
}

/// Waits until job `id` was polled at least three more times.
async fn wait_for_more_polls(home: &DaemonHome, id: u32) {
    let polls =
        db::query_value(&home.database(), &format!("SELECT polls FROM jobs WHERE id = {id}"));
    let more = format!("SELECT polls > {polls} + 2 FROM jobs WHERE id = {id}");
    wait_for_query_value(home, &more, "1").await;
}

fn status_has_provider(status: &Value, provider: &str) -> bool {
    let mut providers = status["providers"].as_array().expect("providers").iter();
    providers.any(|entry| entry["provider"] == provider)
}

/// A daemon with the provider `old`, a finished and an unfinished job of `old`, and an outage.
async fn daemon_with_jobs_of_old() -> (FakeServer, DaemonHome, Daemon) {
    let dune = FakeServer::start().await;
    dune.add_job("01OVER", JobScript::new().ending_with(JobEnd::Completed));
    dune.add_job("01RUNS", hour_long_script());
    let home = DaemonHome::without_config();
    configure(&home, &dune, &[("old", "")]);
    let daemon = home.start();
    start_outage(&home, &dune).await;
    (dune, home, daemon)
}

/// Adds a finished and an unfinished job of `old`, then starts an outage.
async fn start_outage(home: &DaemonHome, dune: &FakeServer) {
    for (id, name) in [("1", "01OVER"), ("2", "01RUNS")] {
        home.run_client_ok(&["add", "old", name]);
        home.run_client_ok(&["poll", id]);
    }
    wait_for_query_value(home, "SELECT state FROM jobs WHERE id = 1", "succeeded").await;
    dune.inject_fault(FaultTarget::All, Fault::status(503, ""), FaultRepeat::Always);
    wait_for_query_value(home, "SELECT count(*) FROM outages WHERE provider = 'old'", "1").await;
}

/// Everything of `old` is found under the name `new`, and the unfinished job is polled.
async fn assert_renamed(home: &DaemonHome, dune: &FakeServer) {
    for view in ["jobs", "history", "outages", "runs"] {
        assert_eq!(provider_names(home, view), ["new"], "{view}");
    }
    let (list, show) = (home.run_client_ok(&["list"]), home.run_client_ok(&["show", "2"]));
    assert!(list.contains("new") && !list.contains("old"), "{list}");
    assert!(show.contains("new") && !show.contains("old"), "{show}");
    assert!(home.run_client_ok(&["add", "new", "01RUNS"]).contains("2 new/01RUNS existing"));
    assert!(home.run_client_ok(&["add", "new", "01OVER"]).contains("1 new/01OVER existing"));
    let rejected = home.run_client(&["add", "old", "01RUNS"]);
    assert!(utf8(&rejected.stderr).contains("not configured"), "{}", utf8(&rejected.stderr));
    assert_eq!(db::query_value(&home.database(), "SELECT count(*) FROM jobs"), "2");
    let open = "SELECT count(*) FROM outages WHERE provider = 'new' AND ended_at IS NULL";
    assert_eq!(db::query_value(&home.database(), open), "1", "the outage continues");
    dune.clear_faults();
    wait_for_query_value(home, open, "0").await;
    wait_for_more_polls(home, 2).await;
    assert_eq!(db::history_violations(&home.database()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_leaves_the_rename_to_the_next_start_and_counts_the_waiting_jobs() {
    let (dune, home, daemon) = daemon_with_jobs_of_old().await;
    configure(&home, &dune, &[("new", "previous_names = [\"older\", \"old\"]")]);
    for _ in 0..2 {
        let report = home.run_client_ok(&["reload"]);
        let old = "needs a restart: providers.new.previous_names (old becomes new; not polled until then: 1 unfinished job of old)";
        let older = "(older becomes new; not polled until then: 0 unfinished jobs of older)";
        assert!(report.contains(old) && report.contains(older), "{report}");
        home.wait_for_log(old, 1);
    }
    assert_eq!(provider_names(&home, "jobs"), ["old"]);
    let waits = "provider old is not configured; not polled: 1 unfinished job; add [providers.old] and run `jobtrack reload`";
    daemon.wait_for_status(&home, |status| status["degraded_reasons"][0] == waits).await;
    home.run_client_ok(&["list", "--provider", "old"]);

    assert!(daemon.stop().success());
    let daemon = home.start();
    assert_renamed(&home, &dune).await;
    let report = home.run_client_ok(&["reload"]);
    assert!(report.contains("no settings changed"), "{report}");
    daemon.wait_for_status(&home, |status| status["degraded_reasons"][0].is_null()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_renames_before_it_serves() {
    let (dune, home, daemon) = daemon_with_jobs_of_old().await;
    assert!(daemon.stop().success());
    configure(&home, &dune, &[("new", "previous_names = [\"old\"]")]);
    let daemon = home.start();
    assert_renamed(&home, &dune).await;
    home.wait_for_log("renamed provider old to new (2 jobs)", 1);
    daemon.wait_for_status(&home, |status| !status_has_provider(status, "old")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_conflict_at_a_start_is_logged_once_and_changes_nothing_until_resolved() {
    let dune = FakeServer::start().await;
    dune.add_job("01BOTH", hour_long_script());
    dune.add_job("01OLD", hour_long_script());
    let home = DaemonHome::without_config();
    configure(&home, &dune, &[("old", ""), ("new", "")]);
    let daemon = home.start();
    for (provider, id) in [("old", "01BOTH"), ("new", "01BOTH"), ("old", "01OLD")] {
        home.run_client_ok(&["add", provider, id]);
    }
    let jobs = || db::query_rows(&home.database(), "SELECT id, provider FROM jobs ORDER BY id");
    let before = jobs();
    assert!(daemon.stop().success());
    configure(&home, &dune, &[("new", "previous_names = [\"old\"]")]);
    let daemon = home.start();
    let log = home.wait_for_log("restart jobtrackd", 1);
    let conflicts: Vec<_> = log.lines().filter(|line| line.contains("restart jobtrackd")).collect();
    assert_eq!((jobs(), conflicts.len()), (before, 1), "{log}");
    let conflict = conflicts[0];
    assert!(
        conflict.contains("01BOTH (jobs 1 and 2)") && conflict.contains("jobtrack untrack"),
        "{conflict}"
    );
    let waits = "provider old is not configured; not polled: 2 unfinished jobs; add [providers.old] and run `jobtrack reload`";
    daemon.wait_for_status(&home, |status| status["degraded_reasons"][0] == waits).await;
    wait_for_more_polls(&home, 2).await;
    let report = home.run_client_ok(&["reload"]);
    assert!(
        report.contains("old becomes new; not polled until then: 2 unfinished jobs of old"),
        "{report}"
    );

    home.run_client_ok(&["untrack", "1"]);
    assert!(daemon.stop().success());
    let daemon = home.start();
    assert_eq!(provider_names(&home, "jobs"), ["new"]);
    wait_for_more_polls(&home, 3).await;
    daemon.wait_for_status(&home, |status| !status_has_provider(status, "old")).await;
}
