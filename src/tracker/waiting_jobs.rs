//! Waiting jobs in the order of their due times, 27 bytes a job.
//!
//! Used by [`super::due_queue`]. A heap in which each entry has up to four children, none of which is due
//! before it, and an index that finds the entry of a job. Among jobs with the same due time, the one with
//! the lowest number comes first.

use crate::job::{JobId, MonotonicTime};

use super::job_index::JobIndex;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct WaitingJob {
    pub(super) due: MonotonicTime,
    pub(super) job: JobId,
}

#[derive(Debug, Default)]
pub(super) struct WaitingJobs {
    heap: Vec<WaitingJob>,
    index: JobIndex,
}

impl WaitingJobs {
    const CHILDREN: usize = 4;
    /// The position of an entry that is being moved.
    const NOWHERE: usize = u32::MAX as usize;

    /// Adds a job that is not here.
    pub(super) fn insert(&mut self, job: JobId, due: MonotonicTime) {
        let position = self.heap.len();
        self.heap.push(WaitingJob { due, job });
        self.index.insert(job, position, |position| self.heap[position].job);
        self.move_up(position);
    }

    /// Removes the job and returns its due time; none if it is not here.
    pub(super) fn remove(&mut self, job: JobId) -> Option<MonotonicTime> {
        let position = self.index.remove(job, |position| self.heap[position].job)?;
        let removed = self.heap.swap_remove(position);
        if let Some(moved) = self.heap.get(position) {
            self.index.relocate(moved.job, self.heap.len(), position);
            if !self.move_up(position) {
                self.move_down(position);
            }
        }
        Some(removed.due)
    }

    /// The job that is due first.
    pub(super) fn first(&self) -> Option<WaitingJob> {
        self.heap.first().copied()
    }

    /// Removes the job that is due first, if it is due.
    pub(super) fn pop_due(&mut self, now: MonotonicTime) -> Option<WaitingJob> {
        let first = self.first().filter(|first| first.due <= now)?;
        self.remove(first.job);
        Some(first)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }

    /// In no particular order.
    pub(super) fn iter(&self) -> impl Iterator<Item = WaitingJob> {
        self.heap.iter().copied()
    }

    /// The number of jobs that are due. Takes time in proportion to that number.
    pub(super) fn count_due(&self, now: MonotonicTime) -> usize {
        let is_due = |position: &usize| self.heap[*position].due <= now;
        let root = if self.heap.is_empty() { 0..0 } else { 0..1 };
        let mut unseen: Vec<_> = root.filter(is_due).collect();
        let mut count = 0;
        while let Some(position) = unseen.pop() {
            count += 1;
            unseen.extend(self.children(position).filter(is_due));
        }
        count
    }

    fn children(&self, position: usize) -> std::ops::Range<usize> {
        let first = position * Self::CHILDREN + 1;
        first.min(self.heap.len())..(first + Self::CHILDREN).min(self.heap.len())
    }

    /// Moves an entry up until its parent comes before it; returns whether it moved.
    fn move_up(&mut self, start: usize) -> bool {
        let moving = self.heap[start];
        let mut position = start;
        while position > 0 {
            let parent = (position - 1) / Self::CHILDREN;
            if self.heap[parent] < moving {
                break;
            }
            self.begin_move(start, position);
            self.copy_entry(parent, position);
            position = parent;
        }
        self.end_move(moving, start, position)
    }

    /// Moves an entry down until it comes before its children.
    fn move_down(&mut self, start: usize) {
        let moving = self.heap[start];
        let mut position = start;
        while let Some(child) = self.children(position).min_by_key(|child| self.heap[*child])
            && self.heap[child] < moving
        {
            self.begin_move(start, position);
            self.copy_entry(child, position);
            position = child;
        }
        self.end_move(moving, start, position);
    }

    /// Before the first step of a move: no entry takes the position of another that is still indexed.
    fn begin_move(&mut self, start: usize, position: usize) {
        if position == start {
            self.index.relocate(self.heap[start].job, start, Self::NOWHERE);
        }
    }

    fn copy_entry(&mut self, from: usize, to: usize) {
        self.heap[to] = self.heap[from];
        self.index.relocate(self.heap[to].job, from, to);
    }

    /// After the last step of a move; returns whether the entry moved at all.
    fn end_move(&mut self, moving: WaitingJob, start: usize, position: usize) -> bool {
        if position == start {
            return false;
        }
        self.heap[position] = moving;
        self.index.relocate(moving.job, Self::NOWHERE, position);
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
        fn jobs_leave_in_the_order_of_their_due_times(
            steps in proptest::collection::vec((0..40_i64, 0..30_u64, any::<bool>()), 0..400),
        ) {
            let mut waiting = WaitingJobs::default();
            let mut expected = BTreeSet::new();
            for (job, due, removes) in steps {
                let (job, due) = (JobId(job), MonotonicTime::from_millis(due));
                let previous = expected.iter().find(|(_, known)| *known == job).copied();
                prop_assert_eq!(waiting.remove(job), previous.map(|(due, _)| due));
                previous.map(|entry| expected.remove(&entry));
                if !removes {
                    waiting.insert(job, due);
                    expected.insert((due, job));
                }
                let first = waiting.first().map(|first| (first.due, first.job));
                prop_assert_eq!(first, expected.first().copied());
                let due_now = expected.iter().filter(|(at, _)| *at <= due).count();
                prop_assert_eq!(waiting.count_due(due), due_now);
            }
            let end = MonotonicTime::from_millis(u64::MAX);
            let order = std::iter::from_fn(|| waiting.pop_due(end)).map(|next| (next.due, next.job));
            prop_assert!(order.eq(expected));
        }
    }
}
