//! A day without a provider: what is told of its jobs afterwards is what would have been told
//! without it, but for when and how we learned it.

use jobtrack::job::{Answer, JobId, ObservedState, ProviderError, ProviderTimes, State, UtcTime};

use super::fixtures::{DAY, HOUR, MINUTE, SECOND, not_found, told, transient};
use super::simulation::Sim;

const BEGIN_MS: i64 = 1_800_000_000_000;
const JOBS: u64 = 300;

fn clock(ms: u64) -> UtcTime {
    UtcTime::from_millis(BEGIN_MS + i64::try_from(ms).expect("a few days"))
}

/// What a service that tells all times says of the `job` at `at`: lives of minutes to days, begun
/// before, during and after the outage.
fn life(job: JobId, at: u64) -> Answer {
    let nth = u64::try_from(job.0).expect("positive");
    let mut chance = fastrand::Rng::with_seed(nth);
    let submitted_at = chance.u64(..30 * HOUR);
    let started_at = submitted_at + chance.u64(SECOND..HOUR);
    let ended_at = started_at + chance.u64(MINUTE..10 * HOUR);
    let end = if chance.u8(..4) == 0 { ObservedState::Failed } else { ObservedState::Succeeded };
    if at < submitted_at {
        return Answer::failed(transient());
    }
    let past = |time: u64| (time <= at).then(|| clock(time));
    let times = ProviderTimes {
        submitted_at: past(submitted_at),
        started_at: past(started_at),
        ended_at: past(ended_at),
        expires_at: None,
    };
    let said = match (times.started_at, times.ended_at) {
        (_, Some(_)) => end,
        (Some(_), None) => ObservedState::Running,
        (None, None) => ObservedState::Pending,
    };
    let mut answer = told(said);
    if let Ok(seen) = &mut answer.result {
        seen.times = times;
    }
    answer
}

/// Everything that can keep a provider from answering, by the hour.
fn out_of_order(at: u64) -> Answer {
    Answer::failed(match at / HOUR % 5 {
        0 => transient(),
        1 => ProviderError::Auth("HTTP 401".into()),
        2 => ProviderError::RateLimited("HTTP 429".into()),
        3 => ProviderError::Misconfigured("APIGW.0101".into()),
        _ => ProviderError::Malformed("HTML".into()),
    })
}

fn lived(answer: impl Fn(JobId, u64) -> Answer + 'static) -> Sim {
    let mut sim = Sim::new(move |job, at| (200, answer(job, at)));
    sim.check_every = 1000;
    for _ in 0..JOBS {
        sim.add("dune");
    }
    sim.run_to_the_end();
    sim
}

/// All that is told of a job but when and how we learned it.
fn truth(sim: &Sim, job: JobId) -> Vec<(Option<State>, State, Option<UtcTime>)> {
    let rows = sim.store[&job].history.iter();
    rows.map(|row| (row.from, row.to, row.occurred_at)).collect()
}

#[test]
fn a_day_without_the_provider_changes_no_history() {
    let well = lived(life);
    let outage = 2 * HOUR..2 * HOUR + DAY;
    let during = outage.clone();
    let ill =
        lived(move |job, at| if during.contains(&at) { out_of_order(at) } else { life(job, at) });
    let (mut over_meanwhile, all) = (0, ill.store.keys().count());
    for job in ill.store.keys() {
        assert_eq!(truth(&ill, *job), truth(&well, *job), "job {job}");
        let last = ill.store[job].history.last().expect("rows");
        assert!(last.occurred_at <= Some(last.observed_at), "job {job}");
        let gap = clock(outage.start)..clock(outage.end);
        over_meanwhile += usize::from(last.occurred_at.is_some_and(|at| gap.contains(&at)));
        assert!(
            !gap.contains(&last.observed_at),
            "job {job} was seen to end while nobody answered"
        );
    }
    assert!(over_meanwhile * 3 > all, "{over_meanwhile} of {all} ended during the outage");
    let asked = ill.requests.iter().filter(|request| outage.contains(&request.sent)).count();
    assert!(asked < 24 * 60 * 60, "{asked} requests in a day that answered none");
}

#[test]
fn an_outage_in_the_midst_of_not_found_loses_no_job() {
    // Two "not found", then a day of nothing, then the job is there again.
    let answer = |_: JobId, at: u64| match at {
        ..2500 => told(ObservedState::Running),
        2500..8000 => not_found(),
        8000..DAY => out_of_order(at),
        _ => told(if at < DAY + HOUR { ObservedState::Running } else { ObservedState::Succeeded }),
    };
    let mut sim = Sim::new(move |job, at| (200, answer(job, at)));
    let job = sim.add("dune");
    sim.run_to_the_end();
    assert_eq!(sim.states(job), ["registered", "running", "succeeded"]);
}
