//! The transitions of a job: every state with every observation, transitions for steps that no poll
//! observed, the times of a transition, and properties of any sequence of observations.
//!
//! The tests state the rules independently and use only types from the library.

use jobtrack::job::{
    CurrentState, Evidence, LifecycleStep, LocalOutcome, Observation, ObservationEffect,
    ObservedState, ProviderTimes, RequestTimes, State, Transition, UtcTime, evaluate_observation,
    local_end_transition, registration_transition,
};
use proptest::prelude::*;

pub(crate) const OBSERVED_STATES: [ObservedState; 8] = [
    ObservedState::Pending,
    ObservedState::Running,
    ObservedState::Unknown,
    ObservedState::Succeeded,
    ObservedState::Failed,
    ObservedState::Cancelled,
    ObservedState::Expired,
    ObservedState::Indeterminate,
];
const ACTIVE: [State; 4] = [State::Registered, State::Pending, State::Running, State::Unknown];
const STEPS: [LifecycleStep; 3] =
    [LifecycleStep::Registered, LifecycleStep::Pending, LifecycleStep::Running];

fn utc(second: i64) -> UtcTime {
    UtcTime::from_millis(1_800_000_000_000 + second * 1000)
}

/// The clock of the provider is years behind the local clock; its times are never adjusted.
fn provider_time(second: i64) -> UtcTime {
    UtcTime::from_millis(1_000_000_000_000 + second * 1000)
}

fn all_times() -> ProviderTimes {
    ProviderTimes {
        submitted_at: Some(provider_time(1)),
        started_at: Some(provider_time(2)),
        ended_at: Some(provider_time(3)),
        expires_at: Some(provider_time(4)),
    }
}

/// A job that reached `state` directly and was polled again since.
fn current_state(state: State, provider_state: &str) -> CurrentState {
    CurrentState::from_store(
        state,
        (state != State::Registered).then(|| provider_state.into()),
        match state {
            State::Pending => LifecycleStep::Pending,
            State::Running => LifecycleStep::Running,
            _ => LifecycleStep::Registered,
        },
        utc(100),
        Some(utc(150)),
    )
}

fn observation(observed: ObservedState, provider_state: &str, times: ProviderTimes) -> Observation {
    Observation {
        similarity_keys: jobtrack::job::SimilarityKeys::Unknown,
        reported_duration: None,
        source: None,
        credits: None,
        list_time: None,
        state: observed,
        provider_state: provider_state.into(),
        times,
        message: Some("why".into()),
        detail: serde_json::Map::default(),
    }
}

fn request_times() -> RequestTimes {
    RequestTimes { sent_at: utc(200), received_at: utc(201) }
}

fn transitions(verdict: ObservationEffect) -> Vec<Transition> {
    match verdict {
        ObservationEffect::Transitions(rows) => rows,
        other @ (ObservationEffect::Unchanged | ObservationEffect::Contradiction(_)) => {
            panic!("did not move: {other:?}")
        }
    }
}

#[test]
fn every_observation_in_every_state_has_its_verdict() {
    for state in State::ALL {
        for observed in OBSERVED_STATES {
            for provider_state in ["OLD", "NEW"] {
                let before = current_state(state, "OLD");
                let verdict = evaluate_observation(
                    &before,
                    &observation(observed, provider_state, ProviderTimes::default()),
                    request_times(),
                );
                let case = format!("{state}, found {observed:?} {provider_state}");
                let repeated = observed.to_state() == state && provider_state == "OLD";
                let over = !ACTIVE.contains(&state);
                if repeated || state == State::Untracked {
                    assert_eq!(verdict, ObservationEffect::Unchanged, "{case}");
                } else if over {
                    let ObservationEffect::Contradiction(what) = verdict else { panic!("{case}") };
                    let found =
                        format!("now reported as {} ({provider_state})", observed.to_state());
                    assert!(what.contains(state.as_str()) && what.ends_with(&found), "{what}");
                } else {
                    let expected = Transition {
                        from: Some(state),
                        to: observed.to_state(),
                        provider_state: Some(provider_state.into()),
                        evidence: Evidence::Observed,
                        occurred_at: None,
                        observed_at: utc(201),
                        earliest_at: Some(utc(150)),
                        message: Some("why".into()),
                    };
                    assert_eq!(verdict, ObservationEffect::Transitions(vec![expected]), "{case}");
                }
            }
        }
    }
}

#[test]
fn a_change_of_provider_state_alone_is_a_transition() {
    let mut job = current_state(State::Running, "RUNNING");
    let mut found = Vec::new();
    for provider_state in ["RUNNING", "SCALING", "SCALING", "RUNNING"] {
        let answer = observation(ObservedState::Running, provider_state, all_times());
        if let ObservationEffect::Transitions(rows) =
            evaluate_observation(&job, &answer, request_times())
        {
            for row in rows {
                job.apply(&row);
                found.push((row.from, row.to, row.provider_state));
            }
        }
    }
    let running = State::Running;
    assert_eq!(
        found,
        [
            (Some(running), running, Some("SCALING".into())),
            (Some(running), running, Some("RUNNING".into())),
        ]
    );
}

#[test]
fn changed_times_message_or_detail_is_no_transition() {
    let job = current_state(State::Running, "RUNNING");
    let mut answer = observation(ObservedState::Running, "RUNNING", all_times());
    answer.message = Some("something else".into());
    answer.detail.insert("queue_position".into(), 3.into());
    assert_eq!(evaluate_observation(&job, &answer, request_times()), ObservationEffect::Unchanged);
}

/// The states that a job can have whose furthest step is this one.
fn states_at_step(furthest_step: LifecycleStep) -> &'static [State] {
    match furthest_step {
        LifecycleStep::Registered => &[State::Registered, State::Unknown],
        LifecycleStep::Pending => &[State::Pending, State::Unknown],
        LifecycleStep::Running => &[State::Running, State::Pending, State::Unknown],
    }
}

/// The steps before `to` that have no transition yet and whose times are reported.
fn expected_inferred_rows(
    furthest_step: LifecycleStep,
    to: State,
    times: ProviderTimes,
) -> Vec<(State, UtcTime)> {
    let (pending, running) = match to {
        State::Pending => (false, false),
        State::Running => (furthest_step == LifecycleStep::Registered, false),
        _ => (furthest_step == LifecycleStep::Registered, furthest_step != LifecycleStep::Running),
    };
    let pending = times.submitted_at.filter(|_| pending).map(|at| (State::Pending, at));
    let running = times.started_at.filter(|_| running).map(|at| (State::Running, at));
    pending.into_iter().chain(running).collect()
}

#[test]
fn missed_steps_are_inferred_from_the_providers_times() {
    let mut filled = 0;
    for reached in STEPS {
        for &state in states_at_step(reached) {
            for observed in OBSERVED_STATES {
                for (submitted, started) in
                    [(false, false), (true, false), (false, true), (true, true)]
                {
                    let times = ProviderTimes {
                        submitted_at: submitted.then(|| provider_time(1)),
                        started_at: started.then(|| provider_time(2)),
                        ..ProviderTimes::default()
                    };
                    let mut before = current_state(state, "OLD");
                    before.furthest_step = reached;
                    let rows = transitions(evaluate_observation(
                        &before,
                        &observation(observed, "NEW", times),
                        request_times(),
                    ));
                    let case =
                        format!("{state} after {reached:?}, found {observed:?} and {times:?}");
                    let (last, reported) = rows.split_last().expect("at least one row");

                    let found: Vec<_> = reported
                        .iter()
                        .map(|row| (row.to, row.occurred_at.expect(&case)))
                        .collect();
                    assert_eq!(
                        found,
                        expected_inferred_rows(reached, observed.to_state(), times),
                        "{case}"
                    );
                    filled += found.len();
                    for row in reported {
                        assert_eq!(row.evidence, Evidence::Reported, "{case}");
                        assert_eq!(
                            (row.provider_state.as_deref(), &row.message),
                            (None, &None),
                            "{case}"
                        );
                        assert_eq!(row.observed_at, last.observed_at, "{case}");
                        assert_eq!(row.earliest_at, last.earliest_at, "{case}");
                    }
                    assert_eq!(last.evidence, Evidence::Observed, "{case}");
                    assert_eq!(
                        (last.to, last.provider_state.as_deref()),
                        (observed.to_state(), Some("NEW"))
                    );
                    let mut from = state;
                    for row in &rows {
                        assert_eq!(row.from, Some(from), "{case}");
                        from = row.to;
                    }
                }
            }
        }
    }
    assert!(filled > 50, "only {filled} transitions were inferred");
}

#[test]
fn a_job_finished_before_its_first_poll_gets_four_transitions() {
    let registered = registration_transition(utc(0));
    assert_eq!((registered.from, registered.to), (None, State::Registered));
    assert_eq!((registered.evidence, registered.earliest_at), (Evidence::Local, None));
    let answer = observation(ObservedState::Succeeded, "COMPLETED", all_times());
    let rows = transitions(evaluate_observation(
        &CurrentState::registered(utc(0)),
        &answer,
        request_times(),
    ));
    let found: Vec<_> = rows
        .iter()
        .map(|row| (row.to.as_str(), row.evidence.as_str(), row.occurred_at, row.earliest_at))
        .collect();
    assert_eq!(
        found,
        [
            ("pending", "reported", Some(provider_time(1)), None),
            ("running", "reported", Some(provider_time(2)), None),
            ("succeeded", "observed", Some(provider_time(3)), None),
        ]
    );
}

#[test]
fn each_state_occurred_at_the_providers_time() {
    let cases = [
        (ObservedState::Pending, Some(provider_time(1))),
        (ObservedState::Running, Some(provider_time(2))),
        (ObservedState::Unknown, None),
        (ObservedState::Succeeded, Some(provider_time(3))),
        (ObservedState::Failed, Some(provider_time(3))),
        (ObservedState::Cancelled, Some(provider_time(3))),
        (ObservedState::Indeterminate, Some(provider_time(3))),
        (ObservedState::Expired, Some(provider_time(4))),
    ];
    let mut job = current_state(State::Unknown, "OLD");
    job.furthest_step = LifecycleStep::Running;
    for (observed, expected) in cases {
        let found = transitions(evaluate_observation(
            &job,
            &observation(observed, "NEW", all_times()),
            request_times(),
        ));
        assert_eq!(found[0].occurred_at, expected, "{observed:?}");
        let silent = transitions(evaluate_observation(
            &job,
            &observation(observed, "NEW", ProviderTimes::default()),
            request_times(),
        ));
        assert_eq!(
            silent[0].occurred_at, None,
            "{observed:?}: the local clock must not replace a missing time"
        );
    }
}

#[test]
fn observed_at_never_goes_back() {
    let mut job = current_state(State::Pending, "PENDING");
    job.observed_at = utc(500);
    for row in transitions(evaluate_observation(
        &job,
        &observation(ObservedState::Failed, "FAILED", all_times()),
        request_times(),
    )) {
        assert_eq!(row.observed_at, utc(500), "the local clock was set back: {row:?}");
    }
    let row = local_end_transition(&job, LocalOutcome::Lost, utc(10), "gone".into())
        .expect("an unfinished job");
    assert_eq!(row.observed_at, utc(500));
}

#[test]
fn local_outcomes_end_unfinished_jobs_only() {
    for state in State::ALL {
        // (outcome, state, expected earliest time)
        let endings = [
            (LocalOutcome::Lost, State::Lost, Some(utc(150))),
            (LocalOutcome::Untracked, State::Untracked, None),
        ];
        for (outcome, to, earliest_at) in endings {
            let row = local_end_transition(
                &current_state(state, "OLD"),
                outcome,
                utc(300),
                "because".into(),
            );
            let expected = Transition {
                from: Some(state),
                to,
                provider_state: None,
                evidence: Evidence::Local,
                occurred_at: None,
                observed_at: utc(300),
                earliest_at,
                message: Some("because".into()),
            };
            assert_eq!(row, ACTIVE.contains(&state).then_some(expected), "{state}, {outcome:?}");
        }
    }
}

#[test]
fn local_transitions_keep_the_last_provider_state() {
    let mut job = current_state(State::Running, "RUNNING");
    let row = local_end_transition(&job, LocalOutcome::Untracked, utc(300), "because".into())
        .expect("an unfinished job");
    job.apply(&row);
    assert_eq!((job.state(), job.provider_state.as_deref()), (State::Untracked, Some("RUNNING")));
}

/// An event in the life of a job: an observation with its latency in seconds, or a local end.
#[derive(Debug, Clone)]
enum JobEvent {
    Observed(Box<Observation>, i64),
    Concluded(LocalOutcome),
}

fn any_time() -> impl Strategy<Value = Option<UtcTime>> {
    prop::option::of((-1000i64..1000).prop_map(provider_time))
}

fn any_event() -> impl Strategy<Value = JobEvent> {
    let times = (any_time(), any_time(), any_time(), any_time());
    // Terminal states are rare, because otherwise most histories would be short.
    let (active, over) = OBSERVED_STATES.split_at(3);
    let observed = prop_oneof![8 => prop::sample::select(active), 1 => prop::sample::select(over)];
    let found = (observed, "[AB]", times, 0i64..40).prop_map(
        |(observed, provider_state, (submitted_at, started_at, ended_at, expires_at), latency)| {
            let times = ProviderTimes { submitted_at, started_at, ended_at, expires_at };
            JobEvent::Observed(Box::new(observation(observed, &provider_state, times)), latency)
        },
    );
    let outcome = prop::sample::select(&[LocalOutcome::Lost, LocalOutcome::Untracked])
        .prop_map(JobEvent::Concluded);
    prop_oneof![20 => found, 1 => outcome]
}

/// Applies the events as the tracker does. Returns the history and the current state.
fn apply_events(events: Vec<(JobEvent, i64)>) -> (Vec<Transition>, CurrentState) {
    let mut clock = 0;
    let mut job = CurrentState::registered(utc(clock));
    let mut history = vec![registration_transition(utc(clock))];
    for (event, passed) in events {
        clock += passed;
        let rows = match event {
            JobEvent::Concluded(outcome) => {
                local_end_transition(&job, outcome, utc(clock), "local reason".into())
                    .into_iter()
                    .collect()
            }
            JobEvent::Observed(observation, latency) => {
                let polled =
                    RequestTimes { sent_at: utc(clock), received_at: utc(clock + latency) };
                clock += latency;
                let verdict = evaluate_observation(&job, &observation, polled);
                job.last_success_sent_at = Some(polled.sent_at);
                match verdict {
                    ObservationEffect::Unchanged | ObservationEffect::Contradiction(_) => {
                        Vec::new()
                    }
                    ObservationEffect::Transitions(rows) => rows,
                }
            }
        };
        for row in rows {
            job.apply(&row);
            history.push(row);
        }
    }
    (history, job)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_history_is_legal_whatever_the_clock_does(
        events in prop::collection::vec((any_event(), -500i64..1000), 1..30),
    ) {
        let (history, job) = apply_events(events);
        prop_assert_eq!((history[0].from, history[0].to), (None, State::Registered));
        let mut provider_state = None;
        for (before, row) in history.iter().zip(&history[1..]) {
            prop_assert_eq!(row.from, Some(before.to));
            prop_assert!(!before.to.is_terminal(), "{:?} leaves {}", row, before.to);
            prop_assert!(row.observed_at >= before.observed_at);
            let found = row.provider_state.clone().or_else(|| provider_state.clone());
            prop_assert!(row.to != before.to || found != provider_state, "a transition without a change: {:?}", row);
            provider_state = found;
        }
        for step in [State::Pending, State::Running] {
            let reported = |row: &&Transition| row.to == step && row.evidence == Evidence::Reported;
            prop_assert!(history.iter().filter(reported).count() <= 1, "{} twice", step);
        }
        let last = history.last().expect("the first row at least");
        prop_assert_eq!((last.to, last.observed_at), (job.state(), job.observed_at));
    }

    #[test]
    fn occurred_at_lies_between_earliest_and_observed(
        events in prop::collection::vec((any_event(), 0i64..1000), 1..30),
    ) {
        for row in apply_events(events).0 {
            prop_assert!(row.earliest_at.is_none_or(|earliest| earliest <= row.observed_at), "{:?}", row);
        }
    }
}
