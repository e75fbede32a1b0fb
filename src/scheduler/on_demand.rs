//! Carries out what the tracker decides about cancels and connection checks.

use std::sync::Arc;

use crate::job::ProviderName;
use crate::provider::Provider;
use crate::tracker::{Action, RequestRefusal};

use super::error::CommandError;
use super::event_loop::Scheduler;

impl Scheduler {
    /// Other actions are not performed here.
    pub(super) fn perform_on_demand(&mut self, action: Action) {
        let now = self.clock.monotonic_now();
        let error = |provider: &ProviderName, refusal: &RequestRefusal| {
            CommandError::from_refusal(provider, refusal, now)
        };
        match action {
            Action::Cancel(name, job) if !self.shutting_down => {
                let (provider, now) = (self.client_of(&name), self.clock.utc_now());
                self.cancel_and_check.send_cancel(name, provider, job, now);
            }
            Action::CheckConnection(name) if !self.shutting_down => {
                let (provider, now) = (self.client_of(&name), self.clock.utc_now());
                self.cancel_and_check.send_check(name, provider, now);
            }
            Action::RefuseCancel(name, job, refusal) => {
                self.cancel_and_check.refuse_cancel(job, &error(&name, &refusal));
            }
            Action::ReplyToCancel(job, result) => {
                self.cancel_and_check.reply_to_cancel(job, &result);
            }
            Action::ReplyToConnectionCheck(name, check) => {
                self.cancel_and_check.reply_to_check(&name, *check);
            }
            Action::RefuseConnectionCheck(name, refusal) => {
                self.cancel_and_check.refuse_check(&name, &error(&name, &refusal));
            }
            Action::ShareConnectionCheck(name, until) => {
                self.cancel_and_check.share_check(&name, Some(until.duration_since(now)));
            }
            Action::Cancel(..)
            | Action::CheckConnection(_)
            | Action::Poll(_)
            | Action::List(_)
            | Action::Commit(_)
            | Action::RecordPoll { .. }
            | Action::RecordNextPolls(_)
            | Action::RecordAnomaly(_)
            | Action::RecordOutage(_)
            | Action::Notify(_) => {}
        }
    }

    pub(super) fn client_of(&self, provider: &ProviderName) -> Option<Arc<dyn Provider>> {
        self.providers.get(provider).ok().map(|known| known.provider.clone())
    }
}
