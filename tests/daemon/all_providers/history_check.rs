//! Compares the stored history of a job with its script on the fake server.

use std::collections::HashMap;

use jiff::Timestamp;
use jobtrack::job::UtcTime;

use super::ExpectedJob;
use crate::support::daemon::DaemonHome;
use crate::support::db;
use crate::support::fake_server::{API_KEY, ServiceKind, TrueHistory, dataarts};

/// A row of the view `history`; times as text, empty if NULL.
#[derive(Debug)]
pub(crate) struct HistoryRow {
    to_state: String,
    provider_state: String,
    occurred_at: String,
    observed_at: String,
    earliest_at: String,
}

pub(crate) fn histories(home: &DaemonHome) -> HashMap<String, Vec<HistoryRow>> {
    let mut histories: HashMap<_, Vec<_>> = HashMap::new();
    let rows = "SELECT remote_id, to_state, coalesce(provider_state, ''), \
                coalesce(occurred_at, ''), observed_at, coalesce(earliest_at, '') \
                FROM history ORDER BY seq";
    for row in db::query_rows(&home.database(), rows) {
        let columns: Vec<_> = row.split('|').map(str::to_owned).collect();
        let Ok([id, to_state, provider_state, occurred_at, observed_at, earliest_at]) =
            <[_; 6]>::try_from(columns)
        else {
            panic!("not six columns: {row}")
        };
        let row = HistoryRow { to_state, provider_state, occurred_at, observed_at, earliest_at };
        histories.entry(id).or_default().push(row);
    }
    histories
}

/// Asserts that the recorded provider states are a subsequence of the true ones and include the
/// last; that each began between `earliest_at` and `observed_at`; and that the provider's own times
/// are stored where its kind reports any.
pub(crate) fn assert_matches_true_history(
    job: &ExpectedJob,
    true_history: &TrueHistory,
    rows: &[HistoryRow],
) {
    let mut true_states = true_history.provider_states.iter();
    for row in rows {
        let context = format!("{} {row:?} of {true_history:?}", job.id);
        if !row.provider_state.is_empty() {
            let (began, _) =
                true_states.find(|(_, state)| *state == row.provider_state).expect(&context);
            let began = sql_time(Some(*began));
            assert!(row.earliest_at <= began && began <= row.observed_at, "{context}");
        }
        let (is_dune, reports_end) =
            (job.kind == ServiceKind::Dune, job.kind != ServiceKind::DataArts);
        let expected_occurred_at = match row.to_state.as_str() {
            "pending" if is_dune => sql_time(Some(true_history.submitted_at)),
            "running" if is_dune => sql_time(true_history.started_at),
            state if state == job.expected_state && reports_end => sql_time(true_history.ended_at),
            _ => String::new(),
        };
        assert_eq!(row.occurred_at, expected_occurred_at, "{context}");
    }
    assert!(
        true_states.next().is_none(),
        "{}: the last provider state is missing in {rows:?}",
        job.id
    );
    assert_eq!(
        rows.last().map(|row| row.to_state.as_str()),
        Some(job.expected_state),
        "{}",
        job.id
    );
    let has = |state: &str| rows.iter().any(|row| row.to_state == state);
    assert!(
        has("registered") && (job.kind != ServiceKind::Dune || has("pending") && has("running"))
    );
}

fn sql_time(at: Option<Timestamp>) -> String {
    at.map_or_else(String::new, |at| {
        crate::support::jobs::sql(UtcTime::from_millis(at.as_millisecond()))
    })
}

/// Asserts that the database stores the schema of a result, and that neither the database nor the
/// log contains result rows or the API key.
pub(crate) fn assert_no_rows_or_secrets_stored(home: &DaemonHome) {
    let wal = home.database().with_extension("db-wal");
    let files =
        [home.database(), wal, home.path("log")].map(|path| std::fs::read(path).expect("a file"));
    let stored_bytes = files.concat();
    let has = |text: &str| stored_bytes.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(has("StartStation"), "the schema is missing");
    assert!(!has(dataarts::ROW_MARKER), "result rows are stored");
    assert!(!has(API_KEY), "the key is stored or logged");
}
