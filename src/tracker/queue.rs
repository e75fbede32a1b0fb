//! The jobs of a lane that wait for a poll: until they are due, then in the order of what asking them
//! is worth.
//!
//! What a due job is worth grows while it waits. It is weighed when it comes due and again whenever
//! its silence has grown by a part, so that a turn among a hundred thousand costs a few look-ups and
//! no scan, and the order is never older than that part.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use crate::job::{JobId, Mono};

/// What a request for a job is worth, in units of its price.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Worth(pub(super) f64);

impl Worth {
    /// What one is worth that has just come due.
    pub(super) const PRICE: Self = Self(1.0);
    /// Less than any that is due.
    pub(super) const LEAST: Self = Self(-1.0);
}

impl Eq for Worth {}

impl PartialOrd for Worth {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Worth {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

/// What asking a job is worth.
#[derive(Debug, Clone, Copy)]
pub(super) enum Weighed {
    /// Not enough before then.
    Later(Mono),
    /// So much now; to be looked at again, if ever.
    Now(Worth, Option<Mono>),
}

/// The next of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Next {
    pub(super) job: JobId,
    pub(super) worth: Worth,
    /// Since when it is due.
    pub(super) since: Mono,
}

/// Where a job stands in the queue.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// It is not due before then.
    Waiting(Mono),
    /// It is.
    Due { since: Mono, worth: Worth, again: Option<Mono> },
}

/// Jobs that wait, each once.
#[derive(Debug, Default)]
pub(super) struct Queue {
    places: HashMap<JobId, Place>,
    waiting: BTreeSet<(Mono, JobId)>,
    by_worth: BTreeSet<(Reverse<Worth>, Mono, JobId)>,
    by_age: BTreeSet<(Mono, JobId)>,
    to_weigh: BTreeSet<(Mono, JobId)>,
}

impl Queue {
    /// So many are weighed in one turn, at most.
    const AT_ONCE: usize = 500;

    /// A job that is due then; it leaves the place that it had.
    pub(super) fn put(&mut self, job: JobId, due: Mono) {
        self.take(job);
        self.places.insert(job, Place::Waiting(due));
        self.waiting.insert((due, job));
    }

    /// Takes the job out; says when it was due, if it was here.
    pub(super) fn take(&mut self, job: JobId) -> Option<Mono> {
        match self.places.remove(&job)? {
            Place::Waiting(due) => {
                self.waiting.remove(&(due, job));
                Some(due)
            }
            Place::Due { since, worth, again } => {
                self.forget(job, since, worth, again);
                Some(since)
            }
        }
    }

    /// Time has come to `now`: who is due is weighed, and who was weighed long ago. Of many the rest
    /// is weighed at the next turns: none takes long.
    pub(super) fn ripen(&mut self, now: Mono, weigh: impl Fn(JobId) -> Weighed) {
        let mut left = Self::AT_ONCE;
        while left > 0
            && let Some((due, job)) = self.waiting.first().copied().filter(|(due, _)| *due <= now)
        {
            self.waiting.remove(&(due, job));
            left -= 1;
            self.place(job, due, weigh(job));
        }
        let grown = self.to_weigh.range(..=(now, JobId(i64::MAX))).take(left);
        for (at, job) in grown.copied().collect::<Vec<_>>() {
            self.to_weigh.remove(&(at, job));
            if let Some(Place::Due { since, worth, again }) = self.places.get(&job).copied() {
                self.forget(job, since, worth, again);
                self.place(job, since, weigh(job));
            }
        }
    }

    /// By what they are worth is to be found out anew.
    pub(super) fn weigh_anew(&mut self) {
        for (since, job) in std::mem::take(&mut self.by_age) {
            self.places.insert(job, Place::Waiting(since));
            self.waiting.insert((since, job));
        }
        self.by_worth.clear();
        self.to_weigh.clear();
    }

    /// The due job that is worth most; of equals who is due for longest.
    pub(super) fn best(&self) -> Option<Next> {
        let (Reverse(worth), since, job) = *self.by_worth.first()?;
        Some(Next { job, worth, since })
    }

    /// The job that is due for longest.
    pub(super) fn oldest(&self) -> Option<Next> {
        let (since, job) = *self.by_age.first()?;
        let Place::Due { worth, .. } = *self.places.get(&job)? else { return None };
        Some(Next { job, worth, since })
    }

    /// When somebody is due next, or since when somebody is.
    pub(super) fn due_at(&self) -> Option<Mono> {
        let first = |jobs: &BTreeSet<(Mono, JobId)>| jobs.first().map(|(at, _)| *at);
        first(&self.by_age).into_iter().chain(first(&self.waiting)).min()
    }

    /// How many are due at `now`.
    pub(super) fn count_due(&self, now: Mono) -> u64 {
        let coming = self.waiting.range(..=(now, JobId(i64::MAX))).count();
        (self.by_age.len() + coming) as u64
    }

    fn place(&mut self, job: JobId, since: Mono, weighed: Weighed) {
        let (worth, again) = match weighed {
            Weighed::Later(at) => {
                self.places.insert(job, Place::Waiting(at));
                self.waiting.insert((at, job));
                return;
            }
            Weighed::Now(worth, again) => (worth, again),
        };
        self.places.insert(job, Place::Due { since, worth, again });
        self.by_worth.insert((Reverse(worth), since, job));
        self.by_age.insert((since, job));
        self.to_weigh.extend(again.map(|at| (at, job)));
    }

    fn forget(&mut self, job: JobId, since: Mono, worth: Worth, again: Option<Mono>) {
        self.by_worth.remove(&(Reverse(worth), since, job));
        self.by_age.remove(&(since, job));
        if let Some(at) = again {
            self.to_weigh.remove(&(at, job));
        }
    }
}
