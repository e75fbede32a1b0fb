//! Observation → transitions: the only place that decides how a job moves, and
//! [`Standing::apply`] the only one that sets its state.
//!
//! Called by the tracker with what it holds of a job; what comes out is written as it is.

use super::answer::{Observation, ProviderTimes};
use super::state::{Evidence, State};
use super::time::UtcTime;

/// What we hold of a job that bears on its next transition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentState {
    /// Where it stands.
    pub state: State,
    /// The provider's last word for that.
    pub provider_state: Option<Box<str>>,
    /// The furthest step of its life that has a row.
    pub furthest_step: LifecycleStep,
    /// `observed_at` of its last row.
    pub observed_at: UtcTime,
    /// When the request of its last good answer was sent.
    pub last_success_sent_at: Option<UtcTime>,
}

/// The steps that every life has, in order, and whose rows are filled in when we did not see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LifecycleStep {
    /// Known to us, nothing more.
    Registered,
    /// Taken by the provider.
    Pending,
    /// Begun.
    Running,
}

/// When a question was sent and when its answer was in, by our clock.
#[derive(Debug, Clone, Copy)]
pub struct RequestTimes {
    /// Just before the request was sent.
    pub sent_at: UtcTime,
    /// When the answer was in.
    pub received_at: UtcTime,
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
    pub occurred_at: Option<UtcTime>,
    /// When we learned of it, by ours.
    pub observed_at: UtcTime,
    /// Not before this, by our clock: then we asked and were told otherwise.
    pub earliest_at: Option<UtcTime>,
    /// Why.
    pub message: Option<String>,
}

/// What an observation means for a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It stands as it stood.
    Unchanged,
    /// It moved: these rows, in this order, never empty.
    Transitions(Vec<Transition>),
    /// It is over for us and the provider now says something else. Recorded, never obeyed.
    Contradiction(String),
}

/// The first row of every job.
#[must_use]
pub fn registration_transition(now: UtcTime) -> Transition {
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
pub fn evaluate_observation(
    current: &CurrentState,
    observation: &Observation,
    request_times: RequestTimes,
) -> Verdict {
    let to = observation.state.to_state();
    let same_provider_state =
        current.provider_state.as_deref() == Some(observation.provider_state.as_str());
    if current.state == to && same_provider_state {
        return Verdict::Unchanged;
    }
    match current.state {
        // Ours, and says nothing of the job itself: the provider cannot contradict it.
        State::Untracked => return Verdict::Unchanged,
        recorded if recorded.is_terminal() => {
            return Verdict::Contradiction(format!(
                "recorded as {recorded} ({}), now reported as {to} ({})",
                current.provider_state.as_deref().unwrap_or("our own word"),
                observation.provider_state,
            ));
        }
        _ => {}
    }
    let observed_at = request_times.received_at.max(current.observed_at);
    // A clock that was set back must not turn the bounds around.
    let earliest_at = current.last_success_sent_at.map(|at| at.min(observed_at));
    let mut transitions = Vec::new();
    let mut from = current.state;
    for (step, state, at) in unobserved_steps(current, to, observation.times) {
        if step > current.furthest_step {
            transitions.push(Transition {
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
    transitions.push(Transition {
        from: Some(from),
        to,
        word: Some(observation.provider_state.as_str().into()),
        evidence: Evidence::Observed,
        occurred_at: occurred_at(to, observation.times),
        observed_at,
        earliest_at,
        message: observation.message.clone(),
    });
    Verdict::Transitions(transitions)
}

/// Our own ending of a job: `to` is `lost` or `untracked`. None if it is over already.
#[must_use]
pub fn local_end_transition(
    current: &CurrentState,
    outcome: LocalOutcome,
    now: UtcTime,
    reason: String,
) -> Option<Transition> {
    if current.state.is_terminal() {
        return None;
    }
    let observed_at = now.max(current.observed_at);
    let (to, earliest_at) = match outcome {
        LocalOutcome::Lost => {
            (State::Lost, current.last_success_sent_at.map(|at| at.min(observed_at)))
        }
        LocalOutcome::Untracked => (State::Untracked, None),
    };
    Some(Transition {
        from: Some(current.state),
        to,
        word: None,
        evidence: Evidence::Local,
        occurred_at: None,
        observed_at,
        earliest_at,
        message: Some(reason),
    })
}

/// The endings that only we set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalOutcome {
    /// The provider denies it.
    Lost,
    /// We stopped asking.
    Untracked,
}

impl CurrentState {
    /// A job as it stands after its first row.
    #[must_use]
    pub fn registered(now: UtcTime) -> Self {
        Self {
            state: State::Registered,
            provider_state: None,
            furthest_step: LifecycleStep::Registered,
            observed_at: now,
            last_success_sent_at: None,
        }
    }

    /// Moves the job along one of its rows.
    pub fn apply(&mut self, transition: &Transition) {
        self.state = transition.to;
        self.observed_at = transition.observed_at;
        if transition.word.is_some() {
            self.provider_state.clone_from(&transition.word);
        }
        self.furthest_step = match transition.to {
            State::Pending => self.furthest_step.max(LifecycleStep::Pending),
            State::Running => LifecycleStep::Running,
            _ => self.furthest_step,
        };
    }
}

/// The steps that must lie before `to`, with the times that the provider tells of them.
fn unobserved_steps(
    current: &CurrentState,
    to: State,
    times: ProviderTimes,
) -> impl Iterator<Item = (LifecycleStep, State, UtcTime)> {
    let pending = times.submitted_at.map(|at| (LifecycleStep::Pending, State::Pending, at));
    let running = times.started_at.map(|at| (LifecycleStep::Running, State::Running, at));
    // A job that ran has been pending, seen or not: no step back is filled in.
    let pending =
        pending.filter(|_| to != State::Pending && current.furthest_step < LifecycleStep::Running);
    let running = running.filter(|_| to != State::Pending && to != State::Running);
    pending.into_iter().chain(running)
}

fn occurred_at(to: State, times: ProviderTimes) -> Option<UtcTime> {
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
