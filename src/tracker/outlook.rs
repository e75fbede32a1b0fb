//! What the past says of one job: when it is asked next, what a request for it is worth, when it
//! should be over. Nothing here changes anything.

use std::time::Duration;

use crate::job::{JobId, Moment, Mono, State};
use crate::policy::{Curve, Look, Memory, Mixed, Why, index};

use super::Tracker;
use super::age::Age;
use super::lane::Lane;
use super::patience::{Learned, Patience};
use super::queue::{Weighed, Worth};
use super::record::Record;
use super::stage::Stage;

/// What is known of a job's next poll and of its end, for a person to read.
#[derive(Debug, Clone, PartialEq)]
pub struct Outlook {
    /// When it is asked next.
    pub next: NextPoll,
    /// By which rule.
    pub reason: Reason,
    /// The past runs that it is compared with; none if none are like it.
    pub past: Option<PastRuns>,
    /// The time until it should be over, as likely before as after; none if no past run is like it,
    /// or hardly one took so long.
    pub ends_in: Option<Duration>,
}

/// When a job is asked next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextPoll {
    /// It is being asked, or what was answered is being written.
    Now,
    /// It is due for so long, and waits for its turn.
    Due(Duration),
    /// After this time.
    In(Duration),
}

/// What decides when a job is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Reason {
    /// It was never asked.
    First,
    /// Pauses that grow.
    Backoff,
    /// By then it may have been over for as long as a request may cost.
    Price(Duration),
    /// The past would have it later, but no job is left alone for so large a part of its age.
    Promise,
}

/// Runs that are over.
#[derive(Debug, Clone, PartialEq)]
pub struct PastRuns {
    /// The name that they have in common.
    pub name: String,
    /// How many.
    pub count: u32,
    /// Their median.
    pub median: Duration,
}

impl Record {
    /// Nothing is weighed again before so much time has passed.
    const NOT_SOONER: Duration = Duration::from_secs(1);

    /// When it is asked next after an answer, at `now`, that it is not over.
    pub(super) fn next_due(&self, patience: Patience<'_>, now: Moment) -> Mono {
        let Some(learned) = patience.learned else {
            return now.mono.plus(patience.backoff.next_interval(self.quiet, now.jitter));
        };
        self.age.reaches(self.next_look(learned).at)
    }

    fn next_look(&self, learned: Learned<'_>) -> Look {
        let curve = self.curve(learned.memory);
        learned.rule.next_look(&curve, self.age.alive(), self.age.proven())
    }

    /// What a request for it is worth at `now`.
    pub(super) fn worth(&self, learned: Learned<'_>, now: Mono) -> Worth {
        let index = index(&self.curve(learned.memory), self.age.alive(), self.age.now(now));
        Worth(index / learned.rule.price.as_secs_f64())
    }

    /// The same of one that was never asked: a guess from no past at all is worth nothing.
    pub(super) fn first_worth(&self, learned: Learned<'_>, now: Mono) -> Worth {
        if self.curve(learned.memory).all.is_known() {
            self.worth(learned, now)
        } else {
            Worth::LEAST
        }
    }

    /// What it is worth with those that a page would answer for, too, if there is one.
    pub(super) fn weigh(&self, learned: Learned<'_>, page: Option<Worth>, now: Mono) -> Weighed {
        let worth = self.worth(learned, now).max(page.unwrap_or(Worth::LEAST));
        match self.stage {
            // It is not due by itself, and with the others not yet: staleness grows as the square.
            Stage::Waiting(due) if due > now && worth < Worth::PRICE => {
                let missing = self.age.silence(now) * ((1.0 / worth.0.max(1e-9)).sqrt() - 1.0);
                let wait = Duration::try_from_secs_f64(missing).unwrap_or(Duration::MAX);
                Weighed::Later(now.plus(wait.max(Self::NOT_SOONER)).min(due))
            }
            Stage::Waiting(_) | Stage::Asking { .. } | Stage::Writing(_) => {
                Weighed::Now(worth, Some(self.weighed_again_at(now)))
            }
        }
    }

    /// When its worth may have grown so much that it is to be looked at again.
    pub(super) fn weighed_again_at(&self, now: Mono) -> Mono {
        const PART: f64 = 0.125;
        let grown =
            Duration::try_from_secs_f64(self.age.silence(now) * PART).unwrap_or(Duration::MAX);
        now.plus(grown.max(Self::NOT_SOONER))
    }

    fn curve<'a>(&self, memory: &'a Memory) -> Mixed<'a> {
        memory.predict(&self.likeness, self.age.phase())
    }

    fn past(&self, memory: &Memory) -> Option<PastRuns> {
        let past = memory.past(&self.likeness, self.age.phase())?;
        let median = Duration::try_from_secs_f64(past.sketch.median()).ok()?;
        Some(PastRuns { name: past.name.to_owned(), count: past.sketch.runs(), median })
    }

    /// The time until it is over by as much chance as not.
    fn ends_in(&self, memory: &Memory, now: Mono) -> Option<Duration> {
        const OUTLIVED: f64 = 0.99;
        let (curve, age) = (self.curve(memory), self.age.now(now));
        if curve.alike?.at(self.age.alive()).chance > OUTLIVED {
            return None;
        }
        let over = curve.at(self.age.alive()).chance;
        let half = f64::midpoint(over, 1.0);
        let (mut low, mut high) = (self.age.alive(), 2.0 * self.age.alive().max(1.0));
        while curve.at(high).chance < half {
            (low, high) = (high, 2.0 * high);
            if high > Age::LONGEST.as_secs_f64() {
                return None;
            }
        }
        while high - low > 0.01 * high {
            let middle = f64::midpoint(low, high);
            if curve.at(middle).chance < half { low = middle } else { high = middle }
        }
        Some(Duration::try_from_secs_f64(high - age).unwrap_or(Duration::ZERO))
    }

    fn outlook(&self, lane: &Lane, now: Mono) -> Outlook {
        let next = match &self.stage {
            Stage::Waiting(due) if *due <= now => NextPoll::Due(now.since(*due)),
            Stage::Waiting(due) => NextPoll::In(due.since(now)),
            Stage::Asking { .. } | Stage::Writing(_) => NextPoll::Now,
        };
        let learned = lane.patience().learned;
        let reason = match learned {
            _ if self.polls == 0 => Reason::First,
            None => Reason::Backoff,
            // It gave no answer: then pauses grow whatever the past says.
            Some(_) if self.quiet > 0 => Reason::Backoff,
            Some(learned) => match self.next_look(learned).why {
                Why::Price => Reason::Price(learned.rule.price),
                Why::Promise => Reason::Promise,
            },
        };
        // What took how long is remembered whatever the rule is.
        let (past, ends_in) = (self.past(&lane.memory), self.ends_in(&lane.memory, now));
        Outlook { next, reason, past, ends_in }
    }
}

impl Tracker {
    /// What the past says of this job; none if it is not held, or over.
    #[must_use]
    pub fn outlook(&self, job: JobId, now: Mono) -> Option<Outlook> {
        let record = self.jobs.get(&job)?;
        let over = State::is_terminal(record.standing.state);
        (!over).then(|| record.outlook(&self.lanes[record.lane.0], now))
    }
}
