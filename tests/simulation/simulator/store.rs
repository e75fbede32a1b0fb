//! The store of a simulation: the real one, with faults in front of it.
//!
//! A call of the real store takes no simulated time: it runs to its end while the time stands still, so
//! that the order of all events depends on the seed alone. Delays, failed commits and crashes are
//! simulated around it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures_util::future::BoxFuture;
use jobtrack::job::{DurationSample, JobId, ProviderName, RecordedTimes, StoredJob};
use jobtrack::policy::RateLimiterStates;
use jobtrack::store::{
    Batch, BatchWriter, CommitReport, ReadError, Reader, StoredDurationSample, TrackerStateReader,
    WriteError, Writer,
};
use tokio::sync::watch;
use tokio::time::sleep;

use super::database::DatabaseImage;
use super::event_log::EventLog;
use super::model::Model;
use super::plan::PlantedBug;
use super::time::SimulatedTime;

/// The runtime in which the connections of SQLite live; its clock is real.
static STORE_RUNTIME: OnceLock<tokio::runtime::Runtime> = OnceLock::new();

/// Runs a call of the real store to its end while the simulated time stands still.
pub fn run_to_end<F: Future>(time: &SimulatedTime, call: F) -> F::Output {
    let runtime = STORE_RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).enable_time().build().expect("a runtime")
    });
    time.freeze();
    let output = {
        let _context = runtime.enter();
        futures_executor::block_on(tokio::task::unconstrained(call))
    };
    time.unfreeze();
    output
}

/// What happens to the commits until it is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommitFault {
    None,
    /// Another program holds the lock.
    Busy,
    /// No room: nothing is written.
    NoSpace,
    /// An I/O error before anything is written.
    IoError,
    /// An error of the last fsync: the batch is written and not confirmed.
    UnconfirmedCommit,
    /// The disk does not answer for a while.
    Stall(Duration),
}

/// A crash that happens at one of the next commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashPoint {
    Before,
    /// A power cut between the first write and the last fsync.
    During,
    After,
}

/// The faults of the store, set by the operations of the scenario. One for all starts of the daemon.
#[derive(Debug)]
pub struct StoreFaults {
    pub state: Mutex<StoreFaultState>,
    /// The image of the files after a crash at a commit.
    pub crash: watch::Sender<Option<Arc<DatabaseImage>>>,
}

#[derive(Debug)]
pub struct StoreFaultState {
    pub commit_fault: CommitFault,
    pub crash_at: Option<CrashPoint>,
    pub fail_reads: bool,
    pub random: fastrand::Rng,
    /// Images before the last two commits, for a disk that loses what it confirmed.
    older_images: [DatabaseImage; 2],
    heartbeats: u64,
}

impl StoreFaults {
    pub fn new(seed: u64) -> Self {
        let state = StoreFaultState {
            commit_fault: CommitFault::None,
            crash_at: None,
            fail_reads: false,
            random: fastrand::Rng::with_seed(seed),
            older_images: [DatabaseImage::default(), DatabaseImage::default()],
            heartbeats: 0,
        };
        Self { state: Mutex::new(state), crash: watch::Sender::new(None) }
    }

    fn with<T>(&self, action: impl FnOnce(&mut StoreFaultState) -> T) -> T {
        action(&mut self.state.lock().expect("no panic while the faults are locked"))
    }

    pub fn are_active(&self) -> bool {
        self.with(|state| state.commit_fault != CommitFault::None || state.fail_reads)
    }

    /// Sets what happens to the commits from now on; returns what happened before.
    pub fn set_commit_fault(&self, fault: CommitFault) -> CommitFault {
        self.with(|state| std::mem::replace(&mut state.commit_fault, fault))
    }

    /// The image that a crash leaves of the files as they are now.
    pub fn image_of_crash(&self, now: DatabaseImage, planted: Option<PlantedBug>) -> DatabaseImage {
        match planted {
            Some(PlantedBug::LostCommit) => self.with(|state| state.older_images[0].clone()),
            Some(_) | None => now,
        }
    }
}

/// Stands for the process of one start of the daemon: false once it was killed.
pub type Alive = Arc<AtomicBool>;

/// What all faults in front of one store share.
#[derive(Debug, Clone)]
pub struct StoreContext {
    pub time: Arc<SimulatedTime>,
    pub log: EventLog,
    pub model: Arc<Mutex<Model>>,
    pub faults: Arc<StoreFaults>,
    pub alive: Alive,
    pub directory: PathBuf,
    pub planted: Option<PlantedBug>,
}

impl StoreContext {
    /// Returns unless the process is dead.
    async fn continue_if_alive(&self) {
        if !self.alive.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }
}

#[derive(Debug)]
pub struct FaultyWriter {
    pub context: StoreContext,
    pub writer: Writer,
}

impl FaultyWriter {
    /// Of the batches that hold nothing but the time of the heartbeat, one in twenty is written.
    const WRITTEN_HEARTBEATS: u64 = 20;

    async fn write_with_faults(&mut self, batch: &Batch) -> Result<CommitReport, WriteError> {
        let faults = self.context.faults.clone();
        let (fault, before, after) = faults.with(|state| {
            let ms = |range: std::ops::Range<u64>, random: &mut fastrand::Rng| {
                Duration::from_millis(random.u64(range))
            };
            let before = match state.commit_fault {
                CommitFault::Stall(stall) => stall,
                CommitFault::Busy => Duration::from_secs(1),
                _ => ms(0..4, &mut state.random),
            };
            (state.commit_fault, before, ms(0..20, &mut state.random))
        });
        sleep(before).await;
        self.context.continue_if_alive().await;
        let failure = match fault {
            CommitFault::None | CommitFault::Stall(_) | CommitFault::UnconfirmedCommit => None,
            CommitFault::Busy => Some(WriteError::Busy),
            CommitFault::NoSpace => Some(WriteError::NoSpace("simulated".into())),
            CommitFault::IoError => Some(WriteError::Io("simulated".into())),
        };
        if let Some(failure) = failure {
            return Err(failure);
        }
        if is_heartbeat(batch) {
            let number = faults.with(|state| {
                state.heartbeats += 1;
                state.heartbeats
            });
            if !number.is_multiple_of(Self::WRITTEN_HEARTBEATS) {
                return Ok(CommitReport::default());
            }
        }
        let result = self.commit(batch).await;
        sleep(after).await;
        self.context.continue_if_alive().await;
        if fault == CommitFault::UnconfirmedCommit {
            return result.and(Err(WriteError::Io("simulated failure of fsync".into())));
        }
        if let Ok(report) = &result {
            let mut model = self.context.model.lock().expect("no panic while the model is locked");
            model.confirm_batch(batch, report);
        }
        result
    }

    /// Writes the batch, unless the machine crashes at this commit.
    async fn commit(&mut self, batch: &Batch) -> Result<CommitReport, WriteError> {
        let StoreContext { time, log, faults, directory, planted, .. } = &self.context;
        let crash_at = faults.with(|state| state.crash_at.take());
        let before = (crash_at.is_some() || *planted == Some(PlantedBug::LostCommit))
            .then(|| DatabaseImage::read(directory));
        if crash_at == Some(CrashPoint::Before) {
            let before = before.expect("it was read for the crash");
            self.crash(before).await
        } else {
            let result = run_to_end(time, self.writer.write(batch));
            let (changes, records) = (batch.changes.len(), batch.poll_records.len());
            let adds = batch.new_jobs.len();
            let outcome = result.as_ref().map(drop);
            log.event(format_args!(
                "commit of {adds} adds, {changes} changes, {records} records: {outcome:?}"
            ));
            let Some(before) = before else { return result };
            if *planted == Some(PlantedBug::LostCommit) {
                faults.with(|state| {
                    state.older_images.rotate_left(1);
                    state.older_images[1] = before.clone();
                });
            }
            let Some(crash_at) = crash_at else { return result };
            let after = DatabaseImage::read(directory);
            let left = match crash_at {
                CrashPoint::During => faults.with(|state| before.torn(&after, &mut state.random)),
                CrashPoint::Before | CrashPoint::After => after,
            };
            self.crash(left).await
        }
    }

    async fn crash<T>(&self, left: DatabaseImage) -> T {
        let StoreContext { faults, planted, .. } = &self.context;
        faults.crash.send_replace(Some(Arc::new(faults.image_of_crash(left, *planted))));
        std::future::pending().await
    }
}

/// Whether the batch holds nothing but the time. Names every field: a new one counts.
fn is_heartbeat(batch: &Batch) -> bool {
    let Batch {
        new_jobs,
        changes,
        poll_records,
        next_polls,
        anomalies,
        outages,
        commands,
        maintenance,
        audit,
        times: _,
    } = batch;
    new_jobs.is_empty()
        && changes.is_empty()
        && poll_records.is_empty()
        && next_polls.is_empty()
        && anomalies.is_empty()
        && outages.is_empty()
        && commands.is_empty()
        && maintenance.is_none()
        && audit.is_empty()
}

impl BatchWriter for FaultyWriter {
    fn write<'a>(
        &'a mut self,
        batch: &'a Batch,
    ) -> BoxFuture<'a, Result<CommitReport, WriteError>> {
        Box::pin(self.write_with_faults(batch))
    }

    fn close(self: Box<Self>, rate_limiters: RateLimiterStates) -> BoxFuture<'static, ()> {
        let Self { context, writer } = *self;
        run_to_end(&context.time, writer.close(rate_limiters));
        Box::pin(std::future::ready(()))
    }
}

#[derive(Debug)]
pub struct FaultyReader {
    pub context: StoreContext,
    pub reader: Reader,
}

impl FaultyReader {
    async fn delay(&self) -> Result<(), ReadError> {
        let (delay, fails) = self
            .context
            .faults
            .with(|state| (Duration::from_millis(state.random.u64(0..5)), state.fail_reads));
        sleep(delay).await;
        if fails { Err(ReadError::Database("simulated".into())) } else { Ok(()) }
    }
}

impl TrackerStateReader for FaultyReader {
    fn unfinished_jobs(
        &self,
        after: JobId,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<StoredJob>, ReadError>> {
        Box::pin(async move {
            self.delay().await?;
            let call = self.reader.unfinished_jobs(after, limit);
            let mut jobs = run_to_end(&self.context.time, call)?;
            if self.context.planted == Some(PlantedBug::ForgottenJob) {
                jobs.retain(|job| job.id.0 % 3 != 0);
            }
            Ok(jobs)
        })
    }

    fn recorded_times(&self) -> BoxFuture<'_, Result<RecordedTimes, ReadError>> {
        Box::pin(async move {
            self.delay().await?;
            run_to_end(&self.context.time, self.reader.recorded_times())
        })
    }

    fn rate_limiter_states(&self) -> BoxFuture<'_, Result<RateLimiterStates, ReadError>> {
        Box::pin(async move {
            self.delay().await?;
            run_to_end(&self.context.time, self.reader.rate_limiter_states())
        })
    }

    fn duration_samples(
        &self,
        after: i64,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<StoredDurationSample>, ReadError>> {
        Box::pin(async move {
            self.delay().await?;
            run_to_end(&self.context.time, self.reader.duration_samples(after, limit))
        })
    }

    fn ended_runs(
        &self,
        limit: u32,
    ) -> BoxFuture<'_, Result<Vec<(ProviderName, DurationSample)>, ReadError>> {
        Box::pin(async move {
            self.delay().await?;
            run_to_end(&self.context.time, self.reader.ended_runs(limit))
        })
    }
}
