//! The times of an answer that contradict an earlier answer or lie in the future are not believed.
//!
//! All times are in seconds. The provider's clock is an hour behind the local clock.

use jobtrack::job::{
    CurrentState, LifecycleStep, Observation, ObservationEffect, ObservedState, ProviderTimes,
    RequestTimes, SimilarityKeys, State, UtcTime, evaluate_observation,
};

const CLOCK_DIFFERENCE: i64 = 3600;
/// The request of the last answer was sent at this time, and that of the new one at `NOW`.
const LAST_ANSWER: i64 = 100;
const NOW: i64 = 200;

fn local(second: i64) -> UtcTime {
    UtcTime::from_millis(1_800_000_000_000 + second * 1000)
}

fn by_provider(second: i64) -> UtcTime {
    local(second - CLOCK_DIFFERENCE)
}

fn job_in(state: State) -> CurrentState {
    let last_answer = (state != State::Registered).then(|| local(LAST_ANSWER));
    CurrentState::from_store(
        state,
        Some("OLD".into()),
        LifecycleStep::Registered,
        local(LAST_ANSWER),
        last_answer,
    )
}

fn observation(state: ObservedState, [submitted, started, ended]: [i64; 3]) -> Observation {
    Observation {
        similarity_keys: SimilarityKeys::Unknown,
        reported_duration: None,
        source: None,
        credits: None,
        list_time: None,
        state,
        provider_state: "NEW".into(),
        times: ProviderTimes {
            submitted_at: Some(by_provider(submitted)),
            started_at: Some(by_provider(started)),
            ended_at: Some(by_provider(ended)),
            expires_at: Some(by_provider(NOW + 10_000)),
        },
        message: None,
        detail: serde_json::Map::default(),
    }
}

/// Which of submission, start and end are believed.
fn believed(job: State, observed: ObservedState, times: [i64; 3]) -> [bool; 3] {
    let request_times = RequestTimes { sent_at: local(NOW), received_at: local(NOW) };
    let checked = observation(observed, times).without_contradicted_times(
        &job_in(job),
        request_times,
        Some(by_provider(NOW)),
    );
    let ProviderTimes { submitted_at, started_at, ended_at, .. } = checked.times;
    [submitted_at, started_at, ended_at].map(|at| at.is_some())
}

#[test]
fn fault_45_a_time_that_contradicts_an_earlier_answer_is_not_believed() {
    let ended = ObservedState::Succeeded;
    let cases = [
        ("in order", State::Running, [10, 50, 150], [true, true, true]),
        ("ended while an answer said running", State::Running, [10, 50, 90], [true, true, false]),
        ("ended while an answer said pending", State::Pending, [10, 50, 90], [true, false, false]),
        (
            "started while an answer said pending",
            State::Pending,
            [10, 50, 150],
            [true, false, true],
        ),
        (
            "ended as the clocks of two machines allow",
            State::Running,
            [10, 50, 99],
            [true, true, true],
        ),
        ("started just before submission", State::Pending, [120, 119, 150], [true, true, true]),
        ("nothing was answered before", State::Registered, [-900, -800, -700], [true, true, true]),
        ("the state before is not known", State::Unknown, [10, 50, 90], [true, true, true]),
        ("submitted in the future", State::Registered, [205, 205, 205], [false, false, false]),
        ("within the second of the date", State::Running, [10, 50, 202], [true, true, true]),
    ];
    for (name, state, times, expected) in cases {
        assert_eq!(believed(state, ended, times), expected, "{name}");
    }
}

#[test]
fn fault_45_without_a_date_the_local_clock_stands_for_the_providers() {
    let request_times = RequestTimes { sent_at: local(NOW), received_at: local(NOW) };
    let checked = observation(ObservedState::Failed, [10, 50, 150]).without_contradicted_times(
        &job_in(State::Running),
        request_times,
        None,
    );
    assert_eq!(checked.times.ended_at, None, "an hour before the last answer");
    assert_eq!(checked.times.started_at, Some(by_provider(50)));
}

#[test]
fn fault_45_a_contradicted_end_leaves_the_bounds_of_its_transition() {
    let request_times = RequestTimes { sent_at: local(NOW), received_at: local(NOW + 1) };
    let current = job_in(State::Running);
    let checked = observation(ObservedState::Succeeded, [10, 50, 90]).without_contradicted_times(
        &current,
        request_times,
        Some(by_provider(NOW)),
    );
    let effect = evaluate_observation(&current, &checked, request_times);
    let ObservationEffect::Transitions(transitions) = effect else { panic!("{effect:?}") };
    let end = transitions.last().expect("the end");
    assert_eq!(
        (end.to, end.occurred_at, end.earliest_at, end.observed_at),
        (State::Succeeded, None, Some(local(LAST_ANSWER)), local(NOW + 1))
    );
}

#[test]
fn fault_45_an_expiry_in_the_future_is_not_when_a_job_expired() {
    let request_times = RequestTimes { sent_at: local(NOW), received_at: local(NOW) };
    let expires_at = |state| {
        let observation = observation(state, [10, 50, 150]);
        let date = Some(by_provider(NOW));
        let current = job_in(State::Running);
        observation.without_contradicted_times(&current, request_times, date).times.expires_at
    };
    assert_eq!(expires_at(ObservedState::Succeeded), Some(by_provider(NOW + 10_000)));
    assert_eq!(expires_at(ObservedState::Expired), None);
}

#[test]
fn fault_45_an_expiry_before_an_answer_that_said_running_is_not_recorded() {
    let request_times = RequestTimes { sent_at: local(NOW), received_at: local(NOW) };
    let believed_at = |expiry| {
        let mut observation = observation(ObservedState::Expired, [10, 50, 150]);
        observation.times.expires_at = Some(by_provider(expiry));
        let date = Some(by_provider(NOW));
        let current = job_in(State::Running);
        observation.without_contradicted_times(&current, request_times, date).times.expires_at
    };
    assert_eq!(believed_at(LAST_ANSWER + 50), Some(by_provider(LAST_ANSWER + 50)));
    assert_eq!(believed_at(LAST_ANSWER - 50), None);
}

#[test]
fn a_job_that_waits_again_was_not_submitted_again() {
    let request_times = RequestTimes { sent_at: local(NOW), received_at: local(NOW) };
    let waiting = observation(ObservedState::Pending, [10, 50, 150]);
    let occurred_at = |state| match evaluate_observation(&job_in(state), &waiting, request_times) {
        ObservationEffect::Transitions(transitions) => transitions[0].occurred_at,
        other => panic!("{other:?}"),
    };
    assert_eq!(occurred_at(State::Running), None);
    assert_eq!(occurred_at(State::Unknown), Some(by_provider(10)));
}
