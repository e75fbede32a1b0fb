//! Finds the position of a job in a dense array: [`super::job_table`] and [`super::job_heap`] use it.
//!
//! Takes 5 bytes for each place of the hash table, because it holds positions only: the caller passes how
//! to read the job at a position. Invariant: the index and the array change together, and an array holds a
//! job once.

use hashbrown::HashTable;

use crate::job::JobId;

#[derive(Debug, Default)]
pub(super) struct JobIndex(HashTable<u32>);

impl JobIndex {
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.0.capacity()
    }

    /// The position of the job; none if the array does not hold it.
    pub(super) fn position(&self, job: JobId, job_at: impl Fn(usize) -> JobId) -> Option<usize> {
        let is_job = |position: &u32| job_at(to_usize(*position)) == job;
        self.0.find(hash(job), is_job).map(|position| to_usize(*position))
    }

    /// Adds a job that the index does not hold; the array holds it at this position already.
    pub(super) fn insert(&mut self, job: JobId, position: usize, job_at: impl Fn(usize) -> JobId) {
        let hash_at = |position: &u32| hash(job_at(to_usize(*position)));
        self.0.insert_unique(hash(job), to_u32(position), hash_at);
    }

    /// Removes the job and returns its position.
    pub(super) fn remove(&mut self, job: JobId, job_at: impl Fn(usize) -> JobId) -> Option<usize> {
        let is_job = |position: &u32| job_at(to_usize(*position)) == job;
        let entry = self.0.find_entry(hash(job), is_job).ok()?;
        Some(to_usize(entry.remove().0))
    }

    /// Gives memory back if the index once held many times as many jobs.
    pub(super) fn shrink_if_sparse(&mut self, job_at: impl Fn(usize) -> JobId) {
        if let Some(capacity) = shrunk_capacity(self.0.len(), self.0.capacity()) {
            self.0.shrink_to(capacity, |position| hash(job_at(to_usize(*position))));
        }
    }

    /// The job moves from one position to another.
    pub(super) fn relocate(&mut self, job: JobId, from: usize, to: usize) {
        let from = to_u32(from);
        if let Some(position) = self.0.find_mut(hash(job), |position| *position == from) {
            *position = to_u32(to);
        }
    }
}

/// The capacity to which a collection should shrink: if it uses less than a quarter, to twice what it uses, so
/// that neither growing nor shrinking follows soon. Small collections keep what they have.
pub(super) fn shrunk_capacity(len: usize, capacity: usize) -> Option<usize> {
    const MIN_CAPACITY: usize = 1024;
    (capacity > MIN_CAPACITY && len < capacity / 4).then_some((2 * len).max(MIN_CAPACITY / 2))
}

/// Numbers of jobs follow each other, so their products with an odd number differ in the low bits, which choose
/// the place in the table; the high bits, which tell jobs of one place apart, are spread evenly.
fn hash(job: JobId) -> u64 {
    const GOLDEN_RATIO: u64 = 0x9e37_79b9_7f4a_7c15;
    job.0.cast_unsigned().wrapping_mul(GOLDEN_RATIO)
}

#[expect(clippy::cast_possible_truncation, reason = "2^32 tracked jobs need 800 GB of memory")]
fn to_u32(position: usize) -> u32 {
    position as u32
}

fn to_usize(position: u32) -> usize {
    position as usize
}
