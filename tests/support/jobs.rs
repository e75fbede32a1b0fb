//! Jobs and their moves, as the scheduler hands them to the store.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use jobtrack::job::{
    Asked, Change, Labels, NewJob, Note, Observation, Ours, Said, Standing, Times, Tracked,
    Transition, Utc, Verdict, conclude, observe,
};
use jobtrack::store::{Batch, Committed, Store};

/// A time in SQLite's own form.
pub fn at(text: &str) -> Utc {
    Utc::parse_sql(text).unwrap_or_else(|| panic!("{text} is a time"))
}

/// Waits until nobody holds the lock of a closed store's directory: a process that another test
/// starts has all locks of this one until it becomes its program.
pub fn wait_for_lock(path: &Path) {
    let directory = path.parent().expect("a directory");
    if let Ok(directory) = File::open(directory) {
        flock(&directory, FlockOperation::LockExclusive).expect("the lock");
        flock(&directory, FlockOperation::Unlock).expect("no lock");
    }
}

/// The store of this path, which must open.
pub async fn open(path: &Path) -> Store {
    wait_for_lock(path);
    Store::open(path).await.unwrap_or_else(|error| panic!("{error}"))
}

/// What was committed of a batch, which must be.
pub async fn write(store: &mut Store, batch: &Batch) -> Committed {
    store.writer.write(batch).await.unwrap_or_else(|error| panic!("{error}"))
}

/// A batch that only registers jobs.
pub fn adds(jobs: impl IntoIterator<Item = NewJob>) -> Batch {
    Batch { adds: jobs.into_iter().collect(), ..Batch::default() }
}

/// A batch that only moves jobs.
pub fn changes(changes: impl IntoIterator<Item = Change>) -> Batch {
    Batch { changes: changes.into_iter().collect(), ..Batch::default() }
}

/// Registers one job; as it then stands.
pub async fn register(store: &mut Store, remote_id: &str) -> Tracked {
    let committed = write(store, &adds([new_job(remote_id)])).await;
    committed.entered.into_iter().next().expect("one job").job
}

/// A job of the provider `dune`, registered at noon.
pub fn new_job(remote_id: &str) -> NewJob {
    NewJob {
        likeness: jobtrack::job::Likeness::Unknown,
        provider: "dune".parse().expect("a provider's name"),
        kind: "dune",
        remote_id: remote_id.parse().expect("an id"),
        labels: Labels::default(),
        give_up_after: None,
        added_by: Some(1000),
        registered_at: at("2026-11-21 12:00:00.000"),
    }
}

pub fn labels<const N: usize>(pairs: [(&str, &str); N]) -> Labels {
    let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Labels::try_from(BTreeMap::from(pairs)).expect("labels")
}

/// What an answer says, and nothing more.
pub fn seen(said: Said, word: &str) -> Observation {
    let (times, message) = (Times::default(), None);
    Observation {
        likeness: jobtrack::job::Likeness::Unknown,
        took: None,
        said,
        word: word.to_owned(),
        times,
        message,
        listed_at: None,
        detail: serde_json::Map::new(),
    }
}

/// The change that this answer makes of a job; the question was sent a tenth of a second before.
pub fn told(job: &Tracked, seen: &Observation, answered_at: Utc) -> Change {
    let sent_at = answered_at.minus(std::time::Duration::from_millis(100));
    match observe(&job.standing, seen, Asked { sent_at, answered_at }) {
        Verdict::Moved(rows) => change(job, rows),
        other @ (Verdict::Same | Verdict::Contradiction(_)) => {
            panic!("it does not move: {other:?}")
        }
    }
}

/// The change that we make of a job ourselves.
pub fn ended(job: &Tracked, ours: Ours, now: Utc) -> Change {
    let row = conclude(&job.standing, ours, now, "on request".to_owned());
    change(job, vec![row.expect("it is not over")])
}

fn change(job: &Tracked, rows: Vec<Transition>) -> Change {
    let after = after(&job.standing, &rows);
    let (expected, expected_word) = (job.standing.state, job.standing.word.clone());
    Change { lesson: None, job: job.id, expected, expected_word, rows, after, note: None }
}

fn after(standing: &Standing, rows: &[Transition]) -> Standing {
    let mut after = standing.clone();
    for row in rows {
        after.apply(row);
    }
    after
}

/// The bookkeeping of a first poll that told nothing.
pub fn note(job: &Tracked, polled_at: Utc) -> Note {
    Note {
        job: job.id,
        expected: job.standing.state,
        last_polled_at: polled_at,
        next_poll_at: None,
        answered_from: None,
        polls: 1,
        failed_polls: 0,
        last_poll_error: None,
        told: None,
    }
}
