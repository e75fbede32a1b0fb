//! PURE. Which job is asked when, and what its answer leads to: `step(input, now) → actions`.
//!
//! Holds the jobs that are not over, a lane for each provider, and nothing else. The scheduler
//! feeds it what happened and performs what it answers; a simulator can drive it through a year.
//! Invariants: a job has one poll in flight at most, and none while a change of it is unwritten;
//! its standing moves only when the store says that the change is in.

mod health;
mod lane;
mod patience;
mod record;

use std::collections::HashMap;
use std::time::Duration;

use crate::job::{
    Anomaly, Answer, Asked, Change, JobId, Moment, Mono, Note, Ours, Outage, ProviderName,
    RemoteId, Said, Tracked,
};
use crate::policy::Budget;

pub use health::Pause;
use lane::{Lane, Queue};
pub use lane::{LaneId, LaneReport, LaneSettings};
use record::{Heard, Next, Record, Stage};

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// Time passed, nothing else.
    Tick,
    /// These are the providers, all of them, from now on.
    Configure(Vec<LaneSettings>),
    /// These jobs are in the database and not over; those that are held already stay as they are.
    Track(Vec<Tracked>),
    /// Somebody wants this job asked now, over or not.
    PollNow(Box<Tracked>),
    /// Somebody wants this job no longer asked; the text is why.
    Untrack(JobId, String),
    /// A request to this provider goes out that is no poll of ours: somebody ordered it.
    ErrandBegun(ProviderName),
    /// It has ended, in whatever way.
    ErrandEnded(ProviderName),
    /// A poll came back.
    Answered(JobId, LaneId, Asked, Box<Answer>),
    /// A change is committed.
    Written(JobId),
    /// The store found another state than the change expected, and wrote nothing: this is the job
    /// as it stands there, if it is there at all.
    Refused(JobId, Option<Box<Tracked>>),
    /// The same of a note, of which nothing was expected but that the job stands as we know it.
    Stale(JobId, Option<Box<Tracked>>),
}

/// What is to be done.
#[derive(Debug)]
pub enum Action {
    /// Ask this now; then say [`Input::Answered`].
    Ask(Question),
    /// Commit this; then say [`Input::Written`] or [`Input::Refused`].
    Write(Change),
    /// Keep this some time soon; at once if somebody waits for it.
    Note {
        /// What to keep.
        note: Note,
        /// Somebody waits.
        urgent: bool,
    },
    /// Record this contradiction.
    Anomaly(Anomaly),
    /// Record that an outage began or ended.
    Outage(Outage),
    /// Let the operator know.
    Tell(Tell),
}

/// One poll.
#[derive(Debug, Clone)]
pub struct Question {
    /// Where its answer belongs.
    pub lane: LaneId,
    /// Whose.
    pub job: JobId,
    /// Whom to ask.
    pub provider: ProviderName,
    /// For what.
    pub remote_id: RemoteId,
}

/// What an operator should know, each said once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tell {
    /// Polls fail, one after the other.
    Failing {
        /// Whose.
        provider: ProviderName,
        /// The last failure.
        why: String,
    },
    /// The provider refuses us and is left alone for a while.
    Paused {
        /// Which.
        provider: ProviderName,
        /// Its words.
        why: String,
        /// How long, this time.
        span: Duration,
    },
    /// It answers again.
    Recovered {
        /// Which.
        provider: ProviderName,
    },
    /// A state that we do not know.
    UnknownWord {
        /// Whose.
        provider: ProviderName,
        /// The word.
        word: String,
    },
}

/// All that is tracked.
#[derive(Debug, Default)]
pub struct Tracker {
    jobs: HashMap<JobId, Record>,
    lanes: Vec<Lane>,
}

impl Tracker {
    /// Takes in what happened and says what is to be done, polls that have come due included.
    pub fn step(&mut self, input: Input, now: Moment) -> Vec<Action> {
        let mut actions = Vec::new();
        match input {
            Input::Tick => {}
            Input::Configure(settings) => self.configure(settings, now.mono),
            Input::Track(jobs) => jobs.into_iter().for_each(|job| self.track(job, now)),
            Input::PollNow(job) => self.poll_now(*job, now),
            Input::Untrack(job, why) => self.untrack(job, why, now, &mut actions),
            Input::ErrandBegun(provider) => self.budget_of(&provider, now.mono).spend(now.mono),
            Input::ErrandEnded(provider) => self.budget_of(&provider, now.mono).end(now.mono),
            Input::Answered(job, lane, asked, answer) => {
                self.answered(job, lane, asked, *answer, now, &mut actions);
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
        self.lanes.iter().filter_map(Lane::wakes_at).min()
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

    /// How each lane is doing, by name.
    #[must_use]
    pub fn report(&self, now: Mono) -> Vec<LaneReport> {
        let mut reports: Vec<_> = self.lanes.iter().map(|lane| lane.report(now)).collect();
        reports.sort_by(|a, b| a.name.cmp(&b.name));
        reports
    }

    fn configure(&mut self, settings: Vec<LaneSettings>, now: Mono) {
        for lane in &mut self.lanes {
            if !settings.iter().any(|settings| settings.name == lane.name) {
                lane.configure(None, now);
            }
        }
        for settings in settings {
            let lane = self.lane_of(&settings.name, now);
            self.lanes[lane.0].configure(Some(settings), now);
        }
    }

    fn budget_of(&mut self, name: &ProviderName, now: Mono) -> &mut Budget {
        let lane = self.lane_of(name, now);
        &mut self.lanes[lane.0].budget
    }

    fn lane_of(&mut self, name: &ProviderName, now: Mono) -> LaneId {
        let found = self.lanes.iter().position(|lane| lane.name == *name);
        LaneId(found.unwrap_or_else(|| {
            self.lanes.push(Lane::new(name.clone(), now));
            self.lanes.len() - 1
        }))
    }

    fn track(&mut self, job: Tracked, now: Moment) {
        if self.jobs.contains_key(&job.id) || job.standing.state.is_terminal() {
            return;
        }
        let lane_id = self.lane_of(&job.provider, now.mono);
        let lane = &mut self.lanes[lane_id.0];
        // The stored time is by the wall clock, which may have jumped: bounded by the policy.
        let longest = lane.settings.as_ref().map_or(Duration::ZERO, |s| s.backoff.max);
        let wait = job.next_poll_at.map_or(Duration::ZERO, |at| at.since(now.wall)).min(longest);
        let due = now.mono.plus(wait);
        let queue = if job.polls == 0 { Queue::First } else { Queue::Again };
        lane.active_jobs += 1;
        lane.enqueue(job.id, due, queue);
        self.jobs.insert(job.id, Record::new(job, lane_id, due));
    }

    fn poll_now(&mut self, job: Tracked, now: Moment) {
        let id = job.id;
        let lane_id = self.lane_of(&job.provider, now.mono);
        let lane = &mut self.lanes[lane_id.0];
        let record = self.jobs.entry(id).or_insert_with(|| {
            lane.active_jobs += 1;
            Record::new(job, lane_id, now.mono)
        });
        match &mut record.stage {
            // It was untracked while it was asked: the answer under way is the news asked for.
            Stage::Waiting(_) if lane.is_asking(id) => {
                record.stage = Stage::Asking { by_hand: true };
            }
            Stage::Waiting(due) => {
                lane.dequeue(id, *due);
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
        lane: LaneId,
        asked: Asked,
        answer: Answer,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        let Some(lane) = self.lanes.get_mut(lane.0) else { return };
        // One job that is forbidden to us must not hold up all others again and again.
        let again = self.jobs.get(&id).is_some_and(Record::was_refused);
        lane.learn(id, &answer, again, now, actions);
        if let Ok(seen) = &answer.result
            && matches!(seen.said, Said::Unknown | Said::Indeterminate)
        {
            actions.extend(lane.unknown_word(&seen.word).map(Action::Tell));
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
        if let Stage::Waiting(due) = record.stage {
            lanes[record.lane.0].dequeue(id, due);
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
            Next::Wait(due) => lane.enqueue(id, due, Queue::Again),
            Next::Write(change) => actions.push(Action::Write(*change)),
            Next::Drop => {
                lane.active_jobs = lane.active_jobs.saturating_sub(1);
                self.jobs.remove(&id);
            }
        }
    }

    fn ask(&mut self, now: Mono, actions: &mut Vec<Action>) {
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            while let Some((id, by_hand)) = lane.pick(now) {
                if let Some(record) = self.jobs.get_mut(&id) {
                    record.stage = Stage::Asking { by_hand };
                    actions.push(Action::Ask(Question {
                        lane: LaneId(index),
                        job: id,
                        provider: lane.name.clone(),
                        remote_id: record.remote_id.clone(),
                    }));
                }
            }
        }
    }
}
