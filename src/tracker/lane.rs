//! A lane: the jobs of one provider that wait, what it has learned of their like, and what holds them
//! back: the account's budget, the polls in flight, a pause.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::job::{
    Answer, Grace, JobId, Listing, Moment, Mono, Observation, ProviderError, ProviderName, Said,
    Utc,
};
use crate::policy::{Backoff, Memory};

use super::account::Account;
use super::health::Health;
use super::patience::{Learned, Patience};
use super::queue::Queue;
use super::shelf::{Shelf, Waiting};
use super::stage::Taught;
use super::turn::Turn;
use super::{Action, LaneSettings, Policy, Tell};

/// The number of a lane; lanes are never removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LaneId(pub(super) usize);

/// Where a job waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// It was never asked.
    First,
    /// It was.
    Again,
}

/// A poll under way.
#[derive(Debug)]
struct UnderWay {
    sent: Mono,
    /// It must have ended by then.
    ends_by: Mono,
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) name: ProviderName,
    /// None while the provider is not configured: its jobs wait.
    pub(super) settings: Option<LaneSettings>,
    /// Which of the tracker's accounts it uses.
    pub(super) account: usize,
    /// The tracker's count of turns when it last had one.
    pub(super) last_turn: u64,
    pub(super) active_jobs: u64,
    pub(super) health: Health,
    /// Requests under way.
    requests: u32,
    /// The jobs that they ask for.
    asking: BTreeMap<JobId, UnderWay>,
    pub(super) first: Queue,
    pub(super) again: Queue,
    pub(super) shelf: Shelf,
    pub(super) by_hand: VecDeque<JobId>,
    pub(super) memory: Memory,
    /// How late the ends of late were seen, on average.
    lateness: Option<Duration>,
    unknown_words: BTreeSet<String>,
}

impl Lane {
    const UNKNOWN_WORDS_KEPT: usize = 100;
    const STUCK_AFTER: Duration = Duration::from_secs(30);
    /// An end's part in the average lateness.
    const LATENESS_PART: f64 = 0.1;

    pub(super) fn new(name: ProviderName, account: usize) -> Self {
        Self {
            name,
            settings: None,
            account,
            last_turn: 0,
            active_jobs: 0,
            health: Health::default(),
            requests: 0,
            asking: BTreeMap::new(),
            first: Queue::default(),
            again: Queue::default(),
            shelf: Shelf::default(),
            by_hand: VecDeque::new(),
            memory: Memory::default(),
            lateness: None,
            unknown_words: BTreeSet::new(),
        }
    }

    /// New settings end a pause and may know more words, and have to prove themselves: what was wrong
    /// may be mended, what was right may be wrong.
    pub(super) fn configure(&mut self, settings: Option<LaneSettings>) {
        self.settings = settings;
        self.health.begin_anew();
        self.shelf.forget();
        // What is still unknown is soon said again: its jobs are asked at once.
        self.unknown_words.clear();
        self.first.weigh_anew();
        self.again.weigh_anew();
    }

    /// `place` is where the list shows it, if it can be asked for with others.
    pub(super) fn enqueue(
        &mut self,
        job: JobId,
        due: Mono,
        wait: Wait,
        place: Option<Utc>,
        now: Mono,
    ) {
        if let Some(place) = place {
            self.shelf.put(place, job, due);
        }
        match wait {
            Wait::First => self.first.put(job, due),
            Wait::Again => self.again.put(job, self.due_with_others(due, place, now)),
        }
    }

    /// When a page may be worth a request that answers for this job too. Staleness grows as the square
    /// of the silence, so that of n jobs each waits for the n-th part of the price, and a √n-th of the time.
    fn due_with_others(&self, due: Mono, place: Option<Utc>, now: Mono) -> Mono {
        let is_listed = place.is_some() && self.asks_for_pages();
        let Some(learned) = self.patience().learned.filter(|_| is_listed) else { return due };
        #[allow(clippy::cast_precision_loss)]
        let sharers = self.shelf.sharers(now) as f64;
        let wait = due.since(now).div_f64(sharers.sqrt()).max(learned.rule.min_interval);
        now.plus(wait).min(due)
    }

    /// Whether the list may be asked instead of single jobs.
    pub(super) fn asks_for_pages(&self) -> bool {
        self.settings.as_ref().is_some_and(|own| own.lists) && !self.health.is_on_trial()
    }

    pub(super) fn enqueue_by_hand(&mut self, job: JobId) {
        if !self.by_hand.contains(&job) {
            self.by_hand.push_back(job);
        }
    }

    pub(super) fn dequeue(&mut self, job: JobId, place: Option<Utc>) {
        if let Some(place) = place {
            self.shelf.take(place, job);
        }
        self.first.take(job);
        self.again.take(job);
        self.by_hand.retain(|waiting| *waiting != job);
    }

    /// A job that was asked before is `due` then, not when it was to be; false if it does not wait.
    pub(super) fn bring_forward(&mut self, job: JobId, place: Option<Utc>, due: Mono) -> bool {
        let waits = self.again.take(job).is_some();
        if waits {
            self.enqueue(job, due, Wait::Again, place, due);
        }
        waits
    }

    /// What goes out now: the request is spent, and who is asked for is under way.
    pub(super) fn begin(&mut self, account: &mut Account, turn: &Turn, now: Mono) {
        account.budget.spend(now);
        // By the time-out of now: a reload may shorten it.
        let longest = self.settings.as_ref().map_or(Duration::ZERO, |own| own.request_timeout);
        let ends_by = now.plus(longest + Self::STUCK_AFTER);
        self.requests += 1;
        let under_way = |(job, _): &Waiting| (*job, UnderWay { sent: now, ends_by });
        match turn {
            Turn::Job(job, _) => self.asking.extend([under_way(&(*job, now))]),
            Turn::Page(_, jobs) => self.asking.extend(jobs.iter().map(under_way)),
        }
    }

    /// A request that somebody ordered, and that is no poll.
    pub(super) fn begin_errand(&mut self, account: &mut Account, now: Mono) {
        account.budget.spend(now);
        self.requests += 1;
    }

    /// It has ended.
    pub(super) fn end_errand(&mut self, account: &mut Account, now: Mono) {
        account.budget.end(now);
        self.requests = self.requests.saturating_sub(1);
    }

    /// What is under way is the heir's now; who waits by hand is to follow, as all others that wait.
    pub(super) fn hand_over(&mut self, heir: &mut Self) -> VecDeque<JobId> {
        heir.requests += std::mem::take(&mut self.requests);
        heir.asking.append(&mut self.asking);
        heir.shelf.inherit(&mut self.shelf);
        heir.lateness = heir.lateness.or(self.lateness.take());
        heir.memory.inherit(std::mem::take(&mut self.memory));
        std::mem::take(&mut self.by_hand)
    }

    /// Whether a poll of this job is under way.
    pub(super) fn is_asking(&self, job: JobId) -> bool {
        self.asking.contains_key(&job)
    }

    /// How many requests are under way.
    pub(super) fn under_way(&self) -> u32 {
        self.requests
    }

    /// When somebody may have a turn, if no answer comes before.
    pub(super) fn wakes_at(&self, account: &Account) -> Option<Mono> {
        let gate = self.gate(account)?;
        if !self.by_hand.is_empty() || self.shelf.has_further() {
            return Some(gate);
        }
        let due = self.first.due_at().into_iter().chain(self.again.due_at());
        due.min().map(|due| due.max(gate))
    }

    /// When the lane is open; none while only an answer can open it.
    pub(super) fn gate(&self, account: &Account) -> Option<Mono> {
        let settings = self.settings.as_ref()?;
        // Until it has answered well, one request at a time tries whether the way is clear.
        let max_in_flight = if self.health.is_on_trial() { 1 } else { settings.max_in_flight };
        if self.under_way() >= max_in_flight {
            return None;
        }
        let opens = account.opens_at()?;
        Some(self.health.pause().map_or(opens, |pause| opens.max(pause.until)))
    }

    /// How many jobs are due, and how late the latest of them is.
    pub(super) fn backlog(&self, now: Mono) -> (u64, Duration) {
        let oldest = self.first.due_at().into_iter().chain(self.again.due_at()).min();
        let late = oldest.map_or(Duration::ZERO, |oldest| now.since(oldest));
        let due = self.first.count_due(now) + self.again.count_due(now);
        (due + self.by_hand.len() as u64, late)
    }

    /// Whether a poll is under way for longer than any may take.
    pub(super) fn is_stuck(&self, now: Mono) -> bool {
        self.asking.values().any(|poll| now > poll.ends_by)
    }

    /// Takes in what an answer tells of the provider.
    pub(super) fn learn(
        &mut self,
        account: &mut Account,
        job: JobId,
        answer: &Answer,
        refused_before: bool,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let sent = self.asking.remove(&job).map_or(now.mono, |poll| poll.sent);
        self.requests = self.requests.saturating_sub(1);
        let outcome = answer.result.as_ref().map(drop);
        account.learn(&mut self.health, outcome, answer.pace, sent, now.mono, |health| {
            health.learn(&self.name, outcome, answer.pace, refused_before, now, actions);
        });
    }

    /// Takes in what the answer to a page tells of the provider and of its list.
    pub(super) fn learn_page(
        &mut self,
        account: &mut Account,
        jobs: &[Waiting],
        listing: &Listing,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let asked = jobs.iter().filter_map(|(job, _)| self.asking.remove(job));
        let sent = asked.last().map_or(now.mono, |poll| poll.sent);
        self.requests = self.requests.saturating_sub(1);
        let outcome = listing.result.as_ref().map(drop);
        match outcome {
            Ok(()) | Err(ProviderError::RateLimited(_) | ProviderError::Quota(_)) => {}
            Err(_) => self.shelf.failed(now.mono),
        }
        // A list that is forbidden or not there says nothing of the single jobs.
        account.learn(&mut self.health, outcome, listing.pace, sent, now.mono, |health| {
            health.learn(&self.name, outcome, listing.pace, true, now, actions);
        });
    }

    /// A word that we do not know is reported once, and held until it is known.
    pub(super) fn hear_word(&mut self, seen: &Observation) -> Option<Tell> {
        let word = seen.word.as_str();
        if !matches!(seen.said, Said::Unknown | Said::Indeterminate) {
            self.unknown_words.remove(word);
            return None;
        }
        let news = self.unknown_words.len() < Self::UNKNOWN_WORDS_KEPT
            && self.unknown_words.insert(word.to_owned());
        news.then(|| Tell::UnknownWord { provider: self.name.clone(), word: word.to_owned() })
    }
}

impl Lane {
    /// Takes in a run that is over, and how late that was seen.
    pub(super) fn remember(&mut self, taught: &Taught) {
        self.memory.learn(&taught.lesson);
        if let Some(late) = taught.lateness {
            let before = self.lateness.unwrap_or(late).as_secs_f64();
            let mean = before + (late.as_secs_f64() - before) * Self::LATENESS_PART;
            self.lateness = Duration::try_from_secs_f64(mean).ok();
        }
    }

    /// How late the ends of late were seen, on average.
    pub(super) fn lateness(&self) -> Option<Duration> {
        self.lateness
    }

    /// Words that are not known, of the latest.
    pub(super) fn unknown_words(&self) -> &BTreeSet<String> {
        &self.unknown_words
    }

    /// The rules for a single job.
    pub(super) fn patience(&self) -> Patience<'_> {
        let memory = &self.memory;
        // Without settings nothing is asked; an answer that was under way when they went is heard.
        self.settings.as_ref().map_or(
            Patience {
                learned: None,
                backoff: Backoff { min: Duration::from_mins(1), max: Duration::from_mins(1) },
                give_up_after: Duration::MAX,
                lost_after: Grace { seen: Duration::MAX, unseen: Duration::MAX },
                clock_is_true: true,
            },
            |settings| Patience {
                learned: match settings.policy {
                    Policy::Learned(rule) => Some(Learned { rule, memory }),
                    Policy::Backoff => None,
                },
                backoff: settings.backoff,
                give_up_after: settings.give_up_after,
                lost_after: settings.lost_after,
                clock_is_true: true,
            },
        )
    }
}
