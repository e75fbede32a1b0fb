//! Whose turn it is, once the budget of an account lets a request go: what was asked for by hand,
//! then pages that were begun, then whom asking is worth most.
//!
//! Two rules bound that order. One turn in four is a first poll's while others are due too, so that
//! wrong ids are told early; in the other three a job that was never asked counts for what it is worth
//! by its provider's past, and for nothing where there is none. And no job waits for ever: one that was
//! passed over for some rounds, as many requests each as there are jobs, goes first.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use crate::job::{JobId, Mono, Page, Utc};

use super::Tracker;
use super::account::Account;
use super::lane::{Lane, LaneId};
use super::patience::Learned;
use super::queue::{Next, Weighed, Worth};
use super::record::Record;
use super::shelf::{Placed, Waiting};

/// Whose turn it is.
#[derive(Debug)]
pub(super) enum Turn {
    /// This job's; the flag says that somebody asked for it by hand.
    Job(JobId, bool),
    /// That of all these, by a page of the list.
    Page(Page, Vec<Waiting>),
}

/// What a lane has to ask for.
#[derive(Debug, Clone, Copy)]
struct Offer {
    lane: usize,
    /// When it last had a turn, as a count of turns.
    last_turn: u64,
    by_hand: bool,
    /// A further page.
    further: bool,
    /// Of those that were never asked, the one that is worth most, and the oldest.
    first: Option<(Next, Next)>,
    /// The same of the others.
    again: Option<(Next, Next)>,
}

/// The best offer, and which of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Choice {
    ByHand(usize),
    Further(usize),
    Job(usize, JobId),
}

/// Who goes first. Lanes that have had no turn for longer win where nothing else decides. Those who
/// are due since before `overdue` have waited long enough.
fn choose(offers: &[Offer], is_firsts_turn: bool, overdue: Option<Mono>) -> Option<Choice> {
    let longest = |wants: fn(&Offer) -> bool| {
        offers.iter().filter(|offer| wants(offer)).min_by_key(|offer| offer.last_turn)
    };
    if let Some(offer) = longest(|offer| offer.by_hand) {
        return Some(Choice::ByHand(offer.lane));
    }
    if let Some(offer) = longest(|offer| offer.further) {
        return Some(Choice::Further(offer.lane));
    }
    let best = |of: fn(&Offer) -> Option<(Next, Next)>| {
        let bids = offers.iter().filter_map(move |offer| Some((offer, of(offer)?.0)));
        bids.max_by_key(|(offer, next)| (next.worth, Reverse(offer.last_turn)))
    };
    let (first, again) = (best(|offer| offer.first), best(|offer| offer.again));
    let job = |(offer, next): (&Offer, Next)| Choice::Job(offer.lane, next.job);
    if is_firsts_turn && let Some(first) = first {
        return Some(job(first));
    }
    let old = offers.iter().flat_map(|offer| {
        let oldest = offer.first.into_iter().chain(offer.again).map(|(_, oldest)| oldest);
        oldest.map(move |oldest| (offer, oldest))
    });
    let old = old.filter(|(_, oldest)| overdue.is_some_and(|before| oldest.since <= before));
    if let Some(oldest) = old.min_by_key(|(_, oldest)| oldest.since) {
        return Some(job(oldest));
    }
    let both = first.into_iter().chain(again);
    both.max_by_key(|(offer, next)| (next.worth, Reverse(offer.last_turn))).map(job)
}

impl Account {
    /// With both kinds due, one poll in so many is a first one: a quarter of the budget.
    const TURNS_PER_FIRST: u8 = 4;
    /// Who is due for so many rounds goes first: none waits for more than one round longer.
    const ROUNDS: u64 = 4;

    /// Whether a first poll has this turn before all others.
    fn is_firsts_turn(&self) -> bool {
        self.turns_since_first + 1 >= Self::TURNS_PER_FIRST
    }

    /// A turn was given for which both kinds stood by.
    fn count_turn(&mut self) {
        self.turns_since_first = (self.turns_since_first + 1) % Self::TURNS_PER_FIRST;
    }

    /// Who is due since before then has waited long enough, where so many jobs share the budget.
    fn overdue(&self, jobs: u64, now: Mono) -> Option<Mono> {
        let minutes = Self::ROUNDS.saturating_mul(jobs);
        let span = Duration::from_secs(minutes.saturating_mul(60)) / self.budget.limit().max(1);
        let before = now.minus(span);
        (before > Mono::default()).then_some(before)
    }
}

impl Lane {
    fn offer(&mut self, lane: usize, jobs: &HashMap<JobId, Record>, now: Mono) -> Offer {
        self.ripen(jobs, now);
        Offer {
            lane,
            last_turn: self.last_turn,
            by_hand: !self.by_hand.is_empty(),
            further: self.shelf.has_further(),
            first: self.first.best().zip(self.first.oldest()),
            again: self.again.best().zip(self.again.oldest()),
        }
    }

    /// Who has come due is weighed.
    fn ripen(&mut self, jobs: &HashMap<JobId, Record>, now: Mono) {
        let (mut first, mut again) =
            (std::mem::take(&mut self.first), std::mem::take(&mut self.again));
        let learned = self.patience().learned;
        let weigh = |job, otherwise, weigh: &dyn Fn(&Record, Learned<'_>) -> Weighed| match (
            learned,
            jobs.get(&job),
        ) {
            (Some(learned), Some(record)) => weigh(record, learned),
            (None, _) | (_, None) => Weighed::Now(otherwise, None),
        };
        // Without a past to go by, those that were never asked have their quarter and no more.
        first.ripen(now, |job| {
            weigh(job, Worth::LEAST, &|record, learned| {
                Weighed::Now(record.first_worth(learned, now), Some(record.weighed_again_at(now)))
            })
        });
        again.ripen(now, |job| {
            weigh(job, Worth::PRICE, &|record, learned| {
                let page = self.page_for(job, record.place(), jobs, now);
                record.weigh(learned, page.map(|(_, worth, _)| Worth(worth)), now)
            })
        });
        (self.first, self.again) = (first, again);
    }

    /// Gives the turn; none if who was to have it is not to be asked yet after all.
    fn take(&mut self, choice: Choice, jobs: &HashMap<JobId, Record>, now: Mono) -> Option<Turn> {
        let job = match choice {
            Choice::ByHand(_) => return Some(Turn::Job(self.by_hand.pop_front()?, true)),
            Choice::Further(_) => {
                let (page, jobs) = self.shelf.further()?;
                return Some(Turn::Page(page, jobs));
            }
            Choice::Job(_, job) => job,
        };
        self.first.take(job);
        self.again.take(job);
        let record = jobs.get(&job)?;
        let place = record.place();
        let page = self.page_for(job, place, jobs, now);
        if let Some(learned) = self.patience().learned
            && let Weighed::Later(at) =
                record.weigh(learned, page.as_ref().map(|(_, worth, _)| Worth(*worth)), now)
        {
            // It was to be asked with others, who have been asked meanwhile.
            self.again.put(job, at);
            return None;
        }
        if let Some((page, _, places)) = page {
            let jobs = places.into_iter().map(|(place, job, due)| {
                self.shelf.take(place, job);
                self.again.take(job);
                (job, due)
            });
            return Some(Turn::Page(page, jobs.collect()));
        }
        if let Some(place) = place {
            self.shelf.take(place, job);
        }
        Some(Turn::Job(job, false))
    }

    /// A page that answers for this job and for others, if that saves requests.
    fn page_for(
        &self,
        job: JobId,
        place: Option<Utc>,
        jobs: &HashMap<JobId, Record>,
        now: Mono,
    ) -> Option<(Page, f64, Vec<Placed>)> {
        /// With pauses that grow, who is due within this part of the longest may as well be asked now…
        const SOON_PARTS: f64 = 10.0;
        /// …and a page must save one request.
        const SAVING: f64 = 2.0;
        /// By the past, a page must be worth so much more than its job alone.
        const MORE: f64 = 1.1;
        let place = place.filter(|_| self.asks_for_pages())?;
        let patience = self.patience();
        let Some(learned) = patience.learned else {
            let soon = now.plus(patience.backoff.max.div_f64(SOON_PARTS));
            let worth = |_, due| if due <= soon { 1.0 } else { 0.0 };
            return self.shelf.page_for((place, job), now, worth, SAVING);
        };
        let worth = |job| jobs.get(&job).map_or(0.0, |record| record.worth(learned, now).0);
        self.shelf.page_for((place, job), now, |job, _| worth(job), MORE * worth(job))
    }
}

impl Tracker {
    /// The lane whose turn it is now, and which of its jobs.
    pub(super) fn pick(&mut self, now: Mono) -> Option<(LaneId, Turn)> {
        for account in 0..self.accounts.len() {
            while let Some((choice, is_contested)) = self.choose_in(account, now) {
                let (Choice::ByHand(lane) | Choice::Further(lane) | Choice::Job(lane, _)) = choice;
                let id = LaneId(lane);
                let lane = &mut self.lanes[lane];
                let Some(turn) = lane.take(choice, &self.jobs, now) else { continue };
                let account = &mut self.accounts[account];
                lane.begin(account, &turn, now);
                if is_contested {
                    account.count_turn();
                }
                self.turns += 1;
                lane.last_turn = self.turns;
                return Some((id, turn));
            }
        }
        None
    }

    /// Who goes first, and whether first polls and others stood by.
    fn choose_in(&mut self, account: usize, now: Mono) -> Option<(Choice, bool)> {
        let own = &mut self.accounts[account];
        if own.opens_at()? > now {
            return None;
        }
        let mut offers = Vec::new();
        let mut jobs = 0;
        let lanes = self.lanes.iter_mut().enumerate().filter(|(_, lane)| lane.account == account);
        for (index, lane) in lanes {
            jobs += lane.active_jobs;
            if lane.gate(own).is_some_and(|gate| gate <= now) {
                offers.push(lane.offer(index, &self.jobs, now));
            }
        }
        let is_contested = offers.iter().any(|offer| offer.first.is_some())
            && offers.iter().any(|offer| offer.again.is_some())
            && !offers.iter().any(|offer| offer.by_hand || offer.further);
        let is_firsts_turn = is_contested && own.is_firsts_turn();
        Some((choose(&offers, is_firsts_turn, own.overdue(jobs, now))?, is_contested))
    }
}
