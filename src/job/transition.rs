//! Observation → transitions: the only place that decides how a job moves, and
//! [`Standing::apply`] the only one that sets its state.
//!
//! Called by the tracker with what it holds of a job; what comes out is written as it is.

use super::answer::{Observation, Times};
use super::state::{Evidence, State};
use super::time::Utc;

/// What we hold of a job that bears on its next transition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Where it stands.
    pub state: State,
    /// The provider's last word for that.
    pub word: Option<Box<str>>,
    /// The furthest step of its life that has a row.
    pub reached: Step,
    /// `observed_at` of its last row.
    pub observed_at: Utc,
    /// When the request of its last good answer was sent.
    pub answered_from: Option<Utc>,
}

/// The steps that every life has, in order, and whose rows are filled in when we did not see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Known to us, nothing more.
    Registered,
    /// Taken by the provider.
    Pending,
    /// Begun.
    Running,
}

/// When a question was sent and when its answer was in, by our clock.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Just before the request was sent.
    pub sent_at: Utc,
    /// When the answer was in.
    pub answered_at: Utc,
}

/// An accepted change of a job: one row of the history, its number not yet given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The state before; none only in a job's first row.
    pub from: Option<State>,
    /// The state after; the same one if only the provider's word changed.
    pub to: State,
    /// The provider's word; none in rows that are filled in or ours.
    pub word: Option<Box<str>>,
    /// How we know.
    pub evidence: Evidence,
    /// When it was, by the provider's clock.
    pub occurred_at: Option<Utc>,
    /// When we learned of it, by ours.
    pub observed_at: Utc,
    /// Not before this, by our clock: then we asked and were told otherwise.
    pub earliest_at: Option<Utc>,
    /// Why.
    pub message: Option<String>,
}

/// What an observation means for a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It stands as it stood.
    Same,
    /// It moved: these rows, in this order, never empty.
    Moved(Vec<Transition>),
    /// It is over for us and the provider now says something else. Recorded, never obeyed.
    Contradiction(String),
}

/// The first row of every job.
#[must_use]
pub fn register(now: Utc) -> Transition {
    Transition {
        from: None,
        to: State::Registered,
        word: None,
        evidence: Evidence::Local,
        occurred_at: None,
        observed_at: now,
        earliest_at: None,
        message: None,
    }
}

/// What `seen` means for a job that stands at `standing`.
#[must_use]
pub fn observe(standing: &Standing, seen: &Observation, asked: Asked) -> Verdict {
    let to = seen.said.state();
    let same_word = standing.word.as_deref() == Some(seen.word.as_str());
    if standing.state == to && same_word {
        return Verdict::Same;
    }
    match standing.state {
        // Ours, and says nothing of the job itself: the provider cannot contradict it.
        State::Untracked => return Verdict::Same,
        over if over.is_terminal() => {
            return Verdict::Contradiction(format!(
                "recorded as {over} ({}), now reported as {to} ({})",
                standing.word.as_deref().unwrap_or("our own word"),
                seen.word,
            ));
        }
        _ => {}
    }
    let observed_at = asked.answered_at.max(standing.observed_at);
    // A clock that was set back must not turn the bounds around.
    let earliest_at = standing.answered_from.map(|at| at.min(observed_at));
    let mut rows = Vec::new();
    let mut from = standing.state;
    for (step, state, at) in unseen_steps(standing, to, seen.times) {
        if step > standing.reached {
            rows.push(Transition {
                from: Some(from),
                to: state,
                word: None,
                evidence: Evidence::Reported,
                occurred_at: Some(at),
                observed_at,
                earliest_at,
                message: None,
            });
            from = state;
        }
    }
    rows.push(Transition {
        from: Some(from),
        to,
        word: Some(seen.word.as_str().into()),
        evidence: Evidence::Observed,
        occurred_at: occurred_at(to, seen.times),
        observed_at,
        earliest_at,
        message: seen.message.clone(),
    });
    Verdict::Moved(rows)
}

/// Our own ending of a job: `to` is `lost` or `untracked`. None if it is over already.
#[must_use]
pub fn conclude(standing: &Standing, to: Ours, now: Utc, why: String) -> Option<Transition> {
    if standing.state.is_terminal() {
        return None;
    }
    let observed_at = now.max(standing.observed_at);
    let (to, earliest_at) = match to {
        Ours::Lost => (State::Lost, standing.answered_from.map(|at| at.min(observed_at))),
        Ours::Untracked => (State::Untracked, None),
    };
    Some(Transition {
        from: Some(standing.state),
        to,
        word: None,
        evidence: Evidence::Local,
        occurred_at: None,
        observed_at,
        earliest_at,
        message: Some(why),
    })
}

/// The endings that only we set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ours {
    /// The provider denies it.
    Lost,
    /// We stopped asking.
    Untracked,
}

impl Standing {
    /// A job as it stands after its first row.
    #[must_use]
    pub fn registered(now: Utc) -> Self {
        Self {
            state: State::Registered,
            word: None,
            reached: Step::Registered,
            observed_at: now,
            answered_from: None,
        }
    }

    /// Moves the job along one of its rows.
    pub fn apply(&mut self, row: &Transition) {
        self.state = row.to;
        self.observed_at = row.observed_at;
        if row.word.is_some() {
            self.word.clone_from(&row.word);
        }
        self.reached = match row.to {
            State::Pending => self.reached.max(Step::Pending),
            State::Running => Step::Running,
            _ => self.reached,
        };
    }
}

/// The steps that must lie before `to`, with the times that the provider tells of them.
fn unseen_steps(
    standing: &Standing,
    to: State,
    times: Times,
) -> impl Iterator<Item = (Step, State, Utc)> {
    let pending = times.submitted_at.map(|at| (Step::Pending, State::Pending, at));
    let running = times.started_at.map(|at| (Step::Running, State::Running, at));
    // A job that ran has been pending, seen or not: no step back is filled in.
    let pending = pending.filter(|_| to != State::Pending && standing.reached < Step::Running);
    let running = running.filter(|_| to != State::Pending && to != State::Running);
    pending.into_iter().chain(running)
}

fn occurred_at(to: State, times: Times) -> Option<Utc> {
    match to {
        State::Pending => times.submitted_at,
        State::Running => times.started_at,
        State::Succeeded | State::Failed | State::Cancelled | State::Indeterminate => {
            times.ended_at
        }
        State::Expired => times.expires_at,
        State::Registered | State::Unknown | State::Lost | State::Untracked => None,
    }
}
