//! The tracked jobs by their numbers.
//!
//! The jobs lie in blocks without gaps, in no particular order, and [`JobIndex`] finds them: a map would
//! reserve space for twice as many jobs, and one array would be copied as it grows, which leaves unused memory
//! behind. Invariant: every block but the last is full, and none is empty.

use crate::job::JobId;

use super::job::TrackedJob;
use super::job_index::JobIndex;

#[derive(Debug, Default)]
pub(super) struct JobTable {
    blocks: Vec<Vec<TrackedJob>>,
    index: JobIndex,
}

impl JobTable {
    const BLOCK_SIZE: usize = 512;

    pub(super) fn contains(&self, job: JobId) -> bool {
        self.position(job).is_some()
    }

    pub(super) fn get(&self, job: JobId) -> Option<&TrackedJob> {
        self.position(job).map(|position| self.at(position))
    }

    pub(super) fn get_mut(&mut self, job: JobId) -> Option<&mut TrackedJob> {
        let position = self.position(job)?;
        Some(self.at_mut(position))
    }

    /// Adds a job that is not in the table.
    pub(super) fn insert(&mut self, job: TrackedJob) {
        let (id, position) = (job.id, self.len());
        if self.blocks.last().is_none_or(|last| last.len() == Self::BLOCK_SIZE) {
            self.blocks.push(Vec::with_capacity(Self::BLOCK_SIZE));
        }
        if let Some(last) = self.blocks.last_mut() {
            last.push(job);
        }
        let mut index = std::mem::take(&mut self.index);
        index.insert(id, position, |position| self.at(position).id);
        self.index = index;
    }

    pub(super) fn remove(&mut self, job: JobId) {
        let mut index = std::mem::take(&mut self.index);
        let removed = index.remove(job, |position| self.at(position).id);
        self.index = index;
        let Some(position) = removed else { return };
        // The last job takes the place of the removed one.
        let Some(last) = self.blocks.last_mut().and_then(Vec::pop) else { return };
        if self.blocks.last().is_some_and(Vec::is_empty) {
            self.blocks.pop();
        }
        if last.id != job {
            self.index.relocate(last.id, self.len(), position);
            *self.at_mut(position) = last;
        }
        let mut index = std::mem::take(&mut self.index);
        index.shrink_if_sparse(|position| self.at(position).id);
        self.index = index;
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut TrackedJob> {
        self.blocks.iter_mut().flatten()
    }

    pub(super) fn len(&self) -> usize {
        let last = self.blocks.last().map_or(0, Vec::len);
        self.blocks.len().saturating_sub(1) * Self::BLOCK_SIZE + last
    }

    fn at(&self, position: usize) -> &TrackedJob {
        &self.blocks[position / Self::BLOCK_SIZE][position % Self::BLOCK_SIZE]
    }

    fn at_mut(&mut self, position: usize) -> &mut TrackedJob {
        &mut self.blocks[position / Self::BLOCK_SIZE][position % Self::BLOCK_SIZE]
    }

    fn position(&self, job: JobId) -> Option<usize> {
        self.index.position(job, |position| self.at(position).id)
    }
}
