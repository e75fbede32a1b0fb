//! Which past runs a job is like, and how long it took, as each kind tells it.

use std::time::Duration;

use jobtrack::job::Likeness;
use serde_json::{Value, json};

use super::dataarts::DATAARTS;
use super::dli::{DLI, DOCUMENTED};
use super::dune::DUNE;
use super::harness::{Bench, Subject};
use super::job_list::keeping;
use crate::support::fake_server::{dli, dune};

fn told(names: &[&str]) -> Likeness {
    Likeness::told(names.iter().map(|name| (*name).to_owned()))
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The least body with this word, and more fields.
fn body(subject: &Subject, word: &str, more: Value) -> String {
    let mut body = (subject.body)(word);
    let Value::Object(more) = more else { panic!("fields") };
    body.extend(more);
    Value::Object(body).to_string()
}

#[tokio::test]
async fn runs_of_a_dune_query_are_alike_and_those_of_none_are_not() {
    let bench = Bench::new(&DUNE).await;
    let cases = [
        (json!(980_708), told(&["query 980708"])),
        (json!("980708"), told(&["query 980708"])),
        (json!(null), Likeness::Unknown),
        (json!(0), Likeness::Unknown),
        (json!([980_708]), Likeness::Unknown),
    ];
    for (query, expected) in cases {
        let body = body(&DUNE, "QUERY_STATE_PENDING", json!({ "query_id": query }));
        assert_eq!(bench.good("a query", body).await.likeness, expected, "{query}");
    }
}

#[tokio::test]
async fn a_dune_query_without_times_took_what_its_metadata_tells_once_it_is_over() {
    let bench = Bench::new(&DUNE).await;
    let took = |word: &str, millis: Value| {
        let metadata = json!({ "result_metadata": { "execution_time_millis": millis } });
        let body = body(&DUNE, word, metadata);
        async { bench.good("a query", body).await.took }
    };
    assert_eq!(took("QUERY_STATE_COMPLETED", json!(24)).await, Some(ms(24)));
    assert_eq!(took("QUERY_STATE_EXECUTING", json!(24)).await, None);
    for insane in [json!(0), json!(-1), json!(1e12), json!(400_u64 * 86_400_000), json!("soon")] {
        assert_eq!(took("QUERY_STATE_COMPLETED", insane.clone()).await, None, "{insane}");
    }
    // The document's example contradicts itself: its times say 196 s, and go first.
    let timed = bench.good("times and metadata", dune::COMPLETED_EXAMPLE).await;
    assert_eq!((timed.took, timed.likeness), (None, told(&["query 980708"])));
}

#[tokio::test]
async fn dli_jobs_are_alike_by_statement_and_by_queue_and_type() {
    let job = |fields: Value| body(&DLI, "RUNNING", fields);
    let whole = json!({ "queue_name": "q", "job_type": "INSERT", "statement": "select 5" });
    let wider = "queue q, INSERT";
    let closest = "queue q, INSERT, statement 67d40ba57947";
    for (statement, names) in
        [("full", &[closest, wider][..]), ("hash", &[closest, wider]), ("none", &[wider])]
    {
        let bench = Bench::new(keeping(statement)).await;
        let seen = bench.good("a job", job(whole.clone())).await;
        assert_eq!(seen.likeness, told(names), "{statement}");
    }
    let bench = Bench::new(&DLI).await;
    let cases = [
        (json!({ "queue_name": "q", "job_type": "INSERT" }), told(&[wider])),
        (json!({ "queue_name": "q", "job_type": "INSERT", "statement": 5 }), told(&[wider])),
        (json!({ "queue_name": "q", "statement": "select 5" }), Likeness::Unknown),
        (json!({ "queue_name": "", "job_type": "INSERT" }), Likeness::Unknown),
        (json!({}), Likeness::Unknown),
    ];
    for (fields, expected) in cases {
        assert_eq!(bench.good("a job", job(fields.clone())).await.likeness, expected, "{fields}");
    }
    let long = json!({ "queue_name": "q".repeat(5000), "job_type": "INSERT" });
    let name = format!("queue {}, INSERT", "q".repeat(128));
    assert_eq!(bench.good("a job", job(long)).await.likeness, told(&[&name]));
    let documented = bench.good("the document's", dli::FINISHED_EXAMPLE).await;
    assert_eq!(documented.likeness, told(&DOCUMENTED));
}

#[tokio::test]
async fn a_dli_job_that_is_over_took_its_duration() {
    let bench = Bench::new(&DLI).await;
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
        let body = body(&DLI, word, json!({ "duration": duration }));
        assert_eq!(bench.good("a job", body).await.took, expected, "{word} {duration}");
    }
}

#[tokio::test]
async fn instances_of_a_script_are_alike_and_took_what_their_statements_did() {
    let bench = Bench::new(&DATAARTS).await;
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
        // One that does not tell may have taken longest.
        ("FINISHED", &[json!(0.5), Value::Null], None),
        ("FINISHED", &[json!(-0.5)], None),
        ("FINISHED", &[json!("NaN")], None),
        ("FINISHED", &[json!(1e300)], None),
    ];
    for (word, durations, expected) in cases {
        let body = body(&DATAARTS, word, json!({ "results": results(durations) }));
        let seen = bench.good("an instance", body).await;
        assert_eq!(seen.took, expected, "{word} {durations:?}");
        assert_eq!(seen.likeness, told(&["script \u{811a}\u{672c}_etl.v2"]));
    }
}
