//! The writing hand of the scheduler: when a batch goes to the writer, and what a failure means.
//!
//! A commit runs as a task and is never cancelled, only awaited; meanwhile the next batch gathers in
//! the outbox. What failed goes out again, later and later, until the failure is one that waiting
//! does not mend.

use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};

use crate::clock::Clock;
use crate::job::{JobId, Mono};
use crate::store::{Batch, Committed, WriteError, Writer};

use super::handle::Refusal;
use super::outbox::{Outbox, Receipts};

#[derive(Debug)]
pub(super) struct Pen {
    pub(super) outbox: Outbox,
    hand: Hand,
    flush_at: Mono,
    sign_at: Mono,
    wal_bytes: u64,
    trouble: Trouble,
}

#[derive(Debug)]
enum Hand {
    Resting(Box<Writer>),
    Writing {
        task: JoinHandle<Written>,
        receipts: Receipts,
        changes: usize,
    },
    /// Between the two.
    Lifted,
}

/// The writer comes back with its batch.
type Written = (Box<Writer>, Batch, Result<Committed, WriteError>);

/// How writing has failed lately.
#[derive(Debug, Default)]
struct Trouble {
    error: Option<String>,
    failures_in_a_row: u32,
    io_errors_in_a_row: u32,
    retry_at: Mono,
    /// An add whose commit failed may be in the database all the same, and be held by nobody.
    resync: bool,
}

/// A batch that is committed.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) batch: Batch,
    pub(super) committed: Committed,
    pub(super) receipts: Receipts,
    /// The jobs of the database must be loaded again: some may not be held.
    pub(super) resync: bool,
    /// Jobs of which the database would not take what is to be written.
    pub(super) unwritable: Vec<JobId>,
}

impl Pen {
    /// Bookkeeping is written this often, not at each poll.
    const FLUSH_PERIOD: Duration = Duration::from_secs(2);
    /// With nothing to write, a sign of life is.
    const SIGN_PERIOD: Duration = Duration::from_secs(30);
    const IO_ERRORS_TO_END: u32 = 3;

    pub(super) fn new(writer: Writer, now: Mono) -> Self {
        Self {
            outbox: Outbox::default(),
            hand: Hand::Resting(Box::new(writer)),
            flush_at: now,
            sign_at: now.plus(Self::SIGN_PERIOD),
            wal_bytes: 0,
            trouble: Trouble::default(),
        }
    }

    /// Begins to write what waits, if the writer rests and the time has come.
    pub(super) fn start(&mut self, now: Mono) {
        if self.wakes_at().is_none_or(|at| at > now) {
            return;
        }
        match std::mem::replace(&mut self.hand, Hand::Lifted) {
            Hand::Resting(mut writer) => {
                let (mut batch, receipts) = self.outbox.take();
                batch.at = Some(Clock::wall());
                self.flush_at = now.plus(Self::FLUSH_PERIOD);
                self.sign_at = now.plus(Self::SIGN_PERIOD);
                let changes = batch.changes.len();
                let task = tokio::spawn(async move {
                    let result = writer.write(&batch).await;
                    (writer, batch, result)
                });
                self.hand = Hand::Writing { task, receipts, changes };
            }
            busy @ (Hand::Writing { .. } | Hand::Lifted) => self.hand = busy,
        }
    }

    /// When there is something to begin; none while a batch is being written.
    pub(super) fn wakes_at(&self) -> Option<Mono> {
        if !matches!(self.hand, Hand::Resting(_)) {
            return None;
        }
        let soonest = if self.outbox.is_urgent() {
            Mono::default()
        } else if self.outbox.is_empty() {
            self.sign_at
        } else {
            self.flush_at
        };
        Some(soonest.max(self.trouble.retry_at))
    }

    /// The end of the batch that is being written; for ever if there is none.
    pub(super) async fn written(&mut self) -> Result<Written, JoinError> {
        match &mut self.hand {
            Hand::Writing { task, .. } => task.await,
            Hand::Resting(_) | Hand::Lifted => std::future::pending().await,
        }
    }

    /// Takes in what became of the batch: none if it goes out again, an error if that is hopeless.
    pub(super) fn settle(
        &mut self,
        (writer, batch, result): Written,
        now: Mono,
    ) -> Result<Option<Done>, WriteError> {
        let receipts = match std::mem::replace(&mut self.hand, Hand::Resting(writer)) {
            Hand::Writing { receipts, .. } => receipts,
            Hand::Resting(_) | Hand::Lifted => Receipts::default(),
        };
        match result {
            Ok(committed) => {
                if let Some(upkeep) = batch.upkeep.clone().filter(|_| committed.upkeep_left) {
                    self.outbox.upkeep(upkeep);
                }
                self.weigh_wal(committed.wal_bytes);
                let trouble = std::mem::take(&mut self.trouble);
                if trouble.error.is_some() {
                    tracing::info!("the database can be written again");
                }
                Ok(Some(Done {
                    batch,
                    committed,
                    receipts,
                    resync: trouble.resync,
                    unwritable: Vec::new(),
                }))
            }
            Err(error @ WriteError::Refused(_)) => {
                Ok(self.outbox.sort_out(batch, receipts, &error.to_string()))
            }
            Err(error) => {
                let refusal = match &error {
                    WriteError::Busy => None,
                    WriteError::Full(_)
                    | WriteError::Io(_)
                    | WriteError::Refused(_)
                    | WriteError::Moved(_)
                    | WriteError::Damaged(_) => Some(Refusal::Storage(error.to_string())),
                };
                self.trouble.resync |= refusal.is_some() && !receipts.adding.is_empty();
                self.outbox.put_back(batch, receipts, refusal.as_ref());
                self.trouble.note(error, now).map(|()| None)
            }
        }
    }

    /// The jobs of the database could not be loaded: the next commit asks for it again.
    pub(super) fn resync_again(&mut self) {
        self.trouble.resync = true;
    }

    fn weigh_wal(&mut self, bytes: u64) {
        let before = std::mem::replace(&mut self.wal_bytes, bytes);
        if bytes > Writer::MAX_WAL_BYTES && before <= Writer::MAX_WAL_BYTES {
            let mib = bytes >> 20;
            tracing::warn!(
                "the WAL grows to {mib} MiB: another program holds a read transaction open"
            );
        }
    }

    /// The size of the WAL after the last commit, in bytes.
    pub(super) fn wal_bytes(&self) -> u64 {
        self.wal_bytes
    }

    /// Changes that are decided and not committed.
    pub(super) fn unwritten_changes(&self) -> usize {
        let under_way = match &self.hand {
            Hand::Writing { changes, .. } => *changes,
            Hand::Resting(_) | Hand::Lifted => 0,
        };
        self.outbox.unwritten_changes() + under_way
    }

    /// Why nothing can be written.
    pub(super) fn error(&self) -> Option<&str> {
        self.trouble.error.as_deref()
    }

    /// Whether a batch is being written.
    pub(super) fn is_writing(&self) -> bool {
        matches!(self.hand, Hand::Writing { .. })
    }

    /// Whether providers wait for the store to rename.
    pub(super) fn is_configuring(&self) -> bool {
        let under_way = match &self.hand {
            Hand::Writing { receipts, .. } => receipts.configuring.is_some(),
            Hand::Resting(_) | Hand::Lifted => false,
        };
        under_way || self.outbox.is_configuring()
    }

    /// Begins the next batch whatever the time; false if there is none.
    pub(super) fn hurry(&mut self, now: Mono) -> bool {
        if self.outbox.is_empty() {
            return false;
        }
        self.flush_at = now;
        self.start(now);
        self.is_writing()
    }

    /// Closes the database.
    pub(super) async fn lay_down(self) {
        if let Some(error) = &self.trouble.error {
            let changes = self.outbox.unwritten_changes();
            tracing::error!(
                "{changes} changes are not written, the next start asks again: {error}"
            );
        }
        match self.hand {
            Hand::Resting(writer) => writer.close().await,
            Hand::Writing { .. } | Hand::Lifted => {}
        }
    }
}

impl Trouble {
    /// Takes note of a failed write; gives it back if it is the end.
    fn note(&mut self, error: WriteError, now: Mono) -> Result<(), WriteError> {
        self.failures_in_a_row = self.failures_in_a_row.saturating_add(1);
        match error {
            WriteError::Busy | WriteError::Full(_) | WriteError::Refused(_) => {
                self.io_errors_in_a_row = 0;
            }
            WriteError::Io(_) => self.io_errors_in_a_row += 1,
            WriteError::Moved(_) | WriteError::Damaged(_) => return Err(error),
        }
        if self.io_errors_in_a_row >= Pen::IO_ERRORS_TO_END {
            return Err(error);
        }
        if self.error.is_none() {
            tracing::error!("nothing can be written; polling goes on, changes wait: {error}");
        }
        self.error = Some(error.to_string());
        let doubled = Duration::from_millis(100) * 2u32.pow(self.failures_in_a_row.min(5));
        self.retry_at = now.plus(doubled.min(Duration::from_secs(2)));
        Ok(())
    }
}
