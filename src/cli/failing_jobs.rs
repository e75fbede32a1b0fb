//! A job whose last poll failed, of each provider: a reason why its end may not be observed.
//!
//! `problem_notices` prints them. `list` has the errors in its jobs. The status of a provider names the last poll that
//! failed only, which may be that of a job that nobody waits for; so `wait` also reads some of its own jobs.

use std::cell::RefCell;
use std::collections::BTreeMap;

use super::waited_jobs::WaitedJobs;
use crate::api::{Client, ClientError, Job, ProviderStatus};
use crate::job::{JobId, ProviderName, UtcTime};

/// A job whose last poll failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FailingJob {
    pub(super) job: JobId,
    pub(super) error: String,
}

impl FailingJob {
    fn of(job: &Job) -> Option<Self> {
        let error = job.last_poll_error.clone()?;
        (!job.terminal).then_some(Self { job: job.id, error })
    }
}

/// The providers of the unfinished jobs of a list, each with the first of its jobs that fails.
#[derive(Debug, Default)]
pub(super) struct UnfinishedJobs(BTreeMap<ProviderName, Option<FailingJob>>);

impl UnfinishedJobs {
    pub(super) fn extend(&mut self, jobs: &[Job]) {
        for job in jobs.iter().filter(|job| !job.terminal) {
            match self.0.get_mut(&job.provider) {
                Some(failing) if failing.is_none() => *failing = FailingJob::of(job),
                Some(_) => {}
                None => drop(self.0.insert(job.provider.clone(), FailingJob::of(job))),
            }
        }
    }

    pub(super) fn has_job_of(&self, provider: &ProviderName) -> bool {
        self.0.contains_key(provider)
    }

    pub(super) fn failing_job(&self, provider: &ProviderName) -> Option<FailingJob> {
        self.0.get(provider)?.clone()
    }
}

/// Finds the awaited jobs that fail.
#[derive(Debug)]
pub(super) struct FailingJobSearch<'a> {
    client: &'a Client,
    jobs: &'a RefCell<WaitedJobs>,
    /// What was found after the poll that failed at this time.
    found: BTreeMap<ProviderName, (UtcTime, Option<FailingJob>)>,
}

impl<'a> FailingJobSearch<'a> {
    /// So many jobs of a provider are read after a failed poll of another job.
    const MAX_READ_JOBS: usize = 32;

    pub(super) fn new(client: &'a Client, jobs: &'a RefCell<WaitedJobs>) -> Self {
        Self { client, jobs, found: BTreeMap::new() }
    }

    /// An awaited job of the provider that fails.
    pub(super) async fn find(&mut self, status: &ProviderStatus) -> Option<FailingJob> {
        let failed = status.last_failed_poll.as_ref()?;
        let own = failed.job_id.filter(|job| self.jobs.borrow().awaits(*job));
        if let Some(job) = own {
            return Some(FailingJob { job, error: failed.error.clone() });
        }
        match self.found.get(&status.provider) {
            Some((at, found)) if *at == failed.at => found.clone(),
            Some(_) | None => {
                // An error is ignored: the event stream reports an unavailable daemon.
                let found = self.read_failing_job(&status.provider).await.ok()?;
                self.found.insert(status.provider.clone(), (failed.at, found.clone()));
                found
            }
        }
    }

    async fn read_failing_job(
        &self,
        provider: &ProviderName,
    ) -> Result<Option<FailingJob>, ClientError> {
        let ids: Vec<_> =
            self.jobs.borrow().awaited_of(provider).take(Self::MAX_READ_JOBS).collect();
        for id in ids {
            let failing = match self.client.job(id).await {
                Ok(job) => FailingJob::of(&job),
                // The job was deleted.
                Err(error) if error.is_not_found() => None,
                Err(error) => return Err(error),
            };
            if failing.is_some() {
                return Ok(failing);
            }
        }
        Ok(None)
    }
}
