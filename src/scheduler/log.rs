//! The log lines for decisions of the tracker, which does no I/O and so does not log.

use std::time::Duration;

use crate::job::{Anomaly, Change};
use crate::tracker::Notice;

pub(super) fn log_notice(notice: &Notice) {
    match notice {
        Notice::Failing { provider, reason } => tracing::warn!(
            %provider,
            "polls of {provider} fail; job states are kept and polling continues: {reason}"
        ),
        Notice::Paused { provider, reason, duration } => {
            let pause = humantime::format_duration(Duration::from_secs(duration.as_secs()));
            tracing::warn!(
                %provider,
                "request rejected; polling of {provider} is paused for {pause}; run `jobtrack check \
                 {provider}` to test it: {reason}"
            );
        }
        Notice::Recovered { provider } => {
            tracing::info!(%provider, "polls of {provider} succeed again");
        }
        Notice::UnknownState { provider, provider_state } => tracing::warn!(
            %provider,
            "{provider} reported an unknown state, {provider_state}; to map it, set state_map in \
             [providers.{provider}]"
        ),
    }
}

pub(super) fn log_anomaly(anomaly: &Anomaly) {
    let job = anomaly.job;
    tracing::warn!(%job, "anomaly recorded for job {job}: {}", anomaly.description);
}

pub(super) fn log_change(change: &Change) {
    let (job, state) = (change.job, change.new_state.state());
    if state.is_terminal() {
        tracing::info!(%job, "job {job} ended: {state}");
    } else {
        tracing::debug!(%job, "job {job} changed to {state}");
    }
}
