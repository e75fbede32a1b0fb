//! The reference model: what a simulation knows of each job, and the rules that the daemon must keep.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use jobtrack::job::{JobId, RemoteId, State};
use jobtrack::store::{Batch, CommitReport, TransitionRow};

use super::event_log::EventLog;
use super::lives::provider_name;
use super::plan::Profile;
use crate::fake_server::{ServiceKind, TrueHistory};

/// A job by its kind and its id at the service.
pub type JobKey = (&'static str, String);

/// What the simulation knows of a job.
#[derive(Debug, Default)]
pub struct KnownJob {
    /// The id, once an add was acknowledged.
    pub acknowledged: Option<JobId>,
    /// When the add was acknowledged.
    pub acknowledged_at: Duration,
    pub added_at: Duration,
    /// When the service lost the job, and what was true until then.
    pub vanished: Option<(Duration, TrueHistory)>,
    /// Whether the service refuses all requests for this job.
    pub is_refused: bool,
    /// When somebody first asked to untrack it.
    pub untrack_asked_at: Option<Duration>,
    pub give_up_after: Option<Duration>,
    /// When the daemon last asked for it.
    pub last_asked: Option<Duration>,
    pub not_found_answers: u32,
}

/// What was confirmed to the daemon as committed.
#[derive(Debug, Default)]
pub struct ConfirmedHistory {
    pub key: JobKey,
    pub states: Vec<(State, Option<String>)>,
    pub has_ended: bool,
}

#[derive(Debug)]
pub struct Model {
    profile: Profile,
    pub jobs: BTreeMap<JobKey, KnownJob>,
    pub confirmed: BTreeMap<JobId, ConfirmedHistory>,
    requests: BTreeMap<&'static str, VecDeque<Duration>>,
    /// When a clock was last wrong, or was suspended: ages may be wrong until the next poll.
    pub clock_disturbed_at: Duration,
    /// By kind: when something last happened after which a poll may be late.
    disturbed_at: [Duration; 3],
    pub request_count: u64,
    pub disturbed_request_count: u64,
    pub fault_count: u64,
    /// All polls of jobs, with lists.
    pub polls: Vec<(Duration, String)>,
    pub longest_wait: Duration,
}

impl Model {
    /// The window of a budget.
    const WINDOW: Duration = Duration::from_mins(1);
    /// The longest pause after a rejection or by `Retry-After` is an hour.
    const LONGEST_PAUSE: Duration = Duration::from_mins(75);
    /// See docs/polling.md.
    const LONGEST_INTERVAL: Duration = Duration::from_hours(6);

    pub fn new(profile: Profile) -> Self {
        Self {
            profile,
            jobs: BTreeMap::new(),
            confirmed: BTreeMap::new(),
            requests: BTreeMap::new(),
            clock_disturbed_at: Duration::ZERO,
            disturbed_at: [Duration::ZERO; 3],
            request_count: 0,
            disturbed_request_count: 0,
            fault_count: 0,
            polls: Vec::new(),
            longest_wait: Duration::ZERO,
        }
    }

    pub fn account(kind: ServiceKind) -> (&'static str, usize) {
        match kind {
            ServiceKind::Dune => ("dune", 30),
            ServiceKind::Dli | ServiceKind::DataArts => ("huawei", 40),
        }
    }

    /// Rule: no 60 s window has more requests than the budget of the account.
    pub fn count_request(&mut self, kind: ServiceKind, now: Duration, log: &EventLog) {
        self.request_count += 1;
        let (account, budget) = Self::account(kind);
        let window = self.requests.entry(account).or_default();
        window.push_back(now);
        while window.front().is_some_and(|at| *at + Self::WINDOW <= now) {
            window.pop_front();
        }
        if window.len() > budget {
            let count = window.len();
            log.violation(format!("{count} requests of {account} in 60 s; its budget is {budget}"));
        }
    }

    pub fn is_refused(&self, kind: ServiceKind, remote_id: &str) -> bool {
        let key = (provider_name(kind), remote_id.to_owned());
        self.jobs.get(&key).is_some_and(|job| job.is_refused)
    }

    pub fn disturb(&mut self, kind: ServiceKind, now: Duration) {
        // A rejected credential pauses all providers of the account.
        for other in ServiceKind::ALL {
            if Self::account(other) == Self::account(kind) {
                self.disturbed_at[other as usize] = now;
            }
        }
    }

    pub fn disturb_all(&mut self, now: Duration) {
        self.disturbed_at = [now; 3];
    }

    pub fn record_poll(
        &mut self,
        kind: ServiceKind,
        remote_id: &str,
        now: Duration,
        not_found: bool,
        log: &EventLog,
    ) {
        let key = (provider_name(kind), remote_id.to_owned());
        self.check_wait(kind, &key, now, log);
        self.polls.push((now, key.1.clone()));
        if let Some(job) = self.jobs.get_mut(&key) {
            job.last_asked = Some(now);
            job.not_found_answers += u32::from(not_found);
        }
    }

    /// Rule: every live job is polled within its bound, once its provider was healthy for so long that
    /// no pause can be left.
    pub fn check_waits(&mut self, now: Duration, log: &EventLog) {
        let keys: Vec<_> = self.jobs.keys().cloned().collect();
        for kind in ServiceKind::ALL {
            for key in keys.iter().filter(|(provider, _)| *provider == provider_name(kind)) {
                self.check_wait(kind, key, now, log);
            }
        }
    }

    fn check_wait(&mut self, kind: ServiceKind, key: &JobKey, now: Duration, log: &EventLog) {
        let Some(job) = self.jobs.get(key) else { return };
        let Some(id) = job.acknowledged else { return };
        let is_over = self.confirmed.get(&id).is_none_or(|known| known.has_ended);
        if is_over || job.is_refused || job.untrack_asked_at.is_some() {
            return;
        }
        let healthy_since = (self.disturbed_at[kind as usize] + Self::LONGEST_PAUSE)
            .max(self.clock_disturbed_at + Self::LONGEST_INTERVAL);
        let since = job.last_asked.unwrap_or_default().max(job.acknowledged_at).max(healthy_since);
        let wait = now.saturating_sub(since);
        let age = if job.last_asked.is_some() { job.age(now) } else { Duration::ZERO };
        // docs/polling.md: 10 s or half of the age, and 6 h, or `max_interval` with growing intervals; at once
        // for a new job. The rest is for the queue.
        let by_age = (age / 2).max(Duration::from_secs(10)).min(Self::LONGEST_INTERVAL);
        let backoff = self.profile.longest_backoff(kind).unwrap_or_default();
        let bound = by_age.max(backoff) + Duration::from_mins(3);
        if wait > bound {
            log.violation(format!(
                "job {id} ({key:?}) was not polled for {wait:?}; its bound is {bound:?}"
            ));
        }
        self.longest_wait = self.longest_wait.max(wait);
    }

    /// Whether an add of the job registers another one.
    pub fn is_tracking_over(&self, job: &KnownJob) -> bool {
        let history = job.acknowledged.and_then(|id| self.confirmed.get(&id));
        let last = history.and_then(|known| known.states.last());
        job.untrack_asked_at.is_some()
            || last.is_some_and(|(state, _)| matches!(state, State::Untracked | State::Lost))
    }

    /// Adds what the database holds: once somebody has read it, it must not change any more.
    pub fn adopt(&mut self, id: JobId, history: &[TransitionRow]) {
        let Some(known) = self.confirmed.get_mut(&id) else { return };
        known.states =
            history.iter().map(|row| (row.to_state, row.provider_state.clone())).collect();
        known.has_ended |= history.last().is_some_and(|row| row.to_state.is_terminal());
    }

    /// Notes what the store confirmed to the daemon.
    pub fn confirm_batch(&mut self, batch: &Batch, report: &CommitReport) {
        for registered in &report.registered {
            let job = &registered.job;
            let Some(provider) = ServiceKind::ALL
                .map(provider_name)
                .into_iter()
                .find(|name| *name == job.provider.as_str())
            else {
                continue;
            };
            let known = self.confirmed.entry(job.id).or_default();
            known.key = (provider, job.remote_id.as_str().to_owned());
            if known.states.is_empty() {
                known.states.push((State::Registered, None));
            }
            // A job whose first add was committed but not confirmed may have ended meanwhile.
            known.has_ended |= job.current_state.state().is_terminal();
        }
        let conflicts: Vec<_> = report.conflicting_changes.iter().map(|(job, _)| *job).collect();
        for change in batch.changes.iter().filter(|change| !conflicts.contains(&change.job)) {
            let Some(known) = self.confirmed.get_mut(&change.job) else { continue };
            for transition in &change.transitions {
                let state = transition.provider_state.as_deref().map(str::to_owned);
                known.states.push((transition.to, state));
                known.has_ended |= transition.to.is_terminal();
            }
        }
    }

    /// An add was acknowledged to its caller: the job is in the database from now on.
    pub fn acknowledge(
        &mut self,
        kind: ServiceKind,
        remote_id: &RemoteId,
        id: JobId,
        now: Duration,
        log: &EventLog,
    ) {
        let key = (provider_name(kind), remote_id.as_str().to_owned());
        if self.confirmed.get(&id).is_none_or(|known| known.key != key) {
            log.violation(format!("job {id} was acknowledged before it was committed"));
        }
        if let Some(job) = self.jobs.get_mut(&key) {
            if job.acknowledged.is_some_and(|earlier| earlier != id) {
                log.violation(format!("{key:?} was registered twice, as {id} again"));
            }
            if job.acknowledged.is_none() {
                job.acknowledged_at = now;
            }
            job.acknowledged = Some(id);
        }
    }
}

impl KnownJob {
    /// The time since the job was added or submitted, whichever was first.
    fn age(&self, now: Duration) -> Duration {
        now.saturating_sub(self.added_at) + Duration::from_mins(30)
    }
}
