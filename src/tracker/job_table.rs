//! The tracked jobs by their numbers.
//!
//! The jobs lie in one array without gaps, in no particular order, and [`JobIndex`] finds them: a map would
//! reserve space for twice as many jobs.

use crate::job::JobId;

use super::job::TrackedJob;
use super::job_index::JobIndex;

#[derive(Debug, Default)]
pub(super) struct JobTable {
    jobs: Vec<TrackedJob>,
    index: JobIndex,
}

impl JobTable {
    pub(super) fn contains(&self, job: JobId) -> bool {
        self.position(job).is_some()
    }

    pub(super) fn get(&self, job: JobId) -> Option<&TrackedJob> {
        self.position(job).map(|position| &self.jobs[position])
    }

    pub(super) fn get_mut(&mut self, job: JobId) -> Option<&mut TrackedJob> {
        self.position(job).map(|position| &mut self.jobs[position])
    }

    /// Adds a job that is not in the table.
    pub(super) fn insert(&mut self, job: TrackedJob) {
        let (id, position) = (job.id, self.jobs.len());
        self.jobs.push(job);
        self.index.insert(id, position, |position| self.jobs[position].id);
    }

    pub(super) fn remove(&mut self, job: JobId) {
        let Some(position) = self.index.remove(job, |position| self.jobs[position].id) else {
            return;
        };
        self.jobs.swap_remove(position);
        if let Some(moved) = self.jobs.get(position) {
            self.index.relocate(moved.id, self.jobs.len(), position);
        }
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut TrackedJob> {
        self.jobs.iter_mut()
    }

    fn position(&self, job: JobId) -> Option<usize> {
        self.index.position(job, |position| self.jobs[position].id)
    }
}
