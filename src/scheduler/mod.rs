//! The IO shell of the tracker: one loop that feeds it what happened and performs what it answers.
//!
//! Polls run as tasks of their own, one batch of writes at a time in another. Everything that
//! changes a job passes through this loop, and nothing in it blocks. What it knows it publishes as
//! a [`Snapshot`].

mod committer;
mod durations;
mod handle;
mod on_demand;
mod provider_rename;
mod requests;
mod snapshot;
mod write_queue;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::job::{Change, JobId, MonotonicTime, NewJob, ProviderName};
use crate::store::{MaintenanceTask, ReadError, Reader, WriteError, Writer};
use crate::tracker::{Action, Input, Notice, ProviderReport, Tracker};

use committer::{BatchOutcome, Committer};
use durations::PendingForgetDurations;
use handle::SchedulerCommand;
pub use handle::{CommandError, ConfiguredProvider, JobSpec, Providers, SchedulerHandle};
use on_demand::OnDemandRequests;
pub use provider_rename::provider_renames;
use requests::{InFlightRequests, ProviderRequest};
pub use snapshot::{ProviderSnapshot, SchedulerSnapshot};
use write_queue::{PendingAdd, ReplySender};

/// Why the scheduler cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// The database cannot be written, and waiting will not help.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// The jobs cannot be loaded.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A task of ours broke.
    #[error("a core task ended: {0}")]
    Task(JoinError),
}

/// Runs until told to end.
#[derive(Debug)]
pub struct Scheduler {
    clock: Clock,
    tracker: Tracker,
    providers: Providers,
    reader: Reader,
    in_flight: InFlightRequests,
    on_demand: OnDemandRequests,
    committer: Committer,
    /// Callers that wait until a job is no longer held.
    untrack_waiters: HashMap<JobId, Vec<ReplySender>>,
    /// Callers that wait for the change that is being written.
    awaiting_commit: HashMap<JobId, Vec<ReplySender>>,
    commands: mpsc::Receiver<SchedulerCommand>,
    maintenance_tasks: mpsc::Receiver<MaintenanceTask>,
    snapshots: watch::Sender<Arc<SchedulerSnapshot>>,
    ready: bool,
    /// Nobody is asked any more.
    shutting_down: bool,
    publish_pending: bool,
}

impl Scheduler {
    const MIN_PUBLISH_INTERVAL: Duration = Duration::from_millis(100);
    const COMMAND_QUEUE_CAPACITY: usize = 64;
    const LOAD_PAGE_SIZE: u32 = 5000;

    /// A scheduler for the jobs of the store, and the handle that commands it. What is ordered
    /// through `orders` is done between two batches.
    #[must_use]
    pub fn new(
        clock: Clock,
        writer: Writer,
        reader: Reader,
        maintenance_tasks: mpsc::Receiver<MaintenanceTask>,
    ) -> (Self, SchedulerHandle) {
        let (sender, commands) = mpsc::channel(Self::COMMAND_QUEUE_CAPACITY);
        let initial = SchedulerSnapshot::initial(clock.monotonic_now(), Clock::utc_now());
        let snapshots = watch::Sender::new(Arc::new(initial));
        let handle = SchedulerHandle { commands: sender, snapshots: snapshots.subscribe() };
        let scheduler = Self {
            clock,
            tracker: Tracker::default(),
            providers: Providers::new(),
            reader,
            in_flight: InFlightRequests::default(),
            on_demand: OnDemandRequests::default(),
            committer: Committer::new(writer, clock.monotonic_now()),
            untrack_waiters: HashMap::new(),
            awaiting_commit: HashMap::new(),
            commands,
            maintenance_tasks,
            snapshots,
            ready: false,
            shutting_down: false,
            publish_pending: false,
        };
        (scheduler, handle)
    }

    /// Polls until `shutdown`; then commits what is decided, and ends.
    ///
    /// # Errors
    /// If the database cannot be used any more.
    pub async fn run(
        mut self,
        providers: Providers,
        shutdown: CancellationToken,
    ) -> Result<(), SchedulerError> {
        self.apply_providers(providers);
        self.load_duration_samples().await?;
        self.load_unfinished_jobs().await?;
        self.ready = true;
        while !shutdown.is_cancelled() {
            self.committer.start_if_due(self.clock.monotonic_now());
            self.publish_snapshot();
            let wakeup = self.clock.tokio_instant(self.next_wakeup());
            tokio::select! {
                Some(command) = self.commands.recv() => self.handle_command(command),
                Some(input) = self.in_flight.next_completed() => self.feed_tracker(input),
                Some(provider) = self.on_demand.next_finished() => self.feed_tracker(Input::OnDemandRequestFinished(provider)),
                result = self.committer.wait_for_write() => {
                    let outcome = self.committer.handle_write_result(result.map_err(SchedulerError::Task)?, self.clock.monotonic_now())?;
                    self.handle_batch_outcome(outcome).await;
                }
                Some(task) = self.maintenance_tasks.recv() => self.committer.queue.push_maintenance(task),
                () = tokio::time::sleep_until(wakeup) => self.feed_tracker(Input::Tick),
                () = shutdown.cancelled() => {}
            }
        }
        self.shut_down().await
    }

    async fn load_unfinished_jobs(&mut self) -> Result<(), ReadError> {
        let mut after = JobId(0);
        loop {
            let page = self.reader.unfinished_jobs(after, Self::LOAD_PAGE_SIZE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.id;
            self.feed_tracker(Input::Track(page));
        }
    }

    fn feed_tracker(&mut self, input: Input) {
        for action in self.tracker.handle(input, self.clock.read()) {
            match action {
                Action::Poll(question) => self.send_request(ProviderRequest::Poll(question)),
                Action::List(question) => self.send_request(ProviderRequest::List(question)),
                Action::Commit(change) => self.committer.queue.push_change(change),
                Action::RecordPoll { poll_record: note, urgent } => {
                    self.committer.queue.push_poll_record(note, urgent);
                }
                Action::RecordAnomaly(anomaly) => {
                    tracing::warn!(job = %anomaly.job, "job {}: contradiction: {}", anomaly.job, anomaly.description);
                    self.committer.queue.push_anomaly(anomaly);
                }
                Action::RecordOutage(outage) => self.committer.queue.push_outage(outage),
                Action::Notify(tell) => log_notice(&tell),
            }
        }
    }

    fn send_request(&mut self, request: ProviderRequest) {
        if !self.shutting_down {
            let configured = self.providers.get(request.provider());
            self.in_flight.send(request, configured.map(|known| known.provider.clone()));
        }
    }

    fn handle_command(&mut self, command: SchedulerCommand) {
        match command {
            SchedulerCommand::Add(specs, reply) => {
                let now = Clock::utc_now();
                let mut jobs = Vec::with_capacity(specs.len());
                let rejected = specs.into_iter().map(|job| {
                    let Some(configured) = self.providers.get(&job.provider) else {
                        return Some(self.provider_not_configured(&job.provider).to_string());
                    };
                    if let Err(reason) = configured.provider.validate_id(&job.remote_id) {
                        return Some(reason);
                    }
                    jobs.push(NewJob {
                        kind: configured.kind,
                        provider: job.provider,
                        remote_id: job.remote_id,
                        labels: job.labels,
                        give_up_after: job.give_up_after,
                        similarity_keys: job.similarity_keys,
                        added_by: job.added_by,
                        registered_at: now,
                    });
                    None
                });
                let rejected = rejected.collect();
                self.committer.queue.push_add(PendingAdd { jobs, rejections: rejected, reply });
            }
            SchedulerCommand::PollOnDemand(job, waiter) => {
                if !self.providers.contains_key(&job.provider) {
                    let _ = waiter.send(Err(self.provider_not_configured(&job.provider)));
                    return;
                }
                if self.tracker.is_committing(job.id) {
                    // An answer that came just now is being written: that is the news asked for.
                    self.awaiting_commit.entry(job.id).or_default().push(waiter);
                } else {
                    self.committer.queue.add_waiter(job.id, waiter);
                }
                self.feed_tracker(Input::PollNow(job));
            }
            SchedulerCommand::Untrack(job, reason, waiter) => {
                let id = job.id;
                self.untrack_waiters.entry(id).or_default().push(waiter);
                self.feed_tracker(Input::Track(vec![*job]));
                self.feed_tracker(Input::Untrack(id, reason));
                self.notify_untracked();
            }
            SchedulerCommand::Cancel(provider, id, waiter) => {
                self.start_cancel(provider, id, waiter);
            }
            SchedulerCommand::CheckConnection(provider, waiter) => {
                self.start_connection_check(provider, waiter);
            }
            SchedulerCommand::ForgetDurations(forget, reply) => {
                self.committer
                    .queue
                    .push_forget_durations(PendingForgetDurations { forget, reply });
            }
            SchedulerCommand::Forecast(job, reply) => {
                let _ = reply.send(self.tracker.forecast(job, self.clock.monotonic_now()));
            }
            SchedulerCommand::Configure(pending) => self.handle_configure(pending),
        }
    }

    fn apply_providers(&mut self, providers: Providers) {
        let settings = providers.values().map(|configured| configured.settings.clone()).collect();
        self.providers = providers;
        self.feed_tracker(Input::Configure(settings));
    }

    fn provider_not_configured(&self, name: &ProviderName) -> CommandError {
        let mut names: Vec<_> = self.providers.keys().map(ProviderName::as_str).collect();
        names.sort_unstable();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        CommandError::ProviderNotConfigured(name.clone(), names)
    }

    /// Those who wait for the end of a job that is no longer held have their answer.
    fn notify_untracked(&mut self) {
        let tracker = &self.tracker;
        for (_, waiters) in self.untrack_waiters.extract_if(|job, _| !tracker.contains(*job)) {
            notify(Some(waiters));
        }
    }

    async fn handle_batch_outcome(&mut self, outcome: Option<BatchOutcome>) {
        let Some(mut outcome) = outcome else { return };
        if let Some(pending) = outcome.replies.configure {
            self.finish_configure(pending, &mut outcome.report);
        }
        let registered = &outcome.report.registered;
        let added = registered.iter().filter(|job| job.is_new).count();
        if added > 0 {
            tracing::info!("{added} jobs registered");
        }
        self.feed_tracker(Input::Track(registered.iter().map(|one| one.job.clone()).collect()));
        self.complete_forget_durations(
            outcome.replies.forget_durations,
            outcome.report.forgotten_samples,
        );
        let mut registered = outcome.report.registered.into_iter();
        for add in outcome.replies.adds {
            add.acknowledge(&mut registered);
        }
        let mut rejected: HashMap<_, _> = outcome.report.rejected_changes.into_iter().collect();
        for change in outcome.batch.changes {
            let job = change.job;
            if let Some(found) = rejected.remove(&job) {
                self.feed_tracker(Input::ChangeRejected(job, found.map(Box::new)));
            } else {
                log_change(&change);
                self.feed_tracker(Input::ChangeCommitted(job));
            }
            notify(self.awaiting_commit.remove(&job));
        }
        for (job, found) in outcome.report.stale_poll_records {
            self.feed_tracker(Input::PollRecordRejected(job, found.map(Box::new)));
        }
        notify(Some(outcome.replies.waiters));
        for job in outcome.unwritable_jobs {
            tracing::error!(%job, "job {job}: what is to be written of it is refused; it is not asked any more until the next start");
            self.feed_tracker(Input::ChangeRejected(job, None));
        }
        self.notify_untracked();
        if outcome.resync_jobs
            && let Err(error) = self.load_unfinished_jobs().await
        {
            tracing::warn!("some jobs may not be held yet, the next commit tries again: {error}");
            self.committer.request_resync();
        }
    }

    fn next_wakeup(&self) -> MonotonicTime {
        let published_at = self.snapshots.borrow().taken_at;
        let interval = if self.publish_pending {
            Self::MIN_PUBLISH_INTERVAL
        } else {
            SchedulerSnapshot::MAX_PUBLISH_INTERVAL
        };
        let publish = published_at.plus(interval);
        [self.tracker.next_wakeup(), self.committer.next_wakeup()]
            .into_iter()
            .flatten()
            .fold(publish, MonotonicTime::min)
    }

    fn publish_snapshot(&mut self) {
        let now = self.clock.monotonic_now();
        let last = self.snapshots.borrow().clone();
        self.publish_pending = last.ready == self.ready
            && now.duration_since(last.taken_at) < Self::MIN_PUBLISH_INTERVAL;
        if self.publish_pending {
            return;
        }
        let kind = |report: &ProviderReport| {
            self.providers.get(&report.provider).map(|configured| configured.kind)
        };
        let reports = self.tracker.report(now).into_iter();
        self.snapshots.send_replace(Arc::new(SchedulerSnapshot {
            taken_at: now,
            taken_at_utc: Clock::utc_now(),
            ready: self.ready,
            providers: reports
                .map(|report| ProviderSnapshot { kind: kind(&report), report })
                .collect(),
            unwritten_changes: self.committer.unwritten_changes() as u64,
            write_error: self.committer.write_error().map(str::to_owned),
            wal_bytes: self.committer.wal_bytes(),
        }));
    }

    /// Drops the polls under way, and writes what is decided, if it can be written.
    async fn shut_down(mut self) -> Result<(), SchedulerError> {
        self.commands.close();
        self.shutting_down = true;
        self.in_flight.shutdown().await;
        self.on_demand.shutdown().await;
        while self.committer.is_writing() || self.committer.flush(self.clock.monotonic_now()) {
            let result = self.committer.wait_for_write().await.map_err(SchedulerError::Task)?;
            let outcome = self.committer.handle_write_result(result, self.clock.monotonic_now())?;
            self.handle_batch_outcome(outcome).await;
        }
        self.committer.close().await;
        Ok(())
    }
}

/// A caller that went away is not missed.
fn notify(waiters: Option<Vec<ReplySender>>) {
    for waiter in waiters.into_iter().flatten() {
        let _ = waiter.send(Ok(()));
    }
}

fn log_notice(notice: &Notice) {
    match notice {
        Notice::Failing { provider, reason: why } => {
            tracing::warn!(%provider, "{provider}: polls fail; no job changes state: {why}");
        }
        Notice::Paused { provider, reason: why, duration: span } => {
            let pause = humantime::format_duration(Duration::from_secs(span.as_secs()));
            tracing::warn!(
                %provider,
                "{provider}: refused; the provider is left alone for {pause}: {why}"
            );
        }
        Notice::Recovered { provider } => tracing::info!(%provider, "{provider}: answers again"),
        Notice::UnknownState { provider, provider_state: word } => {
            tracing::warn!(%provider, "{provider}: a state that is not known, kept as it is: {word}");
        }
    }
}

fn log_change(change: &Change) {
    let (job, state) = (change.job, change.new_state.state());
    if state.is_terminal() {
        tracing::info!(%job, "job {job}: {state}");
    } else {
        tracing::debug!(%job, "job {job}: {state}");
    }
}
