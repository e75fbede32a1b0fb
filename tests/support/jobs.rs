//! Jobs, observations and changes in the form in which the scheduler passes them to the store.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use jobtrack::job::{
    AddedBy, Change, CurrentState, EventCursor, Labels, LocalOutcome, NewJob, Observation,
    ObservationEffect, ObservedState, PollRecord, ProviderTimes, RequestTimes, StoredJob,
    Transition, UtcTime, evaluate_observation, local_end_transition,
};
use jobtrack::store::{Batch, CommitReport, Store};

use super::daemon::DaemonHome;

/// Parses a time in the format of the database.
pub fn utc(text: &str) -> UtcTime {
    let rfc3339 = format!("{}Z", text.replace(' ', "T"));
    UtcTime::parse_rfc3339(&rfc3339).unwrap_or_else(|| panic!("{text} is not a time"))
}

/// Formats a time as the database does.
pub fn sql(time: UtcTime) -> String {
    time.to_string().replace('T', " ").replace('Z', "")
}

/// The `seq` of the event that a cursor names.
pub fn seq(cursor: &EventCursor) -> i64 {
    cursor.to_string().parse().expect("a cursor of the store is a number")
}

/// The cursor of the event with this `seq`.
pub fn cursor(seq: i64) -> EventCursor {
    seq.to_string().parse().expect("a number is a cursor")
}

/// Waits until the locks of a closed store are free. A child process that another test forks inherits
/// this process's locks and holds them until its `exec`.
pub fn wait_for_lock_release(path: &Path) {
    let lock_path = format!("{}.lock", path.display());
    for file in [File::open(lock_path), File::open(path)].into_iter().flatten() {
        flock(&file, FlockOperation::LockExclusive).expect("the file can be locked");
        flock(&file, FlockOperation::Unlock).expect("it can be unlocked");
    }
}

/// Opens the store; panics if that fails.
pub async fn open_store(path: &Path) -> Store {
    wait_for_lock_release(path);
    Store::open(path, &jobtrack::clock::Clock::start())
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

/// A store on a new database.
pub async fn empty_store() -> (DaemonHome, Store) {
    let home = DaemonHome::without_config();
    let store = open_store(&home.database()).await;
    (home, store)
}

/// Writes a batch; panics if that fails.
pub async fn write_batch(store: &mut Store, batch: &Batch) -> CommitReport {
    store.writer.write(batch).await.unwrap_or_else(|error| panic!("{error}"))
}

/// A batch that only registers jobs.
pub fn add_batch(jobs: impl IntoIterator<Item = NewJob>) -> Batch {
    Batch { new_jobs: jobs.into_iter().collect(), ..Batch::default() }
}

/// A batch that only changes jobs.
pub fn change_batch(changes: impl IntoIterator<Item = Change>) -> Batch {
    Batch { changes: changes.into_iter().collect(), ..Batch::default() }
}

/// Registers one job and returns it as stored.
pub async fn register_job(store: &mut Store, remote_id: &str) -> StoredJob {
    let committed = write_batch(store, &add_batch([new_job(remote_id)])).await;
    committed.registered.into_iter().next().expect("one job").job
}

/// A job of the provider `dune`, registered at noon of 2026-11-21.
pub fn new_job(remote_id: &str) -> NewJob {
    NewJob {
        similarity_keys: jobtrack::job::SimilarityKeys::Unknown,
        provider: "dune".parse().expect("a provider's name"),
        kind: "dune",
        remote_id: remote_id.parse().expect("an id"),
        labels: Labels::default(),
        give_up_after: None,
        price: None,
        added_by: Some(AddedBy { uid: 1000, user: Some("alice".to_owned()) }),
        registered_at: utc("2026-11-21 12:00:00.000"),
        is_new_run: false,
    }
}

pub fn labels<const N: usize>(pairs: [(&str, &str); N]) -> Labels {
    let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
    Labels::try_from(BTreeMap::from(pairs)).expect("labels")
}

/// An observation with nothing but a state.
pub fn observation(state: ObservedState, provider_state: &str) -> Observation {
    let (times, message) = (ProviderTimes::default(), None);
    Observation {
        similarity_keys: jobtrack::job::SimilarityKeys::Unknown,
        reported_duration: None,
        source: None,
        credits: None,
        state,
        provider_state: provider_state.to_owned(),
        times,
        message,
        list_time: None,
        detail: serde_json::Map::new(),
    }
}

/// The change that an observation makes to a job; its request was sent 100 ms before `received_at`.
/// Panics if the observation causes no transition.
pub fn change_from_observation(
    job: &StoredJob,
    observation: &Observation,
    received_at: UtcTime,
) -> Change {
    let sent_at = received_at.minus(std::time::Duration::from_millis(100));
    match evaluate_observation(
        &job.current_state,
        observation,
        RequestTimes { sent_at, received_at },
    ) {
        ObservationEffect::Transitions(rows) => build_change(job, rows),
        other @ (ObservationEffect::Unchanged | ObservationEffect::Contradiction(_)) => {
            panic!("no transition: {other:?}")
        }
    }
}

/// The change that ends a job by a local decision. Panics if the job is terminal.
pub fn change_from_local_outcome(job: &StoredJob, outcome: LocalOutcome, now: UtcTime) -> Change {
    let transition =
        local_end_transition(&job.current_state, outcome, now, "on request".to_owned());
    build_change(job, vec![transition.expect("the job is unfinished")])
}

fn build_change(job: &StoredJob, transitions: Vec<Transition>) -> Change {
    let new_state = state_after(&job.current_state, &transitions);
    Change {
        audit: Vec::new(),
        duration_sample: None,
        job: job.id,
        expected_state: job.current_state.state(),
        expected_provider_state: job.current_state.provider_state.clone(),
        transitions,
        new_state,
        poll_record: None,
    }
}

fn state_after(current_state: &CurrentState, transitions: &[Transition]) -> CurrentState {
    let mut after = current_state.clone();
    for transition in transitions {
        after.apply(transition);
    }
    after
}

/// The record of a first poll that changed nothing.
pub fn poll_record(job: &StoredJob, polled_at: UtcTime) -> PollRecord {
    PollRecord {
        job: job.id,
        expected_state: job.current_state.state(),
        last_polled_at: polled_at,
        next_poll_at: None,
        last_success_sent_at: None,
        polls: 1,
        failed_polls: 0,
        last_poll_error: None,
        metadata: None,
    }
}
