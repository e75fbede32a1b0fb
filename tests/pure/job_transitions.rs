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

const SAID: [ObservedState; 8] = [
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

fn at(second: i64) -> UtcTime {
    UtcTime::from_millis(1_800_000_000_000 + second * 1000)
}

/// The provider's clock is years behind ours: its times are never bent.
fn theirs(second: i64) -> UtcTime {
    UtcTime::from_millis(1_000_000_000_000 + second * 1000)
}

fn all_times() -> ProviderTimes {
    ProviderTimes {
        submitted_at: Some(theirs(1)),
        started_at: Some(theirs(2)),
        ended_at: Some(theirs(3)),
        expires_at: Some(theirs(4)),
    }
}

/// A job that came to `state` without a detour, and was asked again since.
fn standing(state: State, word: &str) -> CurrentState {
    CurrentState {
        state,
        provider_state: (state != State::Registered).then(|| word.into()),
        furthest_step: match state {
            State::Pending => LifecycleStep::Pending,
            State::Running => LifecycleStep::Running,
            _ => LifecycleStep::Registered,
        },
        observed_at: at(100),
        last_success_sent_at: Some(at(150)),
    }
}

fn seen(said: ObservedState, word: &str, times: ProviderTimes) -> Observation {
    Observation {
        similarity_keys: jobtrack::job::SimilarityKeys::Unknown,
        reported_duration: None,
        list_time: None,
        state: said,
        provider_state: word.into(),
        times,
        message: Some("why".into()),
        detail: serde_json::Map::default(),
    }
}

fn asked() -> RequestTimes {
    RequestTimes { sent_at: at(200), received_at: at(201) }
}

fn rows_of(verdict: Verdict) -> Vec<Transition> {
    match verdict {
        Verdict::Transitions(rows) => rows,
        other @ (Verdict::Unchanged | Verdict::Contradiction(_)) => {
            panic!("did not move: {other:?}")
        }
    }
}

#[test]
fn every_answer_in_every_state_moves_repeats_or_contradicts() {
    for state in State::ALL {
        for said in SAID {
            for word in ["OLD", "NEW"] {
                let before = standing(state, "OLD");
                let verdict = evaluate_observation(
                    &before,
                    &seen(said, word, ProviderTimes::default()),
                    asked(),
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
                        observed_at: at(201),
                        earliest_at: Some(at(150)),
                        message: Some("why".into()),
                    };
                    assert_eq!(verdict, Verdict::Transitions(vec![expected]), "{case}");
                }
            }
        }
    }
}

#[test]
fn a_change_of_word_alone_is_a_transition() {
    let mut job = standing(State::Running, "RUNNING");
    let mut told = Vec::new();
    for word in ["RUNNING", "SCALING", "SCALING", "RUNNING"] {
        let answer = seen(ObservedState::Running, word, all_times());
        if let Verdict::Transitions(rows) = evaluate_observation(&job, &answer, asked()) {
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
fn changed_times_message_and_detail_are_no_transition() {
    let job = standing(State::Running, "RUNNING");
    let mut answer = seen(ObservedState::Running, "RUNNING", all_times());
    answer.message = Some("something else".into());
    answer.detail.insert("queue_position".into(), 3.into());
    assert_eq!(evaluate_observation(&job, &answer, asked()), Verdict::Unchanged);
}

/// The states in which a job can be that has reached this step and no further.
fn states_at(reached: LifecycleStep) -> &'static [State] {
    match reached {
        LifecycleStep::Registered => &[State::Registered, State::Unknown],
        LifecycleStep::Pending => &[State::Pending, State::Unknown],
        LifecycleStep::Running => &[State::Running, State::Pending, State::Unknown],
    }
}

/// The steps that have no row yet, come before `to`, and whose time is told.
fn expected_fill(reached: LifecycleStep, to: State, times: ProviderTimes) -> Vec<(State, UtcTime)> {
    let (pending, running) = match to {
        State::Pending => (false, false),
        State::Running => (reached == LifecycleStep::Registered, false),
        _ => (reached == LifecycleStep::Registered, reached != LifecycleStep::Running),
    };
    let pending = times.submitted_at.filter(|_| pending).map(|at| (State::Pending, at));
    let running = times.started_at.filter(|_| running).map(|at| (State::Running, at));
    pending.into_iter().chain(running).collect()
}

#[test]
fn steps_that_were_not_seen_are_filled_in_from_the_times_told() {
    let mut filled = 0;
    for reached in STEPS {
        for &state in states_at(reached) {
            for said in SAID {
                for (submitted, started) in
                    [(false, false), (true, false), (false, true), (true, true)]
                {
                    let times = ProviderTimes {
                        submitted_at: submitted.then(|| theirs(1)),
                        started_at: started.then(|| theirs(2)),
                        ..ProviderTimes::default()
                    };
                    let before = CurrentState { furthest_step: reached, ..standing(state, "OLD") };
                    let rows =
                        rows_of(evaluate_observation(&before, &seen(said, "NEW", times), asked()));
                    let case = format!("{state} after {reached:?}, told {said:?} and {times:?}");
                    let (last, reported) = rows.split_last().expect("at least one row");

                    let told: Vec<_> = reported
                        .iter()
                        .map(|row| (row.to, row.occurred_at.expect(&case)))
                        .collect();
                    assert_eq!(told, expected_fill(reached, said.to_state(), times), "{case}");
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
fn a_whole_life_told_at_once_is_four_rows() {
    let registered = registration_transition(at(0));
    assert_eq!((registered.from, registered.to), (None, State::Registered));
    assert_eq!((registered.evidence, registered.earliest_at), (Evidence::Local, None));
    let answer = seen(ObservedState::Succeeded, "COMPLETED", all_times());
    let rows = rows_of(evaluate_observation(&CurrentState::registered(at(0)), &answer, asked()));
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row.to.as_str(), row.evidence.as_str(), row.occurred_at, row.earliest_at))
        .collect();
    assert_eq!(
        told,
        [
            ("pending", "reported", Some(theirs(1)), None),
            ("running", "reported", Some(theirs(2)), None),
            ("succeeded", "observed", Some(theirs(3)), None),
        ]
    );
}

#[test]
fn each_state_occurred_at_its_own_time_of_the_providers() {
    let cases = [
        (ObservedState::Pending, Some(theirs(1))),
        (ObservedState::Running, Some(theirs(2))),
        (ObservedState::Unknown, None),
        (ObservedState::Succeeded, Some(theirs(3))),
        (ObservedState::Failed, Some(theirs(3))),
        (ObservedState::Cancelled, Some(theirs(3))),
        (ObservedState::Indeterminate, Some(theirs(3))),
        (ObservedState::Expired, Some(theirs(4))),
    ];
    let job =
        CurrentState { furthest_step: LifecycleStep::Running, ..standing(State::Unknown, "OLD") };
    for (said, expected) in cases {
        let told = rows_of(evaluate_observation(&job, &seen(said, "NEW", all_times()), asked()));
        assert_eq!(told[0].occurred_at, expected, "{said:?}");
        let silent = rows_of(evaluate_observation(
            &job,
            &seen(said, "NEW", ProviderTimes::default()),
            asked(),
        ));
        assert_eq!(silent[0].occurred_at, None, "{said:?}: no time of ours stands in for it");
    }
}

#[test]
fn nothing_is_observed_before_what_was_observed_before() {
    let job = CurrentState { observed_at: at(500), ..standing(State::Pending, "PENDING") };
    for row in rows_of(evaluate_observation(
        &job,
        &seen(ObservedState::Failed, "FAILED", all_times()),
        asked(),
    )) {
        assert_eq!(row.observed_at, at(500), "our clock went back: {row:?}");
    }
    let row =
        local_end_transition(&job, LocalOutcome::Lost, at(10), "gone".into()).expect("not over");
    assert_eq!(row.observed_at, at(500));
}

#[test]
fn our_own_endings_end_what_is_not_over_and_nothing_else() {
    for state in State::ALL {
        // (the ending, its state, the earliest time at which it can have been)
        let endings = [
            (LocalOutcome::Lost, State::Lost, Some(at(150))),
            (LocalOutcome::Untracked, State::Untracked, None),
        ];
        for (ours, to, earliest_at) in endings {
            let row =
                local_end_transition(&standing(state, "OLD"), ours, at(300), "because".into());
            let expected = Transition {
                from: Some(state),
                to,
                word: None,
                evidence: Evidence::Local,
                occurred_at: None,
                observed_at: at(300),
                earliest_at,
                message: Some("because".into()),
            };
            assert_eq!(row, ACTIVE.contains(&state).then_some(expected), "{state}, {ours:?}");
        }
    }
}

#[test]
fn rows_of_ours_leave_the_providers_last_word_standing() {
    let mut job = standing(State::Running, "RUNNING");
    let row = local_end_transition(&job, LocalOutcome::Untracked, at(300), "because".into())
        .expect("not over");
    job.apply(&row);
    assert_eq!((job.state, job.provider_state.as_deref()), (State::Untracked, Some("RUNNING")));
}

/// What can happen to a job: an answer or an ending of ours, and a move of our clock.
#[derive(Debug, Clone)]
enum Event {
    Told(Box<Observation>, i64),
    Ours(LocalOutcome),
}

fn any_time() -> impl Strategy<Value = Option<UtcTime>> {
    prop::option::of((-1000i64..1000).prop_map(theirs))
}

fn any_event() -> impl Strategy<Value = Event> {
    let times = (any_time(), any_time(), any_time(), any_time());
    // Endings are rare, or most histories would be short.
    let (active, over) = SAID.split_at(3);
    let said = prop_oneof![8 => prop::sample::select(active), 1 => prop::sample::select(over)];
    let told = (said, "[AB]", times, 0i64..40).prop_map(
        |(said, word, (submitted_at, started_at, ended_at, expires_at), latency)| {
            let times = ProviderTimes { submitted_at, started_at, ended_at, expires_at };
            Event::Told(Box::new(seen(said, &word, times)), latency)
        },
    );
    let ours =
        prop::sample::select(&[LocalOutcome::Lost, LocalOutcome::Untracked]).prop_map(Event::Ours);
    prop_oneof![20 => told, 1 => ours]
}

/// Lives through `events` as the tracker would; gives the rows and where the job stands.
fn live(events: Vec<(Event, i64)>) -> (Vec<Transition>, CurrentState) {
    let mut clock = 0;
    let mut job = CurrentState::registered(at(clock));
    let mut history = vec![registration_transition(at(clock))];
    for (event, passed) in events {
        clock += passed;
        let rows = match event {
            Event::Ours(ours) => {
                local_end_transition(&job, ours, at(clock), "ours".into()).into_iter().collect()
            }
            Event::Told(seen, latency) => {
                let asked = RequestTimes { sent_at: at(clock), received_at: at(clock + latency) };
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
        let (history, job) = live(events);
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
        prop_assert_eq!((last.to, last.observed_at), (job.state, job.observed_at));
    }

    #[test]
    fn a_row_lies_between_its_two_times_when_the_clock_is_sane(
        events in prop::collection::vec((any_event(), 0i64..1000), 1..30),
    ) {
        for row in live(events).0 {
            prop_assert!(row.earliest_at.is_none_or(|earliest| earliest <= row.observed_at), "{:?}", row);
        }
    }
}
