//! When repeated "not found" answers make a job `lost`: after the configured time, and never because of
//! an outage.

use std::time::Duration;

use jobtrack::job::{
    Answer, NotFoundTimeout, ObservedState, ProviderError, ProviderErrorKind, State,
};
use jobtrack::policy::Backoff;
use jobtrack::tracker::ProviderSettings;

use super::fixtures::{
    DAY, HOUR, MINUTE, SECOND, answer_with_state, default_settings, invalid_id_answer,
    not_found_answer, transient_error,
};
use super::simulation::Simulation;

/// Polls at a fixed interval; a job is lost after `minutes`, twice that if it was never observed.
fn settings_with_lost_after(every: Duration, minutes: u64) -> ProviderSettings {
    let timeout = Duration::from_mins(minutes);
    let backoff = Backoff { min: every, max: every };
    ProviderSettings {
        backoff,
        lost_after: NotFoundTimeout { previously_seen: timeout, never_seen: 2 * timeout },
        ..default_settings("dune")
    }
}

#[test]
fn fault_35_an_invalid_id_is_lost_within_minutes_unless_the_job_was_seen() {
    // (whether the job was observed, whether the first answer is another one, minutes until `lost`)
    let cases =
        [(false, None, 2), (true, None, 30), (false, Some(not_found_answer as fn() -> _), 60)];
    for (seen, first_answer, minutes) in cases {
        let every = Duration::from_secs(10);
        let mut sim =
            Simulation::with_settings(vec![settings_with_lost_after(every, 30)], move |_, at| {
                let answer = match first_answer {
                    Some(other) if at < 5 * SECOND => other(),
                    _ if seen && at < 5 * SECOND => answer_with_state(ObservedState::Running),
                    _ => invalid_id_answer(),
                };
                (100, answer)
            });
        let job = sim.add_job("dune");
        sim.run_until(minutes * MINUTE);
        assert!(!sim.state(job).is_terminal(), "{seen} {minutes}");
        sim.run_until((minutes + 1) * MINUTE);
        assert_eq!(sim.state(job), State::Lost, "{seen} {minutes}");
    }
}

#[test]
fn lost_after_follows_the_settings() {
    // (minutes, whether the job was observed, earliest and latest time of `lost`)
    let cases = [
        (1, true, MINUTE, 2 * MINUTE),
        (1, false, 2 * MINUTE, 3 * MINUTE),
        (60, true, HOUR, HOUR + MINUTE),
        (60, false, 2 * HOUR, 2 * HOUR + MINUTE),
    ];
    for (minutes, seen, soonest, latest) in cases {
        let mut sim = Simulation::with_settings(
            vec![settings_with_lost_after(Duration::from_secs(10), minutes)],
            move |_, at| {
                (
                    100,
                    if seen && at < 5 * SECOND {
                        answer_with_state(ObservedState::Running)
                    } else {
                        not_found_answer()
                    },
                )
            },
        );
        let job = sim.add_job("dune");
        sim.run_until(soonest);
        assert!(!sim.state(job).is_terminal(), "{minutes} {seen}");
        sim.run_until(latest);
        assert_eq!(sim.state(job), State::Lost, "{minutes} {seen}");
    }
}

#[test]
fn failed_polls_in_between_do_not_shorten_lost_after() {
    let failures = [
        ProviderError::new(ProviderErrorKind::Transient, "503"),
        ProviderError::new(ProviderErrorKind::Malformed, "418"),
        ProviderError::new(ProviderErrorKind::Auth, "401"),
        ProviderError::new(ProviderErrorKind::Misconfigured, "404"),
        ProviderError::new(ProviderErrorKind::RateLimited, "429"),
        ProviderError::new(ProviderErrorKind::QuotaExceeded, "402"),
    ];
    for failure in failures {
        let mut polls = 0;
        let shown = failure.clone();
        let mut sim = Simulation::with_settings(
            vec![settings_with_lost_after(Duration::from_secs(30), 15)],
            move |_, _| {
                polls += 1;
                let answer = match polls {
                    1 => answer_with_state(ObservedState::Running),
                    odd if odd % 2 == 1 => Answer::failed(failure.clone()),
                    _ => not_found_answer(),
                };
                (100, answer)
            },
        );
        let job = sim.add_job("dune");
        sim.run_until(15 * MINUTE);
        assert_eq!(sim.state(job), State::Running, "{shown:?}");
        sim.run_until(3 * HOUR);
        assert_eq!(sim.state(job), State::Lost, "{shown:?}: not found long enough");
    }
}

#[test]
fn a_day_without_answers_between_not_founds_is_no_proof() {
    let failures = [
        transient_error(),
        ProviderError::new(ProviderErrorKind::Auth, "401"),
        ProviderError::new(ProviderErrorKind::Misconfigured, "404"),
        ProviderError::new(ProviderErrorKind::RateLimited, "429"),
    ];
    for failure in failures {
        let shown = failure.clone();
        let end = 2 * DAY;
        let mut sim = Simulation::with_settings(
            vec![settings_with_lost_after(Duration::from_mins(1), 15)],
            move |_, at| {
                let answer = match at {
                    0..HOUR => answer_with_state(ObservedState::Running),
                    // Not found a few times, an outage of a day, then not found for ever.
                    HOUR..3_840_000 => not_found_answer(),
                    _ if at < end => Answer::failed(failure.clone()),
                    _ => not_found_answer(),
                };
                (100, answer)
            },
        );
        let job = sim.add_job("dune");
        sim.run_until(end - 1);
        assert_eq!(sim.state(job), State::Running, "{shown:?}: an outage proves nothing");
        // The probe after a pause may be half an hour late.
        let not_found =
            |sim: &Simulation| sim.poll_times(job).iter().filter(|at| **at >= end).count();
        let mut now = end;
        while not_found(&sim) < 2 && !sim.state(job).is_terminal() {
            now += SECOND;
            sim.run_until(now);
        }
        sim.run_until(now + 500);
        assert_eq!(sim.state(job), State::Running, "{shown:?}: the gap of a day counts for half");
        sim.run_until(now + 15 * MINUTE);
        assert_eq!(sim.state(job), State::Lost, "{shown:?}: not found long enough");
    }
}

#[test]
fn any_good_answer_clears_the_not_found_streak() {
    for good in [ObservedState::Pending, ObservedState::Running, ObservedState::Unknown] {
        let mut sim = Simulation::with_settings(
            vec![settings_with_lost_after(Duration::from_mins(1), 15)],
            move |_, at| {
                (
                    100,
                    if at % (14 * MINUTE) < MINUTE {
                        answer_with_state(good)
                    } else {
                        not_found_answer()
                    },
                )
            },
        );
        let job = sim.add_job("dune");
        sim.run_until(DAY);
        assert_eq!(sim.state(job), good.to_state());
    }
}
