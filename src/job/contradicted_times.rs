//! Drops the times of an answer that contradict what was answered earlier, or lie in the future.
//!
//! Pure; called by the tracker for each observation before anything else uses its times. A dropped time leaves
//! `occurred_at` empty, and the bounds of the transition stand. All other times stay as they were reported.

use std::time::Duration;

use super::answer::{Observation, ProviderTimes};
use super::state::{ObservedState, State};
use super::time::UtcTime;
use super::transition::{CurrentState, RequestTimes};

/// The clocks of one provider's machines may differ by this.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(1);

/// A `Date` is rounded down to whole seconds.
const DATE_RESOLUTION: Duration = Duration::from_secs(1);

impl Observation {
    /// This observation of a job that was in the state `current`, without times that cannot be true.
    /// `server_date` is the `Date` of the answer. Without it the local clock stands for the provider's.
    #[must_use]
    pub fn without_contradicted_times(
        self,
        current: &CurrentState,
        request_times: RequestTimes,
        server_date: Option<UtcTime>,
    ) -> Self {
        let received_at = request_times.received_at;
        let latest = server_date.map(|date| date.plus(DATE_RESOLUTION).plus(CLOCK_TOLERANCE));
        let is_past = |at: &UtcTime| latest.is_none_or(|latest| *at <= latest);
        // By the provider's clock, the request of the last answer was sent at this time or later.
        let last_answer_at = current.last_success_sent_at.map(|sent_at| {
            let date = server_date.unwrap_or(received_at);
            date.minus(received_at.duration_since(sent_at)).minus(CLOCK_TOLERANCE)
        });
        let is_after_last_answer =
            |at: &UtcTime| last_answer_at.is_none_or(|last_answer_at| *at >= last_answer_at);
        let (was_waiting, was_unfinished) = match current.state() {
            State::Pending => (true, true),
            State::Running => (false, true),
            // What the job was doing then is not known.
            State::Registered | State::Unknown => (false, false),
            State::Succeeded
            | State::Failed
            | State::Cancelled
            | State::Expired
            | State::Indeterminate
            | State::Lost
            | State::Untracked => return self,
        };
        let is_expired = self.state == ObservedState::Expired;
        let times = ProviderTimes {
            submitted_at: self.times.submitted_at.filter(is_past),
            started_at: self
                .times
                .started_at
                .filter(|at| is_past(at) && (!was_waiting || is_after_last_answer(at))),
            ended_at: self
                .times
                .ended_at
                .filter(|at| is_past(at) && (!was_unfinished || is_after_last_answer(at))),
            expires_at: self.times.expires_at.filter(|at| {
                !is_expired || (is_past(at) && (!was_unfinished || is_after_last_answer(at)))
            }),
        };
        Self { times, ..self }
    }
}
