//! The similarity keys and the reported duration that each kind reads from an answer.

use std::time::Duration;

use jobtrack::job::SimilarityKeys;
use serde_json::{Value, json};

use super::dataarts::DATAARTS;
use super::dli::{DLI, DOCUMENTED_SIMILARITY_KEYS};
use super::dune::DUNE;
use super::harness::{Harness, ProviderFixture};
use super::job_list::dli_with_statement_capture;
use crate::support::fake_server::{dli, dune};

fn similarity_keys(names: &[&str]) -> SimilarityKeys {
    SimilarityKeys::from_provider(names.iter().map(|name| (*name).to_owned()))
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The smallest body with this provider state and more fields.
fn body_with_fields(fixture: &ProviderFixture, word: &str, extra_fields: Value) -> String {
    let mut object = (fixture.minimal_body)(word);
    let Value::Object(extra_fields) = extra_fields else { panic!("fields") };
    object.extend(extra_fields);
    Value::Object(object).to_string()
}

#[tokio::test]
async fn dune_jobs_are_similar_by_query_id() {
    let harness = Harness::new(&DUNE).await;
    let cases = [
        (json!(980_708), similarity_keys(&["query 980708"])),
        (json!("980708"), similarity_keys(&["query 980708"])),
        (json!(null), SimilarityKeys::Unknown),
        (json!(0), SimilarityKeys::Unknown),
        (json!([980_708]), SimilarityKeys::Unknown),
    ];
    for (query, expected) in cases {
        let body = body_with_fields(&DUNE, "QUERY_STATE_PENDING", json!({ "query_id": query }));
        assert_eq!(
            harness.parse_valid_body("a query", body).await.similarity_keys,
            expected,
            "{query}"
        );
    }
}

#[tokio::test]
async fn dune_run_duration_falls_back_to_metadata_for_finished_jobs() {
    let harness = Harness::new(&DUNE).await;
    let run_duration = |word: &str, millis: Value| {
        let metadata = json!({ "result_metadata": { "execution_time_millis": millis } });
        let body = body_with_fields(&DUNE, word, metadata);
        async { harness.parse_valid_body("a query", body).await.reported_duration }
    };
    assert_eq!(run_duration("QUERY_STATE_COMPLETED", json!(24)).await, Some(ms(24)));
    assert_eq!(run_duration("QUERY_STATE_EXECUTING", json!(24)).await, None);
    for implausible in
        [json!(0), json!(-1), json!(1e12), json!(400_u64 * 86_400_000), json!("soon")]
    {
        assert_eq!(
            run_duration("QUERY_STATE_COMPLETED", implausible.clone()).await,
            None,
            "{implausible}"
        );
    }
    // The document's example contradicts itself; its times, which have precedence, give 196 s.
    let with_times = harness.parse_valid_body("times and metadata", dune::COMPLETED_EXAMPLE).await;
    assert_eq!(
        (with_times.reported_duration, with_times.similarity_keys),
        (None, similarity_keys(&["query 980708"]))
    );
}

#[tokio::test]
async fn dli_jobs_are_similar_by_statement_and_by_queue_and_type() {
    let job = |fields: Value| body_with_fields(&DLI, "RUNNING", fields);
    let whole = json!({ "queue_name": "q", "job_type": "INSERT", "statement": "select 5" });
    let broad_key = "queue q, INSERT";
    let exact_key = "queue q, INSERT, statement 67d40ba57947";
    for (statement, names) in [
        ("full", &[exact_key, broad_key][..]),
        ("hash", &[exact_key, broad_key]),
        ("none", &[broad_key]),
    ] {
        let harness = Harness::new(dli_with_statement_capture(statement)).await;
        let observation = harness.parse_valid_body("a job", job(whole.clone())).await;
        assert_eq!(observation.similarity_keys, similarity_keys(names), "{statement}");
    }
    let harness = Harness::new(&DLI).await;
    let cases = [
        (json!({ "queue_name": "q", "job_type": "INSERT" }), similarity_keys(&[broad_key])),
        (
            json!({ "queue_name": "q", "job_type": "INSERT", "statement": 5 }),
            similarity_keys(&[broad_key]),
        ),
        (json!({ "queue_name": "q", "statement": "select 5" }), SimilarityKeys::Unknown),
        (json!({ "queue_name": "", "job_type": "INSERT" }), SimilarityKeys::Unknown),
        (json!({}), SimilarityKeys::Unknown),
    ];
    for (fields, expected) in cases {
        assert_eq!(
            harness.parse_valid_body("a job", job(fields.clone())).await.similarity_keys,
            expected,
            "{fields}"
        );
    }
    let long = json!({ "queue_name": "q".repeat(5000), "job_type": "INSERT" });
    let name = format!("queue {}, INSERT", "q".repeat(128));
    assert_eq!(
        harness.parse_valid_body("a job", job(long)).await.similarity_keys,
        similarity_keys(&[&name])
    );
    let documented = harness.parse_valid_body("the document's", dli::FINISHED_EXAMPLE).await;
    assert_eq!(documented.similarity_keys, similarity_keys(&DOCUMENTED_SIMILARITY_KEYS));
}

#[tokio::test]
async fn dli_run_duration_is_read_for_finished_jobs_only() {
    let harness = Harness::new(&DLI).await;
    let cases = [
        ("FINISHED", json!(2523), Some(ms(2523))),
        ("FAILED", json!("2523"), Some(ms(2523))),
        ("CANCELLED", json!(1), Some(ms(1))),
        ("RUNNING", json!(2523), None),
        ("DELETED", json!(2523), None),
        ("FINISHED", json!(0), None),
        ("FINISHED", json!(-5), None),
        ("FINISHED", json!(400_u64 * 86_400_000), None),
    ];
    for (word, duration, expected) in cases {
        let body = body_with_fields(&DLI, word, json!({ "duration": duration }));
        assert_eq!(
            harness.parse_valid_body("a job", body).await.reported_duration,
            expected,
            "{word} {duration}"
        );
    }
}

#[tokio::test]
async fn dataarts_instances_are_similar_by_script_and_sum_statement_durations() {
    let harness = Harness::new(&DATAARTS).await;
    let results = |durations: &[Value]| {
        let results = durations.iter().map(|duration| match duration {
            Value::Null => json!({}),
            duration => json!({ "duration": duration }),
        });
        results.collect::<Value>()
    };
    let cases = [
        ("FINISHED", &[json!(0.5)][..], Some(ms(500))),
        ("FINISHED", &[json!(0.5), json!("1.25"), json!(2)], Some(ms(3750))),
        ("FAILED", &[json!(0.5)], Some(ms(500))),
        ("RUNNING", &[json!(0.5)], None),
        ("FINISHED", &[], None),
        // A statement without a duration may have taken longest.
        ("FINISHED", &[json!(0.5), Value::Null], None),
        ("FINISHED", &[json!(-0.5)], None),
        ("FINISHED", &[json!("NaN")], None),
        ("FINISHED", &[json!(1e300)], None),
    ];
    for (word, durations, expected) in cases {
        let body = body_with_fields(&DATAARTS, word, json!({ "results": results(durations) }));
        let observation = harness.parse_valid_body("an instance", body).await;
        assert_eq!(observation.reported_duration, expected, "{word} {durations:?}");
        assert_eq!(
            observation.similarity_keys,
            similarity_keys(&["script \u{811a}\u{672c}_etl.v2"])
        );
    }
}
