//! One simulation: starts the daemon, lets things happen, crashes and restarts it, and checks it.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jobtrack::clock::Clock;
use jobtrack::provider::SharedCredentials;

use super::check::{CheckTime, DatabaseRows, check_database};
use super::daemon::{RunningDaemon, load_providers};
use super::database::DatabaseImage;
use super::event_log::EventLog;
use super::model::Model;
use super::operations::{Operations, Step};
use super::plan::Options;
use super::services::Services;
use super::store::{Alive, CommitFault, StoreContext, StoreFaults};
use super::time::{SimulatedTime, paused_runtime};

/// The result of one simulation.
#[derive(Debug, Clone)]
pub struct Report {
    pub options: Options,
    pub simulated: Duration,
    /// The broken rules; empty if the daemon did nothing wrong.
    pub violations: Vec<String>,
    /// The newest events before the end.
    pub newest_events: Vec<String>,
    pub event_count: u64,
    /// The hash of all events.
    pub event_hash: u64,
    pub requests: u64,
    /// Of the requests, those that a service answered wrongly or not at all.
    pub disturbed_requests: u64,
    /// Faults of services, disk, clocks and processes.
    pub faults: u64,
    pub jobs: usize,
    pub starts: u32,
    pub longest_wait: Duration,
}

/// Runs one simulation on the current thread.
#[must_use]
pub fn simulate(options: Options) -> Report {
    paused_runtime().block_on(async {
        let mut simulation = Simulation::new(options);
        simulation.run().await;
        simulation.report()
    })
}

/// What stays while the daemon is restarted.
pub(super) struct Simulation {
    pub(super) options: Options,
    pub(super) time: Arc<SimulatedTime>,
    pub(super) log: EventLog,
    pub(super) model: Arc<Mutex<Model>>,
    pub(super) services: Arc<Services>,
    pub(super) faults: Arc<StoreFaults>,
    clock: Clock,
    /// Of the running process.
    credentials: SharedCredentials,
    home: tempfile::TempDir,
    starts: u32,
    directory: PathBuf,
}

impl Simulation {
    const QUIET_END: Duration = Duration::from_hours(24);
    const RESTART_DELAY: Duration = Duration::from_secs(5);

    pub(super) fn new(options: Options) -> Self {
        let seed = |number: u64| options.seed.wrapping_mul(1_000_003).wrapping_add(number);
        let time = Arc::new(SimulatedTime::start(seed(1)));
        let log = EventLog::new(time.clone(), options.print);
        let model = Arc::new(Mutex::new(Model::new(options.profile)));
        let services =
            Services::new(seed(2), time.clone(), log.clone(), model.clone(), options.planted);
        let home = match std::fs::exists("/dev/shm") {
            Ok(true) => tempfile::tempdir_in("/dev/shm"),
            Ok(false) | Err(_) => tempfile::tempdir(),
        };
        let home = home.expect("a directory");
        let directory = home.path().join("1");
        std::fs::create_dir(&directory).expect("a new directory");
        Self {
            options,
            clock: Clock::with_source(time.clone()),
            credentials: SharedCredentials::default(),
            faults: Arc::new(StoreFaults::new(seed(3))),
            services: Arc::new(services),
            time,
            log,
            model,
            starts: 0,
            directory,
            home,
        }
    }

    async fn run(&mut self) {
        let mut operations = Operations::new(self.options.seed, self.options.profile);
        let end = Duration::from_hours(24) * self.options.days;
        let mut daemon = None;
        while self.time.elapsed() < end && !self.log.has_violations() {
            let Some(running) = self.ensure_running(daemon.take()).await else { return };
            let step = operations.next_step(self, &running).await;
            daemon = self.carry_out(step, running).await;
        }
        operations.calm_down(self);
        let quiet_since = self.time.elapsed();
        while self.time.elapsed() < quiet_since + Self::QUIET_END && !self.log.has_violations() {
            let Some(running) = self.ensure_running(daemon.take()).await else { return };
            tokio::time::sleep(Duration::from_mins(30)).await;
            self.check_waits();
            daemon = Some(running);
        }
        let Some(running) = self.ensure_running(daemon).await else { return };
        self.check_database(&running, self.time.elapsed().saturating_sub(quiet_since));
        if let Err(error) = running.stop().await {
            self.log.violation(format!("the daemon did not stop in order: {error}"));
        }
        let client_violations =
            self.services.with_service(|service| service.request_log.client_violations.clone());
        for violation in client_violations {
            self.log.violation(violation);
        }
    }

    /// The daemon, which is started if it does not run; none if it can never start again.
    pub(super) async fn ensure_running(
        &mut self,
        daemon: Option<RunningDaemon>,
    ) -> Option<RunningDaemon> {
        if daemon.is_some() {
            return daemon;
        }
        for _ in 0..20 {
            self.disturb_all();
            match self.start().await {
                Ok(Some(daemon)) => return Some(daemon),
                Ok(None) => {}
                Err(error) => {
                    self.log.violation(error);
                    return None;
                }
            }
            tokio::time::sleep(Self::RESTART_DELAY).await;
            self.faults.state.lock().expect("not poisoned").fail_reads = false;
        }
        self.log.violation("the daemon does not start".to_owned());
        None
    }

    async fn start(&mut self) -> Result<Option<RunningDaemon>, String> {
        self.starts += 1;
        self.credentials = SharedCredentials::default();
        self.log.event(format_args!("start {} of the daemon", self.starts));
        let context = StoreContext {
            time: self.time.clone(),
            log: self.log.clone(),
            model: self.model.clone(),
            faults: self.faults.clone(),
            alive: Alive::default(),
            directory: self.directory.clone(),
            planted: self.options.planted,
        };
        let mut daemon = RunningDaemon::start(context, &self.clock, self.load_providers())?;
        if daemon.handle.wait_until_ready().await.is_err() {
            self.log.event(format_args!("the start failed"));
            let image = DatabaseImage::read(&self.directory);
            daemon.kill().await;
            self.continue_from(&image);
            return Ok(None);
        }
        self.check_database(&daemon, Duration::ZERO);
        Ok(Some(daemon))
    }

    pub(super) fn load_providers(&self) -> jobtrack::scheduler::Providers {
        load_providers(self.home.path(), &self.services, &self.credentials, &self.options)
    }

    async fn carry_out(&mut self, step: Step, daemon: RunningDaemon) -> Option<RunningDaemon> {
        match step {
            Step::Continue => return Some(daemon),
            Step::Restart { downtime } => {
                self.log.event(format_args!("stop, and start after {downtime:?}"));
                if let Err(error) = daemon.stop().await {
                    self.log.event(format_args!("the daemon ended with {error}"));
                    self.leave_directory();
                }
                tokio::time::sleep(downtime).await;
            }
            Step::Kill { downtime } => {
                self.log.event(format_args!("kill -9, and start after {downtime:?}"));
                let image = DatabaseImage::read(daemon.directory());
                let image = self.faults.image_of_crash(image, self.options.planted);
                daemon.kill().await;
                self.continue_from(&image);
                tokio::time::sleep(downtime).await;
            }
            Step::PowerCut { image, downtime } => {
                self.log.event(format_args!("power cut, and start after {downtime:?}"));
                daemon.kill().await;
                self.continue_from(&image);
                tokio::time::sleep(downtime).await;
            }
            Step::Ended => {
                let ended = daemon.task.is_finished();
                self.log.event(format_args!("the daemon ended by itself: {ended}"));
                daemon.kill().await;
                self.leave_directory();
                let fault = self.faults.set_commit_fault(CommitFault::None);
                if !matches!(fault, CommitFault::IoError | CommitFault::UnconfirmedCommit) {
                    self.log.violation("the daemon ended without a fault of its disk".to_owned());
                }
                tokio::time::sleep(Self::RESTART_DELAY).await;
            }
        }
        None
    }

    /// The files stay with the dead process, whose connections may still close them.
    fn leave_directory(&mut self) {
        let image = DatabaseImage::read(&self.directory);
        self.continue_from(&image);
    }

    fn continue_from(&mut self, image: &DatabaseImage) {
        self.directory = self.home.path().join(format!("{}", self.starts + 1));
        image.write(&self.directory);
        self.faults.crash.send_replace(None);
    }

    pub(super) fn disturb_all(&self) {
        self.model.lock().expect("not poisoned").disturb_all(self.time.elapsed());
    }

    /// While a fault lasts, polls may be late.
    pub(super) fn note_active_faults(&self) {
        let now = self.time.elapsed();
        let mut model = self.model.lock().expect("not poisoned");
        if self.faults.are_active() {
            model.disturb_all(now);
        }
        if self.time.wall_offset_ms() != 0 {
            model.clock_disturbed_at = now;
        }
        for kind in self.services.unhealthy() {
            model.disturb(kind, now);
        }
    }

    pub(super) fn check_waits(&self) {
        self.model.lock().expect("not poisoned").check_waits(self.time.elapsed(), &self.log);
    }

    pub(super) fn check_database(&self, daemon: &RunningDaemon, quiet_for: Duration) {
        let rows = DatabaseRows::read(&daemon.reader, &self.time);
        let (right_time, elapsed) = (self.time.right_time(), self.time.elapsed());
        let now = CheckTime { right_time, elapsed, quiet_for };
        let mut model = self.model.lock().expect("not poisoned");
        check_database(&rows, &mut model, &self.services, now, &self.log);
    }

    fn report(&self) -> Report {
        let model = self.model.lock().expect("not poisoned");
        let (event_count, event_hash) = self.log.digest();
        Report {
            options: self.options,
            simulated: self.time.elapsed(),
            violations: self.log.violations(),
            newest_events: self.log.newest(),
            event_count,
            event_hash,
            requests: model.request_count,
            disturbed_requests: model.disturbed_request_count,
            faults: model.fault_count,
            jobs: model.jobs.len(),
            starts: self.starts,
            longest_wait: model.longest_wait,
        }
    }
}
