//! What past lives learned of durations: handed to the tracker at the start, forgotten on request.

use tokio::sync::oneshot;

use crate::store::{Forget, ReadError};
use crate::tracker::Input;

use super::{Refusal, Scheduler};

/// What somebody wants forgotten; he is told how many runs were.
#[derive(Debug)]
pub(super) struct Forgetting {
    pub(super) what: Forget,
    pub(super) reply: oneshot::Sender<Result<u64, Refusal>>,
}

impl Forgetting {
    pub(super) fn refuse(self, why: Refusal) {
        let _ = self.reply.send(Err(why));
    }
}

impl Scheduler {
    /// Takes in what earlier lives learned.
    pub(super) async fn remember(&mut self) -> Result<(), ReadError> {
        let mut after = 0;
        loop {
            let page = self.reader.lessons(after, Self::LOAD_PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = last.id;
            let lessons = page.into_iter().map(|learned| (learned.provider, learned.lesson));
            self.step(Input::Learned(lessons.collect()));
        }
    }

    /// These are forgotten in the database, so many runs each. Comes before what was written with
    /// them is learned: in the transaction, too, they were first.
    pub(super) fn forgotten(&mut self, forgetting: Vec<Forgetting>, runs: Vec<u64>) {
        for (one, runs) in forgetting.into_iter().zip(runs) {
            self.step(Input::Forget(one.what.provider, one.what.name));
            let _ = one.reply.send(Ok(runs));
        }
    }
}
