//! A lane: the jobs of one provider that wait, and what holds them back: the budget, the polls in
//! flight, a pause. [`Lane::pick`] says whose turn it is; [`Lane::learn`] takes in what an answer
//! tells of the provider itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::job::{
    Answer, JobId, Moment, Mono, Outage, OutageEdge, ProviderError, ProviderName, Utc,
};
use crate::policy::{Backoff, Budget};

use super::{Action, Tell};

/// The number of a lane; lanes are never removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LaneId(pub(super) usize);

/// A provider's settings, as the tracker needs them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneSettings {
    /// Its name.
    pub name: ProviderName,
    /// The budget.
    pub requests_per_minute: u32,
    /// Polls under way at once, at most.
    pub max_in_flight: u32,
    /// When to ask a job again.
    pub backoff: Backoff,
    /// From a job's registration, unless it has its own.
    pub give_up_after: Duration,
    /// No poll takes longer.
    pub request_timeout: Duration,
}

/// Where a job waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queue {
    /// It was never asked.
    First,
    /// It was.
    Again,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) name: ProviderName,
    /// None while the provider is not configured: its jobs wait.
    pub(super) settings: Option<LaneSettings>,
    pub(super) budget: Budget,
    pub(super) active_jobs: u64,
    pub(super) failures: u32,
    pub(super) pause: Option<Pause>,
    /// Polls under way, and since when.
    asking: BTreeMap<JobId, Mono>,
    first: BTreeSet<(Mono, JobId)>,
    again: BTreeSet<(Mono, JobId)>,
    by_hand: VecDeque<JobId>,
    turns_since_first: u8,
    strikes: u32,
    outage: OutageTold,
    /// When the first of the failures in a row was.
    failing_since: Option<Utc>,
    unknown_words: BTreeSet<String>,
}

/// What is recorded of a provider's outages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum OutageTold {
    /// Nothing, in this life: an earlier one may have left an outage open.
    NotYet,
    /// One lasts.
    Begun,
    /// None lasts.
    Ended,
}

/// A time in which nothing is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Until then.
    pub until: Mono,
    /// Why; none if the provider's own window is merely used up.
    pub reason: Option<String>,
}

impl Lane {
    /// With both kinds waiting, one poll in so many is a first one: a quarter of the budget.
    const TURNS_PER_FIRST: u8 = 4;
    /// A provider is reported as failing after so many failed polls in a row.
    pub(super) const FAILURES_TO_TELL: u32 = 3;
    const UNKNOWN_WORDS_KEPT: usize = 100;
    const STUCK_AFTER: Duration = Duration::from_secs(30);
    const LONGEST_WINDOW: Duration = Duration::from_mins(1);

    pub(super) fn new(name: ProviderName, now: Mono) -> Self {
        Self {
            name,
            settings: None,
            budget: Budget::new(1, now),
            active_jobs: 0,
            failures: 0,
            pause: None,
            asking: BTreeMap::new(),
            first: BTreeSet::new(),
            again: BTreeSet::new(),
            by_hand: VecDeque::new(),
            turns_since_first: 0,
            strikes: 0,
            outage: OutageTold::NotYet,
            failing_since: None,
            unknown_words: BTreeSet::new(),
        }
    }

    /// New settings end a pause: what was wrong may be mended.
    pub(super) fn configure(&mut self, settings: Option<LaneSettings>, now: Mono) {
        match (&self.settings, &settings) {
            // A minute that was spent before a provider was taken away counts when it is back.
            (None, Some(new)) if self.budget.spent_last_minute(now) == 0 => {
                self.budget = Budget::new(new.requests_per_minute, now);
            }
            (_, Some(new)) => self.budget.set_limit(new.requests_per_minute),
            (_, None) => {}
        }
        self.settings = settings;
        self.pause = None;
    }

    pub(super) fn enqueue(&mut self, job: JobId, due: Mono, queue: Queue) {
        match queue {
            Queue::First => self.first.insert((due, job)),
            Queue::Again => self.again.insert((due, job)),
        };
    }

    pub(super) fn enqueue_by_hand(&mut self, job: JobId) {
        if !self.by_hand.contains(&job) {
            self.by_hand.push_back(job);
        }
    }

    pub(super) fn dequeue(&mut self, job: JobId, due: Mono) {
        self.first.remove(&(due, job));
        self.again.remove(&(due, job));
        self.by_hand.retain(|waiting| *waiting != job);
    }

    /// Whose turn it is now, if it is anybody's; the job leaves its queue, the request is spent.
    /// The flag says that somebody asked for it by hand.
    pub(super) fn pick(&mut self, now: Mono) -> Option<(JobId, bool)> {
        if self.gate()? > now {
            return None;
        }
        let ready =
            |queue: &BTreeSet<(Mono, JobId)>| queue.first().copied().filter(|(due, _)| *due <= now);
        let picked = if let Some(job) = self.by_hand.pop_front() {
            (job, true)
        } else {
            let (entry, is_first) = match (ready(&self.first), ready(&self.again)) {
                (None, None) => return None,
                (Some(first), None) => (first, true),
                (None, Some(again)) => (again, false),
                (Some(first), Some(again)) => {
                    self.turns_since_first = (self.turns_since_first + 1) % Self::TURNS_PER_FIRST;
                    if self.turns_since_first == 0 { (first, true) } else { (again, false) }
                }
            };
            let queue = if is_first { &mut self.first } else { &mut self.again };
            queue.remove(&entry);
            (entry.1, false)
        };
        self.budget.spend(now);
        self.asking.insert(picked.0, now);
        Some(picked)
    }

    /// Whether a poll of this job is under way.
    pub(super) fn is_asking(&self, job: JobId) -> bool {
        self.asking.contains_key(&job)
    }

    /// When [`Lane::pick`] will have something, if no answer comes before.
    pub(super) fn wakes_at(&self) -> Option<Mono> {
        let gate = self.gate()?;
        if !self.by_hand.is_empty() {
            return Some(gate);
        }
        let due = self.first.first().into_iter().chain(self.again.first()).map(|(due, _)| *due);
        due.min().map(|due| due.max(gate))
    }

    /// When the lane is open; none while only an answer can open it.
    fn gate(&self) -> Option<Mono> {
        let settings = self.settings.as_ref()?;
        // After a refusal one request tries whether the way is clear.
        let max_in_flight = if self.strikes > 0 { 1 } else { settings.max_in_flight };
        if self.budget.under_way() >= max_in_flight {
            return None;
        }
        let opens = self.budget.opens_at()?;
        Some(self.pause.as_ref().map_or(opens, |pause| opens.max(pause.until)))
    }

    /// How many jobs are due, and how late the latest of them is.
    pub(super) fn backlog(&self, now: Mono) -> (u64, Duration) {
        let due =
            |queue: &BTreeSet<(Mono, JobId)>| queue.range(..=(now, JobId(i64::MAX))).count() as u64;
        let oldest = self.first.first().into_iter().chain(self.again.first()).map(|(due, _)| *due);
        let late = oldest.min().map_or(Duration::ZERO, |oldest| now.since(oldest));
        (due(&self.first) + due(&self.again) + self.by_hand.len() as u64, late)
    }

    /// Whether a poll is under way for longer than any may take.
    pub(super) fn is_stuck(&self, now: Mono) -> bool {
        let Some(settings) = &self.settings else { return false };
        let longest = settings.request_timeout + Self::STUCK_AFTER;
        self.asking.values().any(|sent| now.since(*sent) > longest)
    }

    /// Takes in what an answer tells of the provider.
    pub(super) fn learn(
        &mut self,
        job: JobId,
        answer: &Answer,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        self.asking.remove(&job);
        self.budget.end(now.mono);
        if let Some(quota) = answer.pace.quota {
            self.budget.announce(quota);
        }
        match &answer.result {
            Ok(_) | Err(ProviderError::NotFound(_)) => self.recover(now, actions),
            Err(ProviderError::Transient(why) | ProviderError::Malformed(why)) => {
                self.count_failure(now);
                if self.failures >= Self::FAILURES_TO_TELL {
                    let provider = self.name.clone();
                    self.tell(Tell::Failing { provider, why: why.clone() }, why, actions);
                }
            }
            Err(
                refused @ (ProviderError::RateLimited(_)
                | ProviderError::Quota(_)
                | ProviderError::Auth(_)
                | ProviderError::Misconfigured(_)),
            ) => {
                self.count_failure(now);
                self.close(refused, answer.pace.retry_after, now, actions);
            }
        }
        if self.pause.is_none()
            && let Some((0, reset)) = answer.pace.left
        {
            let until = now.mono.plus(reset.min(Self::LONGEST_WINDOW));
            self.pause = Some(Pause { until, reason: None });
        }
    }

    /// When the outage began that lasts, if one does.
    pub(super) fn outage_since(&self) -> Option<Utc> {
        self.failing_since.filter(|_| self.outage == OutageTold::Begun)
    }

    fn count_failure(&mut self, now: Moment) {
        self.failures = self.failures.saturating_add(1);
        self.failing_since.get_or_insert(now.wall);
    }

    /// The beginning of an outage, once.
    fn tell(&mut self, tell: Tell, why: &str, actions: &mut Vec<Action>) {
        if self.outage == OutageTold::Begun {
            return;
        }
        self.outage = OutageTold::Begun;
        actions.push(Action::Tell(tell));
        if let Some(at) = self.failing_since {
            let edge = OutageEdge::Began { at, reason: why.to_owned() };
            actions.push(Action::Outage(Outage { provider: self.name.clone(), edge }));
        }
    }

    fn recover(&mut self, now: Moment, actions: &mut Vec<Action>) {
        if self.is_closed(now.mono) {
            return;
        }
        let before = std::mem::replace(&mut self.outage, OutageTold::Ended);
        if before != OutageTold::Ended {
            let edge = OutageEdge::Ended { at: now.wall, failed_polls: self.failures };
            actions.push(Action::Outage(Outage { provider: self.name.clone(), edge }));
        }
        if before == OutageTold::Begun {
            actions.push(Action::Tell(Tell::Recovered { provider: self.name.clone() }));
        }
        self.failures = 0;
        self.failing_since = None;
        self.strikes = 0;
        self.pause = None;
    }

    fn close(
        &mut self,
        refused: &ProviderError,
        retry_after: Option<Duration>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        if self.is_closed(now.mono) {
            return;
        }
        self.strikes = self.strikes.saturating_add(1);
        let span = pause_for(refused, self.strikes, retry_after, now.jitter);
        let why = refused.to_string();
        self.pause = Some(Pause { until: now.mono.plus(span), reason: Some(why.clone()) });
        let provider = self.name.clone();
        self.tell(Tell::Paused { provider, why: why.clone(), span }, &why, actions);
    }

    /// Whether a refusal still keeps the lane closed. An answer that comes meanwhile belongs to a
    /// request sent before, and tells nothing of what holds since.
    fn is_closed(&self, now: Mono) -> bool {
        self.pause.as_ref().is_some_and(|pause| pause.reason.is_some() && pause.until > now)
    }

    /// A word that we do not know is reported once.
    pub(super) fn unknown_word(&mut self, word: &str) -> Option<Tell> {
        let news = self.unknown_words.len() < Self::UNKNOWN_WORDS_KEPT
            && self.unknown_words.insert(word.to_owned());
        news.then(|| Tell::UnknownWord { provider: self.name.clone(), word: word.to_owned() })
    }
}

/// How long a provider is left alone after its `strikes`-th refusal in a row. `Retry-After` is
/// obeyed within a second and an hour, and never shortens our own growing pause after the first.
fn pause_for(
    refused: &ProviderError,
    strikes: u32,
    retry_after: Option<Duration>,
    jitter: f64,
) -> Duration {
    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_hours(1);
    let grown = match refused {
        ProviderError::RateLimited(_) => {
            let doubled = Duration::from_secs(5) * 2u32.saturating_pow((strikes - 1).min(6));
            doubled.min(Duration::from_mins(5)).mul_f64(1.0 + 0.2 * jitter)
        }
        ProviderError::Quota(_)
        | ProviderError::Auth(_)
        | ProviderError::Misconfigured(_)
        | ProviderError::NotFound(_)
        | ProviderError::Transient(_)
        | ProviderError::Malformed(_) => {
            let minutes = match strikes {
                0 | 1 => 1,
                2 => 5,
                3 => 15,
                _ => 30,
            };
            Duration::from_mins(minutes)
        }
    };
    match (retry_after.map(|told| told.clamp(SECOND, HOUR)), refused, strikes) {
        (Some(told), ProviderError::RateLimited(_), 1) => told,
        (Some(told), _, _) => told.max(grown),
        (None, _, _) => grown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_mind_retry_after_within_bounds() {
        let limited = ProviderError::RateLimited(String::new());
        let refused = ProviderError::Auth(String::new());
        let s = Duration::from_secs;
        // (refusal, how many in a row, Retry-After, the pause)
        let cases = [
            (&limited, 1, None, s(5)),
            (&limited, 2, None, s(10)),
            (&limited, 50, None, s(300)),
            (&limited, 1, Some(s(0)), s(1)),
            (&limited, 1, Some(s(2)), s(2)),
            (&limited, 1, Some(s(999_999)), s(3600)),
            (&limited, 3, Some(s(2)), s(20)),
            (&refused, 1, None, s(60)),
            (&refused, 2, None, s(300)),
            (&refused, 3, None, s(900)),
            (&refused, 4, None, s(1800)),
            (&refused, 900, None, s(1800)),
            (&refused, 1, Some(s(120)), s(120)),
        ];
        for (error, strikes, retry_after, expected) in cases {
            let pause = pause_for(error, strikes, retry_after, 0.0);
            assert_eq!(pause, expected, "{error:?} {strikes} {retry_after:?}");
        }
    }
}
