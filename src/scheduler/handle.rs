//! The way in: everything that changes what is tracked comes through a [`Handle`], one command
//! after the other, so that adds, removals and polls cannot race.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::job::{
    AddedBy, ConnectionCheck, JobId, Labels, ProviderError, ProviderErrorKind, ProviderName,
    RemoteId, SimilarityKeys, StoredJob,
};
use crate::provider::Provider;
use crate::store::{ForgetDurations, Registered};
use crate::tracker::{PollForecast, ProviderSettings};

use super::SchedulerSnapshot;
use super::provider_rename::{ConfigureResult, PendingConfigure};

/// A job that somebody wants tracked; its names are well formed.
#[derive(Debug, Clone)]
pub struct JobSpec {
    /// Of which provider.
    pub provider: ProviderName,
    /// Its name there.
    pub remote_id: RemoteId,
    /// The user's marks.
    pub labels: Labels,
    /// Its own limit of patience.
    pub give_up_after: Option<Duration>,
    /// Which past runs it is like, if its user says so.
    pub similarity_keys: SimilarityKeys,
    /// The user that adds the job, if known.
    pub added_by: Option<AddedBy>,
}

/// A provider, ready to be asked.
#[derive(Debug, Clone)]
pub struct ConfiguredProvider {
    /// Its kind.
    pub kind: &'static str,
    /// The tracker's rules for it.
    pub settings: ProviderSettings,
    /// Whom to ask.
    pub provider: Arc<dyn Provider>,
    /// Names that it bore.
    pub previous_names: Vec<ProviderName>,
}

/// All providers, by name.
pub type Providers = HashMap<ProviderName, ConfiguredProvider>;

/// Why a command was not carried out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CommandError {
    /// Nothing could be written for a while; trying again is safe.
    #[error("the database is held by another program; try again, nothing is added twice")]
    Busy,
    /// The database refuses.
    #[error("{0}")]
    Storage(String),
    /// No such provider is configured.
    #[error("provider {0} is not configured; configured: {1}")]
    ProviderNotConfigured(ProviderName, String),
    /// The provider did not do what it was asked for.
    #[error("{0}")]
    Upstream(ProviderError),
    /// The daemon is ending.
    #[error("jobtrackd is shutting down")]
    ShuttingDown,
}

impl CommandError {
    /// Whether the provider may have refused us rather than what we asked for.
    #[must_use]
    pub fn is_account_level(&self) -> bool {
        matches!(
            self,
            Self::Upstream(ProviderError {
                kind: ProviderErrorKind::Auth
                    | ProviderErrorKind::RateLimited
                    | ProviderErrorKind::QuotaExceeded
                    | ProviderErrorKind::Misconfigured,
                ..
            })
        )
    }
}

/// One answer for each job, in order: where it stands, or why it is rejected.
pub(super) type AddResult = Result<Vec<Result<Registered, String>>, CommandError>;

#[derive(Debug)]
pub(super) enum SchedulerCommand {
    Add(Vec<JobSpec>, oneshot::Sender<AddResult>),
    PollOnDemand(Box<StoredJob>, oneshot::Sender<Result<(), CommandError>>),
    Untrack(Box<StoredJob>, String, oneshot::Sender<Result<(), CommandError>>),
    Cancel(ProviderName, RemoteId, oneshot::Sender<Result<(), CommandError>>),
    CheckConnection(ProviderName, oneshot::Sender<Result<ConnectionCheck, CommandError>>),
    ForgetDurations(ForgetDurations, oneshot::Sender<Result<u64, CommandError>>),
    Forecast(JobId, oneshot::Sender<Option<PollForecast>>),
    Configure(PendingConfigure),
}

/// Commands the scheduler; clones command the same one.
#[derive(Debug, Clone)]
pub struct SchedulerHandle {
    pub(super) commands: mpsc::Sender<SchedulerCommand>,
    pub(super) snapshots: watch::Receiver<Arc<SchedulerSnapshot>>,
}

impl SchedulerHandle {
    /// A caller is told "busy" after this long.
    const COMMAND_TIMEOUT: Duration = Duration::from_secs(5);
    /// Hundreds of thousands of jobs are not renamed in an instant; a signal to end waits as long.
    const CONFIGURE_TIMEOUT: Duration = Duration::from_secs(20);

    /// Nothing hangs on a look ahead.
    const FORECAST_TIMEOUT: Duration = Duration::from_secs(1);

    /// Registers jobs; answers once they are committed.
    ///
    /// # Errors
    /// If nothing was committed in time. It may be later; asking again is safe.
    pub async fn add(&self, jobs: Vec<JobSpec>) -> AddResult {
        self.send_command(Self::COMMAND_TIMEOUT, |reply| SchedulerCommand::Add(jobs, reply)).await?
    }

    /// Asks the provider now; answers once its answer is committed.
    ///
    /// # Errors
    /// [`Refusal::Busy`] if there is no answer within `patience`; it will come.
    pub async fn poll_on_demand(
        &self,
        job: StoredJob,
        timeout: Duration,
    ) -> Result<(), CommandError> {
        self.send_command(timeout, |reply| SchedulerCommand::PollOnDemand(Box::new(job), reply))
            .await?
    }

    /// Stops tracking; answers once that is committed.
    ///
    /// # Errors
    /// If it was not committed in time.
    pub async fn untrack(&self, job: StoredJob, reason: String) -> Result<(), CommandError> {
        self.send_command(Self::COMMAND_TIMEOUT, |reply| {
            SchedulerCommand::Untrack(Box::new(job), reason, reply)
        })
        .await?
    }

    /// Asks the provider to stop the job; answers once it has answered. The job stands as it stood
    /// until a poll says otherwise.
    ///
    /// # Errors
    /// [`Refusal::Upstream`] if the provider refuses, [`Refusal::Busy`] if it does not answer
    /// within `patience`.
    pub async fn cancel(&self, job: &StoredJob, timeout: Duration) -> Result<(), CommandError> {
        let (provider, id) = (job.provider.clone(), job.remote_id.clone());
        self.send_command(timeout, |reply| SchedulerCommand::Cancel(provider, id, reply)).await?
    }

    /// Asks the provider whether all is well between us, paused or not.
    ///
    /// # Errors
    /// If there is no such provider, or it does not answer within `patience`.
    pub async fn check_connection(
        &self,
        provider: ProviderName,
        timeout: Duration,
    ) -> Result<ConnectionCheck, CommandError> {
        self.send_command(timeout, |reply| SchedulerCommand::CheckConnection(provider, reply))
            .await?
    }

    /// Forgets what was learned of durations; answers once that is committed, with how many runs.
    ///
    /// # Errors
    /// If it was not committed in time.
    pub async fn forget_durations(&self, forget: ForgetDurations) -> Result<u64, CommandError> {
        self.send_command(Self::COMMAND_TIMEOUT, |reply| {
            SchedulerCommand::ForgetDurations(forget, reply)
        })
        .await?
    }

    /// When and why this job is asked next, and when it should be over; none if it is not tracked, or
    /// over.
    ///
    /// # Errors
    /// If the scheduler does not say so at once.
    pub async fn forecast(&self, job: JobId) -> Result<Option<PollForecast>, CommandError> {
        self.send_command(Self::FORECAST_TIMEOUT, |reply| SchedulerCommand::Forecast(job, reply))
            .await
    }

    /// Puts these providers in the place of all that were; answers once the jobs of former names
    /// are theirs, with the names that were found.
    ///
    /// # Errors
    /// [`Refusal::Storage`] if a name must not be changed: then all stays as it is.
    /// [`Refusal::Busy`] if it was not done in time; it may be later, asking again is safe.
    pub async fn configure(&self, providers: Providers) -> ConfigureResult {
        let command = |reply| SchedulerCommand::Configure(PendingConfigure { providers, reply });
        self.send_command(Self::CONFIGURE_TIMEOUT, command).await?
    }

    /// The newest snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<SchedulerSnapshot> {
        self.snapshots.borrow().clone()
    }

    /// Returns once polling goes on where an earlier life left it.
    ///
    /// # Errors
    /// If the scheduler ends before.
    pub async fn wait_until_ready(&mut self) -> Result<(), CommandError> {
        let ready = self.snapshots.wait_for(|snapshot| snapshot.ready).await;
        ready.map(drop).map_err(|_| CommandError::ShuttingDown)
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
        tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(CommandError::Busy))
    }
}
