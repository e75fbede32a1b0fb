//! What past lives learned of durations: handed to the tracker at the start, forgotten on request.

use tokio::sync::oneshot;

use crate::store::{ForgetDurations, ReadError};
use crate::tracker::Input;

use super::{CommandError, Scheduler};

/// What somebody wants forgotten; he is told how many runs were.
#[derive(Debug)]
pub(super) struct PendingForgetDurations {
    pub(super) forget: ForgetDurations,
    pub(super) reply: oneshot::Sender<Result<u64, CommandError>>,
}

impl PendingForgetDurations {
    pub(super) fn reject(self, reason: CommandError) {
        let _ = self.reply.send(Err(reason));
    }
}

impl Scheduler {
    /// Takes in what earlier lives learned.
    pub(super) async fn load_duration_samples(&mut self) -> Result<(), ReadError> {
        let mut after = 0;
        loop {
            let page = self.reader.duration_samples(after, Self::LOAD_PAGE_SIZE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.id;
            let samples = page.into_iter().map(|stored| (stored.provider, stored.sample));
            self.feed_tracker(Input::LoadDurationSamples(samples.collect()));
        }
    }

    /// These are forgotten in the database, so many runs each. Comes before what was written with
    /// them is learned: in the transaction, too, they were first.
    pub(super) fn complete_forget_durations(
        &mut self,
        pending: Vec<PendingForgetDurations>,
        forgotten_counts: Vec<u64>,
    ) {
        for (forget, deleted) in pending.into_iter().zip(forgotten_counts) {
            self.feed_tracker(Input::ForgetDurations(
                forget.forget.provider,
                forget.forget.similarity_key,
            ));
            let _ = forget.reply.send(Ok(deleted));
        }
    }
}
