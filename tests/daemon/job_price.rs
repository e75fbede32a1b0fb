//! `jobtrack add --price` with the real daemon.

use std::collections::BTreeMap;
use std::time::Duration;

use jobtrack::api::{AddRequest, AddRequestEntry, Client};
use serde_json::{Value, json};

use crate::support::daemon::{DaemonHome, utf8, wait_for_query_value};
use crate::support::db;
use crate::support::fake_server::{FakeServer, JobScript};

/// A fake Dune with these jobs, which run, and the directory of a daemon with the default policy and price.
async fn running_jobs(ids: &[&str]) -> (FakeServer, DaemonHome) {
    let dune = FakeServer::start().await;
    for id in ids {
        let script = JobScript::starting_at_first_request();
        dune.add_job(id, script.running(Duration::from_hours(1)));
    }
    let home = DaemonHome::without_config();
    home.configure(&dune.base_url(), "requests_per_minute = 600");
    (dune, home)
}

fn shown_price(home: &DaemonHome, job: &str) -> (String, Value) {
    let text = home.run_client_ok(&["show", job]);
    let row = text.lines().find_map(|line| line.strip_prefix("price ")).expect("a row");
    let job: Value =
        serde_json::from_str(home.run_client_ok(&["--json", "show", job]).trim()).expect("JSON");
    (row.trim().to_owned(), job["price"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_is_shown_kept_over_a_restart_and_changed_by_adding_the_job_again() {
    let (_dune, home) = running_jobs(&["OWN", "DEFAULT", "LISTED"]).await;
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "OWN", "--price", "1500ms"]);
    home.run_client_ok(&["add", "dune", "DEFAULT"]);
    let listed = home.run_client_with_input(&["add", "-", "--price", "auto"], "dune/LISTED\n");
    assert!(listed.status.success(), "{}", utf8(&listed.stderr));
    let own = ("1s 500ms".to_owned(), json!("1s 500ms"));
    let expected = [own, ("-".to_owned(), Value::Null), ("auto".to_owned(), json!("auto"))];
    let shown = || ["dune/OWN", "dune/DEFAULT", "dune/LISTED"].map(|job| shown_price(&home, job));
    assert_eq!(shown(), expected);
    assert!(daemon.stop().success());
    let _daemon = home.start();
    assert_eq!(shown(), expected);

    home.run_client_ok(&["add", "dune", "OWN", "--label", "a=b"]);
    assert_eq!(shown(), expected, "added again without a price");
    home.run_client_ok(&["add", "dune", "OWN", "--price", "auto"]);
    home.run_client_ok(&["add", "dune", "DEFAULT", "--price", "90s"]);
    let changed = shown().map(|(row, _)| row);
    assert_eq!(changed, ["auto", "1m 30s", "auto"]);

    home.run_client_ok(&["add", "dune", "OWN", "DEFAULT", "--price", "default"]);
    let line = r#"{"provider":"dune","remote_id":"LISTED","price":"default"}"#;
    let listed = home.run_client_with_input(&["add", "-"], line);
    assert!(listed.status.success(), "{}", utf8(&listed.stderr));
    assert_eq!(shown(), [(); 3].map(|()| ("-".to_owned(), Value::Null)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_invalid_price_is_refused() {
    let (_dune, home) = running_jobs(&["A"]).await;
    let _daemon = home.start();
    for price in ["cheap", "1", "9ms", "61m", ""] {
        let refused = home.run_client(&["add", "dune", "A", "--price", price]);
        assert_eq!(refused.status.code(), Some(2), "{price:?}");
        let error = utf8(&refused.stderr);
        assert!(error.contains("at least 10ms and at most 1h"), "{price:?}: {error}");
    }
    // The daemon checks the price as well, since other clients may not.
    let job = AddRequestEntry {
        provider: "dune".to_owned(),
        remote_id: "A".to_owned(),
        labels: BTreeMap::new(),
        give_up_after: None,
        price: Some("2h".to_owned()),
        similar_to: None,
        again: false,
    };
    let client = Client::open(Some(&home.socket())).expect("a client");
    let added = client.add(&AddRequest { jobs: vec![job] }).await.expect("a response").jobs;
    let error = added[0].error.as_deref().expect("an error");
    assert!(error.starts_with("price must be") && error.contains("at most 1h"), "{error}");
    assert_eq!(db::query_value(&home.database(), "SELECT count(*) FROM jobs"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_with_a_fixed_price_is_not_polled_early() {
    let (dune, home) = running_jobs(&["FIXED", "AUTO"]).await;
    let _daemon = home.start();
    home.run_client_ok(&["add", "dune", "FIXED", "--price", "1h"]);
    home.run_client_ok(&["add", "dune", "AUTO"]);
    wait_for_query_value(&home, "SELECT polls >= 8 FROM jobs WHERE remote_id = 'AUTO'", "1").await;
    let fixed = dune.request_count_for_job("FIXED");
    assert!((1..=3).contains(&fixed), "{fixed} polls of the job with a fixed price");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_time_of_the_next_poll_follows_a_price_that_a_user_or_a_reload_sets() {
    let (dune, home) = running_jobs(&["OWN", "DEFAULT"]).await;
    home.configure(&dune.base_url(), "requests_per_minute = 600\nprice = \"1s\"");
    let _daemon = home.start();
    home.run_client_ok(&["add", "dune", "OWN", "DEFAULT"]);
    // Without past runs a job is polled after half a minute at the latest, and much earlier at this price.
    let wait_for = async |job: &str, is_later: bool| {
        let seconds = "(julianday(next_poll_at) - julianday(last_polled_at)) * 86400";
        let sql = format!(
            "SELECT polls >= 1 AND {seconds} {} 20 FROM jobs WHERE remote_id = '{job}'",
            if is_later { ">" } else { "<" }
        );
        wait_for_query_value(&home, &sql, "1").await;
    };
    wait_for("OWN", false).await;
    home.run_client_ok(&["add", "dune", "OWN", "--price", "1h"]);
    wait_for("OWN", true).await;
    wait_for("DEFAULT", false).await;
    home.configure(&dune.base_url(), "requests_per_minute = 600\nprice = \"1h\"");
    home.run_client_ok(&["reload"]);
    wait_for("DEFAULT", true).await;
}
