//! When the next batch is due. Called by the committer, which knows the clock and the queue.
//!
//! A commit costs much more than a row in it, so rows gather for a while: changes for less time than a person
//! notices, bookkeeping for longer. Rows that a caller waits for do not wait. Nothing here does I/O.

use std::time::Duration;

use crate::job::MonotonicTime;

/// How long the rows of a queue may wait, by the row that may wait least.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// A caller waits.
    Immediate,
    /// The history needs it.
    History,
    /// Bookkeeping of polls, which the next poll replaces.
    Bookkeeping,
}

/// The earliest times of the next batches.
#[derive(Debug)]
pub(super) struct WriteSchedule {
    history_at: MonotonicTime,
    bookkeeping_at: MonotonicTime,
    heartbeat_at: MonotonicTime,
}

impl WriteSchedule {
    /// The time between the begins of two batches that no caller waits for. A change after a longer pause is
    /// written at once.
    const GATHER_INTERVAL: Duration = Duration::from_millis(100);
    /// The longest time that bookkeeping waits in memory.
    const BOOKKEEPING_INTERVAL: Duration = Duration::from_secs(2);
    /// An empty batch is written after this time: it stores when the daemon was last alive.
    const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(30);

    pub(super) fn new(now: MonotonicTime) -> Self {
        let heartbeat_at = now.plus(Self::HEARTBEAT_INTERVAL);
        Self { history_at: now, bookkeeping_at: now, heartbeat_at }
    }

    /// When a batch is due; `None` stands for an empty queue.
    pub(super) fn due_at(&self, urgency: Option<Urgency>) -> MonotonicTime {
        match urgency {
            Some(Urgency::Immediate) => MonotonicTime::default(),
            Some(Urgency::History) => self.history_at,
            Some(Urgency::Bookkeeping) => self.bookkeeping_at,
            None => self.heartbeat_at,
        }
    }

    /// A batch begins; returns whether it is to contain the bookkeeping.
    pub(super) fn begin(&mut self, now: MonotonicTime) -> bool {
        self.history_at = now.plus(Self::GATHER_INTERVAL);
        self.heartbeat_at = now.plus(Self::HEARTBEAT_INTERVAL);
        let with_bookkeeping = self.bookkeeping_at <= now;
        if with_bookkeeping {
            self.bookkeeping_at = now.plus(Self::BOOKKEEPING_INTERVAL);
        }
        with_bookkeeping
    }

    /// The batch that begins leaves bookkeeping behind that was due: the next batch takes more of it.
    pub(super) fn continue_bookkeeping(&mut self, now: MonotonicTime) {
        self.bookkeeping_at = now;
    }

    /// Nothing waits any longer.
    pub(super) fn flush(&mut self, now: MonotonicTime) {
        self.history_at = self.history_at.min(now);
        self.bookkeeping_at = self.bookkeeping_at.min(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> MonotonicTime {
        MonotonicTime::from_millis(ms)
    }

    #[test]
    fn a_lone_change_is_written_at_once_and_those_that_follow_gather() {
        let mut schedule = WriteSchedule::new(at(0));
        assert!(schedule.due_at(Some(Urgency::History)) <= at(1000));
        schedule.begin(at(1000));
        // Two hundred changes, one in each millisecond, after the first.
        let mut commits = 1;
        let mut waiting = 0;
        for now in (1001..1201).map(at) {
            waiting += 1;
            if schedule.due_at(Some(Urgency::History)) <= now {
                schedule.begin(now);
                (commits, waiting) = (commits + 1, 0);
            }
        }
        assert_eq!((commits, waiting), (3, 0), "the last begins in the last millisecond");
        assert!(schedule.due_at(Some(Urgency::History)) <= at(1300));
    }

    #[test]
    fn a_row_that_a_caller_waits_for_never_waits() {
        let mut schedule = WriteSchedule::new(at(0));
        schedule.begin(at(1000));
        assert!(schedule.due_at(Some(Urgency::Immediate)) <= at(1000));
    }

    #[test]
    fn bookkeeping_waits_for_two_seconds_however_often_changes_are_written() {
        let mut schedule = WriteSchedule::new(at(0));
        assert!(schedule.begin(at(0)), "nothing has gathered before");
        let times = (0..40).map(|commit| at(100 + 100 * commit));
        let with_bookkeeping: Vec<_> = times.filter(|now| schedule.begin(*now)).collect();
        assert_eq!(with_bookkeeping, [at(2000), at(4000)]);
        assert_eq!(schedule.due_at(Some(Urgency::Bookkeeping)), at(6000));
        assert_eq!(schedule.due_at(None), at(34_000), "the heartbeat follows the last batch");
    }

    #[test]
    fn at_the_end_nothing_waits() {
        let mut schedule = WriteSchedule::new(at(0));
        schedule.begin(at(1000));
        schedule.flush(at(1001));
        for urgency in [Urgency::History, Urgency::Bookkeeping] {
            assert!(schedule.due_at(Some(urgency)) <= at(1001), "{urgency:?}");
        }
        assert!(schedule.begin(at(1001)), "the bookkeeping is in it");
    }
}
