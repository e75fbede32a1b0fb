//! Values that many jobs have in common: each is stored once, and the jobs share it.
//!
//! The tracker passes what a job gets to know through [`SharedValues`], and reports how many jobs are left.
//! Values that no job has any longer are forgotten when the values have doubled, and when the jobs are fewer
//! than a quarter of the values that were in use, so that memory stays in proportion to the jobs.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::Arc;

use crate::job::{CurrentState, ProviderState, SimilarityKeys};

#[derive(Debug, Default)]
pub(super) struct SharedValues {
    similarity_keys: SharedSet<Arc<SimilarityKeys>>,
    provider_states: SharedSet<ProviderState>,
}

impl SharedValues {
    pub(super) fn share_keys(&mut self, keys: SimilarityKeys) -> Arc<SimilarityKeys> {
        self.similarity_keys.share(Arc::new(keys))
    }

    pub(super) fn share_provider_state(&mut self, state: &mut CurrentState) {
        let own = state.provider_state.take();
        state.provider_state = own.map(|own| self.provider_states.share(own));
    }

    /// To be called when a job has been removed. `jobs`: how many are left, each with one value of a kind.
    pub(super) fn job_removed(&mut self, jobs: usize) {
        self.similarity_keys.job_removed(jobs);
        self.provider_states.job_removed(jobs);
    }
}

/// A pointer to a value, which counts its copies.
trait SharedPointer: Clone + Eq + Hash {
    /// Whether there is no other pointer to the value.
    fn is_last(&self) -> bool;
}

impl SharedPointer for Arc<SimilarityKeys> {
    fn is_last(&self) -> bool {
        Self::strong_count(self) == 1
    }
}

impl SharedPointer for ProviderState {
    fn is_last(&self) -> bool {
        self.is_only_copy()
    }
}

#[derive(Debug)]
struct SharedSet<P> {
    known: HashSet<P>,
    /// The number of values from which those without a job are looked for.
    cleanup_at: usize,
    /// The number of jobs below which they are looked for.
    cleanup_below: usize,
}

impl<P> Default for SharedSet<P> {
    fn default() -> Self {
        Self { known: HashSet::new(), cleanup_at: 0, cleanup_below: 0 }
    }
}

impl<P: SharedPointer> SharedSet<P> {
    const MIN_CLEANUP_AT: usize = 64;

    /// The known pointer to an equal value; `pointer` itself if there is none.
    fn share(&mut self, pointer: P) -> P {
        if let Some(known) = self.known.get(&pointer) {
            return known.clone();
        }
        if self.known.len() >= self.cleanup_at {
            self.clean_up();
        }
        self.known.insert(pointer.clone());
        pointer
    }

    fn job_removed(&mut self, jobs: usize) {
        if jobs < self.cleanup_below {
            self.clean_up();
            // Others than jobs may hold values for a while: the next cleanup waits for fewer jobs all the same.
            self.cleanup_below = self.cleanup_below.min(jobs / 4);
        }
    }

    fn clean_up(&mut self) {
        self.known.retain(|known| !known.is_last());
        self.cleanup_at = Self::MIN_CLEANUP_AT.max(2 * self.known.len());
        self.cleanup_below = self.known.len() / 4;
        self.known.shrink_to(self.cleanup_at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_stored_once_and_unused_ones_are_forgotten() {
        let mut values = SharedValues::default();
        let mut keys = |number: usize| {
            values.share_keys(SimilarityKeys::from_provider([format!("query {number}")]))
        };
        let used: Vec<_> = (0..100).map(|job| keys(job % 10)).collect();
        assert!(Arc::ptr_eq(&used[3], &used[93]));
        assert_eq!(*used[3], SimilarityKeys::from_provider(["query 3".to_owned()]));
        (10..1000).for_each(|number| drop(keys(number)));
        assert!(Arc::ptr_eq(&used[3], &keys(3)));
        assert!(values.similarity_keys.known.len() <= SharedSet::<ProviderState>::MIN_CLEANUP_AT);
    }

    #[test]
    fn values_of_removed_jobs_are_forgotten_although_no_other_value_follows() {
        let mut values = SharedValues::default();
        let keys = |number| SimilarityKeys::from_provider([format!("query {number}")]);
        let mut jobs: Vec<_> = (0..10_000).map(|number| values.share_keys(keys(number))).collect();
        while jobs.len() > 10 {
            jobs.pop();
            values.job_removed(jobs.len());
            let known = &values.similarity_keys.known;
            assert!(known.len() <= 64.max(8 * jobs.len()), "{}, {}", known.len(), jobs.len());
            assert!(known.capacity() <= 2048.max(32 * jobs.len()), "{}", known.capacity());
        }
        assert!(Arc::ptr_eq(&jobs[3], &values.share_keys(keys(3))));
    }
}
