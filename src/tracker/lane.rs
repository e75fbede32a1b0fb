//! A lane: the jobs of one provider that wait, and what holds them back: the budget, the polls in
//! flight, a pause. [`Lane::pick`] says whose turn it is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::job::{Answer, JobId, Moment, Mono, ProviderName, Utc};
use crate::policy::{Backoff, Budget};

use super::health::Health;
use super::patience::Patience;
use super::{Action, Pause, Tell};

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

/// How a lane is doing.
#[derive(Debug, Clone)]
pub struct LaneReport {
    /// Its provider.
    pub name: ProviderName,
    /// Whether the provider is configured.
    pub configured: bool,
    /// Jobs that are not over.
    pub active_jobs: u64,
    /// Polls that wait for the budget.
    pub due_polls: u64,
    /// How late the latest of them is.
    pub late: Duration,
    /// Requests under way.
    pub in_flight: u32,
    /// Whether one of them should have ended long ago.
    pub stuck: bool,
    /// Requests of the last minute.
    pub sent_last_minute: u32,
    /// The budget in force.
    pub requests_per_minute: u32,
    /// Failed polls in a row.
    pub failures: u32,
    /// When the provider began to fail or to refuse; none if it answers.
    pub outage_since: Option<Utc>,
    /// Why nothing is asked.
    pub pause: Option<Pause>,
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
    pub(super) health: Health,
    /// Polls under way, and when each must have ended.
    asking: BTreeMap<JobId, Mono>,
    first: BTreeSet<(Mono, JobId)>,
    again: BTreeSet<(Mono, JobId)>,
    by_hand: VecDeque<JobId>,
    turns_since_first: u8,
    unknown_words: BTreeSet<String>,
}

impl Lane {
    /// With both kinds waiting, one poll in so many is a first one: a quarter of the budget.
    const TURNS_PER_FIRST: u8 = 4;
    const UNKNOWN_WORDS_KEPT: usize = 100;
    const STUCK_AFTER: Duration = Duration::from_secs(30);

    pub(super) fn new(name: ProviderName, now: Mono) -> Self {
        Self {
            name,
            settings: None,
            budget: Budget::new(1, now),
            active_jobs: 0,
            health: Health::default(),
            asking: BTreeMap::new(),
            first: BTreeSet::new(),
            again: BTreeSet::new(),
            by_hand: VecDeque::new(),
            turns_since_first: 0,
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
        self.health.end_pause();
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
        // By the time-out of now: a reload may shorten it.
        let longest = self.settings.as_ref().map_or(Duration::ZERO, |own| own.request_timeout);
        self.asking.insert(picked.0, now.plus(longest + Self::STUCK_AFTER));
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
        let max_in_flight = if self.health.is_on_trial() { 1 } else { settings.max_in_flight };
        if self.budget.under_way() >= max_in_flight {
            return None;
        }
        let opens = self.budget.opens_at()?;
        Some(self.health.pause().map_or(opens, |pause| opens.max(pause.until)))
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
        self.asking.values().any(|ends_by| now > *ends_by)
    }

    /// Takes in what an answer tells of the provider.
    pub(super) fn learn(
        &mut self,
        job: JobId,
        answer: &Answer,
        refused_before: bool,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        self.asking.remove(&job);
        self.budget.end(now.mono);
        if let Some(quota) = answer.pace.quota {
            self.budget.announce(quota);
        }
        self.health.learn(&self.name, answer, refused_before, now, actions);
    }

    /// A word that we do not know is reported once.
    pub(super) fn unknown_word(&mut self, word: &str) -> Option<Tell> {
        let news = self.unknown_words.len() < Self::UNKNOWN_WORDS_KEPT
            && self.unknown_words.insert(word.to_owned());
        news.then(|| Tell::UnknownWord { provider: self.name.clone(), word: word.to_owned() })
    }
}

impl Lane {
    /// For the snapshot.
    pub(super) fn report(&self, now: Mono) -> LaneReport {
        let (due_polls, late) = self.backlog(now);
        LaneReport {
            name: self.name.clone(),
            configured: self.settings.is_some(),
            active_jobs: self.active_jobs,
            due_polls,
            late,
            in_flight: self.budget.under_way(),
            stuck: self.is_stuck(now),
            sent_last_minute: self.budget.spent_last_minute(now),
            requests_per_minute: self.budget.limit(),
            failures: self.health.failures(),
            outage_since: self.health.outage_since(),
            pause: self.health.pause().filter(|pause| pause.until > now).cloned(),
        }
    }

    /// The rules for a single job.
    pub(super) fn patience(&self) -> Patience {
        // Without settings nothing is asked; an answer that was under way when they went is heard.
        self.settings.as_ref().map_or(
            Patience {
                backoff: Backoff { min: Duration::from_mins(1), max: Duration::from_mins(1) },
                give_up_after: Duration::MAX,
                clock_is_true: true,
            },
            |settings| Patience {
                backoff: settings.backoff,
                give_up_after: settings.give_up_after,
                clock_is_true: true,
            },
        )
    }
}
