//! A machine that is suspended while jobs run and a request is in flight.

use std::time::Duration;

use tokio::time::sleep;

use super::lives::{provider_name, remote_id};
use super::model::KnownJob;
use super::operations::job_spec;
use super::plan::{Options, Profile};
use super::run::Simulation;
use super::services::Condition;
use super::time::paused_runtime;
use crate::fake_server::{JobScript, ServiceKind};

/// What the daemon did after the machine resumed.
#[derive(Debug)]
pub struct AfterResume {
    /// The polls of the first two minutes: the time since the resume, and the job.
    pub polls: Vec<(Duration, String)>,
    /// How long a poll that was in flight during the suspend took after the resume.
    pub request_in_flight_took: Duration,
}

/// Suspends a machine with this many running jobs of Dune.
#[must_use]
pub fn suspend(jobs: u64, suspended: Duration) -> AfterResume {
    paused_runtime().block_on(async {
        let profile = Profile::Dense;
        let options = Options { seed: 1, profile, days: 0, planted: None, print: false };
        let mut world = Simulation::new(options);
        let daemon = world.ensure_running(None).await.expect("the daemon starts");
        for number in 1..=jobs {
            let id = remote_id(ServiceKind::Dune, number);
            let script = JobScript::new().running(Duration::from_hours(72));
            let now = world.time.right_time();
            let kind = ServiceKind::Dune;
            world.services.with_service(|service| service.add_job(kind, &id, script, now));
            let key = (provider_name(kind), id.clone());
            world.model.lock().expect("not poisoned").jobs.insert(key, KnownJob::default());
            daemon.handle.add(vec![job_spec(kind, &id)]).await.expect("it is added");
        }
        sleep(Duration::from_hours(1)).await;
        world.services.set_condition(ServiceKind::Dune, Condition::Silent);
        let job = super::store::run_to_end(
            &world.time,
            daemon.reader.stored_job(jobtrack::job::JobId(1)),
        );
        let (handle, job) = (daemon.handle.clone(), job.expect("it is read").expect("it exists"));
        let poll =
            tokio::spawn(async move { handle.poll_on_demand(job, Duration::from_mins(10)).await });
        sleep(Duration::from_secs(5)).await;
        world.time.suspend(suspended);
        let resumed_at = world.time.elapsed();
        world.services.set_condition(ServiceKind::Dune, Condition::Healthy);
        poll.await.expect("no panic").expect("the poll has ended");
        let request_in_flight_took = world.time.elapsed().saturating_sub(resumed_at);
        sleep(Duration::from_mins(2)).await;
        let polls = world.model.lock().expect("not poisoned").polls.clone();
        let after = polls.into_iter().filter(|(at, _)| *at > resumed_at);
        let polls = after.map(|(at, job)| (at.saturating_sub(resumed_at), job)).collect();
        daemon.stop().await.expect("the daemon stops");
        AfterResume { polls, request_in_flight_took }
    })
}
