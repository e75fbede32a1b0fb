//! The query plans of all filters of a list, and from which source its rows are read.

use sqlx::sqlite::SqliteConnection;

use super::*;
use crate::job::{JobId, UtcTime};
use crate::store::SCHEMA_VERSION;
use crate::store::sqlite::schema::database_with_schema;

/// Every combination of the filters that the API offers, with up to two labels.
fn all_filters() -> Vec<JobFilter> {
    let mut filters = Vec::new();
    let ids = [None, Some("20261121"), Some("01GBM4W2N0NMCGPZYW8AYK4YF1")];
    let states: [&[StateFilter]; 4] = [
        &[],
        &[StateFilter::Exactly(State::Failed)],
        &[StateFilter::Active],
        &[StateFilter::Active, StateFilter::Terminal],
    ];
    let parts =
        (0..3).flat_map(|id| (0..4).flat_map(move |state| (0..24).map(move |n| (id, state, n))));
    for (id, state, rest) in parts {
        let labels = rest / 8;
        filters.push(JobFilter {
            states: states[state].to_vec(),
            provider: (rest & 1 == 1).then(|| "dune".parse().expect("a name")),
            remote_id: ids[id].map(|id| id.parse().expect("an id")),
            labels: (0..labels).map(|n| (format!("key{n}"), "value".to_owned())).collect(),
            registered_since: (rest & 2 == 2).then_some(UtcTime::EARLIEST_PRESENT),
            registered_before: (rest & 2 == 2).then_some(UtcTime::EARLIEST_PRESENT),
            ended_since: (rest & 4 == 4).then_some(UtcTime::EARLIEST_PRESENT),
            from_id: (rest & 2 == 2).then_some(JobId(5)),
            before_id: (rest & 4 == 4).then_some(JobId(5_000)),
            limit: 100,
        });
    }
    filters
}

async fn plan(connection: &mut SqliteConnection, sql: &str) -> String {
    let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
    let rows: Vec<(i64, i64, i64, String)> =
        sqlx::query_as(explain).fetch_all(connection).await.expect(sql);
    rows.into_iter().map(|(_, _, _, detail)| detail + "\n").collect()
}

#[tokio::test]
async fn a_page_of_every_filter_is_found_by_an_index_in_the_order_of_the_ids() {
    let mut connection = database_with_schema(SCHEMA_VERSION).await.expect("a database");
    for filter in all_filters() {
        let states = restricting_states(&filter.states);
        let sources = possible_sources(&filter, states.as_deref());
        for source in &sources {
            let query = page_query(&filter, states.as_deref(), *source);
            let plan = plan(&mut connection, query.sql().as_str()).await;
            let context = format!("{filter:?} from {source:?}\n{plan}");
            let index = match source {
                RowSource::AllJobs => "job",
                RowSource::RemoteId => "USING INDEX job_remote_id",
                RowSource::States => "USING INDEX job_state (state=?",
                RowSource::Label(_) => "SEARCH l USING PRIMARY KEY (key=? AND value=?",
            };
            assert!(plan.contains(index), "{context}");
            let is_sorted = plan.contains("TEMP B-TREE");
            assert!(!is_sorted || *source == RowSource::RemoteId, "{context}");
            let is_scan = plan.contains("SCAN");
            let may_scan = *source == RowSource::AllJobs && filter.before_id.is_none();
            assert!(!is_scan || may_scan, "{context}");
        }
        if sources.len() > 1 {
            let query = sample_query(&filter, states.as_deref(), &sources);
            let plan = plan(&mut connection, query.sql().as_str()).await;
            let reads_indexes = plan.contains("COVERING INDEX") || plan.contains("PRIMARY KEY");
            let reads_more = plan.contains("SCAN job") || plan.contains("TEMP B-TREE");
            assert!(reads_indexes && !reads_more, "{filter:?}\n{plan}");
        }
    }
}

#[tokio::test]
async fn the_rows_are_read_from_the_source_that_is_sparsest_below_the_page() {
    let mut connection = database_with_schema(SCHEMA_VERSION).await.expect("a database");
    // Every job has the label. The first 6,000 are active, and of the others every second one failed.
    let fill = r#"
        WITH RECURSIVE number (id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM number WHERE id < 16000)
        INSERT INTO job (id, provider, kind, remote_id, state, labels, registered_at, terminal_at)
        SELECT id, 'dune', 'dune', id, CASE WHEN id <= 6000 THEN 'running' WHEN id % 2 THEN 'failed' ELSE 'lost' END,
               '{"team":"data"}', '2026-11-20 00:00:00.000',
               CASE WHEN id > 6000 THEN '2026-11-20 01:00:00.000' END
        FROM number"#;
    sqlx::raw_sql(fill).execute(&mut connection).await.expect("jobs");
    let (label, states) = (RowSource::Label(0), RowSource::States);
    for (state, before_id, expected) in [
        // Both have more rows than are read to compare them.
        (StateFilter::Exactly(State::Failed), None, states),
        (StateFilter::Terminal, Some(6_500), states),
        (StateFilter::Active, None, states),
        (StateFilter::Active, Some(5_000), label),
        (StateFilter::Exactly(State::Expired), None, states),
    ] {
        let filter = JobFilter {
            states: vec![state],
            labels: vec![("team".to_owned(), "data".to_owned())],
            before_id: before_id.map(JobId),
            limit: 100,
            ..JobFilter::default()
        };
        let states = restricting_states(&filter.states);
        let sources = possible_sources(&filter, states.as_deref());
        let mut query = sample_query(&filter, states.as_deref(), &sources);
        let samples: Vec<(i64, i64)> =
            query.build_query_as().fetch_all(&mut connection).await.expect("samples");
        assert_eq!(sparsest(&sources, &samples), expected, "{filter:?}: {samples:?}");
    }
}
