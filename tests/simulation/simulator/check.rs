//! Compares the database with the lives of the jobs at their services and with what was confirmed.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use jobtrack::job::{Evidence, JobId, State};
use jobtrack::store::{HistoryFilter, JobFilter, JobRow, Reader, TransitionRow};

use super::event_log::EventLog;
use super::lives::{expected_state, provider_name};
use super::model::{ConfirmedHistory, JobKey, KnownJob, Model};
use super::services::Services;
use super::store::run_to_end;
use super::time::SimulatedTime;
use crate::fake_server::{ServiceKind, TrueHistory};

/// How long finished jobs are kept; as in the tasks of [`super::operations`].
pub const RETENTION: Duration = Duration::from_hours(24);
/// How much the ages of jobs may be wrong by the wall clock.
const CLOCK_ERROR: Duration = Duration::from_mins(20);
/// An answer "not found" is believed after this time at the earliest.
const LOST_AFTER: Duration = Duration::from_mins(15);

/// The rows of a database.
pub struct DatabaseRows {
    jobs: BTreeMap<JobId, JobRow>,
    histories: BTreeMap<JobId, Vec<TransitionRow>>,
}

impl DatabaseRows {
    pub fn read(reader: &Reader, time: &SimulatedTime) -> Self {
        const PAGE: u32 = 1000;
        let mut rows = Self { jobs: BTreeMap::new(), histories: BTreeMap::new() };
        let mut jobs = JobFilter { limit: PAGE, ..JobFilter::default() };
        loop {
            let page = run_to_end(time, reader.jobs(&jobs)).expect("jobs are read");
            jobs.before_id = page.last().map(|job| job.id);
            let is_last = page.len() < PAGE as usize;
            rows.jobs.extend(page.into_iter().map(|job| (job.id, job)));
            if is_last {
                break;
            }
        }
        let mut history = HistoryFilter { limit: PAGE, ..HistoryFilter::default() };
        loop {
            let page = run_to_end(time, reader.history(&history)).expect("a history is read");
            history.after = page.last().map(|row| row.cursor.clone());
            let is_last = page.len() < PAGE as usize;
            for row in page {
                rows.histories.entry(row.job_id).or_default().push(row);
            }
            if is_last {
                return rows;
            }
        }
    }
}

/// The present, for all rules.
#[derive(Clone, Copy)]
pub struct CheckTime {
    pub right_time: Timestamp,
    pub elapsed: Duration,
    /// How long nothing has gone wrong.
    pub quiet_for: Duration,
}

/// Checks every rule that concerns the database.
pub fn check_database(
    rows: &DatabaseRows,
    model: &mut Model,
    services: &Services,
    now: CheckTime,
    log: &EventLog,
) {
    for violation in confirmed_violations(rows, model, services, now) {
        log.violation(violation);
    }
    for (id, row) in &rows.jobs {
        let history = rows.histories.get(id).map_or(&[][..], Vec::as_slice);
        let mut violations = path_violations(row, history);
        let kind = ServiceKind::ALL
            .into_iter()
            .find(|kind| provider_name(*kind) == row.provider.as_str())
            .expect("a provider of the simulation");
        let key = (provider_name(kind), row.remote_id.as_str().to_owned());
        if let Some(job) = model.jobs.get(&key) {
            let truth = true_history(job, &key, services);
            violations.extend(truth_violations(kind, job, &truth, history, now));
            violations.extend(detection_violation(kind, job, &truth, row, now));
        }
        for violation in violations {
            log.violation(format!("job {id} ({key:?}): {violation}; {history:#?}"));
        }
        model.adopt(*id, history);
    }
}

/// Rule: no acknowledged row is missing.
fn confirmed_violations(
    rows: &DatabaseRows,
    model: &Model,
    services: &Services,
    now: CheckTime,
) -> Vec<String> {
    let mut violations = Vec::new();
    for (key, job) in &model.jobs {
        let Some(id) = job.acknowledged else { continue };
        if let Some(row) = rows.jobs.get(&id)
            && (row.remote_id.as_str() != key.1 || row.provider.as_str() != key.0)
        {
            violations.push(format!("job {id} is another one than {key:?}"));
        }
    }
    for (id, known) in &model.confirmed {
        let Some(history) = rows.histories.get(id) else {
            let job = model.jobs.get(&known.key);
            let ended_for = job.and_then(|job| longest_time_since_end(job, known, services, now));
            if ended_for.is_none_or(|span| span + CLOCK_ERROR < RETENTION) {
                let ended_for = ended_for.map_or("never".into(), |span| format!("{span:?} ago"));
                violations
                    .push(format!("job {id} ({:?}) is gone; it ended {ended_for}", known.key));
            }
            continue;
        };
        let mut stored = history.iter();
        for (state, provider_state) in &known.states {
            if !stored.any(|row| row.to_state == *state && row.provider_state == *provider_state) {
                violations.push(format!(
                    "job {id} ({:?}): the confirmed transition to {state} ({provider_state:?}) is \
                     missing in {history:#?}",
                    known.key
                ));
                break;
            }
        }
    }
    violations
}

fn true_history(job: &KnownJob, key: &JobKey, services: &Services) -> TrueHistory {
    let truth = match &job.vanished {
        Some((_, truth)) => Some(truth.clone()),
        None => services.true_history(&key.1),
    };
    truth.expect("the life of a job is known")
}

/// The time since the daemon could first have recorded an end of the job: the end at the service, or one that
/// the daemon decided itself, if such an end was confirmed. `None` before that.
fn longest_time_since_end(
    job: &KnownJob,
    known: &ConfirmedHistory,
    services: &Services,
    now: CheckTime,
) -> Option<Duration> {
    let key = &known.key;
    let kind = ServiceKind::ALL.into_iter().find(|kind| provider_name(*kind) == key.0)?;
    let truth = true_history(job, key, services);
    let is_end = |state: &str| expected_state(kind, state).is_terminal();
    let end = truth.provider_states.iter().find(|(_, state)| is_end(state));
    let since_end =
        end.and_then(|(at, _)| Duration::try_from(now.right_time.duration_since(*at)).ok());
    let given_up_at = job.give_up_after.map(|limit| job.added_at + limit);
    let lost_at = job.vanished.as_ref().map(|(at, _)| *at + LOST_AFTER);
    let is_confirmed = |end| known.states.iter().any(|(state, _)| *state == end);
    let untracked_at = [job.untrack_asked_at, given_up_at];
    let untracked_at = untracked_at.into_iter().filter(|_| is_confirmed(State::Untracked));
    let local_ends = untracked_at.chain([lost_at.filter(|_| is_confirmed(State::Lost))]).flatten();
    local_ends.filter_map(|at| now.elapsed.checked_sub(at)).chain(since_end).max()
}

/// Rule: every history is a legal path.
fn path_violations(job: &JobRow, history: &[TransitionRow]) -> Vec<String> {
    let mut violations = Vec::new();
    let mut previous: Option<&TransitionRow> = None;
    for row in history {
        if row.from_state != previous.map(|row| row.to_state) {
            violations.push("from_state is not the previous to_state".to_owned());
        }
        match previous {
            None if row.to_state != State::Registered => {
                violations.push("the first state is not registered".to_owned());
            }
            Some(previous) if previous.to_state.is_terminal() => {
                violations.push("a transition after the end".to_owned());
            }
            Some(previous) if row.observed_at < previous.observed_at => {
                violations.push("observed_at decreases".to_owned());
            }
            None | Some(_) => {}
        }
        if row.earliest_at.is_some_and(|earliest| earliest > row.observed_at) {
            violations.push("earliest_at is after observed_at".to_owned());
        }
        previous = Some(row);
    }
    if previous.map(|row| row.to_state) != Some(job.state) {
        violations.push(format!("the job is {}, and its history ends otherwise", job.state));
    }
    violations
}

/// Rule: no job is in a state that was never true.
fn truth_violations(
    kind: ServiceKind,
    job: &KnownJob,
    truth: &TrueHistory,
    history: &[TransitionRow],
    now: CheckTime,
) -> Vec<String> {
    let mut violations = Vec::new();
    let mut true_states = truth.provider_states.iter();
    for row in history.iter().skip(1) {
        let to = row.to_state;
        let fault = match (&row.provider_state, row.evidence) {
            (Some(state), Evidence::Observed) => {
                let found = true_states.find(|(_, true_state)| true_state == state);
                match found {
                    Some((began, _)) if *began > now.right_time => Some("was not true yet"),
                    Some(_) if expected_state(kind, state) != to => Some("has another meaning"),
                    Some(_) => None,
                    None => Some("was never true, or not at that point"),
                }
            }
            (None, Evidence::Reported) => {
                let is_true = truth.provider_states.iter().any(|(began, state)| {
                    *began <= now.right_time && expected_state(kind, state) == to
                });
                // A job that the service reports as started was waiting before.
                (!is_true && to != State::Pending).then_some("was never true")
            }
            (_, Evidence::Local) => local_fault(to, job, now),
            (Some(_), Evidence::Reported) | (None, Evidence::Observed) => Some("has no evidence"),
        };
        if let Some(fault) = fault {
            violations.push(format!("{to} {:?} {fault}; true: {truth:?}", row.provider_state));
        }
    }
    violations
}

fn local_fault(to: State, job: &KnownJob, now: CheckTime) -> Option<&'static str> {
    match to {
        State::Lost => {
            let vanished_for = job.vanished.as_ref().map(|(at, _)| now.elapsed.saturating_sub(*at));
            let believed = vanished_for.is_some_and(|span| span >= LOST_AFTER);
            (!believed || job.not_found_answers < 3).then_some("the service has the job")
        }
        State::Untracked => {
            let age = now.elapsed.saturating_sub(job.added_at);
            let is_given_up = job.give_up_after.is_some_and(|limit| age + CLOCK_ERROR >= limit);
            (job.untrack_asked_at.is_none() && !is_given_up).then_some("nobody asked for it")
        }
        State::Registered
        | State::Pending
        | State::Running
        | State::Unknown
        | State::Succeeded
        | State::Failed
        | State::Cancelled
        | State::Expired
        | State::Indeterminate => Some("cannot be decided locally"),
    }
}

/// Rule: after a quiet time every end is recorded.
fn detection_violation(
    kind: ServiceKind,
    job: &KnownJob,
    truth: &TrueHistory,
    row: &JobRow,
    now: CheckTime,
) -> Option<String> {
    let is_over = |since: Duration| since > Duration::from_hours(9) && !row.terminal;
    if job.acknowledged.is_none() || job.is_refused || job.untrack_asked_at.is_some() {
        return None;
    }
    if let Some((at, _)) = &job.vanished {
        let since = now.elapsed.saturating_sub(*at).min(now.quiet_for);
        return is_over(since).then(|| "the service has lost the job, which is not noticed".into());
    }
    let (_, last) = truth.provider_states.last()?;
    let ended_at = truth.ended_at.filter(|_| expected_state(kind, last).is_terminal())?;
    let since = Duration::try_from(now.right_time.duration_since(ended_at)).ok()?;
    is_over(since.min(now.quiet_for)).then(|| format!("ended at {ended_at}, which is not recorded"))
}
