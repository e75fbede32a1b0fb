//! Learned durations with the real daemon and client: the similarity key of a job, the duration
//! sample that its end adds, kills that neither lose nor duplicate samples, and `jobtrack forget`.

use std::time::Duration;

use crate::support::daemon::{DaemonHome, utf8, wait_for_query_value};
use crate::support::fake_server::{FakeServer, JobEnd, JobScript};
use crate::support::{FAST_POLLING_TOML, db};
use jobtrack::api::{AddOutcome, AddRequest, AddRequestEntry, Client, ClientError};

/// A fake Dune on which these jobs run for an hour, and a daemon's directory.
async fn daemon_with_running_jobs(ids: &[&str]) -> (FakeServer, DaemonHome) {
    let dune = FakeServer::start().await;
    for id in ids {
        dune.add_job(id, JobScript::new().running(Duration::from_hours(1)));
    }
    let home = DaemonHome::new(&dune.base_url(), FAST_POLLING_TOML);
    (dune, home)
}

fn similarity_keys(home: &DaemonHome) -> Vec<String> {
    db::query_rows(&home.database(), "SELECT remote_id, similarity_keys FROM jobs ORDER BY id")
}

#[tokio::test(flavor = "multi_thread")]
async fn similarity_key_comes_from_the_user_else_the_provider() {
    let (_dune, home) = daemon_with_running_jobs(&["A", "B", "C"]).await;
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "A"]);
    home.run_client_ok(&["add", "dune", "B", "--similar-to", "nightly"]);
    home.run_client_with_input(&["add", "dune", "-", "--similar-to", "by lines"], "C team=data\n");
    for id in ["1", "2", "3"] {
        home.run_client_ok(&["poll", id]);
    }
    let expected = [r#"A|["query 980708"]"#, r#"B|"nightly""#, r#"C|"by lines""#];
    assert_eq!(similarity_keys(&home), expected, "a response replaced the key of the user");
    assert!(
        home.run_client_ok(&["show", "2"])
            .lines()
            .any(|line| line.starts_with("similar to") && line.ends_with("nightly"))
    );
    let shown: serde_json::Value =
        serde_json::from_str(&home.run_client_ok(&["--json", "show", "1"])).expect("JSON");
    assert_eq!(shown["similarity_keys"], serde_json::json!(["query 980708"]));

    // For a tracked job, `--similar-to` replaces the key; without it, the key stays.
    assert!(
        home.run_client_ok(&["add", "dune", "A", "--similar-to", "weekly"]).contains("existing")
    );
    assert!(home.run_client_ok(&["add", "dune", "A", "B"]).contains("existing"));
    home.run_client_ok(&["poll", "1"]);
    daemon.kill();
    let _daemon = home.start();
    home.run_client_ok(&["poll", "1"]);
    let expected = [r#"A|"weekly""#, r#"B|"nightly""#, r#"C|"by lines""#];
    assert_eq!(similarity_keys(&home), expected, "the restarted daemon has other keys");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_similarity_key_has_1_to_128_characters() {
    let (_dune, home) = daemon_with_running_jobs(&["A"]).await;
    let _daemon = home.start();
    let long = "x".repeat(129);
    for bad in ["", "a\nb", "a\u{7f}", long.as_str()] {
        let rejected = home.run_client(&["add", "dune", "A", "--similar-to", bad]);
        assert_eq!(rejected.status.code(), Some(2), "{bad:?}");
        assert!(utf8(&rejected.stderr).contains("1 to 128 characters"), "{bad:?}");
    }
    // The daemon checks the key as well, since other clients may not.
    let client = Client::open(Some(&home.socket())).expect("a client");
    let job = |id: &str, similar_to: &str| AddRequestEntry {
        provider: "dune".to_owned(),
        remote_id: id.to_owned(),
        labels: std::collections::BTreeMap::new(),
        give_up_after: None,
        price: None,
        similar_to: Some(similar_to.to_owned()),
        again: false,
    };
    let longest = "\u{811a}".repeat(128);
    let jobs = vec![job("A", &longest), job("B", ""), job("C", "a\nb"), job("D", &long)];
    let added = client.add(&AddRequest { jobs }).await.expect("a response").jobs;
    let outcomes: Vec<_> = added.iter().map(|job| job.outcome).collect();
    let rejected = AddOutcome::Rejected;
    assert_eq!(outcomes, [AddOutcome::Added, rejected, rejected, rejected]);
    let mut errors = added.iter().skip(1).map(|job| job.error.clone().expect("an error"));
    assert!(errors.all(|error| error.contains("1 to 128 characters")));
    assert_eq!(similarity_keys(&home), [format!("A|\"{longest}\"")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn duration_samples_are_deleted_by_similarity_key_or_provider() {
    let (_dune, home) = daemon_with_running_jobs(&[]).await;
    home.start().stop();
    let rows = r#"INSERT INTO duration_sample (provider, similarity_keys, total_ms) VALUES
        ('dune', '["query 7"]', 1000), ('dune', '"nightly"', 2000), ('dune', '["query 70"]', 3000),
        ('dune', NULL, 4000), ('gone', '["queue q, DDL, statement x", "queue q, DDL"]', 5000),
        ('gone', '["queue q, DDL"]', 6000)"#;
    db::run_script_ok(&home.database(), rows);
    let daemon = home.start();
    let remaining_ids =
        || db::query_rows(&home.database(), "SELECT id FROM duration_sample ORDER BY id").join(" ");
    let cases: [(&[&str], &str, &str); 7] = [
        (&["dune", "--similar-to", "query 7"], "dune: 1 run forgotten\n", "2 3 4 5 6"),
        (&["dune", "--similar-to", "query 7"], "dune: 0 runs forgotten\n", "2 3 4 5 6"),
        (&["dune", "--similar-to", "nightly"], "dune: 1 run forgotten\n", "3 4 5 6"),
        (&["unknown_provider"], "unknown_provider: 0 runs forgotten\n", "3 4 5 6"),
        (&["gone", "--similar-to", "queue q, DDL"], "gone: 2 runs forgotten\n", "3 4 5"),
        (
            &["--json", "dune"],
            "{\"provider\":\"dune\",\"similar_to\":null,\"forgotten_count\":2}\n",
            "5",
        ),
        (&["dune"], "dune: 0 runs forgotten\n", "5"),
    ];
    for (arguments, printed, expected) in cases {
        assert_eq!(
            home.run_client_ok(&[&["forget"], arguments].concat()),
            printed,
            "{arguments:?}"
        );
        assert_eq!(remaining_ids(), expected, "{arguments:?}");
    }
    // A provider that has only duration samples is not listed in the status.
    let status: serde_json::Value =
        serde_json::from_str(&home.run_client_ok(&["--json", "status", "--fail"])).expect("JSON");
    assert_eq!(status["providers"].as_array().map(Vec::len), Some(1), "{status}");
    assert_eq!(home.run_client(&["forget", "Not A Name"]).status.code(), Some(2));
    let client = Client::open(Some(&home.socket())).expect("a client");
    let dune = "dune".parse().expect("a name");
    match client.forget_durations(&dune, Some("")).await {
        Err(ClientError::Rejected(problem)) => assert_eq!(problem.code, "bad_request"),
        other => panic!("an empty key must be rejected: {other:?}"),
    }
    assert!(daemon.stop().success());
}

/// The duration samples, and the durations that the jobs' own times give; both must be equal.
const DURATION_SAMPLES_SQL: &str =
    "SELECT similarity_keys, total_ms, run_ms FROM duration_sample ORDER BY 2, 3, 1";
const TRUE_DURATIONS_SQL: &str = "SELECT similarity_keys,
    cast(round((julianday(ended_at) - julianday(submitted_at)) * 86400000.0) AS INTEGER),
    cast(round((julianday(ended_at) - julianday(started_at)) * 86400000.0) AS INTEGER)
    FROM jobs WHERE terminal ORDER BY 2, 3, 1";
/// With this price a job of one second is polled several times.
const FREQUENT_POLLING_TOML: &str =
    "requests_per_minute = 6000\nmin_interval = \"100ms\"\nprice = \"10ms\"";

#[tokio::test(flavor = "multi_thread")]
async fn an_end_adds_one_duration_sample_despite_kills_and_on_demand_polls() {
    let dune = FakeServer::start().await;
    let ids: Vec<String> = (0..40).map(|number| format!("R{number:02}")).collect();
    for (number, id) in (0u64..).zip(&ids) {
        let (pending_ms, run_ms) = (number * 7, 300 + number * 80);
        let script = JobScript::starting_at_first_request()
            .pending(Duration::from_millis(pending_ms))
            .running(Duration::from_millis(run_ms));
        let end = if number % 5 == 0 { JobEnd::Failed } else { JobEnd::Completed };
        dune.add_job(id, script.ending_with(end));
    }
    let home = DaemonHome::new(&dune.base_url(), FREQUENT_POLLING_TOML);
    let mut daemon = home.start();
    home.run_client_ok(
        &[&["add", "dune"], &ids.iter().map(String::as_str).collect::<Vec<_>>()[..]].concat(),
    );
    for samples in [1, 10, 20, 30] {
        wait_for_query_value(
            &home,
            &format!("SELECT count(*) >= {samples} FROM duration_sample"),
            "1",
        )
        .await;
        daemon.kill();
        daemon = home.start();
    }
    wait_for_query_value(&home, "SELECT count(*) FROM jobs WHERE terminal", "40").await;
    let samples = db::query_rows(&home.database(), DURATION_SAMPLES_SQL);
    assert_eq!(
        samples,
        db::query_rows(&home.database(), TRUE_DURATIONS_SQL),
        "samples must follow from the service's own times"
    );
    assert!(samples.iter().all(|row| row.starts_with(r#"["query 980708"]|"#)), "{samples:?}");

    // A finished job adds no second sample.
    for id in ["1", "2", "40"] {
        home.run_client_ok(&["poll", id]);
    }
    home.run_client_ok(&["add", "dune", "R00", "R01"]);
    daemon.kill();
    let daemon = home.start();
    home.run_client_ok(&["poll", "3"]);
    assert_eq!(db::query_rows(&home.database(), DURATION_SAMPLES_SQL), samples);
    assert_eq!(home.run_client_ok(&["forget", "dune"]), "dune: 40 runs forgotten\n");
    assert_eq!(db::query_rows(&home.database(), DURATION_SAMPLES_SQL), [""; 0]);
    assert_eq!(db::history_violations(&home.database()), [""; 0]);
    assert!(daemon.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn durations_are_learned_under_the_users_similarity_key() {
    let dune = FakeServer::start().await;
    for id in ["WITHOUT_KEY", "WITH_KEY", "KEY_ADDED_LATER"] {
        dune.add_job(id, JobScript::new().running(Duration::from_hours(1)));
    }
    let home = DaemonHome::new(
        &dune.base_url(),
        "requests_per_minute = 6000\nmin_interval = \"1h\"\nmax_interval = \"1h\"",
    );
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "WITH_KEY", "--similar-to", "nightly"]);
    home.run_client_ok(&["add", "dune", "WITHOUT_KEY", "KEY_ADDED_LATER"]);
    for id in ["1", "2", "3"] {
        home.run_client_ok(&["poll", id]);
    }
    // This job is tracked already and has a key from the provider.
    home.run_client_ok(&["add", "dune", "KEY_ADDED_LATER", "--similar-to", "weekly"]);
    home.run_client_ok(&["cancel", "1", "2", "3"]);
    let keys_sql = "SELECT similarity_keys FROM duration_sample ORDER BY similarity_keys";
    assert_eq!(
        db::query_rows(&home.database(), keys_sql),
        ["\"nightly\"", "\"weekly\"", r#"["query 980708"]"#]
    );
    assert!(daemon.stop().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn durations_from_earlier_daemons_decide_poll_times() {
    let dune = FakeServer::start().await;
    for id in ["BEFORE", "AFTER"] {
        dune.add_job(id, JobScript::starting_at_first_request().running(Duration::from_hours(1)));
    }
    // Without duration samples a job is polled again within about a second.
    let home = DaemonHome::new(&dune.base_url(), "requests_per_minute = 6000\nprice = \"50ms\"");
    home.start().stop();
    let insert_samples =
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
                INSERT INTO duration_sample (provider, similarity_keys, total_ms, run_ms)
                SELECT 'dune', '[\"query 980708\"]', 8000, 8000 FROM n";
    db::run_script_ok(&home.database(), insert_samples);
    let daemon = home.start();
    let polled_rarely_sql = |filter: &str| {
        let interval = "(julianday(next_poll_at) - julianday(last_polled_at)) * 86400.0";
        format!("SELECT {interval} > 3.0 FROM jobs WHERE {filter}")
    };
    home.run_client_ok(&["add", "dune", "BEFORE"]);
    wait_for_query_value(&home, &polled_rarely_sql("remote_id = 'BEFORE' AND polls = 1"), "1")
        .await;
    assert_eq!(
        home.run_client_ok(&["forget", "dune", "--similar-to", "query 980708"]),
        "dune: 40 runs forgotten\n"
    );
    home.run_client_ok(&["forget", "dune"]);
    home.run_client_ok(&["add", "dune", "AFTER"]);
    wait_for_query_value(&home, &polled_rarely_sql("remote_id = 'AFTER'"), "0").await;
    assert!(daemon.stop().success());
}
