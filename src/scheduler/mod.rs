//! The IO shell of the tracker: one loop that feeds it what happened and performs what it answers.
//!
//! Polls run as tasks of their own, one batch of writes at a time in another. Everything that
//! changes a job passes through this loop, and nothing in it blocks. What it knows it publishes as
//! a [`Snapshot`].

mod errand;
mod handle;
mod lessons;
mod outbox;
mod pen;
mod polls;
mod rename;
mod snapshot;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::job::{Change, JobId, Mono, NewJob, ProviderName};
use crate::store::{ReadError, Reader, Upkeep, WriteError, Writer};
use crate::tracker::{Action, Input, LaneReport, Tell, Tracker};

use errand::Errands;
use handle::Command;
pub use handle::{Configured, Handle, Providers, Refusal, Wanted};
use lessons::Forgetting;
use outbox::{Adding, Waiter};
use pen::{Done, Pen};
use polls::{Polls, Sent};
pub use rename::renamings;
pub use snapshot::{Lane, Snapshot};

/// Why the scheduler cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
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
    polls: Polls,
    errands: Errands,
    pen: Pen,
    /// Callers that wait until a job is no longer held.
    untracking: HashMap<JobId, Vec<Waiter>>,
    /// Callers that wait for the change that is being written.
    settling: HashMap<JobId, Vec<Waiter>>,
    commands: mpsc::Receiver<Command>,
    orders: mpsc::Receiver<Upkeep>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    ready: bool,
    /// Nobody is asked any more.
    ending: bool,
    unpublished: bool,
}

impl Scheduler {
    const PUBLISH_PERIOD: Duration = Duration::from_millis(100);
    const COMMANDS_WAITING: usize = 64;
    const LOAD_PAGE: u32 = 5000;

    /// A scheduler for the jobs of the store, and the handle that commands it. What is ordered
    /// through `orders` is done between two batches.
    #[must_use]
    pub fn new(
        clock: Clock,
        writer: Writer,
        reader: Reader,
        orders: mpsc::Receiver<Upkeep>,
    ) -> (Self, Handle) {
        let (sender, commands) = mpsc::channel(Self::COMMANDS_WAITING);
        let empty = Snapshot::empty(clock.mono(), Clock::wall());
        let snapshots = watch::Sender::new(Arc::new(empty));
        let handle = Handle { commands: sender, snapshots: snapshots.subscribe() };
        let scheduler = Self {
            clock,
            tracker: Tracker::default(),
            providers: Providers::new(),
            reader,
            polls: Polls::default(),
            errands: Errands::default(),
            pen: Pen::new(writer, clock.mono()),
            untracking: HashMap::new(),
            settling: HashMap::new(),
            commands,
            orders,
            snapshots,
            ready: false,
            ending: false,
            unpublished: false,
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
    ) -> Result<(), Fatal> {
        self.configure(providers);
        self.remember().await?;
        self.load().await?;
        self.ready = true;
        while !shutdown.is_cancelled() {
            self.pen.start(self.clock.mono());
            self.publish();
            let wake = self.clock.instant(self.wakes_at());
            tokio::select! {
                Some(command) = self.commands.recv() => self.obey(command),
                Some(input) = self.polls.next() => self.step(input),
                Some(provider) = self.errands.ended() => self.step(Input::ErrandEnded(provider)),
                written = self.pen.written() => {
                    let done = self.pen.settle(written.map_err(Fatal::Task)?, self.clock.mono())?;
                    self.committed(done).await;
                }
                Some(upkeep) = self.orders.recv() => self.pen.outbox.upkeep(upkeep),
                () = tokio::time::sleep_until(wake) => self.step(Input::Tick),
                () = shutdown.cancelled() => {}
            }
        }
        self.finish().await
    }

    async fn load(&mut self) -> Result<(), ReadError> {
        let mut after = JobId(0);
        loop {
            let page = self.reader.active(after, Self::LOAD_PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.id;
            self.step(Input::Track(page));
        }
    }

    fn step(&mut self, input: Input) {
        for action in self.tracker.step(input, self.clock.moment()) {
            match action {
                Action::Ask(question) => self.send(Sent::Job(question)),
                Action::List(question) => self.send(Sent::Page(question)),
                Action::Write(change) => self.pen.outbox.change(change),
                Action::Note { note, urgent } => self.pen.outbox.note(note, urgent),
                Action::Anomaly(anomaly) => {
                    tracing::warn!(job = %anomaly.job, "job {}: contradiction: {}", anomaly.job, anomaly.what);
                    self.pen.outbox.anomaly(anomaly);
                }
                Action::Outage(outage) => self.pen.outbox.outage(outage),
                Action::Tell(tell) => log(&tell),
            }
        }
    }

    fn send(&mut self, sent: Sent) {
        if !self.ending {
            let known = self.providers.get(sent.provider());
            self.polls.send(sent, known.map(|known| known.provider.clone()));
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Add(wanted, reply) => {
                let now = Clock::wall();
                let mut jobs = Vec::with_capacity(wanted.len());
                let rejected = wanted.into_iter().map(|job| {
                    let Some(known) = self.providers.get(&job.provider) else {
                        return Some(self.no_provider(&job.provider).to_string());
                    };
                    if let Err(why) = known.provider.check_id(&job.remote_id) {
                        return Some(why);
                    }
                    jobs.push(NewJob {
                        kind: known.kind,
                        provider: job.provider,
                        remote_id: job.remote_id,
                        labels: job.labels,
                        give_up_after: job.give_up_after,
                        likeness: job.likeness,
                        added_by: job.added_by,
                        registered_at: now,
                    });
                    None
                });
                let rejected = rejected.collect();
                self.pen.outbox.add(Adding { jobs, rejected, reply });
            }
            Command::Poll(job, waiter) => {
                if !self.providers.contains_key(&job.provider) {
                    let _ = waiter.send(Err(self.no_provider(&job.provider)));
                    return;
                }
                if self.tracker.is_writing(job.id) {
                    // An answer that came just now is being written: that is the news asked for.
                    self.settling.entry(job.id).or_default().push(waiter);
                } else {
                    self.pen.outbox.wait(job.id, waiter);
                }
                self.step(Input::PollNow(job));
            }
            Command::Untrack(job, why, waiter) => {
                let id = job.id;
                self.untracking.entry(id).or_default().push(waiter);
                self.step(Input::Track(vec![*job]));
                self.step(Input::Untrack(id, why));
                self.tell_untracked();
            }
            Command::Cancel(provider, id, waiter) => self.cancel(provider, id, waiter),
            Command::Check(provider, waiter) => self.check(provider, waiter),
            Command::Forget(what, reply) => {
                self.pen.outbox.forget(Forgetting { what, reply });
            }
            Command::Outlook(job, reply) => {
                let _ = reply.send(self.tracker.outlook(job, self.clock.mono()));
            }
            Command::Configure(new) => self.reconfigure(new),
        }
    }

    fn configure(&mut self, providers: Providers) {
        let settings = providers.values().map(|known| known.settings.clone()).collect();
        self.providers = providers;
        self.step(Input::Configure(settings));
    }

    fn no_provider(&self, name: &ProviderName) -> Refusal {
        let mut names: Vec<_> = self.providers.keys().map(ProviderName::as_str).collect();
        names.sort_unstable();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Refusal::NoProvider(name.clone(), names)
    }

    /// Those who wait for the end of a job that is no longer held have their answer.
    fn tell_untracked(&mut self) {
        let tracker = &self.tracker;
        for (_, waiters) in self.untracking.extract_if(|job, _| !tracker.holds(*job)) {
            tell(Some(waiters));
        }
    }

    async fn committed(&mut self, done: Option<Done>) {
        let Some(mut done) = done else { return };
        if let Some(new) = done.receipts.configuring {
            self.renamed(new, &mut done.committed);
        }
        let entered = &done.committed.entered;
        let added = entered.iter().filter(|entered| entered.is_new).count();
        if added > 0 {
            tracing::info!("{added} jobs registered");
        }
        self.step(Input::Track(entered.iter().map(|one| one.job.clone()).collect()));
        self.forgotten(done.receipts.forgetting, done.committed.forgotten);
        let mut entered = done.committed.entered.into_iter();
        for adding in done.receipts.adding {
            adding.acknowledge(&mut entered);
        }
        let mut refused: HashMap<_, _> = done.committed.refused.into_iter().collect();
        for change in done.batch.changes {
            let job = change.job;
            if let Some(found) = refused.remove(&job) {
                self.step(Input::Refused(job, found.map(Box::new)));
            } else {
                log_change(&change);
                self.step(Input::Written(job));
            }
            tell(self.settling.remove(&job));
        }
        for (job, found) in done.committed.stale {
            self.step(Input::Stale(job, found.map(Box::new)));
        }
        tell(Some(done.receipts.waiting));
        for job in done.unwritable {
            tracing::error!(%job, "job {job}: what is to be written of it is refused; it is not asked any more until the next start");
            self.step(Input::Refused(job, None));
        }
        self.tell_untracked();
        if done.resync
            && let Err(error) = self.load().await
        {
            tracing::warn!("some jobs may not be held yet, the next commit tries again: {error}");
            self.pen.resync_again();
        }
    }

    fn wakes_at(&self) -> Mono {
        let published_at = self.snapshots.borrow().at;
        let news = if self.unpublished { Self::PUBLISH_PERIOD } else { Snapshot::PERIOD };
        let publish = published_at.plus(news);
        [self.tracker.wakes_at(), self.pen.wakes_at()]
            .into_iter()
            .flatten()
            .fold(publish, Mono::min)
    }

    fn publish(&mut self) {
        let now = self.clock.mono();
        let last = self.snapshots.borrow().clone();
        self.unpublished = last.ready == self.ready && now.since(last.at) < Self::PUBLISH_PERIOD;
        if self.unpublished {
            return;
        }
        let kind = |report: &LaneReport| self.providers.get(&report.name).map(|known| known.kind);
        let lanes = self.tracker.report(now).into_iter();
        self.snapshots.send_replace(Arc::new(Snapshot {
            at: now,
            wall: Clock::wall(),
            ready: self.ready,
            lanes: lanes.map(|report| Lane { kind: kind(&report), report }).collect(),
            unwritten_changes: self.pen.unwritten_changes() as u64,
            write_error: self.pen.error().map(str::to_owned),
            wal_bytes: self.pen.wal_bytes(),
        }));
    }

    /// Drops the polls under way, and writes what is decided, if it can be written.
    async fn finish(mut self) -> Result<(), Fatal> {
        self.commands.close();
        self.ending = true;
        self.polls.shutdown().await;
        self.errands.shutdown().await;
        while self.pen.is_writing() || self.pen.hurry(self.clock.mono()) {
            let written = self.pen.written().await.map_err(Fatal::Task)?;
            let done = self.pen.settle(written, self.clock.mono())?;
            self.committed(done).await;
        }
        self.pen.lay_down().await;
        Ok(())
    }
}

/// A caller that went away is not missed.
fn tell(waiters: Option<Vec<Waiter>>) {
    for waiter in waiters.into_iter().flatten() {
        let _ = waiter.send(Ok(()));
    }
}

fn log(tell: &Tell) {
    match tell {
        Tell::Failing { provider, why } => {
            tracing::warn!(%provider, "{provider}: polls fail; no job changes state: {why}");
        }
        Tell::Paused { provider, why, span } => {
            let pause = humantime::format_duration(Duration::from_secs(span.as_secs()));
            tracing::warn!(
                %provider,
                "{provider}: refused; the provider is left alone for {pause}: {why}"
            );
        }
        Tell::Recovered { provider } => tracing::info!(%provider, "{provider}: answers again"),
        Tell::UnknownWord { provider, word } => {
            tracing::warn!(%provider, "{provider}: a state that is not known, kept as it is: {word}");
        }
    }
}

fn log_change(change: &Change) {
    let (job, state) = (change.job, change.after.state);
    if state.is_terminal() {
        tracing::info!(%job, "job {job}: {state}");
    } else {
        tracing::debug!(%job, "job {job}: {state}");
    }
}
