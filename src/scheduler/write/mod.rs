//! The write path: everything that the scheduler stores passes through one [`Committer`].
//!
//! A [`WriteRequest`] waits in the queue, goes out in a batch, and comes back as part of a
//! [`BatchOutcome`] once the batch is committed. Invariant: at most one batch is being committed.

mod committer;
mod failures;
mod outcome;
mod queue;

pub(super) use committer::Committer;
pub(super) use outcome::{BatchOutcome, PendingAdd, PendingForgetDurations};
pub(super) use queue::WriteRequest;
