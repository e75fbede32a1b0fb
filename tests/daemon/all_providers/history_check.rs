//! What the database tells of a job, held against the job's true life.

use std::collections::HashMap;

use jiff::Timestamp;
use jobtrack::job::UtcTime;

use super::Job;
use crate::support::daemon::Home;
use crate::support::db;
use crate::support::fake_server::{KEY, Kind, Truth, dataarts};

/// A row of the history; times as the database has them, empty if there is none.
#[derive(Debug)]
pub(crate) struct Row {
    to_state: String,
    word: String,
    occurred: String,
    observed: String,
    earliest: String,
}

pub(crate) fn histories(home: &Home) -> HashMap<String, Vec<Row>> {
    let mut histories: HashMap<_, Vec<_>> = HashMap::new();
    let rows = "SELECT remote_id, to_state, coalesce(provider_state, ''), \
                coalesce(occurred_at, ''), observed_at, coalesce(earliest_at, '') \
                FROM history ORDER BY seq";
    for row in db::query(&home.database(), rows) {
        let columns: Vec<_> = row.split('|').map(str::to_owned).collect();
        let Ok([id, to_state, word, occurred, observed, earliest]) = <[_; 6]>::try_from(columns)
        else {
            panic!("six columns: {row}")
        };
        let row = Row { to_state, word, occurred, observed, earliest };
        histories.entry(id).or_default().push(row);
    }
    histories
}

/// The words are the true ones in their order, the last among them; each began between the answer
/// that still said otherwise and the one that said it; and the provider's own times are kept where
/// its kind tells any.
pub(crate) fn is_true(job: &Job, truth: &Truth, rows: &[Row]) {
    let mut words = truth.words.iter();
    for row in rows {
        let at = format!("{} {row:?} of {truth:?}", job.id);
        if !row.word.is_empty() {
            let (began, _) = words.find(|(_, word)| *word == row.word).expect(&at);
            let began = sql(Some(*began));
            assert!(row.earliest <= began && began <= row.observed, "{at}");
        }
        let (is_dune, tells_end) = (job.kind == Kind::Dune, job.kind != Kind::DataArts);
        let occurred = match row.to_state.as_str() {
            "pending" if is_dune => sql(Some(truth.submitted_at)),
            "running" if is_dune => sql(truth.started_at),
            state if state == job.ends && tells_end => sql(truth.ended_at),
            _ => String::new(),
        };
        assert_eq!(row.occurred, occurred, "{at}");
    }
    assert!(words.next().is_none(), "{}: the last word is missing in {rows:?}", job.id);
    assert_eq!(rows.last().map(|row| row.to_state.as_str()), Some(job.ends), "{}", job.id);
    let has = |state: &str| rows.iter().any(|row| row.to_state == state);
    assert!(has("registered") && (job.kind != Kind::Dune || has("pending") && has("running")));
}

fn sql(at: Option<Timestamp>) -> String {
    at.map_or_else(String::new, |at| UtcTime::from_millis(at.as_millisecond()).to_sql())
}

/// The schema of a result is kept, its rows are not, nor the key: in no file, in no log.
pub(crate) fn keeps_what_it_may(home: &Home) {
    let wal = home.database().with_extension("db-wal");
    let files =
        [home.database(), wal, home.path("log")].map(|path| std::fs::read(path).expect("a file"));
    let kept = files.concat();
    let has = |text: &str| kept.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(has("StartStation"), "the schema");
    assert!(!has(dataarts::ROW_MARK), "result rows");
    assert!(!has(KEY), "the key");
}
