//! The write path: everything that the scheduler stores passes through one [`Committer`].
//!
//! A [`WriteRequest`] waits in the queue, goes out in a batch, and comes back in a
//! [`BatchOutcome`] once the batch is committed or its only row is rejected. Invariant: at most one
//! batch is being committed.

mod committer;
mod failures;
mod outcome;
mod queue;
mod schedule;

pub(super) use committer::{Committer, WriteResult};
pub(super) use outcome::{
    BatchOutcome, CommittedBatch, PendingAdd, PendingAudit, PendingCommand, RejectedRow,
};
pub(super) use queue::WriteRequest;
