//! The way in: everything that changes what is tracked comes through a [`Handle`], one command
//! after the other, so that adds, removals and polls cannot race.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};

use crate::job::{
    Checkup, JobId, Labels, Likeness, ProviderError, ProviderName, RemoteId, Tracked,
};
use crate::provider::Provider;
use crate::store::{Entered, Forget};
use crate::tracker::{LaneSettings, Outlook};

use super::Snapshot;
use super::rename::{ConfigureReply, Configuring};

/// A job that somebody wants tracked; its names are well formed.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Of which provider.
    pub provider: ProviderName,
    /// Its name there.
    pub remote_id: RemoteId,
    /// The user's marks.
    pub labels: Labels,
    /// Its own limit of patience.
    pub give_up_after: Option<Duration>,
    /// Which past runs it is like, if its user says so.
    pub likeness: Likeness,
    /// The uid of who asks.
    pub added_by: Option<u32>,
}

/// A provider, ready to be asked.
#[derive(Debug, Clone)]
pub struct Configured {
    /// Its kind.
    pub kind: &'static str,
    /// The tracker's rules for it.
    pub settings: LaneSettings,
    /// Whom to ask.
    pub provider: Arc<dyn Provider>,
    /// Names that it bore.
    pub formerly: Vec<ProviderName>,
}

/// All providers, by name.
pub type Providers = HashMap<ProviderName, Configured>;

/// Why a command was not carried out.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// Nothing could be written for a while; trying again is safe.
    #[error("the database is held by another program; try again, nothing is added twice")]
    Busy,
    /// The database refuses.
    #[error("{0}")]
    Storage(String),
    /// No such provider is configured.
    #[error("provider {0} is not configured; configured: {1}")]
    NoProvider(ProviderName, String),
    /// The provider did not do what it was asked for.
    #[error("{0}")]
    Upstream(ProviderError),
    /// The daemon is ending.
    #[error("jobtrackd is shutting down")]
    ShuttingDown,
}

impl Refusal {
    /// Whether the provider may have refused us rather than what we asked for.
    #[must_use]
    pub fn is_of_us(&self) -> bool {
        matches!(
            self,
            Self::Upstream(
                ProviderError::Auth(_)
                    | ProviderError::RateLimited(_)
                    | ProviderError::Quota(_)
                    | ProviderError::Misconfigured(_)
            )
        )
    }
}

/// One answer for each job, in order: where it stands, or why it is rejected.
pub(super) type AddReply = Result<Vec<Result<Entered, String>>, Refusal>;

#[derive(Debug)]
pub(super) enum Command {
    Add(Vec<Wanted>, oneshot::Sender<AddReply>),
    Poll(Box<Tracked>, oneshot::Sender<Result<(), Refusal>>),
    Untrack(Box<Tracked>, String, oneshot::Sender<Result<(), Refusal>>),
    Cancel(ProviderName, RemoteId, oneshot::Sender<Result<(), Refusal>>),
    Check(ProviderName, oneshot::Sender<Result<Checkup, Refusal>>),
    Forget(Forget, oneshot::Sender<Result<u64, Refusal>>),
    Outlook(JobId, oneshot::Sender<Option<Outlook>>),
    Configure(Configuring),
}

/// Commands the scheduler; clones command the same one.
#[derive(Debug, Clone)]
pub struct Handle {
    pub(super) commands: mpsc::Sender<Command>,
    pub(super) snapshots: watch::Receiver<Arc<Snapshot>>,
}

impl Handle {
    /// A caller is told "busy" after this long.
    const PATIENCE: Duration = Duration::from_secs(5);
    /// Hundreds of thousands of jobs are not renamed in an instant; a signal to end waits as long.
    const PATIENCE_TO_RENAME: Duration = Duration::from_secs(20);

    /// Nothing hangs on a look ahead.
    const PATIENCE_TO_LOOK: Duration = Duration::from_secs(1);

    /// Registers jobs; answers once they are committed.
    ///
    /// # Errors
    /// If nothing was committed in time. It may be later; asking again is safe.
    pub async fn add(&self, jobs: Vec<Wanted>) -> AddReply {
        self.ask(Self::PATIENCE, |reply| Command::Add(jobs, reply)).await?
    }

    /// Asks the provider now; answers once its answer is committed.
    ///
    /// # Errors
    /// [`Refusal::Busy`] if there is no answer within `patience`; it will come.
    pub async fn poll(&self, job: Tracked, patience: Duration) -> Result<(), Refusal> {
        self.ask(patience, |reply| Command::Poll(Box::new(job), reply)).await?
    }

    /// Stops tracking; answers once that is committed.
    ///
    /// # Errors
    /// If it was not committed in time.
    pub async fn untrack(&self, job: Tracked, why: String) -> Result<(), Refusal> {
        self.ask(Self::PATIENCE, |reply| Command::Untrack(Box::new(job), why, reply)).await?
    }

    /// Asks the provider to stop the job; answers once it has answered. The job stands as it stood
    /// until a poll says otherwise.
    ///
    /// # Errors
    /// [`Refusal::Upstream`] if the provider refuses, [`Refusal::Busy`] if it does not answer
    /// within `patience`.
    pub async fn cancel(&self, job: &Tracked, patience: Duration) -> Result<(), Refusal> {
        let (provider, id) = (job.provider.clone(), job.remote_id.clone());
        self.ask(patience, |reply| Command::Cancel(provider, id, reply)).await?
    }

    /// Asks the provider whether all is well between us, paused or not.
    ///
    /// # Errors
    /// If there is no such provider, or it does not answer within `patience`.
    pub async fn check(
        &self,
        provider: ProviderName,
        patience: Duration,
    ) -> Result<Checkup, Refusal> {
        self.ask(patience, |reply| Command::Check(provider, reply)).await?
    }

    /// Forgets what was learned of durations; answers once that is committed, with how many runs.
    ///
    /// # Errors
    /// If it was not committed in time.
    pub async fn forget(&self, what: Forget) -> Result<u64, Refusal> {
        self.ask(Self::PATIENCE, |reply| Command::Forget(what, reply)).await?
    }

    /// When and why this job is asked next, and when it should be over; none if it is not tracked, or
    /// over.
    ///
    /// # Errors
    /// If the scheduler does not say so at once.
    pub async fn outlook(&self, job: JobId) -> Result<Option<Outlook>, Refusal> {
        self.ask(Self::PATIENCE_TO_LOOK, |reply| Command::Outlook(job, reply)).await
    }

    /// Puts these providers in the place of all that were; answers once the jobs of former names
    /// are theirs, with the names that were found.
    ///
    /// # Errors
    /// [`Refusal::Storage`] if a name must not be changed: then all stays as it is.
    /// [`Refusal::Busy`] if it was not done in time; it may be later, asking again is safe.
    pub async fn configure(&self, providers: Providers) -> ConfigureReply {
        let command = |reply| Command::Configure(Configuring { providers, reply });
        self.ask(Self::PATIENCE_TO_RENAME, command).await?
    }

    /// The newest snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshots.borrow().clone()
    }

    /// Returns once polling goes on where an earlier life left it.
    ///
    /// # Errors
    /// If the scheduler ends before.
    pub async fn ready(&mut self) -> Result<(), Refusal> {
        let ready = self.snapshots.wait_for(|snapshot| snapshot.ready).await;
        ready.map(drop).map_err(|_| Refusal::ShuttingDown)
    }

    async fn ask<T>(
        &self,
        patience: Duration,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, Refusal> {
        let (reply, answer) = oneshot::channel();
        let asked = async {
            self.commands.send(command(reply)).await.map_err(|_| Refusal::ShuttingDown)?;
            answer.await.map_err(|_| Refusal::ShuttingDown)
        };
        tokio::time::timeout(patience, asked).await.unwrap_or(Err(Refusal::Busy))
    }
}
