//! Jobs in the order of a key, such as their due times: 11 bytes a job and the entry itself.
//!
//! Used by [`super::due_queue`]. A heap in which each entry has up to four children, none of which comes
//! before it, and an index that finds the entry of a job. Among jobs with equal keys, the one with the lowest
//! number comes first.

use std::ops::Range;

use crate::job::JobId;

use super::job_index::{JobIndex, shrunk_capacity};

#[derive(Debug)]
pub(super) struct JobHeap<K> {
    entries: Vec<(K, JobId)>,
    index: JobIndex,
}

impl<K> Default for JobHeap<K> {
    fn default() -> Self {
        Self { entries: Vec::new(), index: JobIndex::default() }
    }
}

impl<K: Copy + Ord> JobHeap<K> {
    const CHILDREN: usize = 4;
    /// The position of an entry that is being moved.
    const NOWHERE: usize = u32::MAX as usize;

    /// Adds a job that is not here.
    pub(super) fn insert(&mut self, job: JobId, key: K) {
        let position = self.entries.len();
        self.entries.push((key, job));
        self.index.insert(job, position, |position| self.entries[position].1);
        self.move_up(position);
    }

    /// Removes the job and returns its key; none if it is not here.
    pub(super) fn remove(&mut self, job: JobId) -> Option<K> {
        let position = self.index.remove(job, |position| self.entries[position].1)?;
        let (key, _) = self.entries.swap_remove(position);
        if let Some((_, moved)) = self.entries.get(position) {
            self.index.relocate(*moved, self.entries.len(), position);
            if !self.move_up(position) {
                self.move_down(position);
            }
        }
        if let Some(capacity) = shrunk_capacity(self.entries.len(), self.entries.capacity()) {
            self.entries.shrink_to(capacity);
        }
        self.index.shrink_if_sparse(|position| self.entries[position].1);
        Some(key)
    }

    /// The key of a job; none if it is not here.
    pub(super) fn key(&self, job: JobId) -> Option<K> {
        let position = self.index.position(job, |position| self.entries[position].1)?;
        Some(self.entries[position].0)
    }

    pub(super) fn first(&self) -> Option<(K, JobId)> {
        self.entries.first().copied()
    }

    /// Removes the first job, if its key is not greater than `max`.
    pub(super) fn pop_up_to(&mut self, max: K) -> Option<(K, JobId)> {
        let first = self.first().filter(|(key, _)| *key <= max)?;
        self.remove(first.1);
        Some(first)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// In no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (K, JobId)> {
        self.entries.iter().copied()
    }

    /// The number of jobs whose key is not greater than `max`. Takes time in proportion to that number.
    pub(super) fn count_up_to(&self, max: K) -> usize {
        let is_counted = |position: &usize| self.entries[*position].0 <= max;
        let mut unseen: Vec<_> = self.first().map(|_| 0).into_iter().filter(is_counted).collect();
        let mut count = 0;
        while let Some(position) = unseen.pop() {
            count += 1;
            unseen.extend(self.children(position).filter(is_counted));
        }
        count
    }

    fn children(&self, position: usize) -> Range<usize> {
        let first = position * Self::CHILDREN + 1;
        first.min(self.entries.len())..(first + Self::CHILDREN).min(self.entries.len())
    }

    /// Moves an entry up until its parent comes before it; returns whether it moved.
    fn move_up(&mut self, start: usize) -> bool {
        let moving = self.entries[start];
        let mut position = start;
        while position > 0 {
            let parent = (position - 1) / Self::CHILDREN;
            if self.entries[parent] < moving {
                break;
            }
            self.copy_entry(parent, position, start);
            position = parent;
        }
        self.end_move(moving, start, position)
    }

    /// Moves an entry down until it comes before its children.
    fn move_down(&mut self, start: usize) {
        let moving = self.entries[start];
        let mut position = start;
        while let Some(child) = self.children(position).min_by_key(|child| self.entries[*child])
            && self.entries[child] < moving
        {
            self.copy_entry(child, position, start);
            position = child;
        }
        self.end_move(moving, start, position);
    }

    /// One step of the move of the entry that was at `start`. Before the first step, the index forgets where
    /// that entry is, so that no two entries have the same position.
    fn copy_entry(&mut self, from: usize, to: usize, start: usize) {
        if to == start {
            self.index.relocate(self.entries[start].1, start, Self::NOWHERE);
        }
        self.entries[to] = self.entries[from];
        self.index.relocate(self.entries[to].1, from, to);
    }

    /// After the last step of a move; returns whether the entry moved at all.
    fn end_move(&mut self, moving: (K, JobId), start: usize, position: usize) -> bool {
        if position == start {
            return false;
        }
        self.entries[position] = moving;
        self.index.relocate(moving.1, Self::NOWHERE, position);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn jobs_leave_in_the_order_of_their_keys(
            steps in proptest::collection::vec((0..40_i64, 0..30_u64, any::<bool>()), 0..400),
        ) {
            let mut heap = JobHeap::default();
            let mut expected = BTreeSet::new();
            for (job, key, removes) in steps {
                let job = JobId(job);
                let previous = expected.iter().find(|(_, known)| *known == job).copied();
                prop_assert_eq!(heap.key(job), previous.map(|(key, _)| key));
                prop_assert_eq!(heap.remove(job), previous.map(|(key, _)| key));
                previous.map(|entry| expected.remove(&entry));
                if !removes {
                    heap.insert(job, key);
                    expected.insert((key, job));
                }
                prop_assert_eq!(heap.first(), expected.first().copied());
                let up_to = expected.iter().filter(|(known, _)| *known <= key).count();
                prop_assert_eq!(heap.count_up_to(key), up_to);
            }
            let order = std::iter::from_fn(|| heap.pop_up_to(u64::MAX));
            prop_assert!(order.eq(expected));
        }
    }

    #[test]
    fn the_memory_of_jobs_that_have_left_is_given_back() {
        let mut heap = JobHeap::default();
        (0..100_000).for_each(|job| heap.insert(JobId(job), job % 1000));
        (0..99_000).for_each(|job| assert_eq!(heap.remove(JobId(job)), Some(job % 1000)));
        assert!(heap.entries.capacity() <= 4096, "{}", heap.entries.capacity());
        assert!(heap.index.capacity() <= 4096, "{}", heap.index.capacity());
        let order = std::iter::from_fn(|| heap.pop_up_to(999));
        assert!(order.eq((99_000..100_000).map(|job| (job % 1000, JobId(job)))));
    }
}
