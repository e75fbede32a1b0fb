//! What the tracker holds of one job, a few hundred bytes, and what one answer makes of it.
//!
//! [`Record::hear`] and [`Record::plan`] decide; they know nothing of queues and budgets. The
//! standing moves when the store has the change ([`Record::written`]), or says what it has instead.

use std::time::Duration;

use crate::job::{
    Answer, Asked, Change, JobId, Likeness, Missing, Moment, Mono, Note, Observation, Ours,
    ProviderError, RemoteId, Standing, State, Tracked, Transition, Utc, Verdict, conclude, observe,
};

use super::LaneSettings;
use super::age::Age;
use super::lane::{Lane, LaneId};
use super::news::News;
use super::patience::Patience;
use super::stage::{Cause, Heard, Next, Pending, Stage, Taught};

/// A job that is not over, or one that is and is asked once more by hand.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) lane: LaneId,
    pub(super) remote_id: RemoteId,
    pub(super) standing: Standing,
    pub(super) stage: Stage,
    pub(super) polls: u32,
    /// Its place in the provider's list.
    pub(super) listed_at: Option<Utc>,
    pub(super) likeness: Likeness,
    pub(super) age: Age,
    /// A page did not show it: it is asked by itself.
    singly: bool,
    registered_at: Utc,
    give_up_after: Option<Duration>,
    failed_polls: u32,
    /// Polls in a row without news: how far the backoff has grown.
    pub(super) quiet: u32,
    missing: Option<Missing>,
    /// The last answer was that we may not ask for it.
    refused: bool,
    /// The provider was configured anew while it was asked: the answer may be read as of old.
    outdated: bool,
    told: News,
    /// Somebody wants it untracked, once the change that is being written is in.
    untrack: Option<String>,
}

impl Record {
    /// Whether the last answer was that we may not ask for it.
    pub(super) fn was_refused(&self) -> bool {
        self.refused
    }

    /// Where it stands in the provider's list, if a page may answer for it.
    pub(super) fn place(&self) -> Option<Utc> {
        self.listed_at.filter(|_| !self.singly)
    }

    /// A page answered, and not for this job: it is asked by itself when it is due.
    pub(super) fn was_missed(&mut self) {
        self.singly = true;
    }

    pub(super) fn new(job: Tracked, lane: LaneId, due: Mono, now: Moment) -> Self {
        Self {
            age: Age::new(&job, now),
            likeness: job.likeness,
            lane,
            remote_id: job.remote_id,
            standing: job.standing,
            stage: Stage::Waiting(due),
            polls: job.polls,
            listed_at: job.listed_at,
            singly: false,
            registered_at: job.registered_at,
            give_up_after: job.give_up_after,
            failed_polls: job.failed_polls,
            quiet: 0,
            missing: None,
            refused: false,
            outdated: false,
            told: News::default(),
            untrack: None,
        }
    }

    /// Its provider is configured anew, and may know the word by which the job stands unknown: it is
    /// asked at once, or once more if it is being asked. Nobody waits for longer than the new rule has it.
    pub(super) fn reconsider(&mut self, id: JobId, lane: &mut Lane, now: Mono) {
        let place = self.place();
        match &mut self.stage {
            Stage::Waiting(due) if self.standing.state == State::Unknown => {
                if lane.bring_forward(id, place, now) {
                    *due = now;
                }
            }
            Stage::Waiting(due) => {
                let longest = lane.settings.as_ref().map(LaneSettings::longest_interval);
                let latest = longest.map_or(*due, |longest| now.plus(longest));
                if latest < *due && lane.bring_forward(id, place, latest) {
                    *due = latest;
                }
            }
            Stage::Asking { .. } => self.outdated = true,
            Stage::Writing(pending) if pending.after.state == State::Unknown => pending.due = now,
            Stage::Writing(_) => {}
        }
    }

    /// Takes in the outcome of a poll.
    pub(super) fn hear(
        &mut self,
        id: JobId,
        answer: Answer,
        asked: Asked,
        patience: Patience<'_>,
        now: Moment,
    ) -> Heard {
        self.polls = self.polls.saturating_add(1);
        self.refused =
            matches!(answer.result, Err(ProviderError::Auth(_) | ProviderError::Misconfigured(_)));
        match answer.result {
            Ok(seen) => {
                let date = answer.server_date;
                let patience = patience.where_clocks_agree(date, now.wall);
                self.hear_good(id, seen, date, asked, patience, now)
            }
            Err(error) => self.hear_failure(id, &error, asked, patience, now),
        }
    }

    fn hear_good(
        &mut self,
        id: JobId,
        seen: Observation,
        date: Option<Utc>,
        asked: Asked,
        patience: Patience<'_>,
        now: Moment,
    ) -> Heard {
        self.missing = None;
        self.singly = false;
        self.listed_at = seen.listed_at.or(self.listed_at);
        // By hand, after the end: what was told then stays.
        let over = self.standing.state.is_terminal();
        let told = if over { None } else { self.told.of(&seen) };
        let taught = self.grow(&seen, date, asked, now.mono);
        let (rows, anomaly) = match observe(&self.standing, &seen, asked) {
            Verdict::Same => (Vec::new(), None),
            Verdict::Moved(rows) => (rows, None),
            Verdict::Contradiction(what) => (Vec::new(), Some(what)),
        };
        let is_news = !rows.is_empty() || patience.learned.is_some();
        self.quiet = if is_news { 0 } else { self.quiet.saturating_add(1) };
        let outdated = std::mem::take(&mut self.outdated) && seen.said.state() == State::Unknown;
        let due = if outdated { now.mono } else { self.next_due(patience, now) };
        let mut note = self.note(id, asked.answered_at, due, now);
        note.told = told;
        note.answered_from = Some(asked.sent_at);

        let mut after = self.standing.clone();
        for row in &rows {
            after.apply(row);
        }
        after.answered_from = Some(asked.sent_at);
        let cause = Cause::Told(Box::new(seen), asked, taught);
        let rows = self.with_giving_up(rows, &mut after, patience, now);
        if rows.is_empty() {
            self.standing = after;
            return Heard { next: self.wait_or_drop(due), note: Some(note), anomaly };
        }
        if after.state.is_terminal() {
            note.next_poll_at = None;
        }
        let change = self.change(id, rows, after, Some(note), cause, due);
        Heard { next: Next::Write(Box::new(change)), note: None, anomaly }
    }

    /// It is older by an answer, which may tell what it is like, and what its end teaches.
    fn grow(
        &mut self,
        seen: &Observation,
        date: Option<Utc>,
        asked: Asked,
        now: Mono,
    ) -> Option<Taught> {
        self.likeness.hear(&seen.likeness);
        let before = self.age;
        self.age = before.heard(seen, date, asked, now);
        let is_end = !self.standing.state.is_terminal() && seen.said.state().is_terminal();
        let was_seen = self.standing.answered_from.is_some();
        let lesson = is_end.then(|| before.lesson(&self.age, was_seen, seen, &self.likeness));
        let lesson = lesson.flatten()?;
        Some(Taught { lateness: self.age.lateness(&lesson), lesson })
    }

    fn hear_failure(
        &mut self,
        id: JobId,
        error: &ProviderError,
        asked: Asked,
        patience: Patience<'_>,
        now: Moment,
    ) -> Heard {
        self.failed_polls = self.failed_polls.saturating_add(1);
        let due = match error {
            ProviderError::Transient(_)
            | ProviderError::Malformed(_)
            | ProviderError::NotFound(_)
            | ProviderError::Auth(_)
            | ProviderError::Misconfigured(_) => {
                self.quiet = self.quiet.saturating_add(1);
                now.mono.plus(patience.backoff.next_interval(self.quiet, now.jitter))
            }
            // The lane is closed; this job is as due as it was.
            ProviderError::RateLimited(_) | ProviderError::Quota(_) => now.mono,
        };
        let mut note = self.note(id, asked.answered_at, due, now);
        note.last_poll_error = Some(error.to_string());
        if let ProviderError::NotFound(why) = error {
            let seen = self.standing.answered_from.is_some();
            let grace = if seen { patience.lost_after.seen } else { patience.lost_after.unseen };
            let missing = Missing::again(self.missing, grace, now.mono);
            self.missing = Some(missing);
            if missing.is_proven(grace) {
                let why = format!("not found {} times: {why}", missing.times());
                if let Some(change) = self.plan(id, Ours::Lost, why, Some(note.clone()), now) {
                    return Heard {
                        next: Next::Write(Box::new(change)),
                        note: None,
                        anomaly: None,
                    };
                }
            }
        }
        Heard { next: self.wait_or_drop(due), note: Some(note), anomaly: None }
    }

    /// Our own ending of the job. None if it is over, or if the change being written must be in
    /// first: then it follows that one.
    pub(super) fn plan(
        &mut self,
        id: JobId,
        to: Ours,
        why: String,
        note: Option<Note>,
        now: Moment,
    ) -> Option<Change> {
        if matches!(self.stage, Stage::Writing(_)) {
            self.untrack = Some(why);
            return None;
        }
        let row = conclude(&self.standing, to, now.wall, why.clone())?;
        let mut after = self.standing.clone();
        after.apply(&row);
        let note = note.map(|note| Note { next_poll_at: None, ..note });
        Some(self.change(id, vec![row], after, note, Cause::Ours(to, why), now.mono))
    }

    /// What the change teaches that is being written.
    pub(super) fn taught(&self) -> Option<&Taught> {
        match &self.stage {
            Stage::Writing(pending) => pending.cause.taught(),
            Stage::Waiting(_) | Stage::Asking { .. } => None,
        }
    }

    /// The change is committed: now the job stands there.
    pub(super) fn written(&mut self, id: JobId, now: Moment) -> Next {
        let Stage::Writing(pending) = std::mem::replace(&mut self.stage, Stage::Waiting(now.mono))
        else {
            return self.wait_or_drop(now.mono);
        };
        self.standing = pending.after;
        self.go_on(id, pending.due, now)
    }

    /// What follows a write: the untracking that waited for it, or the next poll.
    fn go_on(&mut self, id: JobId, due: Mono, now: Moment) -> Next {
        if let Some(why) = self.untrack.take()
            && let Some(change) = self.plan(id, Ours::Untracked, why, None, now)
        {
            return Next::Write(Box::new(change));
        }
        self.wait_or_drop(due)
    }

    /// The store holds another state than we expected, and this is it: plans once more on it, then
    /// gives in and says so.
    pub(super) fn refused(&mut self, id: JobId, found: Standing, now: Moment) -> Heard {
        let before = std::mem::replace(&mut self.standing, found);
        let stage = std::mem::replace(&mut self.stage, Stage::Waiting(now.mono));
        let Stage::Writing(pending) = stage else {
            return Heard { next: self.wait_or_drop(now.mono), note: None, anomaly: None };
        };
        let anomaly = Some(format!(
            "the database says {} where we knew {}",
            self.standing.state, before.state
        ));
        if !pending.replanned {
            let rows = match &pending.cause {
                Cause::Told(seen, asked, _) => match observe(&self.standing, seen, *asked) {
                    Verdict::Moved(rows) => rows,
                    Verdict::Same | Verdict::Contradiction(_) => Vec::new(),
                },
                Cause::Ours(to, why) => {
                    conclude(&self.standing, *to, now.wall, why.clone()).into_iter().collect()
                }
            };
            // An earlier commit of the very same change whose end we were not told.
            let arrived = self.standing.state == pending.after.state;
            if !rows.is_empty() {
                let mut after = self.standing.clone();
                for row in &rows {
                    after.apply(row);
                }
                let note = pending.note.map(|note| Note { expected: self.standing.state, ..note });
                let change = self.change(id, rows, after, note, pending.cause, pending.due);
                if let Stage::Writing(pending) = &mut self.stage {
                    pending.replanned = true;
                }
                return Heard { next: Next::Write(Box::new(change)), note: None, anomaly };
            }
            if arrived {
                return Heard { next: self.go_on(id, pending.due, now), note: None, anomaly: None };
            }
        }
        Heard { next: self.go_on(id, pending.due, now), note: None, anomaly }
    }

    fn change(
        &mut self,
        id: JobId,
        rows: Vec<Transition>,
        after: Standing,
        note: Option<Note>,
        cause: Cause,
        due: Mono,
    ) -> Change {
        // Why it ended stands in the last row; a word of the provider's must not stand over it.
        let note = note.map(|mut note| {
            if let (Some(told), Some(Transition { message: Some(why), .. })) =
                (&mut note.told, rows.last())
            {
                told.message = Some(why.clone());
            }
            note
        });
        let pending =
            Pending { cause, after: after.clone(), note: note.clone(), due, replanned: false };
        let lesson = pending.cause.taught().map(|taught| taught.lesson.clone());
        self.stage = Stage::Writing(Box::new(pending));
        let Standing { state: expected, word: expected_word, .. } = self.standing.clone();
        Change { job: id, expected, expected_word, rows, after, note, lesson }
    }

    /// Giving up needs a good answer that says "not over": an outage never ends a job.
    fn with_giving_up(
        &self,
        mut rows: Vec<Transition>,
        after: &mut Standing,
        patience: Patience<'_>,
        now: Moment,
    ) -> Vec<Transition> {
        let own = self.give_up_after;
        let Some(limit) = patience.run_out(self.registered_at, own, now.wall) else { return rows };
        let span = humantime::format_duration(Duration::from_secs(limit.as_secs()));
        let why = format!("given up: not over {span} after it was registered");
        if let Some(row) = conclude(after, Ours::Untracked, now.wall, why) {
            after.apply(&row);
            rows.push(row);
        }
        rows
    }

    fn wait_or_drop(&mut self, due: Mono) -> Next {
        if self.standing.state.is_terminal() {
            return Next::Drop;
        }
        self.stage = Stage::Waiting(due);
        Next::Wait(due)
    }

    fn note(&self, id: JobId, polled_at: Utc, due: Mono, now: Moment) -> Note {
        let over = self.standing.state.is_terminal();
        Note {
            job: id,
            expected: self.standing.state,
            last_polled_at: polled_at,
            next_poll_at: (!over).then(|| now.wall.plus(due.since(now.mono))),
            answered_from: self.standing.answered_from,
            polls: self.polls,
            failed_polls: self.failed_polls,
            last_poll_error: None,
            told: None,
        }
    }
}
