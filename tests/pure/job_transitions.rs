//! How a job moves: every state against everything that an answer can say, the rows that are filled
//! in, the three times of a row, and what holds for any sequence of answers whatever the clock does.
//!
//! The tables say the rules again in words of their own; nothing here is taken from the rooms under
//! test but their types.

use jobtrack::job::{
    CurrentState, Evidence, LifecycleStep, LocalOutcome, Observation, ObservedState, ProviderTimes,
    RequestTimes, State, Transition, UtcTime, Verdict, evaluate_observation, local_end_transition,
    registration_transition,
};
use proptest::prelude::*;

const OBSERVED_STATES: [ObservedState; 8] = [
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

/// The provider's clock is years behind ours: its times are never bent.
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

/// A job that came to `state` without a detour, and was asked again since.
fn current_state(state: State, word: &str) -> CurrentState {
    CurrentState::from_store(
        state,
        (state != State::Registered).then(|| word.into()),
        match state {
            State::Pending => LifecycleStep::Pending,
            State::Running => LifecycleStep::Running,
            _ => LifecycleStep::Registered,
        },
        utc(100),
        Some(utc(150)),
    )
}

fn observation(said: ObservedState, word: &str, times: ProviderTimes) -> Observation {
    Observation {
        similarity_keys: jobtrack::job::SimilarityKeys::Unknown,
        reported_duration: None,
        source: None,
        credits: None,
        list_time: None,
        state: said,
        provider_state: word.into(),
        times,
        message: Some("why".into()),
        detail: serde_json::Map::default(),
    }
}

fn request_times() -> RequestTimes {
    RequestTimes { sent_at: utc(200), received_at: utc(201) }
}

fn transitions(verdict: Verdict) -> Vec<Transition> {
    match verdict {
        Verdict::Transitions(rows) => rows,
        other @ (Verdict::Unchanged | Verdict::Contradiction(_)) => {
            panic!("did not move: {other:?}")
        }
    }
}

#[test]
fn every_observation_in_every_state_has_its_verdict() {
    for state in State::ALL {
        for said in OBSERVED_STATES {
            for word in ["OLD", "NEW"] {
                let before = current_state(state, "OLD");
                let verdict = evaluate_observation(
                    &before,
                    &observation(said, word, ProviderTimes::default()),
                    request_times(),
                );
                let case = format!("{state}, told {said:?} {word}");
                let repeated = said.to_state() == state && word == "OLD";
                let over = !ACTIVE.contains(&state);
                if repeated || state == State::Untracked {
                    assert_eq!(verdict, Verdict::Unchanged, "{case}");
                } else if over {
                    let Verdict::Contradiction(what) = verdict else { panic!("{case}") };
                    let told = format!("now reported as {} ({word})", said.to_state());
                    assert!(what.contains(state.as_str()) && what.ends_with(&told), "{what}");
                } else {
                    let expected = Transition {
                        from: Some(state),
                        to: said.to_state(),
                        word: Some(word.into()),
                        evidence: Evidence::Observed,
                        occurred_at: None,
                        observed_at: utc(201),
                        earliest_at: Some(utc(150)),
                        message: Some("why".into()),
                    };
                    assert_eq!(verdict, Verdict::Transitions(vec![expected]), "{case}");
                }
            }
        }
    }
}

#[test]
fn a_change_of_provider_state_alone_is_a_transition() {
    let mut job = current_state(State::Running, "RUNNING");
    let mut told = Vec::new();
    for word in ["RUNNING", "SCALING", "SCALING", "RUNNING"] {
        let answer = observation(ObservedState::Running, word, all_times());
        if let Verdict::Transitions(rows) = evaluate_observation(&job, &answer, request_times()) {
            for row in rows {
                job.apply(&row);
                told.push((row.from, row.to, row.word));
            }
        }
    }
    let running = State::Running;
    assert_eq!(
        told,
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
    assert_eq!(evaluate_observation(&job, &answer, request_times()), Verdict::Unchanged);
}

/// The states in which a job can be that has reached this step and no further.
fn states_at_step(furthest_step: LifecycleStep) -> &'static [State] {
    match furthest_step {
        LifecycleStep::Registered => &[State::Registered, State::Unknown],
        LifecycleStep::Pending => &[State::Pending, State::Unknown],
        LifecycleStep::Running => &[State::Running, State::Pending, State::Unknown],
    }
}

/// The steps that have no row yet, come before `to`, and whose time is told.
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
            for said in OBSERVED_STATES {
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
                        &observation(said, "NEW", times),
                        request_times(),
                    ));
                    let case = format!("{state} after {reached:?}, told {said:?} and {times:?}");
                    let (last, reported) = rows.split_last().expect("at least one row");

                    let told: Vec<_> = reported
                        .iter()
                        .map(|row| (row.to, row.occurred_at.expect(&case)))
                        .collect();
                    assert_eq!(
                        told,
                        expected_inferred_rows(reached, said.to_state(), times),
                        "{case}"
                    );
                    filled += told.len();
                    for row in reported {
                        assert_eq!(row.evidence, Evidence::Reported, "{case}");
                        assert_eq!((row.word.as_deref(), &row.message), (None, &None), "{case}");
                        assert_eq!(row.observed_at, last.observed_at, "{case}");
                        assert_eq!(row.earliest_at, last.earliest_at, "{case}");
                    }
                    assert_eq!(last.evidence, Evidence::Observed, "{case}");
                    assert_eq!((last.to, last.word.as_deref()), (said.to_state(), Some("NEW")));
                    let mut from = state;
                    for row in &rows {
                        assert_eq!(row.from, Some(from), "{case}");
                        from = row.to;
                    }
                }
            }
        }
    }
    assert!(filled > 50, "the table fills in rows: {filled}");
}

#[test]
fn a_job_finished_at_first_sight_gets_four_rows() {
    let registered = registration_transition(utc(0));
    assert_eq!((registered.from, registered.to), (None, State::Registered));
    assert_eq!((registered.evidence, registered.earliest_at), (Evidence::Local, None));
    let answer = observation(ObservedState::Succeeded, "COMPLETED", all_times());
    let rows = transitions(evaluate_observation(
        &CurrentState::registered(utc(0)),
        &answer,
        request_times(),
    ));
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row.to.as_str(), row.evidence.as_str(), row.occurred_at, row.earliest_at))
        .collect();
    assert_eq!(
        told,
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
    for (said, expected) in cases {
        let told = transitions(evaluate_observation(
            &job,
            &observation(said, "NEW", all_times()),
            request_times(),
        ));
        assert_eq!(told[0].occurred_at, expected, "{said:?}");
        let silent = transitions(evaluate_observation(
            &job,
            &observation(said, "NEW", ProviderTimes::default()),
            request_times(),
        ));
        assert_eq!(silent[0].occurred_at, None, "{said:?}: no time of ours stands in for it");
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
        assert_eq!(row.observed_at, utc(500), "our clock went back: {row:?}");
    }
    let row =
        local_end_transition(&job, LocalOutcome::Lost, utc(10), "gone".into()).expect("not over");
    assert_eq!(row.observed_at, utc(500));
}

#[test]
fn local_outcomes_end_unfinished_jobs_only() {
    for state in State::ALL {
        // (the ending, its state, the earliest time at which it can have been)
        let endings = [
            (LocalOutcome::Lost, State::Lost, Some(utc(150))),
            (LocalOutcome::Untracked, State::Untracked, None),
        ];
        for (ours, to, earliest_at) in endings {
            let row = local_end_transition(
                &current_state(state, "OLD"),
                ours,
                utc(300),
                "because".into(),
            );
            let expected = Transition {
                from: Some(state),
                to,
                word: None,
                evidence: Evidence::Local,
                occurred_at: None,
                observed_at: utc(300),
                earliest_at,
                message: Some("because".into()),
            };
            assert_eq!(row, ACTIVE.contains(&state).then_some(expected), "{state}, {ours:?}");
        }
    }
}

#[test]
fn local_rows_keep_the_last_provider_state() {
    let mut job = current_state(State::Running, "RUNNING");
    let row = local_end_transition(&job, LocalOutcome::Untracked, utc(300), "because".into())
        .expect("not over");
    job.apply(&row);
    assert_eq!((job.state(), job.provider_state.as_deref()), (State::Untracked, Some("RUNNING")));
}

/// What can happen to a job: an answer or an ending of ours, and a move of our clock.
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
    // Endings are rare, or most histories would be short.
    let (active, over) = OBSERVED_STATES.split_at(3);
    let said = prop_oneof![8 => prop::sample::select(active), 1 => prop::sample::select(over)];
    let told = (said, "[AB]", times, 0i64..40).prop_map(
        |(said, word, (submitted_at, started_at, ended_at, expires_at), latency)| {
            let times = ProviderTimes { submitted_at, started_at, ended_at, expires_at };
            JobEvent::Observed(Box::new(observation(said, &word, times)), latency)
        },
    );
    let ours = prop::sample::select(&[LocalOutcome::Lost, LocalOutcome::Untracked])
        .prop_map(JobEvent::Concluded);
    prop_oneof![20 => told, 1 => ours]
}

/// Lives through `events` as the tracker would; gives the rows and where the job stands.
fn apply_events(events: Vec<(JobEvent, i64)>) -> (Vec<Transition>, CurrentState) {
    let mut clock = 0;
    let mut job = CurrentState::registered(utc(clock));
    let mut history = vec![registration_transition(utc(clock))];
    for (event, passed) in events {
        clock += passed;
        let rows = match event {
            JobEvent::Concluded(ours) => {
                local_end_transition(&job, ours, utc(clock), "ours".into()).into_iter().collect()
            }
            JobEvent::Observed(seen, latency) => {
                let asked = RequestTimes { sent_at: utc(clock), received_at: utc(clock + latency) };
                clock += latency;
                let verdict = evaluate_observation(&job, &seen, asked);
                job.last_success_sent_at = Some(asked.sent_at);
                match verdict {
                    Verdict::Unchanged | Verdict::Contradiction(_) => Vec::new(),
                    Verdict::Transitions(rows) => rows,
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
        let mut word = None;
        for (before, row) in history.iter().zip(&history[1..]) {
            prop_assert_eq!(row.from, Some(before.to));
            prop_assert!(!before.to.is_terminal(), "{:?} leaves {}", row, before.to);
            prop_assert!(row.observed_at >= before.observed_at);
            let told = row.word.clone().or_else(|| word.clone());
            prop_assert!(row.to != before.to || told != word, "no news: {:?}", row);
            word = told;
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
