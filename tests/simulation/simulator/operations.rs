//! What happens in a simulation, drawn at random: commands of users here, and the [faults](super::faults) of
//! services, disk, clocks and processes.
//!
//! Calm and stormy hours alternate. In calm hours users do what they do every day; in stormy ones
//! faults are added. Each seed leaves some kinds of faults out, so that others become frequent.

use std::sync::Arc;
use std::time::Duration;

use jobtrack::job::{JobId, SimilarityKeys, State, StoredJob};
use jobtrack::scheduler::JobSpec;
use jobtrack::store::MaintenanceTask;
use tokio::time::sleep;

use super::check::RETENTION;
use super::daemon::RunningDaemon;
use super::database::DatabaseImage;
use super::faults::FaultKind;
use super::lives::{provider_name, random_life, remote_id};
use super::model::KnownJob;
use super::plan::Profile;
use super::run::Simulation;
use super::services::Condition;
use super::store::{CommitFault, run_to_end};
use crate::fake_server::ServiceKind;

const MINUTE: u64 = 60;
pub(super) const HOUR: u64 = 60 * MINUTE;

/// What follows for the process of the daemon.
#[derive(Debug)]
pub(super) enum Step {
    Continue,
    Restart {
        downtime: Duration,
    },
    Kill {
        downtime: Duration,
    },
    PowerCut {
        image: Arc<DatabaseImage>,
        downtime: Duration,
    },
    /// The daemon ended by itself.
    Ended,
}

#[derive(Debug)]
pub(super) struct Operations {
    pub(super) random: fastrand::Rng,
    profile: Profile,
    pub(super) fault_kinds: Vec<FaultKind>,
    is_stormy: bool,
    epoch_ends: Duration,
    jobs_added: u64,
}

impl Operations {
    /// The mean time between two operations.
    const MEAN_INTERVAL_S: f64 = 25.0 * 60.0;

    pub(super) fn new(seed: u64, profile: Profile) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let fault_kinds: Vec<_> =
            FaultKind::ALL.into_iter().filter(|_| random.u32(0..3) > 0).collect();
        Self {
            random,
            profile,
            fault_kinds,
            is_stormy: false,
            epoch_ends: Duration::ZERO,
            jobs_added: 0,
        }
    }

    /// Waits for the next operation and performs it.
    pub(super) async fn next_step(&mut self, world: &Simulation, daemon: &RunningDaemon) -> Step {
        self.begin_epoch_if_due(world);
        let interval = -Self::MEAN_INTERVAL_S * (1.0 - self.random.f64()).ln();
        let mut crash = world.faults.crash.subscribe();
        tokio::select! {
            biased;
            image = crash.wait_for(Option::is_some) => {
                let image = image.expect("the sender lives").clone().expect("it is one");
                return Step::PowerCut { image, downtime: self.downtime() };
            }
            () = daemon.handle.closed() => return Step::Ended,
            () = sleep(Duration::from_secs_f64(interval)) => {}
        }
        world.note_active_faults();
        world.check_waits();
        if self.is_stormy && !self.fault_kinds.is_empty() && self.random.u32(0..2) == 0 {
            self.cause_fault(world, daemon)
        } else {
            self.act_as_user(world, daemon).await;
            Step::Continue
        }
    }

    /// Ends all faults; the machine's clock is set right.
    pub(super) fn calm_down(&mut self, world: &Simulation) {
        world.log.event(format_args!("calm"));
        self.is_stormy = false;
        for kind in ServiceKind::ALL {
            world.services.set_condition(kind, Condition::Healthy);
        }
        let mut faults = world.faults.state.lock().expect("not poisoned");
        faults.commit_fault = CommitFault::None;
        faults.crash_at = None;
        faults.fail_reads = false;
        drop(faults);
        world.note_active_faults();
        world.time.set_wall_offset(0);
        world.disturb_all();
    }

    fn begin_epoch_if_due(&mut self, world: &Simulation) {
        let now = world.time.elapsed();
        if now < self.epoch_ends {
            return;
        }
        self.calm_down(world);
        self.is_stormy = self.random.u32(0..5) < 2;
        self.epoch_ends = now + Duration::from_secs(self.random.u64(3 * HOUR..9 * HOUR));
        if self.is_stormy {
            world.log.event(format_args!("storm"));
        }
    }

    pub(super) fn downtime(&mut self) -> Duration {
        let seconds = match self.random.u32(0..4) {
            0 => self.random.u64(2 * MINUTE..5 * HOUR),
            1 => self.random.u64(10..10 * MINUTE),
            _ => self.random.u64(1..10),
        };
        Duration::from_secs(seconds)
    }

    async fn act_as_user(&mut self, world: &Simulation, daemon: &RunningDaemon) {
        match self.random.u32(0..40) {
            number @ 0..=21 => {
                if number < self.profile.used_occasions_to_add() {
                    self.add_jobs(world, daemon).await;
                }
            }
            22 => self.add_again(world, daemon).await,
            23..=24 => self.untrack(world, daemon).await,
            25..=28 => self.poll_on_demand(world, daemon),
            29..=31 => self.cancel(world, daemon),
            32 => {
                let handle = daemon.handle.clone();
                let provider = self.kind_name().parse().expect("a name");
                tokio::spawn(async move {
                    let _ = handle.check_connection(provider, Duration::from_secs(45)).await;
                });
            }
            33 => {
                world.log.event(format_args!("reload"));
                world.disturb_all();
                let _ = daemon.handle.configure(world.load_providers()).await;
            }
            34..=36 => self.maintain(world, daemon),
            37 => world.services.with_service(|service| service.iam.valid_tokens.clear()),
            _ => world.check_database(daemon, Duration::ZERO),
        }
    }

    fn kind_name(&mut self) -> &'static str {
        provider_name(ServiceKind::ALL[self.random.usize(..3)])
    }

    async fn add_jobs(&mut self, world: &Simulation, daemon: &RunningDaemon) {
        let count = match self.random.u32(0..self.profile.adds_per_group()) {
            0 => self.random.u64(5..25),
            _ => 1,
        };
        let kind = ServiceKind::ALL[self.random.usize(..3)];
        let mut specs = Vec::new();
        for _ in 0..count {
            self.jobs_added += 1;
            let id = remote_id(kind, self.jobs_added);
            let now = world.time.right_time();
            let script =
                kind.resolve_states(random_life(kind, now, self.profile, &mut self.random));
            world.services.with_service(|service| service.add_job(kind, &id, script, now));
            let give_up_after = (self.random.u32(0..15) == 0)
                .then(|| Duration::from_secs(self.random.u64(HOUR..20 * HOUR)));
            let job = KnownJob {
                added_at: world.time.elapsed(),
                give_up_after: give_up_after.or(Some(Duration::from_hours(72))),
                ..KnownJob::default()
            };
            let mut model = world.model.lock().expect("not poisoned");
            model.jobs.insert((provider_name(kind), id.clone()), job);
            specs.push(self.spec(kind, &id, give_up_after));
        }
        Self::add(world, daemon, kind, specs).await;
    }

    fn spec(&mut self, kind: ServiceKind, id: &str, give_up_after: Option<Duration>) -> JobSpec {
        let similarity_keys = if self.random.bool() {
            SimilarityKeys::from_user("nightly").expect("a key")
        } else {
            SimilarityKeys::Unknown
        };
        JobSpec { give_up_after, similarity_keys, ..job_spec(kind, id) }
    }

    async fn add(
        world: &Simulation,
        daemon: &RunningDaemon,
        kind: ServiceKind,
        specs: Vec<JobSpec>,
    ) {
        let ids: Vec<_> = specs.iter().map(|spec| spec.remote_id.clone()).collect();
        let result = daemon.handle.add(specs).await;
        world.log.event(format_args!(
            "add {ids:?}: {}",
            result.as_ref().map_or_else(ToString::to_string, |_| "acknowledged".to_owned())
        ));
        let Ok(results) = result else { return };
        let mut model = world.model.lock().expect("not poisoned");
        for (id, result) in ids.iter().zip(results) {
            match result {
                Ok(added) => {
                    let now = world.time.elapsed();
                    model.acknowledge(kind, id, added.registered.job.id, now, &world.log);
                }
                Err(reason) => world.log.violation(format!("{id} was not added: {reason}")),
            }
        }
    }

    async fn add_again(&mut self, world: &Simulation, daemon: &RunningDaemon) {
        let kind = ServiceKind::ALL[self.random.usize(..3)];
        let known: Vec<_> = {
            let model = world.model.lock().expect("not poisoned");
            let of_kind = model.jobs.iter().filter(|((name, _), job)| {
                // A job that was pruned, untracked or lost becomes another job.
                *name == provider_name(kind)
                    && world.time.elapsed().saturating_sub(job.added_at) < RETENTION
                    && !model.is_tracking_over(job)
            });
            of_kind.map(|((_, id), _)| id.clone()).collect()
        };
        if !known.is_empty() {
            let id = known[self.random.usize(..known.len())].clone();
            let spec = self.spec(kind, &id, None);
            Self::add(world, daemon, kind, vec![spec]).await;
        }
    }

    /// A job that the daemon knows and that nobody untracked, as the database has it.
    pub(super) fn any_job(
        &mut self,
        world: &Simulation,
        daemon: &RunningDaemon,
    ) -> Option<StoredJob> {
        let ids: Vec<JobId> = {
            let model = world.model.lock().expect("not poisoned");
            let live = model.confirmed.iter().filter(|(_, known)| !known.has_ended);
            live.map(|(id, _)| *id).collect()
        };
        let id = *ids.get(self.random.usize(..ids.len().max(1)))?;
        let read = run_to_end(&world.time, daemon.reader.stored_job(id));
        read.expect("the database can be read")
    }

    async fn untrack(&mut self, world: &Simulation, daemon: &RunningDaemon) {
        let Some(job) = self.any_job(world, daemon) else { return };
        let now = world.time.elapsed();
        Self::with_known_job(world, &job, |known| {
            known.untrack_asked_at.get_or_insert(now);
        });
        let id = job.id;
        let result = daemon.handle.untrack(job, "simulated".into(), None).await;
        world.log.event(format_args!("untrack {id}: {}", result.is_ok()));
        if result.is_ok() {
            let stored = run_to_end(&world.time, daemon.reader.stored_job(id)).expect("it is read");
            if stored.is_some_and(|job| !job.current_state.state().is_terminal()) {
                world.log.violation(format!("job {id} is tracked after it was untracked"));
            }
        }
    }

    pub(super) fn with_known_job(
        world: &Simulation,
        job: &StoredJob,
        change: impl FnOnce(&mut KnownJob),
    ) {
        let mut model = world.model.lock().expect("not poisoned");
        let of_job = |(name, id): &(&'static str, String)| {
            *name == job.provider.as_str() && id == job.remote_id.as_str()
        };
        if let Some((_, known)) = model.jobs.iter_mut().find(|(key, _)| of_job(key)) {
            change(known);
        }
    }

    fn poll_on_demand(&mut self, world: &Simulation, daemon: &RunningDaemon) {
        let Some(job) = self.any_job(world, daemon) else { return };
        world.log.event(format_args!("poll {} on demand", job.id));
        let handle = daemon.handle.clone();
        tokio::spawn(async move {
            let _ = handle.poll_on_demand(job, Duration::from_secs(45)).await;
        });
    }

    fn cancel(&mut self, world: &Simulation, daemon: &RunningDaemon) {
        let Some(job) = self.any_job(world, daemon) else { return };
        world.log.event(format_args!("cancel {}", job.id));
        let handle = daemon.handle.clone();
        tokio::spawn(async move {
            let _ = handle.cancel(job, Duration::from_secs(45)).await;
        });
    }

    fn maintain(&mut self, world: &Simulation, daemon: &RunningDaemon) {
        let ended = State::ALL.into_iter().filter(|state| state.is_terminal());
        let task = match self.random.u32(0..5) {
            0 => MaintenanceTask::Optimize,
            1 => MaintenanceTask::Vacuum,
            2 => MaintenanceTask::Checkpoint,
            _ => MaintenanceTask::Prune(ended.map(|state| (state, RETENTION)).collect()),
        };
        world.log.event(format_args!("{}", task.name()));
        let _ = daemon.maintenance.try_send(task);
    }
}

/// A request to track a job of the simulation.
pub(super) fn job_spec(kind: ServiceKind, id: &str) -> JobSpec {
    JobSpec {
        provider: provider_name(kind).parse().expect("a name"),
        remote_id: id.parse().expect("an id"),
        labels: jobtrack::job::Labels::default(),
        give_up_after: None,
        price: None,
        similarity_keys: SimilarityKeys::Unknown,
        added_by: None,
        is_new_run: false,
    }
}
