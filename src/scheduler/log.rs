//! The log lines for decisions of the tracker, which does no I/O and so does not log.

use crate::job::{Anomaly, Change, State, format_duration};
use crate::logging::JOB_ENDS;
use crate::store::EndedJob;
use crate::tracker::Notice;

pub(super) fn log_notice(notice: &Notice) {
    match notice {
        Notice::Failing { provider, reason } => tracing::warn!(
            %provider, reason,
            "polls of {provider} fail; job states are kept and polling continues: {reason}"
        ),
        Notice::Paused { provider, reason, duration } => {
            let pause = format_duration(*duration);
            tracing::warn!(
                %provider, reason,
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

/// One line for the end of a job, at the level of its outcome. `ended` is there if the change ends the job.
pub(super) fn log_change(change: &Change, ended: Option<&EndedJob>) {
    let (job, state) = (change.job, change.new_state.state());
    let Some(EndedJob { provider, remote_id, labels }) = ended else {
        tracing::debug!(%job, %state, "job {job} changed to {state}");
        return;
    };
    let reason = change.transitions.last().and_then(|transition| transition.message.as_deref());
    let labels = Some(labels.as_str()).filter(|labels| *labels != "{}");
    if is_failure(state) {
        tracing::warn!(
            target: JOB_ENDS,
            %job, provider, remote_id, %state, reason, labels, "job {job} ended: {state}"
        );
    } else {
        tracing::info!(
            target: JOB_ENDS,
            %job, provider, remote_id, %state, reason, labels, "job {job} ended: {state}"
        );
    }
}

/// Whether somebody should look at a job that ended in this state.
fn is_failure(state: State) -> bool {
    match state {
        State::Failed | State::Expired | State::Lost | State::Indeterminate => true,
        State::Registered
        | State::Pending
        | State::Running
        | State::Unknown
        | State::Succeeded
        | State::Cancelled
        | State::Untracked => false,
    }
}
