//! Loads the unfinished jobs of the database, page by page, in a task of its own.
//!
//! The scheduler loads them at its start, and again after a write error that may have left a
//! committed job untracked; meanwhile its loop goes on. Invariant: a job that was committed while
//! the load was running is not taken from a page, because the page may be older than the commit.

use std::collections::HashSet;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::job::{JobId, StoredJob};
use crate::store::{ReadError, TrackerStateReader};

use super::error::SchedulerError;

#[derive(Debug, Default)]
pub(super) struct JobLoader {
    running: Option<RunningLoad>,
}

#[derive(Debug)]
struct RunningLoad {
    pages: mpsc::Receiver<Vec<StoredJob>>,
    task: JoinHandle<Result<(), ReadError>>,
    committed_meanwhile: HashSet<JobId>,
}

#[derive(Debug)]
pub(super) enum LoadEvent {
    Page(Vec<StoredJob>),
    Finished,
    Failed(SchedulerError),
}

impl JobLoader {
    /// More would take memory that the allocator keeps, and load no faster.
    pub(super) const PAGE_SIZE: u32 = 2000;

    /// Starts a load; one that is running is dropped, because its pages may be older than what
    /// this load is to find.
    pub(super) fn start(&mut self, reader: Arc<dyn TrackerStateReader>) {
        // One page waits while the next one is read, so that memory stays bounded.
        let (sender, pages) = mpsc::channel(1);
        let task = tokio::spawn(load_pages(reader, sender));
        self.running = Some(RunningLoad { pages, task, committed_meanwhile: HashSet::new() });
    }

    /// Excludes a job that was just committed from the pages of the running load.
    pub(super) fn exclude(&mut self, job: JobId) {
        if let Some(load) = &mut self.running {
            load.committed_meanwhile.insert(job);
        }
    }

    /// The next event of the running load; pending forever if none is running. Cancel-safe.
    pub(super) async fn next_event(&mut self) -> LoadEvent {
        let Some(load) = &mut self.running else { return std::future::pending().await };
        if let Some(mut page) = load.pages.recv().await {
            page.retain(|job| !load.committed_meanwhile.contains(&job.id));
            return LoadEvent::Page(page);
        }
        let ended = (&mut load.task).await;
        self.running = None;
        match ended {
            Ok(Ok(())) => LoadEvent::Finished,
            Ok(Err(error)) => LoadEvent::Failed(error.into()),
            Err(error) => LoadEvent::Failed(error.into()),
        }
    }
}

async fn load_pages(
    reader: Arc<dyn TrackerStateReader>,
    pages: mpsc::Sender<Vec<StoredJob>>,
) -> Result<(), ReadError> {
    let mut after = JobId(0);
    loop {
        let page = reader.unfinished_jobs(after, JobLoader::PAGE_SIZE).await?;
        let Some(last) = page.last() else { return Ok(()) };
        after = last.id;
        if pages.send(page).await.is_err() {
            // The load was dropped.
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A loader whose task has sent one page with the jobs 1 to 3.
    async fn loader_with_one_page(task: JoinHandle<Result<(), ReadError>>) -> JobLoader {
        let (sender, pages) = mpsc::channel(1);
        sender.send((1..=3).map(StoredJob::for_test).collect()).await.expect("room for a page");
        JobLoader {
            running: Some(RunningLoad { pages, task, committed_meanwhile: HashSet::new() }),
        }
    }

    #[tokio::test]
    async fn a_job_that_is_committed_during_a_load_is_not_taken_from_a_page() {
        let mut loader = loader_with_one_page(tokio::spawn(async { Ok(()) })).await;
        loader.exclude(JobId(2));
        let LoadEvent::Page(jobs) = loader.next_event().await else { panic!("no page") };
        assert_eq!(jobs.iter().map(|job| job.id.0).collect::<Vec<_>>(), [1, 3]);
        assert!(matches!(loader.next_event().await, LoadEvent::Finished));
    }

    #[tokio::test]
    async fn a_load_whose_task_is_aborted_fails_after_its_last_page() {
        let task = tokio::spawn(std::future::pending());
        task.abort();
        let mut loader = loader_with_one_page(task).await;
        assert!(matches!(loader.next_event().await, LoadEvent::Page(_)));
        let event = loader.next_event().await;
        assert!(matches!(event, LoadEvent::Failed(SchedulerError::Task(_))), "{event:?}");
    }
}
