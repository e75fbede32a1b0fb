//! The scheduler's loop: feeds inputs to the tracker and performs the actions that it returns.
//!
//! Commands, answers of providers, commits, loaded jobs and time enter the loop as inputs. The loop
//! waits for none of them: requests, commits and loads run as tasks. Only the start and the shutdown
//! wait, for the jobs to be loaded and for the last commit.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::job::{AuditEntry, JobId, MonotonicTime, format_duration};
use crate::policy::RateLimiterStates;
use crate::store::{BatchWriter, MaintenanceTask, ReadError, TrackerStateReader};
use crate::tracker::{Action, Input, Tracker};

use super::cancel_and_check::CancelAndCheckTasks;
use super::error::SchedulerError;
use super::handle::{SchedulerCommand, SchedulerHandle};
use super::job_loader::{JobLoader, LoadEvent};
use super::job_waiters::JobWaiters;
use super::log::{log_anomaly, log_notice};
use super::providers::Providers;
use super::requests::{InFlightRequests, PollOrListRequest};
use super::status::StatusPublisher;
use super::write::{Committer, WriteRequest, WriteResult};

/// The loop and everything that it owns.
#[derive(Debug)]
pub struct Scheduler {
    pub(super) clock: Clock,
    pub(super) tracker: Tracker,
    pub(super) providers: Providers,
    pub(super) reader: Arc<dyn TrackerStateReader>,
    in_flight: InFlightRequests,
    pub(super) cancel_and_check: CancelAndCheckTasks,
    pub(super) committer: Committer,
    pub(super) loader: JobLoader,
    /// Callers that wait until a job is no longer tracked.
    pub(super) untrack_waiters: JobWaiters,
    /// Commands to untrack a job whose change is not decided yet.
    pub(super) untrack_audit: HashMap<JobId, Vec<AuditEntry>>,
    commands: mpsc::Receiver<SchedulerCommand>,
    maintenance_tasks: mpsc::Receiver<MaintenanceTask>,
    /// The order to delete old jobs, while the time is not certain.
    pub(super) waiting_prune: Option<MaintenanceTask>,
    pub(super) status: StatusPublisher,
    /// When the loop last ran.
    last_turn_at: MonotonicTime,
    /// When the tracker was last woken by the time alone.
    last_tick_at: MonotonicTime,
    /// Whether the unfinished jobs are loaded.
    pub(super) ready: bool,
    /// Whether no more requests are sent.
    pub(super) shutting_down: bool,
}

impl Scheduler {
    const COMMAND_QUEUE_CAPACITY: usize = 64;
    /// Of runs that have ended, whose starts are read at a start.
    const MAX_ENDED_RUNS: u32 = 10_000;
    /// The loop runs every second. After a longer break the machine was suspended, or the process was
    /// stopped.
    const MAX_TURN_INTERVAL: Duration = Duration::from_secs(10);
    /// At a high rate the requests of this time are sent together, because each wake-up costs as much as a request.
    const MIN_TICK_INTERVAL: Duration = Duration::from_millis(20);

    /// A scheduler for the jobs of the store, and the handle that commands it. Each of
    /// `maintenance_tasks` is performed with a batch.
    #[must_use]
    pub fn new(
        clock: Clock,
        writer: Box<dyn BatchWriter>,
        reader: Arc<dyn TrackerStateReader>,
        maintenance_tasks: mpsc::Receiver<MaintenanceTask>,
    ) -> (Self, SchedulerHandle) {
        let (sender, commands) = mpsc::channel(Self::COMMAND_QUEUE_CAPACITY);
        let status = StatusPublisher::new(&clock);
        let handle = SchedulerHandle::new(sender, status.subscribe());
        let scheduler = Self {
            tracker: Tracker::default(),
            providers: Providers::default(),
            reader,
            in_flight: InFlightRequests::new(clock.clone()),
            cancel_and_check: CancelAndCheckTasks::default(),
            committer: Committer::new(writer, clock.monotonic_now()),
            loader: JobLoader::default(),
            untrack_waiters: JobWaiters::default(),
            untrack_audit: HashMap::new(),
            commands,
            maintenance_tasks,
            waiting_prune: None,
            status,
            last_turn_at: clock.monotonic_now(),
            last_tick_at: MonotonicTime::default(),
            clock,
            ready: false,
            shutting_down: false,
        };
        (scheduler, handle)
    }

    /// Runs until `shutdown` is cancelled; then commits what is decided.
    ///
    /// # Errors
    /// If the database cannot be used any longer.
    pub async fn run(
        mut self,
        providers: Providers,
        shutdown: CancellationToken,
    ) -> Result<(), SchedulerError> {
        let recorded_times = self.reader.recorded_times().await?;
        self.feed_tracker(Input::LoadRecordedTimes(recorded_times));
        let rate_limiters = self.reader.rate_limiter_states().await?;
        self.feed_tracker(Input::LoadRateLimiterStates(rate_limiters));
        self.configure(providers);
        self.load_duration_samples().await?;
        self.load_jobs().await?;
        let ended_runs = self.reader.ended_runs(Self::MAX_ENDED_RUNS).await?;
        self.feed_tracker(Input::LoadRunStarts(ended_runs));
        self.ready = true;
        let mut result = self.run_loop(&shutdown).await;
        if result.is_ok() {
            result = self.commit_what_is_decided().await;
        }
        // Requests in flight are aborted, and count as ending now.
        let rate_limiters = match result {
            Ok(()) => self.tracker.rate_limiter_states(self.clock.monotonic_now()),
            Err(_) => RateLimiterStates::new(),
        };
        // Also after a fatal error: what was acknowledged may have to be saved.
        self.committer.close(rate_limiters).await;
        result
    }

    async fn run_loop(&mut self, shutdown: &CancellationToken) -> Result<(), SchedulerError> {
        self.last_turn_at = self.clock.monotonic_now();
        while !shutdown.is_cancelled() {
            self.notice_suspend();
            self.update_batch_times();
            self.committer.start_if_due(self.clock.monotonic_now());
            self.publish_status_if_due();
            let wakeup = self.next_wakeup();
            // In this order, so that the loop is deterministic, and no flood of commands delays what is
            // decided already.
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                result = self.committer.wait_for_write() => self.finish_write(result?)?,
                Some(inputs) = self.in_flight.next_completed() => {
                    for input in inputs {
                        self.feed_tracker(input);
                    }
                }
                Some(input) = self.cancel_and_check.next_finished() => self.feed_tracker(input),
                event = self.loader.next_event() => self.handle_load_event(event),
                () = self.clock.sleep_until(wakeup) => self.tick(),
                Some(task) = self.maintenance_tasks.recv() => self.order_maintenance(task),
                Some(command) = self.commands.recv() => self.handle_command(command),
            }
        }
        Ok(())
    }

    fn notice_suspend(&mut self) {
        let now = self.clock.monotonic_now();
        let break_time = now.duration_since(self.last_turn_at);
        self.last_turn_at = now;
        if break_time > Self::MAX_TURN_INTERVAL {
            tracing::info!(
                "the machine was suspended, or jobtrackd was stopped, for {}; requests in flight \
                 are sent again",
                format_duration(break_time)
            );
            self.in_flight.interrupt();
        }
    }

    fn finish_write(&mut self, result: WriteResult) -> Result<(), SchedulerError> {
        let now = self.clock.monotonic_now();
        if let Some(outcome) = self.committer.handle_write_result(result, now)? {
            self.handle_batch_outcome(outcome);
        }
        Ok(())
    }

    async fn load_duration_samples(&mut self) -> Result<(), ReadError> {
        let mut after = 0;
        loop {
            let page = self.reader.duration_samples(after, JobLoader::PAGE_SIZE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.id;
            let samples = page.into_iter().map(|stored| (stored.provider, stored.sample));
            self.feed_tracker(Input::LoadDurationSamples(samples.collect()));
        }
    }

    /// Loads all unfinished jobs before any command is handled.
    async fn load_jobs(&mut self) -> Result<(), SchedulerError> {
        self.loader.start(self.reader.clone());
        loop {
            match self.loader.next_event().await {
                LoadEvent::Page(jobs) => self.feed_tracker(Input::Track(jobs)),
                LoadEvent::Finished => return Ok(()),
                LoadEvent::Failed(error) => return Err(error),
            }
        }
    }

    fn handle_load_event(&mut self, event: LoadEvent) {
        match event {
            LoadEvent::Page(jobs) => self.feed_tracker(Input::Track(jobs)),
            LoadEvent::Finished => {}
            LoadEvent::Failed(error) => {
                tracing::warn!(
                    "cannot load the unfinished jobs after a write error; some may not be polled \
                     until this is tried again with the next commit: {error}"
                );
                self.committer.request_job_reload();
            }
        }
    }

    /// Gives an input to the tracker and performs the actions that it returns.
    pub(super) fn feed_tracker(&mut self, input: Input) {
        for action in self.tracker.handle(input, self.clock.read()) {
            match action {
                Action::Poll(request) => self.send_request(PollOrListRequest::Poll(request)),
                Action::List(request) => self.send_request(PollOrListRequest::List(request)),
                Action::Cancel(..)
                | Action::CheckConnection(_)
                | Action::RefuseCancel(..)
                | Action::ReplyToCancel(..)
                | Action::ReplyToConnectionCheck(..)
                | Action::RefuseConnectionCheck(..)
                | Action::ShareConnectionCheck(..) => self.perform_on_demand(action),
                Action::Commit(change) => {
                    let change = self.with_untrack_audit(change);
                    self.committer.enqueue(WriteRequest::Change(change));
                }
                Action::RecordPoll { poll_record: record, urgent } => {
                    self.committer.enqueue(WriteRequest::PollRecord { record, urgent });
                }
                Action::RecordNextPolls(times) => {
                    self.committer.enqueue(WriteRequest::NextPolls(times));
                }
                Action::RecordAnomaly(anomaly) => {
                    log_anomaly(&anomaly);
                    self.committer.enqueue(WriteRequest::Anomaly(anomaly));
                }
                Action::RecordOutage(outage) => {
                    self.committer.enqueue(WriteRequest::Outage(outage));
                }
                Action::Notify(notice) => log_notice(&notice),
            }
        }
    }

    fn send_request(&mut self, request: PollOrListRequest) {
        if !self.shutting_down {
            let provider = self.client_of(request.provider());
            self.in_flight.send(request, provider);
        }
    }

    fn tick(&mut self) {
        self.last_tick_at = self.clock.monotonic_now();
        self.feed_tracker(Input::Tick);
    }

    fn next_wakeup(&self) -> MonotonicTime {
        let earliest_tick = self.last_tick_at.plus(Self::MIN_TICK_INTERVAL);
        let tracker = self.tracker.next_wakeup().map(|at| at.max(earliest_tick));
        [tracker, self.committer.next_wakeup()]
            .into_iter()
            .flatten()
            .fold(self.status.next_wakeup(), MonotonicTime::min)
    }

    /// Drops requests in flight, and commits what is decided unless the last write has failed.
    async fn commit_what_is_decided(&mut self) -> Result<(), SchedulerError> {
        self.commands.close();
        self.shutting_down = true;
        self.in_flight.shutdown().await;
        self.cancel_and_check.shutdown().await;
        loop {
            self.update_batch_times();
            if !self.committer.flush(self.clock.monotonic_now()) {
                return Ok(());
            }
            let result = self.committer.wait_for_write().await?;
            self.finish_write(result)?;
        }
    }
}
