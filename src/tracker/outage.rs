//! Which outages of a provider are recorded and reported.
//!
//! The start and the end of an outage each produce one record and one notice. After a start the
//! recorder does not know whether an earlier process left an outage open, so the first successful
//! answer records an end in any case; the store ignores an end without a start. [`FailedPoll`] is for the status
//! alone.

use crate::job::{ClockReading, JobId, OutageBoundary, OutageEvent, ProviderName, UtcTime};

use super::message::{Action, Notice};

/// The last poll or list request that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedPoll {
    /// None if the request was for a list.
    pub job: Option<JobId>,
    pub at: UtcTime,
    pub error: String,
}

#[derive(Debug, Default)]
pub(super) struct OutageRecorder {
    consecutive_failures: u32,
    /// The time of the first of these consecutive failures.
    failing_since: Option<UtcTime>,
    recorded: OutageStatus,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum OutageStatus {
    /// This process has recorded nothing yet.
    #[default]
    Unknown,
    Ongoing,
    Ended,
}

impl OutageRecorder {
    /// The number of consecutive failures from which a provider counts as failing.
    const FAILURE_THRESHOLD: u32 = 3;

    pub(super) fn consecutive_failures(&self) -> u32 {
        self.consecutive_failures
    }

    /// When the current outage began; none if there is no outage.
    pub(super) fn outage_since(&self) -> Option<UtcTime> {
        self.failing_since.filter(|_| self.recorded == OutageStatus::Ongoing)
    }

    pub(super) fn count_failure(&mut self, now: ClockReading) {
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        self.failing_since.get_or_insert(now.utc);
    }

    pub(super) fn has_reached_threshold(&self) -> bool {
        self.consecutive_failures >= Self::FAILURE_THRESHOLD
    }

    /// Records the start of an outage and sends `notice`, unless the outage is recorded already.
    pub(super) fn start(
        &mut self,
        provider: &ProviderName,
        notice: Notice,
        reason: &str,
        actions: &mut Vec<Action>,
    ) {
        if self.recorded == OutageStatus::Ongoing {
            return;
        }
        self.recorded = OutageStatus::Ongoing;
        actions.push(Action::Notify(notice));
        if let Some(at) = self.failing_since {
            let boundary = OutageBoundary::Began { at, reason: reason.to_owned() };
            actions
                .push(Action::RecordOutage(OutageEvent { provider: provider.clone(), boundary }));
        }
    }

    /// Records the end of the outage, if one is recorded or may have been left open.
    pub(super) fn end(
        &mut self,
        provider: &ProviderName,
        now: ClockReading,
        actions: &mut Vec<Action>,
    ) {
        let previous = std::mem::replace(&mut self.recorded, OutageStatus::Ended);
        if previous != OutageStatus::Ended {
            let boundary =
                OutageBoundary::Ended { at: now.utc, failed_polls: self.consecutive_failures };
            actions
                .push(Action::RecordOutage(OutageEvent { provider: provider.clone(), boundary }));
        }
        if previous == OutageStatus::Ongoing {
            actions.push(Action::Notify(Notice::Recovered { provider: provider.clone() }));
        }
        self.consecutive_failures = 0;
        self.failing_since = None;
    }
}
