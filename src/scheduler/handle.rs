//! [`SchedulerHandle`] sends commands to the scheduler and reads its status.
//!
//! The control socket, the reload and the watchdog hold clones of the handle. All commands pass
//! through one bounded queue and are carried out in order, so that adds, removals and polls cannot
//! race. Every call ends after a fixed time with [`CommandError::TimedOut`].

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::job::{AuditEntry, JobId, ProviderName, StoredJob};
use crate::store::{ForgetDurations, RegisterResult, SetPinned, StoreCommand};
use crate::tracker::PollForecast;

use super::check_reply::CheckReply;
use super::error::CommandError;
use super::job_spec::JobSpec;
use super::providers::Providers;
use super::status::{Heartbeat, SchedulerSnapshot, StatusReader};

/// One result for each job, in the order of the request: the job as it is stored, or why it was
/// rejected.
pub(super) type AddResult = Result<Vec<Result<AddedJob, String>>, CommandError>;

/// A job that is registered now.
#[derive(Debug)]
pub struct AddedJob {
    pub registered: RegisterResult,
    /// What all known ids of the service look like, if the id of this job does not.
    pub id_warning: Option<&'static str>,
}

/// The way back to the caller of a command.
pub(super) type ReplySender<T> = oneshot::Sender<Result<T, CommandError>>;

#[derive(Debug)]
pub(super) enum SchedulerCommand {
    Add(Vec<JobSpec>, oneshot::Sender<AddResult>),
    PollOnDemand(Box<StoredJob>, ReplySender<()>),
    /// With the audit entry of the command, if a user gave it.
    Untrack(Box<StoredJob>, String, Option<AuditEntry>, ReplySender<()>),
    Cancel(Box<StoredJob>, ReplySender<()>),
    CheckConnection(ProviderName, ReplySender<CheckReply>),
    Store(StoreCommand, ReplySender<u64>),
    RecordAudit(AuditEntry, ReplySender<()>),
    Forecast(JobId, oneshot::Sender<Option<PollForecast>>),
    PublishSnapshot(oneshot::Sender<()>),
    Configure(Providers, oneshot::Sender<()>),
}

/// Sends commands to the scheduler; all clones send to the same one.
#[derive(Debug, Clone)]
pub struct SchedulerHandle {
    commands: mpsc::Sender<SchedulerCommand>,
    status: StatusReader,
}

impl SchedulerHandle {
    const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);
    /// Jobs with many labels need longer on a slow machine.
    const TIMEOUT_PER_JOB: Duration = Duration::from_millis(10);
    /// For what waits for neither the database nor a provider.
    const SHORT_TIMEOUT: Duration = Duration::from_secs(1);

    pub(super) fn new(commands: mpsc::Sender<SchedulerCommand>, status: StatusReader) -> Self {
        Self { commands, status }
    }

    /// Registers jobs; returns once they are committed.
    ///
    /// # Errors
    /// [`CommandError::TimedOut`] if nothing was committed in time: the jobs may be registered later,
    /// and adding them again is safe. [`CommandError::Storage`] if the database rejected them.
    pub async fn add(&self, jobs: Vec<JobSpec>) -> AddResult {
        let job_count = u32::try_from(jobs.len()).unwrap_or(u32::MAX);
        let timeout = Self::COMMAND_TIMEOUT + Self::TIMEOUT_PER_JOB.saturating_mul(job_count);
        self.send_command(timeout, |reply| SchedulerCommand::Add(jobs, reply)).await?
    }

    /// Polls a job now; returns once the provider's answer is committed.
    ///
    /// # Errors
    /// [`CommandError::TimedOut`] if no answer was committed within `timeout`; the poll continues.
    /// [`CommandError::ProviderPaused`] or [`CommandError::TooManyRequests`] if the poll is not sent.
    pub async fn poll_on_demand(
        &self,
        job: StoredJob,
        timeout: Duration,
    ) -> Result<(), CommandError> {
        self.send_command(timeout, |reply| SchedulerCommand::PollOnDemand(Box::new(job), reply))
            .await?
    }

    /// Stops tracking a job; returns once that is committed, with `audit` in the same transaction.
    ///
    /// # Errors
    /// [`CommandError::TimedOut`] if it was not committed in time.
    pub async fn untrack(
        &self,
        job: StoredJob,
        reason: String,
        audit: Option<AuditEntry>,
    ) -> Result<(), CommandError> {
        self.send_command(Self::COMMAND_TIMEOUT, |reply| {
            SchedulerCommand::Untrack(Box::new(job), reason, audit, reply)
        })
        .await?
    }

    /// Asks the provider to cancel a job; returns once the provider has answered. The job's state
    /// changes only by a later poll.
    ///
    /// # Errors
    /// [`CommandError::Upstream`] if the provider rejected the request, [`CommandError::TimedOut`] if the
    /// request was not answered within `timeout`, perhaps because it waits for the rate limit,
    /// [`CommandError::ProviderPaused`] or [`CommandError::TooManyRequests`] if it is not sent.
    pub async fn cancel(&self, job: StoredJob, timeout: Duration) -> Result<(), CommandError> {
        self.send_command(timeout, |reply| SchedulerCommand::Cancel(Box::new(job), reply)).await?
    }

    /// Tests a provider's credential, address and clock with one request, which all who order a check at
    /// about the same time share.
    ///
    /// # Errors
    /// If the provider is not configured, or did not answer within `timeout`, or may not be sent a
    /// request now.
    pub async fn check_connection(
        &self,
        provider: ProviderName,
        timeout: Duration,
    ) -> Result<CheckReply, CommandError> {
        self.send_command(timeout, |reply| SchedulerCommand::CheckConnection(provider, reply))
            .await?
    }

    /// Deletes duration samples; returns their number once that is committed. The audit entry in `forget` is
    /// recorded here: with the deletion, or as failed if that is not carried out.
    ///
    /// # Errors
    /// [`CommandError::TimedOut`] if it was not committed in time.
    pub async fn forget_durations(&self, forget: ForgetDurations) -> Result<u64, CommandError> {
        self.execute(StoreCommand::ForgetDurations(forget)).await
    }

    /// Sets whether a job is kept whatever its age; returns once that is committed. The audit entry in `set` is
    /// recorded as for [`Self::forget_durations`].
    ///
    /// # Errors
    /// [`CommandError::TimedOut`] if it was not committed in time.
    pub async fn set_pinned(&self, set: SetPinned) -> Result<(), CommandError> {
        self.execute(StoreCommand::SetPinned(set)).await.map(drop)
    }

    async fn execute(&self, command: StoreCommand) -> Result<u64, CommandError> {
        self.send_command(Self::COMMAND_TIMEOUT, |reply| SchedulerCommand::Store(command, reply))
            .await?
    }

    /// Records a command; returns once that is committed.
    ///
    /// # Errors
    /// [`CommandError::TimedOut`] if it was not committed in time; it may be later.
    pub async fn record_audit(&self, entry: AuditEntry) -> Result<(), CommandError> {
        self.send_command(Self::COMMAND_TIMEOUT, |reply| {
            SchedulerCommand::RecordAudit(entry, reply)
        })
        .await?
    }

    /// The time and reason of a job's next poll, and its expected end. `None` if the job is finished
    /// or not tracked.
    ///
    /// # Errors
    /// [`CommandError::TimedOut`] if the scheduler did not answer in time.
    pub async fn forecast(&self, job: JobId) -> Result<Option<PollForecast>, CommandError> {
        self.send_command(Self::SHORT_TIMEOUT, |reply| SchedulerCommand::Forecast(job, reply)).await
    }

    /// Replaces all configured providers. Where the address or a credential changed, the pauses end.
    ///
    /// # Errors
    /// [`CommandError::TimedOut`] if the scheduler did not answer in time. The providers may still be
    /// replaced later; calling this again is safe.
    pub async fn configure(&self, providers: Providers) -> Result<(), CommandError> {
        self.send_command(Self::COMMAND_TIMEOUT, |reply| {
            SchedulerCommand::Configure(providers, reply)
        })
        .await
    }

    /// The present state of the scheduler. If it does not answer in time, an older one: then
    /// [`Heartbeat::stall_reason`] says so soon.
    pub async fn snapshot(&self) -> Arc<SchedulerSnapshot> {
        // Without an answer, what was published last is all that is known.
        let _ = self.send_command(Self::SHORT_TIMEOUT, SchedulerCommand::PublishSnapshot).await;
        self.status.snapshot()
    }

    #[must_use]
    pub fn heartbeat(&self) -> Heartbeat {
        self.status.heartbeat()
    }

    /// Returns once the unfinished jobs are loaded and polling continues.
    ///
    /// # Errors
    /// If the scheduler ends first.
    pub async fn wait_until_ready(&mut self) -> Result<(), CommandError> {
        self.status.wait_until_ready().await.map_err(|_| CommandError::ShuttingDown)
    }

    /// Returns once the scheduler carries out no more commands, because it has ended or is shutting
    /// down.
    pub async fn closed(&self) {
        self.commands.closed().await;
    }

    async fn send_command<T>(
        &self,
        timeout: Duration,
        command: impl FnOnce(oneshot::Sender<T>) -> SchedulerCommand,
    ) -> Result<T, CommandError> {
        let (reply, response) = oneshot::channel();
        let exchange = async {
            self.commands.send(command(reply)).await.map_err(|_| CommandError::ShuttingDown)?;
            response.await.map_err(|_| CommandError::ShuttingDown)
        };
        tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(CommandError::TimedOut))
    }
}
