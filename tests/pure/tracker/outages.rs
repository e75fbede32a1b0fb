//! An outage of a day: the histories afterwards differ from those without an outage only in when and how
//! the transitions were observed.

use jobtrack::job::{
    Answer, JobId, ObservedState, ProviderError, ProviderErrorKind, ProviderTimes, State, UtcTime,
};

use super::fixtures::{
    DAY, HOUR, MINUTE, SECOND, answer_with_state, not_found_answer, transient_error,
};
use super::simulation::Simulation;

const EPOCH_MS: i64 = 1_800_000_000_000;
const JOBS: u64 = 300;

fn provider_time(ms: u64) -> UtcTime {
    UtcTime::from_millis(EPOCH_MS + i64::try_from(ms).expect("a few days"))
}

/// The answer at time `at` of a service that reports all times. The jobs last minutes to hours and start
/// before, during and after the outage.
fn answer_at(job: JobId, at: u64) -> Answer {
    let nth = u64::try_from(job.0).expect("positive");
    let mut rng = fastrand::Rng::with_seed(nth);
    let submitted_at = rng.u64(..30 * HOUR);
    let started_at = submitted_at + rng.u64(SECOND..HOUR);
    let ended_at = started_at + rng.u64(MINUTE..10 * HOUR);
    let end = if rng.u8(..4) == 0 { ObservedState::Failed } else { ObservedState::Succeeded };
    if at < submitted_at {
        return Answer::failed(transient_error());
    }
    let past = |time: u64| (time <= at).then(|| provider_time(time));
    let times = ProviderTimes {
        submitted_at: past(submitted_at),
        started_at: past(started_at),
        ended_at: past(ended_at),
        expires_at: None,
    };
    let observed = match (times.started_at, times.ended_at) {
        (_, Some(_)) => end,
        (Some(_), None) => ObservedState::Running,
        (None, None) => ObservedState::Pending,
    };
    let mut answer = answer_with_state(observed);
    if let Ok(seen) = &mut answer.result {
        seen.times = times;
    }
    answer
}

/// A different kind of failure each hour.
fn failing_answer(at: u64) -> Answer {
    Answer::failed(match at / HOUR % 5 {
        0 => transient_error(),
        1 => ProviderError::new(ProviderErrorKind::Auth, "HTTP 401"),
        2 => ProviderError::new(ProviderErrorKind::RateLimited, "HTTP 429"),
        3 => ProviderError::new(ProviderErrorKind::Misconfigured, "APIGW.0101"),
        _ => ProviderError::new(ProviderErrorKind::Malformed, "HTML"),
    })
}

fn run_simulation(answer: impl Fn(JobId, u64) -> Answer + 'static) -> Simulation {
    let mut sim = Simulation::new(move |job, at| (200, answer(job, at)));
    sim.report_check_interval = 1000;
    for _ in 0..JOBS {
        sim.add_job("dune");
    }
    sim.run_until_all_finished();
    sim
}

/// The history of a job without the time and the evidence of its observation.
fn provider_history(sim: &Simulation, job: JobId) -> Vec<(Option<State>, State, Option<UtcTime>)> {
    let rows = sim.store[&job].history.iter();
    rows.map(|row| (row.from, row.to, row.occurred_at)).collect()
}

#[test]
fn a_day_without_the_provider_changes_no_history() {
    let well = run_simulation(answer_at);
    let outage = 2 * HOUR..2 * HOUR + DAY;
    let during = outage.clone();
    let ill =
        run_simulation(
            move |job, at| {
                if during.contains(&at) { failing_answer(at) } else { answer_at(job, at) }
            },
        );
    let (mut over_meanwhile, all) = (0, ill.store.keys().count());
    for job in ill.store.keys() {
        assert_eq!(provider_history(&ill, *job), provider_history(&well, *job), "job {job}");
        let last = ill.store[job].history.last().expect("rows");
        assert!(last.occurred_at <= Some(last.observed_at), "job {job}");
        let gap = provider_time(outage.start)..provider_time(outage.end);
        over_meanwhile += usize::from(last.occurred_at.is_some_and(|at| gap.contains(&at)));
        assert!(
            !gap.contains(&last.observed_at),
            "job {job}: an end was observed during the outage"
        );
    }
    assert!(over_meanwhile * 3 > all, "{over_meanwhile} of {all} ended during the outage");
    let polled = ill.requests.iter().filter(|request| outage.contains(&request.sent_at)).count();
    assert!(polled < 24 * 60 * 60, "{polled} requests during an outage of a day");
}

#[test]
fn an_outage_during_a_not_found_streak_loses_no_job() {
    // Two "not found" answers, then an outage of a day, then the job is found again.
    let answer = |_: JobId, at: u64| match at {
        ..2500 => answer_with_state(ObservedState::Running),
        2500..8000 => not_found_answer(),
        8000..DAY => failing_answer(at),
        _ => answer_with_state(if at < DAY + HOUR {
            ObservedState::Running
        } else {
            ObservedState::Succeeded
        }),
    };
    let mut sim = Simulation::new(move |job, at| (200, answer(job, at)));
    let job = sim.add_job("dune");
    sim.run_until_all_finished();
    assert_eq!(sim.state_history(job), ["registered", "running", "succeeded"]);
}
