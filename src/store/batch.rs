//! The content of one transaction, and the result of its commit. Plain data from the scheduler; the
//! engine in `sqlite` executes it.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use crate::job::{
    Anomaly, AuditEntry, Change, JobId, NewJob, OutageEvent, PollRecord, ProviderName, State,
    StoredJob, UtcTime,
};

/// The content of one transaction. For each job at most one change, or one poll record.
#[derive(Debug, Default)]
pub struct Batch {
    pub new_jobs: Vec<NewJob>,
    /// Jobs whose state changes.
    pub changes: Vec<Change>,
    /// Bookkeeping of polls without a change of state.
    pub poll_records: Vec<PollRecord>,
    /// Other times of the next polls of jobs; written last, and not for a job that has ended.
    pub next_polls: Vec<(JobId, UtcTime)>,
    /// Contradictions to record beside the history.
    pub anomalies: Vec<Anomaly>,
    /// Outages that began or ended, in order.
    pub outages: Vec<OutageEvent>,
    /// Carried out in order, before the duration samples of `changes` are inserted.
    pub commands: Vec<StoreCommand>,
    /// Commands to record that cause no other change of the batch.
    pub audit: Vec<AuditEntry>,
    /// A maintenance task to run.
    pub maintenance: Option<MaintenanceTask>,
    /// When the batch was handed over.
    pub times: Option<BatchTimes>,
}

/// When a batch is handed over, as far as that is known.
#[derive(Debug, Clone, Copy)]
pub struct BatchTimes {
    /// The time to record; also recorded as the daemon's heartbeat.
    pub written_at: UtcTime,
    /// The time that is certain ([`crate::job::TrustedClock`]), by which old jobs are deleted; recorded for
    /// the next process. None if the clock cannot be relied on: then nothing is deleted.
    pub certain_at: Option<UtcTime>,
    /// A time that has passed for certain ([`crate::job::RecordClock`]); recorded for the next process.
    pub confirmed_at: Option<UtcTime>,
    /// The time by a provider's clock, if `written_at` is earlier and not confirmed.
    pub contradicting: Option<UtcTime>,
}

impl Batch {
    /// The time of a row that is this long before the commit is suspect. Rows may also wait for a full disk.
    const MAX_DELAY: Duration = Duration::from_hours(1);

    /// Whether a job that this batch ends, or a command that it records, may look older than it is,
    /// because the clock was behind.
    #[must_use]
    pub fn has_backdated_rows(&self) -> bool {
        let present = self.times.map(|times| {
            times.contradicting.map_or(times.written_at, |later| later.max(times.written_at))
        });
        let is_backdated = |at: UtcTime| {
            at < UtcTime::EARLIEST_PRESENT
                || present.is_some_and(|present| present.duration_since(at) > Self::MAX_DELAY)
        };
        let ends = self.changes.iter().map(|change| &change.new_state);
        let mut ends = ends.filter(|state| state.state().is_terminal());
        let commands = self.changes.iter().flat_map(|change| &change.audit);
        let mut commands = commands.chain(&self.audit);
        ends.any(|end| is_backdated(end.observed_at))
            || commands.any(|entry| is_backdated(entry.requested_at))
    }
}

/// The result of a commit.
#[derive(Debug, Default)]
pub struct CommitReport {
    /// One entry for each of the batch's new jobs that is not in `jobs_over_limit`, in order.
    pub registered: Vec<RegisterResult>,
    /// The positions of the new jobs that were not registered because of a limit of their user, each with
    /// the reason.
    pub jobs_over_limit: BTreeMap<usize, String>,
    /// Changes that were not written because the database holds another state than expected, each
    /// with the job as the database holds it; `None` if the job is not there.
    pub conflicting_changes: Vec<(JobId, Option<StoredJob>)>,
    /// The same for poll records.
    pub conflicting_poll_records: Vec<(JobId, Option<StoredJob>)>,
    /// The jobs that the batch ended.
    pub ended: HashMap<JobId, EndedJob>,
    /// The number of rows that each of the batch's `commands` changed or deleted, in order.
    pub command_results: Vec<u64>,
    /// Whether the maintenance task has more to do and must be written again.
    pub maintenance_unfinished: bool,
    /// The condition of the store after the commit.
    pub health: StoreHealth,
}

impl CommitReport {
    /// Takes out the results of the new jobs, in order: registered, or why not.
    pub fn take_registrations(
        &mut self,
    ) -> impl Iterator<Item = Result<RegisterResult, String>> + use<> {
        let mut registered = std::mem::take(&mut self.registered).into_iter();
        let mut rejected = std::mem::take(&mut self.jobs_over_limit);
        (0..).map_while(move |position| match rejected.remove(&position) {
            Some(reason) => Some(Err(reason)),
            None => registered.next().map(Ok),
        })
    }
}

/// How a job that has ended is called in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedJob {
    pub provider: String,
    pub remote_id: String,
    /// A JSON object.
    pub labels: String,
}

/// A job that was to be registered.
#[derive(Debug, Clone)]
pub struct RegisterResult {
    /// The job as the database holds it.
    pub job: StoredJob,
    /// Whether this batch created the job.
    pub is_new: bool,
}

/// The condition of the store, in terms that hold for any engine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoreHealth {
    /// The size of all files of the database, in bytes.
    pub size_bytes: u64,
    /// What an operator should correct; `None` if all is well.
    pub warning: Option<String>,
}

/// A command that is carried out in the database alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreCommand {
    ForgetDurations(ForgetDurations),
    SetPinned(SetPinned),
}

impl StoreCommand {
    /// The command as it is recorded; `None` if no user gave it.
    #[must_use]
    pub fn audit(&self) -> Option<&AuditEntry> {
        match self {
            Self::ForgetDurations(forget) => forget.audit.as_ref(),
            Self::SetPinned(set) => set.audit.as_ref(),
        }
    }
}

/// Whether a job is kept whatever its age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetPinned {
    pub job: JobId,
    pub pinned: bool,
    /// The command; `None` if no user gave it.
    pub audit: Option<AuditEntry>,
}

/// Which duration samples to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgetDurations {
    /// The provider whose samples are deleted; it need not be configured.
    pub provider: ProviderName,
    /// Only samples with this similarity key; all of them if `None`.
    pub similarity_key: Option<String>,
    /// The command, whose detail becomes the number of samples; `None` if no user gave it.
    pub audit: Option<AuditEntry>,
}

/// A maintenance task of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MaintenanceTask {
    /// Delete jobs, with their history, that ended in one of these states longer ago than this and are not
    /// pinned.
    Prune(Vec<(State, Duration)>),
    /// Refresh the statistics of the query planner.
    Optimize,
    /// Return unused space to the file system.
    Vacuum,
    /// Limit the space of the files beside the database, as far as no reader prevents it.
    Checkpoint,
}

impl MaintenanceTask {
    /// The name of [`Self::Prune`].
    pub const PRUNE: &str = "prune";

    /// The time from which missed runs are caught up. A new database has no last run, and nothing to catch up. A last run
    /// in the future was stored by a clock that was ahead.
    #[must_use]
    pub fn catch_up_from(last_run: Option<UtcTime>, now: UtcTime) -> UtcTime {
        last_run.filter(|last| *last <= now).unwrap_or(now)
    }

    /// The name under which the last run of the task is recorded.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Prune(_) => Self::PRUNE,
            Self::Optimize => "optimize",
            Self::Vacuum => "vacuum",
            Self::Checkpoint => "checkpoint",
        }
    }
}
