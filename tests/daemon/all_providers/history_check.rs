//! What the database tells of a job, held against the job's true life.

use std::collections::HashMap;

use jiff::Timestamp;
use jobtrack::job::UtcTime;

use super::ExpectedJob;
use crate::support::daemon::DaemonHome;
use crate::support::db;
use crate::support::fake_server::{API_KEY, ServiceKind, TrueHistory, dataarts};

/// A row of the history; times as the database has them, empty if there is none.
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
        let Ok([id, to_state, word, occurred, observed, earliest]) = <[_; 6]>::try_from(columns)
        else {
            panic!("six columns: {row}")
        };
        let row = HistoryRow {
            to_state,
            provider_state: word,
            occurred_at: occurred,
            observed_at: observed,
            earliest_at: earliest,
        };
        histories.entry(id).or_default().push(row);
    }
    histories
}

/// The words are the true ones in their order, the last among them; each began between the answer
/// that still said otherwise and the one that said it; and the provider's own times are kept where
/// its kind tells any.
pub(crate) fn assert_matches_truth(job: &ExpectedJob, truth: &TrueHistory, rows: &[HistoryRow]) {
    let mut provider_states = truth.provider_states.iter();
    for row in rows {
        let at = format!("{} {row:?} of {truth:?}", job.id);
        if !row.provider_state.is_empty() {
            let (began, _) =
                provider_states.find(|(_, word)| *word == row.provider_state).expect(&at);
            let began = sql_time(Some(*began));
            assert!(row.earliest_at <= began && began <= row.observed_at, "{at}");
        }
        let (is_dune, tells_end) =
            (job.kind == ServiceKind::Dune, job.kind != ServiceKind::DataArts);
        let occurred = match row.to_state.as_str() {
            "pending" if is_dune => sql_time(Some(truth.submitted_at)),
            "running" if is_dune => sql_time(truth.started_at),
            state if state == job.expected_state && tells_end => sql_time(truth.ended_at),
            _ => String::new(),
        };
        assert_eq!(row.occurred_at, occurred, "{at}");
    }
    assert!(provider_states.next().is_none(), "{}: the last word is missing in {rows:?}", job.id);
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

/// The schema of a result is kept, its rows are not, nor the key: in no file, in no log.
pub(crate) fn assert_no_rows_or_secrets_stored(home: &DaemonHome) {
    let wal = home.database().with_extension("db-wal");
    let files =
        [home.database(), wal, home.path("log")].map(|path| std::fs::read(path).expect("a file"));
    let stored_bytes = files.concat();
    let has = |text: &str| stored_bytes.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(has("StartStation"), "the schema");
    assert!(!has(dataarts::ROW_MARKER), "result rows");
    assert!(!has(API_KEY), "the key");
}
