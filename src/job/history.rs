//! Whether the recorded transitions of a job are a possible history: the rules that
//! [`evaluate_observation`](super::evaluate_observation) and
//! [`local_end_transition`](super::local_end_transition) keep, stated for what they have produced.
//!
//! Used by `jobtrackd verify`, which reads each history in order.

use super::state::{Evidence, State};
use super::transition::Transition;

/// Why `next` cannot follow `previous`, or cannot be the first transition of a job; `None` if it can.
#[must_use]
pub fn history_violation(previous: Option<&Transition>, next: &Transition) -> Option<String> {
    let order = match previous {
        None => first_violation(next),
        Some(previous) => step_violation(previous, next),
    };
    order.or_else(|| evidence_violation(next))
}

fn first_violation(first: &Transition) -> Option<String> {
    let is_registration = first.from.is_none() && first.to == State::Registered;
    (!is_registration).then(|| format!("the first transition leads to {}", first.to))
}

fn step_violation(previous: &Transition, next: &Transition) -> Option<String> {
    if next.from != Some(previous.to) {
        let from = next.from.map_or("no state", State::as_str);
        Some(format!("a transition from {from} follows one to {}", previous.to))
    } else if previous.to.is_terminal() {
        Some(format!("a transition leads out of {}, which is final", previous.to))
    } else if next.to == State::Registered {
        Some(format!("a transition leads from {} back to registered", previous.to))
    } else if next.from == Some(next.to) && next.provider_state.is_none() {
        Some(format!("a transition from {} to itself names no provider state", next.to))
    } else if next.observed_at < previous.observed_at {
        Some("observed_at goes back".to_owned())
    } else if next.earliest_at.is_some_and(|earliest| earliest > next.observed_at) {
        Some("earliest_at is after observed_at".to_owned())
    } else {
        None
    }
}

/// Which states an evidence can lead to.
fn evidence_violation(transition: &Transition) -> Option<String> {
    let is_observed = transition.evidence == Evidence::Observed;
    let fits = match transition.to {
        State::Registered | State::Lost | State::Untracked => {
            transition.evidence == Evidence::Local
        }
        State::Pending | State::Running if transition.evidence == Evidence::Reported => {
            transition.occurred_at.is_some()
        }
        State::Pending
        | State::Running
        | State::Unknown
        | State::Succeeded
        | State::Failed
        | State::Cancelled
        | State::Expired
        | State::Indeterminate => is_observed && transition.provider_state.is_some(),
    };
    let (evidence, to) = (transition.evidence.as_str(), transition.to);
    (!fits).then(|| {
        format!("a transition to {to} has the evidence {evidence}, or lacks what belongs to it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{UtcTime, registration_transition};

    fn transition(from: State, to: State, evidence: Evidence) -> Transition {
        Transition {
            from: Some(from),
            to,
            provider_state: (evidence == Evidence::Observed).then(|| "WORD".into()),
            evidence,
            occurred_at: (evidence == Evidence::Reported).then(|| UtcTime::from_millis(5)),
            observed_at: UtcTime::from_millis(10),
            earliest_at: Some(UtcTime::from_millis(9)),
            message: None,
        }
    }

    #[test]
    fn a_history_begins_with_the_registration_and_ends_in_a_final_state() {
        use Evidence::{Local, Observed, Reported};
        use State::{Failed, Lost, Pending, Registered, Running, Succeeded};
        let registered = registration_transition(UtcTime::from_millis(1));
        assert_eq!(history_violation(None, &registered), None);
        let running = transition(Registered, Running, Observed);
        assert!(history_violation(None, &running).is_some(), "not registered");
        for (previous, next, legal) in [
            (&registered, running.clone(), true),
            (&registered, transition(Registered, Pending, Reported), true),
            (&registered, transition(Registered, Lost, Local), true),
            (&registered, registered.clone(), false),
            (&running, transition(Running, Pending, Observed), true),
            (&running, transition(Running, Running, Observed), true),
            (&running, transition(Running, Failed, Observed), true),
            (&running, transition(Pending, Failed, Observed), false),
            (&running, transition(Running, Registered, Local), false),
            (&running, transition(Running, Failed, Local), false),
            (&running, transition(Running, Succeeded, Reported), false),
            (&running, transition(Running, Lost, Observed), false),
            (
                &running,
                Transition { provider_state: None, ..transition(Running, Running, Observed) },
                false,
            ),
            (
                &running,
                Transition {
                    observed_at: UtcTime::from_millis(9),
                    ..transition(Running, Failed, Observed)
                },
                false,
            ),
            (
                &running,
                Transition {
                    earliest_at: Some(UtcTime::from_millis(11)),
                    ..transition(Running, Failed, Observed)
                },
                false,
            ),
            (
                &transition(Running, Failed, Observed),
                transition(Failed, Succeeded, Observed),
                false,
            ),
            (&transition(Running, Lost, Local), transition(Lost, Running, Observed), false),
        ] {
            let found = history_violation(Some(previous), &next);
            assert_eq!(found.is_none(), legal, "{previous:?} {next:?}: {found:?}");
        }
    }
}
