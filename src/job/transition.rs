//! Decides which transitions an observation or a local decision leads to.
//!
//! The tracker calls these functions with the current state of a job, and the store writes the
//! resulting transitions unchanged. Invariants: no transition leads out of a terminal state, and a
//! [`CurrentState`] comes from the store or from [`CurrentState::apply`].

use std::time::Duration;

use super::answer::{Observation, ProviderTimes};
use super::state::{Evidence, ProviderState, State};
use super::time::UtcTime;

/// The current state of a job, with everything else that its next transition depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentState {
    state: State,
    /// The provider's state, verbatim; none before the first observation.
    pub provider_state: Option<ProviderState>,
    /// The furthest lifecycle step that has a transition.
    pub furthest_step: LifecycleStep,
    /// `observed_at` of the last transition.
    pub observed_at: UtcTime,
    /// When the request of the last successful poll was sent.
    pub last_success_sent_at: Option<UtcTime>,
}

/// The steps of a job before its end, in order; a job may skip one. A step that no poll observed gets a
/// transition of its own if the provider reports its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LifecycleStep {
    Registered,
    Pending,
    Running,
}

/// When a request was sent and when its answer was complete, by the local wall clock.
#[derive(Debug, Clone, Copy)]
pub struct RequestTimes {
    pub sent_at: UtcTime,
    pub received_at: UtcTime,
}

impl RequestTimes {
    /// These times if the wall clock was behind by `correction`.
    #[must_use]
    pub fn corrected(self, correction: Duration) -> Self {
        Self {
            sent_at: self.sent_at.plus(correction),
            received_at: self.received_at.plus(correction),
        }
    }
}

/// A change of a job's state or provider state: one row of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// None only in the first transition of a job.
    pub from: Option<State>,
    /// Equals `from` if only the provider state changed.
    pub to: State,
    /// The provider's state, verbatim; none if no answer reported one.
    pub provider_state: Option<ProviderState>,
    pub evidence: Evidence,
    /// When the change happened, by the provider's clock.
    pub occurred_at: Option<UtcTime>,
    /// When the change was observed, by the local wall clock.
    pub observed_at: UtcTime,
    /// The earliest possible time of the change, by the local wall clock: a request sent at this time
    /// still observed the previous state.
    pub earliest_at: Option<UtcTime>,
    /// The reason for the change.
    pub message: Option<String>,
}

/// What an observation means for a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObservationEffect {
    Unchanged,
    /// The transitions to commit, in order, never empty.
    Transitions(Vec<Transition>),
    /// The job is terminal and the provider now reports another state. The difference is recorded as an
    /// anomaly; the job does not change.
    Contradiction(String),
}

/// The first transition of every job.
#[must_use]
pub fn registration_transition(now: UtcTime) -> Transition {
    Transition {
        from: None,
        to: State::Registered,
        provider_state: None,
        evidence: Evidence::Local,
        occurred_at: None,
        observed_at: now,
        earliest_at: None,
        message: None,
    }
}

/// Decides what an observation means for a job: nothing, transitions to commit, or a contradiction of a
/// terminal state.
///
/// `untracked` is never contradicted. Steps that no poll observed come first, with the times that the
/// provider reports; the observed state is the last transition. No `observed_at` is earlier than that of
/// the transition before, even if the wall clock was set back.
#[must_use]
pub fn evaluate_observation(
    current: &CurrentState,
    observation: &Observation,
    request_times: RequestTimes,
) -> ObservationEffect {
    let to = observation.state.to_state();
    let same_provider_state =
        current.provider_state.as_deref() == Some(observation.provider_state.as_str());
    if current.state == to && same_provider_state {
        return ObservationEffect::Unchanged;
    }
    match current.state {
        // `untracked` is a local decision about polling, which no answer can contradict.
        State::Untracked => return ObservationEffect::Unchanged,
        recorded @ (State::Succeeded
        | State::Failed
        | State::Cancelled
        | State::Expired
        | State::Indeterminate
        | State::Lost) => {
            return ObservationEffect::Contradiction(format!(
                "recorded as {recorded} ({}), now reported as {to} ({})",
                current.provider_state.as_deref().unwrap_or("decided locally"),
                observation.provider_state,
            ));
        }
        State::Registered | State::Pending | State::Running | State::Unknown => {}
    }
    let observed_at = request_times.received_at.max(current.observed_at);
    // The wall clock may have been set back: keep `earliest_at` at or before `observed_at`.
    let earliest_at = current.last_success_sent_at.map(|at| at.min(observed_at));
    let mut transitions = Vec::new();
    let mut from = current.state;
    for (step, state, at) in unobserved_steps(current, to, observation.times) {
        if step > current.furthest_step {
            transitions.push(Transition {
                from: Some(from),
                to: state,
                provider_state: None,
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
        provider_state: Some(observation.provider_state.as_str().into()),
        evidence: Evidence::Observed,
        occurred_at: occurred_at(current.state, to, observation.times),
        observed_at,
        earliest_at,
        message: observation.message.clone(),
    });
    ObservationEffect::Transitions(transitions)
}

/// The transition that ends a job by a local decision; none if the job is terminal.
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
        provider_state: None,
        evidence: Evidence::Local,
        occurred_at: None,
        observed_at,
        earliest_at,
        message: Some(reason),
    })
}

/// The terminal states that are decided locally.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LocalOutcome {
    /// The provider repeatedly reported that the job does not exist.
    Lost,
    /// A user stopped the tracking, or the job exceeded its give-up limit.
    Untracked,
}

impl CurrentState {
    /// The state of a job after [`registration_transition`].
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

    /// The state of a job as the store holds it.
    #[must_use]
    pub fn from_store(
        state: State,
        provider_state: Option<ProviderState>,
        furthest_step: LifecycleStep,
        observed_at: UtcTime,
        last_success_sent_at: Option<UtcTime>,
    ) -> Self {
        Self { state, provider_state, furthest_step, observed_at, last_success_sent_at }
    }

    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// Applies a transition of this job.
    pub fn apply(&mut self, transition: &Transition) {
        self.state = transition.to;
        self.observed_at = transition.observed_at;
        if transition.provider_state.is_some() {
            self.provider_state.clone_from(&transition.provider_state);
        }
        self.furthest_step = match transition.to {
            State::Pending => self.furthest_step.max(LifecycleStep::Pending),
            State::Running => LifecycleStep::Running,
            State::Registered
            | State::Unknown
            | State::Succeeded
            | State::Failed
            | State::Cancelled
            | State::Expired
            | State::Indeterminate
            | State::Lost
            | State::Untracked => self.furthest_step,
        };
    }
}

/// The steps before `to` whose times the provider reports.
fn unobserved_steps(
    current: &CurrentState,
    to: State,
    times: ProviderTimes,
) -> impl Iterator<Item = (LifecycleStep, State, UtcTime)> {
    let pending = times.submitted_at.map(|at| (LifecycleStep::Pending, State::Pending, at));
    let running = times.started_at.map(|at| (LifecycleStep::Running, State::Running, at));
    // A job that has a transition to `running` gets no later transition to `pending`.
    let pending =
        pending.filter(|_| to != State::Pending && current.furthest_step < LifecycleStep::Running);
    let running = running.filter(|_| to != State::Pending && to != State::Running);
    pending.into_iter().chain(running)
}

fn occurred_at(from: State, to: State, times: ProviderTimes) -> Option<UtcTime> {
    match to {
        // A running job that waits again was submitted long before.
        State::Pending if from == State::Running => None,
        State::Pending => times.submitted_at,
        State::Running => times.started_at,
        State::Succeeded | State::Failed | State::Cancelled | State::Indeterminate => {
            times.ended_at
        }
        State::Expired => times.expires_at,
        State::Registered | State::Unknown | State::Lost | State::Untracked => None,
    }
}
