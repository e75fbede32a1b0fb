//! PURE. Which job is asked when, and what its answer leads to: `step(input, now) → actions`.
//!
//! Holds the jobs that are not over, a lane for each provider, and nothing else. The scheduler
//! feeds it what happened and performs what it answers; a simulator can drive it through a year.
//! Invariants: a job has one poll in flight at most, and none while a change of it is unwritten;
//! its standing moves only when the store says that the change is in.

mod account;
mod age;
mod health;
mod lane;
mod listed;
mod message;
mod news;
mod outlook;
mod patience;
mod queue;
mod record;
mod rename;
mod report;
mod shelf;
mod stage;
mod turn;

use std::collections::HashMap;
use std::time::Duration;

use crate::job::{
    Anomaly, Answer, Asked, JobId, Likeness, Moment, Mono, Ours, ProviderName, Tracked,
};

use account::Account;
pub use health::Pause;
pub use lane::LaneId;
use lane::{Lane, Wait};
pub use message::{Action, Input, LaneReport, LaneSettings, PageQuestion, Policy, Question, Tell};
pub use outlook::{NextPoll, Outlook, PastRuns, Reason};
use record::Record;
use stage::{Heard, Next, Stage};
use turn::Turn;

/// All that is tracked.
#[derive(Debug, Default)]
pub struct Tracker {
    jobs: HashMap<JobId, Record>,
    lanes: Vec<Lane>,
    accounts: Vec<Account>,
    /// Lanes of former names, and who has their jobs.
    renamed: HashMap<LaneId, LaneId>,
    /// How many polls were asked: a lane's last turn is told by it.
    turns: u64,
}

impl Tracker {
    /// Takes in what happened and says what is to be done, polls that have come due included.
    pub fn step(&mut self, input: Input, now: Moment) -> Vec<Action> {
        let mut actions = Vec::new();
        self.see(now.mono);
        match input {
            Input::Tick => {}
            Input::Configure(settings) => self.configure(settings, now.mono),
            Input::Learned(lessons) => {
                for (provider, lesson) in lessons {
                    let lane = self.lane_of(&provider, now.mono);
                    self.lanes[lane.0].memory.learn(&lesson);
                }
            }
            Input::Forget(provider, name) => {
                if let Some(lane) = self.lane_named(&provider) {
                    self.lanes[lane.0].memory.forget(name.as_deref());
                }
            }
            Input::Renamed { from, to } => self.rename(&from, &to, now.mono),
            Input::Track(jobs) => jobs.into_iter().for_each(|job| self.track(job, now)),
            Input::PollNow(job) => self.poll_now(*job, now),
            Input::Untrack(job, why) => self.untrack(job, why, now, &mut actions),
            Input::ErrandBegun(provider) => self.errand(&provider, now.mono, Lane::begin_errand),
            Input::ErrandEnded(provider) => self.errand(&provider, now.mono, Lane::end_errand),
            Input::Answered(job, lane, asked, answer) => {
                self.answered(job, self.heir_of(lane), asked, *answer, now, &mut actions);
            }
            Input::Listed(question, asked, listing) => {
                let question = PageQuestion { lane: self.heir_of(question.lane), ..question };
                self.listed(question, asked, *listing, now, &mut actions);
            }
            Input::Written(job) => self.written(job, now, &mut actions),
            Input::Refused(job, found) => self.refused(job, found, now, &mut actions),
            Input::Stale(job, found) => self.stale(job, found, now, &mut actions),
        }
        self.ask(now.mono, &mut actions);
        actions
    }

    /// When the next step is due, if nothing happens before.
    #[must_use]
    pub fn wakes_at(&self) -> Option<Mono> {
        self.lanes.iter().filter_map(|lane| lane.wakes_at(&self.accounts[lane.account])).min()
    }

    /// Whether this job is held.
    #[must_use]
    pub fn holds(&self, job: JobId) -> bool {
        self.jobs.contains_key(&job)
    }

    /// Whether a change of this job is being written.
    #[must_use]
    pub fn is_writing(&self, job: JobId) -> bool {
        self.jobs.get(&job).is_some_and(|record| matches!(record.stage, Stage::Writing(_)))
    }

    fn errand(&mut self, name: &ProviderName, now: Mono, edge: fn(&mut Lane, &mut Account, Mono)) {
        let lane = self.lane_of(name, now);
        let lane = &mut self.lanes[lane.0];
        edge(lane, &mut self.accounts[lane.account], now);
    }

    fn track(&mut self, job: Tracked, now: Moment) {
        if let Some(held) = self.jobs.get_mut(&job.id) {
            // Its user may have said meanwhile what it is like.
            if matches!(job.likeness, Likeness::Given(_)) {
                held.likeness = job.likeness;
            }
            return;
        }
        if job.standing.state.is_terminal() {
            return;
        }
        let id = job.id;
        let lane_id = self.lane_of(&job.provider, now.mono);
        let lane = &mut self.lanes[lane_id.0];
        // The stored time is by the wall clock, which may have jumped: bounded by the policy.
        let longest = lane.settings.as_ref().map_or(Duration::ZERO, LaneSettings::longest_interval);
        let wait = job.next_poll_at.map_or(Duration::ZERO, |at| at.since(now.wall)).min(longest);
        let due = now.mono.plus(wait);
        let wait = if job.polls == 0 { Wait::First } else { Wait::Again };
        lane.active_jobs += 1;
        let record = Record::new(job, lane_id, due, now);
        lane.enqueue(id, due, wait, record.place(), now.mono);
        self.jobs.insert(id, record);
    }

    fn poll_now(&mut self, job: Tracked, now: Moment) {
        let id = job.id;
        let lane_id = self.lane_of(&job.provider, now.mono);
        let lane = &mut self.lanes[lane_id.0];
        let record = self.jobs.entry(id).or_insert_with(|| {
            lane.active_jobs += 1;
            Record::new(job, lane_id, now.mono, now)
        });
        match &mut record.stage {
            // It was untracked while it was asked: the answer under way is the news asked for.
            Stage::Waiting(_) if lane.is_asking(id) => {
                record.stage = Stage::Asking { by_hand: true };
            }
            Stage::Waiting(_) => {
                lane.dequeue(id, record.listed_at);
                lane.enqueue_by_hand(id);
            }
            Stage::Asking { by_hand } => *by_hand = true,
            // An answer that came just now is being written: that is the news asked for.
            Stage::Writing(_) => {}
        }
    }

    fn untrack(&mut self, id: JobId, why: String, now: Moment, actions: &mut Vec<Action>) {
        let Some(record) = self.jobs.get_mut(&id) else { return };
        if record.standing.state.is_terminal() {
            return;
        }
        Self::leave_queue(&mut self.lanes, id, record);
        if let Some(change) = record.plan(id, Ours::Untracked, why, None, now) {
            actions.push(Action::Write(change));
        }
    }

    fn answered(
        &mut self,
        id: JobId,
        lane_id: LaneId,
        asked: Asked,
        answer: Answer,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(lane) = self.lanes.get_mut(lane_id.0) else { return };
        // One job that is forbidden to us must not hold up all others again and again.
        let again = self.jobs.get(&id).is_some_and(Record::was_refused);
        let account = &mut self.accounts[lane.account];
        lane.learn(account, id, &answer, again, now, actions);
        self.heard(id, lane_id, asked, answer, now, actions);
    }

    /// What was said of a job, by itself or on a page.
    fn heard(
        &mut self,
        id: JobId,
        lane: LaneId,
        asked: Asked,
        answer: Answer,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(lane) = self.lanes.get_mut(lane.0) else { return };
        if let Ok(seen) = &answer.result {
            actions.extend(lane.hear_word(seen).map(Action::Tell));
        }
        let Some(record) = self.jobs.get_mut(&id) else { return };
        let Stage::Asking { by_hand } = record.stage else {
            // It was untracked while it was asked.
            return;
        };
        let heard = record.hear(id, answer, asked, lane.patience(), now);
        self.act_on(id, heard, by_hand, now, actions);
    }

    fn written(&mut self, id: JobId, now: Moment, actions: &mut Vec<Action>) {
        let Some(record) = self.jobs.get_mut(&id) else { return };
        if let Some(taught) = record.taught() {
            self.lanes[record.lane.0].remember(taught);
        }
        let heard = Heard { next: record.written(id, now), note: None, anomaly: None };
        self.act_on(id, heard, false, now, actions);
    }

    fn refused(
        &mut self,
        id: JobId,
        found: Option<Box<Tracked>>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(record) = self.jobs.get_mut(&id) else { return };
        Self::leave_queue(&mut self.lanes, id, record);
        let heard = match found {
            Some(found) => record.refused(id, found.standing, now),
            None => Heard { next: Next::Drop, note: None, anomaly: None },
        };
        self.act_on(id, heard, false, now, actions);
    }

    /// Somebody else changed the job, or removed it: we go on from what the store has.
    fn stale(
        &mut self,
        id: JobId,
        found: Option<Box<Tracked>>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(record) = self.jobs.get_mut(&id) else { return };
        if matches!(record.stage, Stage::Writing(_)) {
            // The note was older than the change under way, which will be told the same.
            return;
        }
        let found = found.map(|found| found.standing);
        let known = record.standing.state;
        let over = found.as_ref().is_none_or(|found| found.state.is_terminal());
        if let Some(found) = found.filter(|found| found.state != known) {
            let what = format!("the database says {} where we knew {known}", found.state);
            actions.push(Action::Anomaly(Anomaly { job: id, at: now.wall, what }));
            record.standing = found;
        }
        if over {
            Self::leave_queue(&mut self.lanes, id, record);
            let heard = Heard { next: Next::Drop, note: None, anomaly: None };
            self.act_on(id, heard, false, now, actions);
        }
    }

    /// A job that waits is no longer in turn.
    fn leave_queue(lanes: &mut [Lane], id: JobId, record: &Record) {
        if let Stage::Waiting(_) = record.stage {
            lanes[record.lane.0].dequeue(id, record.listed_at);
        }
    }

    fn act_on(
        &mut self,
        id: JobId,
        heard: Heard,
        urgent: bool,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        actions.extend(heard.note.map(|note| Action::Note { note, urgent }));
        actions.extend(
            heard.anomaly.map(|what| Action::Anomaly(Anomaly { job: id, at: now.wall, what })),
        );
        let Some(record) = self.jobs.get_mut(&id) else { return };
        let lane = &mut self.lanes[record.lane.0];
        match heard.next {
            // Its untracking came while it was asked, and was refused: that answer is to come.
            Next::Wait(_) if lane.is_asking(id) => {
                record.stage = Stage::Asking { by_hand: false };
            }
            Next::Wait(due) => lane.enqueue(id, due, Wait::Again, record.place(), now.mono),
            Next::Write(change) => actions.push(Action::Write(*change)),
            Next::Drop => {
                lane.active_jobs = lane.active_jobs.saturating_sub(1);
                self.jobs.remove(&id);
            }
        }
    }

    fn ask(&mut self, now: Mono, actions: &mut Vec<Action>) {
        while let Some((lane, turn)) = self.pick(now) {
            let provider = self.lanes[lane.0].name.clone();
            match turn {
                Turn::Job(job, by_hand) => {
                    let Some(record) = self.jobs.get_mut(&job) else { continue };
                    record.stage = Stage::Asking { by_hand };
                    let remote_id = record.remote_id.clone();
                    actions.push(Action::Ask(Question { lane, job, provider, remote_id }));
                }
                Turn::Page(page, jobs) => {
                    for (job, _) in &jobs {
                        if let Some(record) = self.jobs.get_mut(job) {
                            record.stage = Stage::Asking { by_hand: false };
                        }
                    }
                    actions.push(Action::List(PageQuestion { lane, provider, page, jobs }));
                }
            }
        }
    }
}
