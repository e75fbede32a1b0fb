//! A lane: the jobs of one provider that wait, and what holds them back: the account's budget, the
//! polls in flight, a pause. [`Lane::pick`] says whose turn it is.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use crate::job::{
    Answer, Grace, JobId, Listing, Moment, Mono, Observation, Page, ProviderError, ProviderName,
    Said, Utc,
};
use crate::policy::Backoff;

use super::account::Account;
use super::health::Health;
use super::patience::Patience;
use super::shelf::{Shelf, Waiting};
use super::{Action, LaneReport, LaneSettings, Tell};

/// The number of a lane; lanes are never removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LaneId(pub(super) usize);

/// Whose turn it is.
#[derive(Debug)]
pub(super) enum Turn {
    /// This job's; the flag says that somebody asked for it by hand.
    Job(JobId, bool),
    /// That of all these, by a page of the list.
    Page(Page, Vec<Waiting>),
}

/// Where a job waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Queue {
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
    first: BTreeSet<(Mono, JobId)>,
    again: BTreeSet<(Mono, JobId)>,
    shelf: Shelf,
    by_hand: VecDeque<JobId>,
    turns_since_first: u8,
    unknown_words: BTreeSet<String>,
}

impl Lane {
    /// With both kinds waiting, one poll in so many is a first one: a quarter of the budget.
    const TURNS_PER_FIRST: u8 = 4;
    const UNKNOWN_WORDS_KEPT: usize = 100;
    const STUCK_AFTER: Duration = Duration::from_secs(30);
    /// Who is due within this part of the longest interval may as well be asked now.
    const SOON_PARTS: f64 = 10.0;

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
            first: BTreeSet::new(),
            again: BTreeSet::new(),
            shelf: Shelf::default(),
            by_hand: VecDeque::new(),
            turns_since_first: 0,
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
    }

    /// `place` is where the list shows it, if it can be asked for with others.
    pub(super) fn enqueue(&mut self, job: JobId, due: Mono, queue: Queue, place: Option<Utc>) {
        if let Some(place) = place {
            self.shelf.put(place, job, due);
        }
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

    pub(super) fn dequeue(&mut self, job: JobId, due: Mono, place: Option<Utc>) {
        if let Some(place) = place {
            self.shelf.take(place, job);
        }
        self.first.remove(&(due, job));
        self.again.remove(&(due, job));
        self.by_hand.retain(|waiting| *waiting != job);
    }

    /// A job that was asked before is due now, not when it was to be; false if it does not wait.
    pub(super) fn bring_forward(
        &mut self,
        job: JobId,
        due: Mono,
        place: Option<Utc>,
        now: Mono,
    ) -> bool {
        let waits = self.again.contains(&(due, job));
        if waits {
            self.dequeue(job, due, place);
            self.enqueue(job, now, Queue::Again, place);
        }
        waits
    }

    /// Whose turn it is now, if it is anybody's; the request is spent. Who has the turn leaves the
    /// queue; `place` tells where a job stands in the list, if it can be asked for with others.
    pub(super) fn pick(
        &mut self,
        account: &mut Account,
        now: Mono,
        place: impl Fn(JobId) -> Option<Utc>,
    ) -> Option<Turn> {
        if self.gate(account)? > now {
            return None;
        }
        let turn = if let Some(job) = self.by_hand.pop_front() {
            Turn::Job(job, true)
        } else if let Some((page, jobs)) = self.shelf.further() {
            Turn::Page(page, jobs)
        } else {
            let job = self.pick_due(now)?;
            self.with_others(job, place(job), now)
        };
        account.budget.spend(now);
        // By the time-out of now: a reload may shorten it.
        let longest = self.settings.as_ref().map_or(Duration::ZERO, |own| own.request_timeout);
        let ends_by = now.plus(longest + Self::STUCK_AFTER);
        self.requests += 1;
        let under_way = |(job, _): &Waiting| (*job, UnderWay { sent: now, ends_by });
        match &turn {
            Turn::Job(job, _) => self.asking.extend([under_way(&(*job, now))]),
            Turn::Page(_, jobs) => self.asking.extend(jobs.iter().map(under_way)),
        }
        Some(turn)
    }

    fn pick_due(&mut self, now: Mono) -> Option<JobId> {
        let ready =
            |queue: &BTreeSet<(Mono, JobId)>| queue.first().copied().filter(|(due, _)| *due <= now);
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
        Some(entry.1)
    }

    /// A page that answers for this job and for others, if that saves requests; they leave the queue
    /// with it.
    fn with_others(&mut self, job: JobId, place: Option<Utc>, now: Mono) -> Turn {
        let Some(place) = place else { return Turn::Job(job, false) };
        let longest = self.settings.as_ref().filter(|own| own.lists).map(|own| own.backoff.max);
        let page = longest.filter(|_| !self.health.is_on_trial()).and_then(|longest| {
            let soon = now.plus(longest.div_f64(Self::SOON_PARTS));
            self.shelf.page_for((place, job), now, soon)
        });
        let Some((page, places)) = page else {
            self.shelf.take(place, job);
            return Turn::Job(job, false);
        };
        let jobs = places.into_iter().map(|(place, job, due)| {
            self.shelf.take(place, job);
            self.again.remove(&(due, job));
            (job, due)
        });
        Turn::Page(page, jobs.collect())
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

    /// When [`Lane::pick`] will have something, if no answer comes before.
    pub(super) fn wakes_at(&self, account: &Account) -> Option<Mono> {
        let gate = self.gate(account)?;
        if !self.by_hand.is_empty() || self.shelf.has_further() {
            return Some(gate);
        }
        let due = self.first.first().into_iter().chain(self.again.first()).map(|(due, _)| *due);
        due.min().map(|due| due.max(gate))
    }

    /// When the lane is open; none while only an answer can open it.
    fn gate(&self, account: &Account) -> Option<Mono> {
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
        let due =
            |queue: &BTreeSet<(Mono, JobId)>| queue.range(..=(now, JobId(i64::MAX))).count() as u64;
        let oldest = self.first.first().into_iter().chain(self.again.first()).map(|(due, _)| *due);
        let late = oldest.min().map_or(Duration::ZERO, |oldest| now.since(oldest));
        (due(&self.first) + due(&self.again) + self.by_hand.len() as u64, late)
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

    /// Those of `missing` that a page did not show and that are now asked singly.
    pub(super) fn missed(
        &mut self,
        page: Page,
        total: u64,
        expected: usize,
        missing: Vec<Waiting>,
        now: Mono,
    ) -> Vec<Waiting> {
        self.shelf.seen(page, total, expected, missing, now)
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
    /// For the snapshot.
    pub(super) fn report(&self, account: &Account, now: Mono) -> LaneReport {
        let (due_polls, late) = self.backlog(now);
        let pauses = self.health.pause().into_iter().chain(account.pause());
        LaneReport {
            name: self.name.clone(),
            configured: self.settings.is_some(),
            active_jobs: self.active_jobs,
            due_polls,
            late,
            in_flight: self.under_way(),
            stuck: self.is_stuck(now),
            sent_last_minute: account.budget.spent_last_minute(now),
            requests_per_minute: account.budget.limit_at(now),
            failures: self.health.failures(),
            outage_since: self.health.outage_since(),
            pause: pauses
                .filter(|pause| pause.until > now)
                .max_by_key(|pause| pause.until)
                .cloned(),
            unknown_words: self.unknown_words.iter().cloned().collect(),
        }
    }

    /// The rules for a single job.
    pub(super) fn patience(&self) -> Patience {
        // Without settings nothing is asked; an answer that was under way when they went is heard.
        self.settings.as_ref().map_or(
            Patience {
                backoff: Backoff { min: Duration::from_mins(1), max: Duration::from_mins(1) },
                give_up_after: Duration::MAX,
                lost_after: Grace { seen: Duration::MAX, unseen: Duration::MAX },
                clock_is_true: true,
            },
            |settings| Patience {
                backoff: settings.backoff,
                give_up_after: settings.give_up_after,
                lost_after: settings.lost_after,
                clock_is_true: true,
            },
        )
    }
}
