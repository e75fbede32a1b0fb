//! A provider gets another name, with the real daemon and the real client: by a reload and by a
//! restart its jobs, their history and its outages are found under it, and are asked on.

use std::io::{Read, Write};
use std::process::{Command, Stdio};
use std::time::Duration;

use crate::support::daemon::{DaemonHome, utf8, wait_for_query_value};
use crate::support::fake_server::{FakeServer, Fault, FaultRepeat, FaultTarget, JobEnd, JobScript};
use crate::support::{EVENT_TIMEOUT, FAST_POLLING_TOML, db};
use jobtrack::api::{AddRequest, AddRequestEntry, Client};
use rustix::process::Signal;
use serde_json::Value;

fn hour_long_script() -> JobScript {
    JobScript::new().running(Duration::from_hours(1)).ending_with(JobEnd::Completed)
}

/// One provider of the stand-in for each of these names, with more settings.
fn configure(home: &DaemonHome, dune: &FakeServer, providers: &[(&str, &str)]) {
    home.configure(&dune.base_url(), FAST_POLLING_TOML);
    let config = std::fs::read_to_string(home.path("config.toml")).expect("the config");
    let (head, dune) = config.split_once("[providers.dune]").expect("a provider");
    let sections = providers.iter().map(|(name, more)| format!("[providers.{name}]{dune}{more}\n"));
    home.write_config(&format!("{head}{}", sections.collect::<String>()));
}

/// Every name of a provider in a view.
fn provider_names(home: &DaemonHome, view: &str) -> Vec<String> {
    let all = format!("SELECT DISTINCT provider FROM {view} WHERE provider IS NOT NULL ORDER BY 1");
    db::query_rows(&home.database(), &all)
}

/// Waits until job `id` has been asked again and again from now on.
async fn wait_for_more_polls(home: &DaemonHome, id: u32) {
    let polls =
        db::query_value(&home.database(), &format!("SELECT polls FROM jobs WHERE id = {id}"));
    let more = format!("SELECT polls > {polls} + 2 FROM jobs WHERE id = {id}");
    wait_for_query_value(home, &more, "1").await;
}

fn status_has_provider(status: &Value, provider: &str) -> bool {
    let mut own = status["providers"].as_array().expect("providers").iter();
    own.any(|own| own["provider"] == provider)
}

/// Two jobs of `old` at a service that does not answer: one is over, one goes on.
async fn start_outage(home: &DaemonHome, dune: &FakeServer) {
    for (id, name) in [("1", "01OVER"), ("2", "01RUNS")] {
        home.run_client_ok(&["add", "old", name]);
        home.run_client_ok(&["poll", id]);
    }
    wait_for_query_value(home, "SELECT state FROM jobs WHERE id = 1", "succeeded").await;
    dune.inject_fault(FaultTarget::All, Fault::status(503, ""), FaultRepeat::Always);
    wait_for_query_value(home, "SELECT count(*) FROM outages WHERE provider = 'old'", "1").await;
}

/// What was `old`'s is found under the name `new`, and lives.
async fn assert_renamed(home: &DaemonHome, dune: &FakeServer) {
    for view in ["jobs", "history", "outages", "runs"] {
        assert_eq!(provider_names(home, view), ["new"], "{view}");
    }
    let (list, show) = (home.run_client_ok(&["list"]), home.run_client_ok(&["show", "2"]));
    assert!(list.contains("new") && !list.contains("old"), "{list}");
    assert!(show.contains("new") && !show.contains("old"), "{show}");
    assert!(home.run_client_ok(&["add", "new", "01RUNS"]).contains("2 new/01RUNS known"));
    assert!(home.run_client_ok(&["add", "new", "01OVER"]).contains("1 new/01OVER known"));
    let refused = home.run_client(&["add", "old", "01RUNS"]);
    assert!(utf8(&refused.stderr).contains("not configured"), "{}", utf8(&refused.stderr));
    assert_eq!(db::query_value(&home.database(), "SELECT count(*) FROM jobs"), "2");
    let open = "SELECT count(*) FROM outages WHERE provider = 'new' AND ended_at IS NULL";
    assert_eq!(db::query_value(&home.database(), open), "1", "the service is still out");
    dune.clear_faults();
    wait_for_query_value(home, open, "0").await;
    wait_for_more_polls(home, 2).await;
    assert_eq!(db::history_violations(&home.database()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_renames_and_polling_continues() {
    let dune = FakeServer::start().await;
    dune.add_job("01OVER", JobScript::new().ending_with(JobEnd::Completed));
    dune.add_job("01RUNS", hour_long_script());
    let home = DaemonHome::without_config();
    configure(&home, &dune, &[("old", "")]);
    let daemon = home.start();
    start_outage(&home, &dune).await;
    configure(&home, &dune, &[("new", "previous_names = [\"older\", \"old\"]")]);
    let told = home.run_client_ok(&["reload"]);
    assert!(told.contains("provider old is now new, 2 jobs with it"), "{told}");
    assert!(!told.contains("wait"), "{told}");
    daemon
        .wait_for_status(&home, |status| {
            !status_has_provider(status, "old") && status_has_provider(status, "new")
        })
        .await;
    assert_renamed(&home, &dune).await;
    daemon.wait_for_status(&home, |status| status["degraded_reasons"][0].is_null()).await;
    let again = home.run_client_ok(&["reload"]);
    assert!(again.contains("no setting changed"), "{again}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_renames_before_it_serves() {
    let dune = FakeServer::start().await;
    dune.add_job("01OVER", JobScript::new().ending_with(JobEnd::Completed));
    dune.add_job("01RUNS", hour_long_script());
    let home = DaemonHome::without_config();
    configure(&home, &dune, &[("old", "")]);
    let daemon = home.start();
    start_outage(&home, &dune).await;
    assert!(daemon.stop().success());
    configure(&home, &dune, &[("new", "previous_names = [\"old\"]")]);
    let daemon = home.start();
    assert_renamed(&home, &dune).await;
    assert!(home.log().contains("provider old is now new, 2 jobs with it"), "{}", home.log());
    daemon.wait_for_status(&home, |status| !status_has_provider(status, "old")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_conflict_is_reported_and_changes_nothing_until_resolved() {
    let dune = FakeServer::start().await;
    dune.add_job("01BOTH", hour_long_script());
    dune.add_job("01OLD", hour_long_script());
    let home = DaemonHome::without_config();
    configure(&home, &dune, &[("old", ""), ("new", "")]);
    let daemon = home.start();
    for (provider, id) in [("old", "01BOTH"), ("new", "01BOTH"), ("old", "01OLD")] {
        home.run_client_ok(&["add", provider, id]);
    }
    let before = || db::query_rows(&home.database(), "SELECT id, provider FROM jobs ORDER BY id");
    let was = before();
    configure(&home, &dune, &[("new", "previous_names = [\"old\"]")]);
    let refused = home.run_client(&["reload"]);
    let why = utf8(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{why}");
    assert!(why.contains("01BOTH (jobs 1 and 2)") && why.contains("jobtrack untrack"), "{why}");
    daemon.wait_for_notification("READY=1", &home);
    daemon.signal(Signal::HUP);
    daemon.wait_for_notification("RELOADING=1", &home);
    daemon.wait_for_notification("READY=1", &home);
    let told = |what: &str| home.log().lines().filter(|line| line.contains(what)).count();
    assert_eq!(told("the old one stays in force: provider new cannot"), 2, "{}", home.log());
    assert_eq!(before(), was);
    wait_for_more_polls(&home, 3).await;

    assert!(daemon.stop().success());
    let daemon = home.start();
    assert_eq!((before(), told("until then")), (was, 1), "{}", home.log());
    let waits = "provider old is not configured; 2 jobs of it wait";
    daemon.wait_for_status(&home, |status| status["degraded_reasons"][0] == waits).await;
    wait_for_more_polls(&home, 2).await;

    home.run_client_ok(&["untrack", "1"]);
    let told = home.run_client_ok(&["reload"]);
    assert!(told.contains("provider old is now new, 2 jobs with it"), "{told}");
    assert_eq!(provider_names(&home, "jobs"), ["new"]);
    wait_for_more_polls(&home, 3).await;
    daemon.wait_for_status(&home, |status| !status_has_provider(status, "old")).await;
}

/// Whoever adds while the name changes has his job under the one or is told of the other.
#[tokio::test(flavor = "multi_thread")]
async fn no_add_is_left_under_the_previous_name() {
    let dune = FakeServer::start().await;
    let home = DaemonHome::without_config();
    configure(&home, &dune, &[("old", "")]);
    let daemon = home.start();
    let adding: Vec<_> = (0..4)
        .map(|who| {
            let client = Client::open(Some(&home.socket())).expect("a client");
            tokio::spawn(async move {
                for number in 0.. {
                    let job = |nth| AddRequestEntry {
                        similar_to: None,
                        provider: "old".to_owned(),
                        remote_id: format!("01X{who}N{number}J{nth}"),
                        labels: std::collections::BTreeMap::new(),
                        give_up_after: None,
                    };
                    let jobs = (0..50).map(job).collect();
                    let answer = client.add(&AddRequest { jobs }).await.expect("an answer");
                    if answer.jobs.iter().any(|job| job.error.is_some()) {
                        return number * 50;
                    }
                }
                unreachable!("a name that is gone is refused")
            })
        })
        .collect();
    wait_for_query_value(&home, "SELECT count(*) > 400 FROM jobs", "1").await;
    configure(&home, &dune, &[("new", "previous_names = [\"old\"]")]);
    let told = home.run_client_ok(&["reload"]);
    assert!(told.contains("provider old is now new"), "{told}");
    let mut acknowledged = 0;
    for one in adding {
        let added = tokio::time::timeout(EVENT_TIMEOUT, one).await.expect("it ends");
        acknowledged += added.expect("no panic");
    }
    let under = "SELECT provider, count(*) FROM jobs GROUP BY 1";
    assert_eq!(db::query_rows(&home.database(), under), [format!("new|{acknowledged}")]);
    daemon.wait_for_status(&home, |status| !status_has_provider(status, "old")).await;
}

/// A database that is held by another program is waited for, and polls go on under the former name.
#[tokio::test(flavor = "multi_thread")]
async fn a_rename_waits_for_pending_writes() {
    let dune = FakeServer::start().await;
    dune.add_job("01RUNS", hour_long_script());
    let home = DaemonHome::without_config();
    configure(&home, &dune, &[("old", "")]);
    let daemon = home.start();
    home.run_client_ok(&["add", "old", "01RUNS"]);
    wait_for_query_value(&home, "SELECT state FROM jobs", "running").await;
    let mut operator = Command::new("sqlite3");
    operator.arg(home.database()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut operator = operator.spawn().expect("sqlite3 is installed");
    let mut held = operator.stdin.take().expect("a pipe");
    held.write_all(b"BEGIN IMMEDIATE; SELECT 'held';\n").expect("a statement");
    let mut line = [0; 4];
    operator.stdout.as_mut().expect("a pipe").read_exact(&mut line).expect("it is held");

    configure(&home, &dune, &[("new", "previous_names = [\"old\"]")]);
    let mut reload = home.client_command(&["reload"]);
    let reload = reload.stdout(Stdio::piped()).spawn().expect("a client");
    daemon.wait_for_notification("RELOADING=1", &home);
    daemon.wait_for_status(&home, |status| status["degraded_reasons"][0].is_string()).await;
    let asked = dune.request_count();
    dune.wait_for_requests(asked + 3, EVENT_TIMEOUT).await;
    daemon
        .wait_for_status(&home, |status| {
            status_has_provider(status, "old") && !status_has_provider(status, "new")
        })
        .await;
    drop(held);
    operator.wait().expect("the shell ends");
    let told = utf8(&reload.wait_with_output().expect("it ends").stdout);
    assert!(told.contains("provider old is now new, 1 jobs with it"), "{told}");
    wait_for_more_polls(&home, 1).await;
    daemon.wait_for_status(&home, |status| !status_has_provider(status, "old")).await;
}

/// A request that somebody ordered of the former name is counted where its provider goes.
#[tokio::test(flavor = "multi_thread")]
async fn an_on_demand_request_in_flight_survives_the_rename() {
    let dune = FakeServer::start().await;
    dune.inject_fault(FaultTarget::All, Fault::Hang, FaultRepeat::Always);
    let home = DaemonHome::without_config();
    configure(&home, &dune, &[("old", "")]);
    let daemon = home.start();
    let mut errand = home.client_command(&["check", "old"]);
    let errand = errand.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("a client");
    dune.wait_for_requests(1, EVENT_TIMEOUT).await;
    configure(&home, &dune, &[("new", "previous_names = [\"old\"]")]);
    home.run_client_ok(&["reload"]);
    let in_flight = |status: &Value, count: u64| {
        let providers = status["providers"].as_array().expect("providers");
        let all = providers.iter().map(|own| (own["provider"].as_str(), own["in_flight"].as_u64()));
        all.eq([(Some("new"), Some(count))])
    };
    daemon.wait_for_status(&home, |status| in_flight(status, 1)).await;
    // Its connection ends, and it with that.
    dune.pause().await;
    daemon.wait_for_status(&home, |status| in_flight(status, 0)).await;
    errand.wait_with_output().expect("it ends");
}
