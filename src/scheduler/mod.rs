//! The IO shell of the tracker: one loop that feeds it what happened and performs what it answers.
//!
//! Polls run as tasks of their own, one batch of writes at a time in another. Everything that
//! changes a job passes through this loop, and nothing in it blocks. What it knows it publishes as
//! a [`Snapshot`].

mod handle;
mod outbox;
mod snapshot;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::{self, JoinError, JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::job::{Answer, Asked, JobId, Mono, NewJob, ProviderError, Utc};
use crate::store::{Batch, Committed, ReadError, Reader, WriteError, Writer};
use crate::tracker::{Action, Input, LaneReport, Question, Tell, Tracker};

use handle::Command;
pub use handle::{Configured, Handle, Providers, Refusal, Wanted};
use outbox::{Adding, Outbox, Receipts, Waiter};
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
    polls: JoinSet<Answer>,
    asked: HashMap<task::Id, (Question, Utc)>,
    outbox: Outbox,
    pen: Pen,
    untracking: HashMap<JobId, Vec<Waiter>>,
    commands: mpsc::Receiver<Command>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    flush_at: Mono,
    ready: bool,
}

/// The writer: at rest, or busy with a batch. A commit is never cancelled, only awaited.
#[derive(Debug)]
enum Pen {
    Resting(Box<Writer>),
    Writing { task: JoinHandle<Written>, receipts: Receipts, changes: usize },
    /// Between the two.
    Lifted,
}

type Written = (Box<Writer>, Batch, Result<Committed, WriteError>);

/// How writing has failed lately.
#[derive(Debug, Default)]
struct Trouble {
    error: Option<String>,
    failures_in_a_row: u32,
    io_errors_in_a_row: u32,
    retry_at: Mono,
    /// An add whose commit failed may be in the database all the same, untracked.
    resync: bool,
}

impl Scheduler {
    /// Bookkeeping is written this often, not at each poll.
    const FLUSH_PERIOD: Duration = Duration::from_secs(2);
    const COMMANDS_WAITING: usize = 64;
    const LOAD_PAGE: u32 = 5000;
    const IO_ERRORS_TO_END: u32 = 3;

    /// A scheduler for the jobs of the store, and the handle that commands it.
    #[must_use]
    pub fn new(clock: Clock, writer: Writer, reader: Reader) -> (Self, Handle) {
        let (sender, commands) = mpsc::channel(Self::COMMANDS_WAITING);
        let empty = Snapshot::empty(clock.mono(), Clock::wall());
        let snapshots = watch::Sender::new(Arc::new(empty));
        let handle = Handle { commands: sender, snapshots: snapshots.subscribe() };
        let scheduler = Self {
            clock,
            tracker: Tracker::default(),
            providers: Providers::new(),
            reader,
            polls: JoinSet::new(),
            asked: HashMap::new(),
            outbox: Outbox::default(),
            pen: Pen::Resting(Box::new(writer)),
            untracking: HashMap::new(),
            commands,
            snapshots,
            flush_at: clock.mono(),
            ready: false,
        };
        (scheduler, handle)
    }

    /// Polls until `shutdown`; then commits what is decided, and ends.
    ///
    /// # Errors
    /// If the database cannot be used any more.
    pub async fn run(mut self, providers: Providers, shutdown: CancellationToken) -> Result<(), Fatal> {
        let mut trouble = Trouble::default();
        self.configure(providers);
        self.load().await?;
        self.ready = true;
        while !shutdown.is_cancelled() {
            self.start_writing(trouble.retry_at);
            self.publish(&trouble);
            let wake = self.clock.instant(self.wakes_at(&trouble));
            tokio::select! {
                Some(command) = self.commands.recv() => self.obey(command),
                Some(done) = self.polls.join_next_with_id() => self.answered(done),
                written = self.pen.written() => self.wrote(written, &mut trouble).await?,
                () = tokio::time::sleep_until(wake) => self.step(Input::Tick),
                () = shutdown.cancelled() => {}
            }
        }
        self.finish(trouble).await
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
                Action::Ask(question) => self.ask(question),
                Action::Write(change) => self.outbox.change(change),
                Action::Note { note, urgent } => self.outbox.note(note, urgent),
                Action::Anomaly(anomaly) => {
                    tracing::warn!(job = %anomaly.job, what = anomaly.what, "contradiction");
                    self.outbox.anomaly(anomaly);
                }
                Action::Tell(tell) => log(&tell),
            }
        }
    }

    fn ask(&mut self, question: Question) {
        let sent_at = Clock::wall();
        let provider = self.providers.get(&question.provider).map(|known| known.provider.clone());
        let remote_id = question.remote_id.clone();
        let poll = self.polls.spawn(async move {
            match provider {
                Some(provider) => provider.poll(&remote_id, sent_at).await,
                None => Answer::failed(ProviderError::Misconfigured("not configured".into())),
            }
        });
        self.asked.insert(poll.id(), (question, sent_at));
    }

    /// A panic while an answer is read is that job's failed poll, not our end.
    fn answered(&mut self, done: Result<(task::Id, Answer), JoinError>) {
        let (id, answer) = match done {
            Ok(done) => done,
            Err(error) => {
                let what = ProviderError::Malformed("the answer could not be handled".into());
                (error.id(), Answer::failed(what))
            }
        };
        let Some((question, sent_at)) = self.asked.remove(&id) else { return };
        if let Err(error) = &answer.result {
            let (job, provider) = (question.job, &question.provider);
            tracing::debug!(%job, %provider, %error, "poll failed");
        }
        let asked = Asked { sent_at, answered_at: Clock::wall() };
        self.step(Input::Answered(question.job, question.lane, asked, Box::new(answer)));
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
                        added_by: job.added_by,
                        registered_at: now,
                    });
                    None
                });
                let rejected = rejected.collect();
                self.outbox.add(Adding { jobs, rejected, reply });
            }
            Command::Poll(job, waiter) => {
                if !self.providers.contains_key(&job.provider) {
                    let _ = waiter.send(Err(self.no_provider(&job.provider)));
                    return;
                }
                self.outbox.wait(job.id, waiter);
                self.step(Input::PollNow(job));
            }
            Command::Untrack(job, why, waiter) => {
                self.untracking.entry(job).or_default().push(waiter);
                self.step(Input::Untrack(job, why));
                self.tell_untracked();
            }
            Command::Configure(providers) => self.configure(providers),
        }
    }

    fn configure(&mut self, providers: Providers) {
        let settings = providers.values().map(|known| known.settings.clone()).collect();
        self.providers = providers;
        self.step(Input::Configure(settings));
    }

    fn no_provider(&self, name: &crate::job::ProviderName) -> Refusal {
        let mut names: Vec<_> = self.providers.keys().map(crate::job::ProviderName::as_str).collect();
        names.sort_unstable();
        let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
        Refusal::NoProvider(name.clone(), names)
    }

    /// Those who wait for the end of a job that is no longer held have their answer.
    fn tell_untracked(&mut self) {
        let tracker = &self.tracker;
        for (_, waiters) in self.untracking.extract_if(|job, _| !tracker.holds(*job)) {
            for waiter in waiters {
                let _ = waiter.send(Ok(()));
            }
        }
    }

    fn start_writing(&mut self, retry_at: Mono) {
        let now = self.clock.mono();
        let due = now >= retry_at && (self.outbox.is_urgent() || now >= self.flush_at);
        if !due || self.outbox.is_empty() {
            return;
        }
        match std::mem::replace(&mut self.pen, Pen::Lifted) {
            Pen::Resting(mut writer) => {
                let (batch, receipts) = self.outbox.take();
                self.flush_at = now.plus(Self::FLUSH_PERIOD);
                let changes = batch.changes.len();
                let task = tokio::spawn(async move {
                    let result = writer.write(&batch).await;
                    (writer, batch, result)
                });
                self.pen = Pen::Writing { task, receipts, changes };
            }
            busy @ (Pen::Writing { .. } | Pen::Lifted) => self.pen = busy,
        }
    }

    async fn wrote(
        &mut self,
        written: Result<(Written, Receipts), JoinError>,
        trouble: &mut Trouble,
    ) -> Result<(), Fatal> {
        let ((writer, batch, result), receipts) = written.map_err(Fatal::Task)?;
        self.pen = Pen::Resting(writer);
        match result {
            Ok(committed) => {
                if trouble.error.is_some() {
                    tracing::info!("the database can be written again");
                }
                let resync = std::mem::take(trouble).resync;
                self.committed(batch, committed, receipts);
                if resync {
                    self.load().await?;
                }
                Ok(())
            }
            Err(error) => {
                let refusal = match &error {
                    WriteError::Busy => None,
                    WriteError::Full(_) | WriteError::Io(_) => {
                        trouble.resync |= !receipts.adding.is_empty();
                        Some(Refusal::Storage(error.to_string()))
                    }
                    WriteError::Moved(_) | WriteError::Damaged(_) => {
                        Some(Refusal::Storage(error.to_string()))
                    }
                };
                self.outbox.put_back(batch, receipts, refusal.as_ref());
                trouble.note(error, self.clock.mono()).map_err(Fatal::Write)
            }
        }
    }

    fn committed(&mut self, batch: Batch, committed: Committed, receipts: Receipts) {
        let added = committed.entered.iter().filter(|entered| entered.is_new).count();
        if added > 0 {
            tracing::info!(added, "jobs registered");
        }
        self.step(Input::Track(committed.entered.iter().map(|one| one.job.clone()).collect()));
        let mut entered = committed.entered.into_iter();
        for adding in receipts.adding {
            adding.acknowledge(&mut entered);
        }
        let refused: HashMap<_, _> = committed.refused.into_iter().collect();
        for change in batch.changes {
            match refused.get(&change.job) {
                Some(found) => {
                    self.step(Input::Refused(change.job, found.clone().map(Box::new)));
                }
                None => {
                    log_change(&change);
                    self.step(Input::Written(change.job));
                }
            }
        }
        for waiter in receipts.waiting {
            let _ = waiter.send(Ok(()));
        }
        self.tell_untracked();
    }

    fn wakes_at(&self, trouble: &Trouble) -> Mono {
        let heartbeat = self.clock.mono().plus(Snapshot::PERIOD);
        let resting = matches!(self.pen, Pen::Resting(_)) && !self.outbox.is_empty();
        let write = resting.then(|| {
            if self.outbox.is_urgent() { trouble.retry_at } else { self.flush_at.max(trouble.retry_at) }
        });
        [self.tracker.wakes_at(), write, Some(heartbeat)]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(heartbeat)
    }

    fn publish(&self, trouble: &Trouble) {
        const SELDOM: Duration = Duration::from_millis(200);
        let now = self.clock.mono();
        let last = self.snapshots.borrow().clone();
        if last.ready == self.ready && now.since(last.at) < SELDOM {
            return;
        }
        let kind = |report: &LaneReport| self.providers.get(&report.name).map(|known| known.kind);
        let lanes = self.tracker.report(now).into_iter();
        self.snapshots.send_replace(Arc::new(Snapshot {
            at: now,
            wall: Clock::wall(),
            ready: self.ready,
            lanes: lanes.map(|report| Lane { kind: kind(&report), report }).collect(),
            unwritten_changes: (self.outbox.unwritten_changes() + self.pen.changes()) as u64,
            write_error: trouble.error.clone(),
        }));
    }

    /// Drops the polls under way, and writes what is decided.
    async fn finish(mut self, mut trouble: Trouble) -> Result<(), Fatal> {
        self.commands.close();
        self.polls.shutdown().await;
        loop {
            if matches!(self.pen, Pen::Writing { .. }) {
                let written = self.pen.written().await;
                self.wrote(written, &mut trouble).await?;
            }
            if self.outbox.is_empty() || trouble.error.is_some() {
                break;
            }
            self.flush_at = Mono::default();
            self.start_writing(Mono::default());
        }
        if let Some(error) = &trouble.error {
            let changes = self.outbox.unwritten_changes();
            tracing::error!(error, changes, "ended with changes unwritten; they are asked for again at the next start");
        }
        if let Pen::Resting(writer) = self.pen {
            self.reader.close().await;
            writer.close().await;
        }
        Ok(())
    }
}

impl Pen {
    /// The end of the batch that is being written; for ever if there is none.
    async fn written(&mut self) -> Result<(Written, Receipts), JoinError> {
        let Self::Writing { task, receipts, .. } = self else {
            return std::future::pending().await;
        };
        let written = task.await?;
        Ok((written, std::mem::take(receipts)))
    }

    fn changes(&self) -> usize {
        match self {
            Self::Writing { changes, .. } => *changes,
            Self::Resting(_) | Self::Lifted => 0,
        }
    }
}

impl Trouble {
    /// Takes note of a failed write; gives it back if it is the end.
    fn note(&mut self, error: WriteError, now: Mono) -> Result<(), WriteError> {
        self.failures_in_a_row += 1;
        match error {
            WriteError::Busy | WriteError::Full(_) => self.io_errors_in_a_row = 0,
            WriteError::Io(_) => self.io_errors_in_a_row += 1,
            WriteError::Moved(_) | WriteError::Damaged(_) => return Err(error),
        }
        if self.io_errors_in_a_row >= Scheduler::IO_ERRORS_TO_END {
            return Err(error);
        }
        if self.error.is_none() {
            tracing::error!(%error, "nothing can be written; polling goes on, changes wait");
        }
        self.error = Some(error.to_string());
        let doubled = Duration::from_millis(100) * 2u32.saturating_pow(self.failures_in_a_row.min(5));
        self.retry_at = now.plus(doubled.min(Duration::from_secs(2)));
        Ok(())
    }
}

fn log(tell: &Tell) {
    match tell {
        Tell::Failing { provider, why } => {
            tracing::warn!(%provider, why, "polls fail; no job changes state");
        }
        Tell::Paused { provider, why, span } => {
            let pause_s = span.as_secs();
            tracing::warn!(%provider, why, pause_s, "refused; the provider is left alone for a while");
        }
        Tell::Recovered { provider } => tracing::info!(%provider, "answers again"),
        Tell::UnknownWord { provider, word } => {
            tracing::warn!(%provider, word, "a state that is not known; kept, and polled on");
        }
    }
}

fn log_change(change: &crate::job::Change) {
    let (job, state) = (change.job, change.after.state);
    if state.is_terminal() {
        tracing::info!(%job, %state, "over");
    } else {
        tracing::debug!(%job, %state, "moved");
    }
}
