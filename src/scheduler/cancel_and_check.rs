//! Cancels and connection checks: the requests to providers that people order and that are no polls.
//!
//! The tracker decides when each is sent. Here are the callers that wait, the tasks of the requests, and
//! the last connection check of each provider, which is shared. A cancel changes no job: its state is
//! found by the next poll.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{self, JoinError, JoinSet};

use crate::job::{
    Answer, ConnectionCheck, Finding, FindingKind, JobId, ProviderError, ProviderErrorKind,
    ProviderName, RateLimitInfo, RemoteId, ServiceHints, UtcTime,
};
use crate::provider::Provider;
use crate::tracker::Input;

use super::check_reply::CheckReply;
use super::error::CommandError;
use super::handle::ReplySender;

#[derive(Debug, Default)]
pub(super) struct CancelAndCheckTasks {
    tasks: JoinSet<Response>,
    requests: HashMap<task::Id, Request>,
    cancels: HashMap<JobId, WaitingCancel>,
    checks: HashMap<ProviderName, ProviderChecks>,
}

/// A cancel that the tracker has not answered, and its callers.
#[derive(Debug)]
struct WaitingCancel {
    remote_id: RemoteId,
    callers: Vec<ReplySender<()>>,
}

#[derive(Debug, Default)]
struct ProviderChecks {
    callers: Vec<ReplySender<CheckReply>>,
    last_result: Option<ConnectionCheck>,
}

/// A request in flight.
#[derive(Debug)]
enum Request {
    Cancel(ProviderName, JobId),
    Check(ProviderName),
}

#[derive(Debug)]
enum Response {
    Cancel(Answer<()>),
    Check(ConnectionCheck),
}

impl CancelAndCheckTasks {
    /// Adds a caller that waits for the cancel of `job`.
    pub(super) fn add_cancel(&mut self, job: JobId, remote_id: RemoteId, reply: ReplySender<()>) {
        let waiting = || WaitingCancel { remote_id, callers: Vec::new() };
        let callers = &mut self.cancels.entry(job).or_insert_with(waiting).callers;
        callers.retain(|caller| !caller.is_closed());
        callers.push(reply);
    }

    pub(super) fn add_check(&mut self, name: ProviderName, reply: ReplySender<CheckReply>) {
        let checks = self.checks.entry(name).or_default();
        checks.callers.retain(|caller| !caller.is_closed());
        checks.callers.push(reply);
    }

    /// Sends the cancel of `job`. Without a provider, because a reload removed it, the cancel fails.
    pub(super) fn send_cancel(
        &mut self,
        name: ProviderName,
        provider: Option<Arc<dyn Provider>>,
        job: JobId,
        now: UtcTime,
    ) {
        let remote_id = self.cancels.get(&job).map(|waiting| waiting.remote_id.clone());
        let request = provider.zip(remote_id);
        let task = self.tasks.spawn(async move {
            Response::Cancel(match request {
                Some((provider, remote_id)) => provider.cancel(&remote_id, now).await,
                None => Answer::failed(provider_removed()),
            })
        });
        self.requests.insert(task.id(), Request::Cancel(name, job));
    }

    pub(super) fn send_check(
        &mut self,
        name: ProviderName,
        provider: Option<Arc<dyn Provider>>,
        now: UtcTime,
    ) {
        let task = self.tasks.spawn(async move {
            Response::Check(match provider {
                Some(provider) => provider.check_connection(now).await,
                None => failed_check(FindingKind::WrongEndpoint, &provider_removed().message),
            })
        });
        self.requests.insert(task.id(), Request::Check(name));
    }

    pub(super) fn refuse_cancel(&mut self, job: JobId, error: &CommandError) {
        for caller in self.cancels.remove(&job).into_iter().flat_map(|waiting| waiting.callers) {
            let _ = caller.send(Err(error.clone()));
        }
    }

    pub(super) fn refuse_check(&mut self, name: &ProviderName, error: &CommandError) {
        let checks = self.checks.get_mut(name);
        for caller in checks.into_iter().flat_map(|checks| checks.callers.drain(..)) {
            let _ = caller.send(Err(error.clone()));
        }
    }

    /// Replies with the last result to all who wait for a check of this provider.
    pub(super) fn share_check(&mut self, name: &ProviderName, next_check_in: Option<Duration>) {
        let Some(ProviderChecks { callers, last_result }) = self.checks.get_mut(name) else {
            return;
        };
        let unknown = || failed_check(FindingKind::UnrecognizedAnswer, "repeat the check");
        let check = last_result.clone().unwrap_or_else(unknown);
        for caller in callers.drain(..) {
            let _ = caller.send(Ok(CheckReply { check: check.clone(), next_check_in }));
        }
    }

    pub(super) fn reply_to_cancel(&mut self, job: JobId, result: &Result<(), ProviderError>) {
        for caller in self.cancels.remove(&job).into_iter().flat_map(|waiting| waiting.callers) {
            let _ = caller.send(result.clone().map_err(CommandError::Upstream));
        }
    }

    /// Replies to all who wait for a check of this provider, and keeps the result.
    pub(super) fn reply_to_check(&mut self, name: &ProviderName, check: ConnectionCheck) {
        self.checks.entry(name.clone()).or_default().last_result = Some(check);
        self.share_check(name, None);
    }

    /// The answer to the next request that ends; `None` if none is running.
    pub(super) async fn next_finished(&mut self) -> Option<Input> {
        loop {
            let joined = self.tasks.join_next_with_id().await?;
            if let Some(input) = self.finish(joined) {
                return Some(input);
            }
        }
    }

    /// A panic of a task is a failure of that request only.
    fn finish(&mut self, joined: Result<(task::Id, Response), JoinError>) -> Option<Input> {
        const TASK_FAILED: &str =
            "internal error: the task of the request failed; please report it with the log";
        let (id, response) = match joined {
            Ok((id, response)) => (id, Some(response)),
            Err(error) => (error.id(), None),
        };
        Some(match self.requests.remove(&id)? {
            Request::Cancel(name, job) => {
                let answer = match response {
                    Some(Response::Cancel(answer)) => answer,
                    Some(Response::Check(_)) | None => Answer::failed(ProviderError::new(
                        ProviderErrorKind::Malformed,
                        TASK_FAILED,
                    )),
                };
                Input::CancelAnswered(name, job, answer)
            }
            Request::Check(name) => {
                let check = match response {
                    Some(Response::Check(check)) => check,
                    Some(Response::Cancel(_)) | None => {
                        failed_check(FindingKind::UnrecognizedAnswer, TASK_FAILED)
                    }
                };
                Input::ConnectionChecked(name, Box::new(check))
            }
        })
    }

    /// Aborts all requests; their callers receive [`CommandError::ShuttingDown`].
    pub(super) async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
        self.cancels.clear();
        self.checks.clear();
    }
}

fn provider_removed() -> ProviderError {
    ProviderError::new(
        ProviderErrorKind::Misconfigured,
        "the provider was removed from the configuration",
    )
}

fn failed_check(kind: FindingKind, detail: &str) -> ConnectionCheck {
    let finding = Finding::new(kind, detail);
    ConnectionCheck {
        finding,
        clock_ahead_s: None,
        rate_limit: RateLimitInfo::default(),
        credential_replaced: false,
        hints: ServiceHints::GENERIC,
    }
}
