//! Polls and list requests in flight: each is a task, and its end is an input of the tracker.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::{self, JoinError, JoinSet};

use crate::clock::Clock;
use crate::job::{
    Answer, ListPage, MonotonicTime, ProviderError, ProviderErrorKind, ProviderName, RequestTimes,
};
use crate::provider::Provider;
use crate::tracker::{Input, ListRequest, PollRequest};

#[derive(Debug)]
pub(super) enum PollOrListRequest {
    Poll(PollRequest),
    List(ListRequest),
}

#[derive(Debug)]
enum ProviderResponse {
    Poll(Answer),
    List(Answer<ListPage>),
}

#[derive(Debug)]
pub(super) struct InFlightRequests {
    clock: Clock,
    tasks: JoinSet<ProviderResponse>,
    requests: HashMap<task::Id, (PollOrListRequest, MonotonicTime)>,
}

impl PollOrListRequest {
    pub(super) fn provider(&self) -> &ProviderName {
        match self {
            Self::Poll(request) => &request.provider,
            Self::List(request) => &request.provider,
        }
    }
}

impl InFlightRequests {
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, tasks: JoinSet::new(), requests: HashMap::new() }
    }

    /// Sends a request. Without a provider, because a reload removed it, the answer is an error.
    pub(super) fn send(&mut self, request: PollOrListRequest, provider: Option<Arc<dyn Provider>>) {
        let sent_at = self.clock.utc_now();
        let removed = format!("provider {} was removed from the configuration", request.provider());
        let not_configured = || ProviderError::new(ProviderErrorKind::Misconfigured, removed);
        let task = match &request {
            PollOrListRequest::Poll(poll) => {
                let id = poll.remote_id.clone();
                self.tasks.spawn(async move {
                    ProviderResponse::Poll(match provider {
                        Some(provider) => provider.poll(&id, sent_at).await,
                        None => Answer::failed(not_configured()),
                    })
                })
            }
            PollOrListRequest::List(list) => {
                let (query, jobs) = (list.query, list.jobs.len());
                tracing::debug!(provider = %list.provider, ?query, "list page requested for {jobs} jobs");
                self.tasks.spawn(async move {
                    ProviderResponse::List(match provider {
                        Some(provider) => provider.list(&query, sent_at).await,
                        None => Answer::failed(not_configured()),
                    })
                })
            }
        };
        self.requests.insert(task.id(), (request, self.clock.monotonic_now()));
    }

    /// The answers of the next request that ends and of all others that have ended by then; `None` if no request is
    /// in flight.
    pub(super) async fn next_completed(&mut self) -> Option<Vec<Input>> {
        let mut joined = self.tasks.join_next_with_id().await;
        joined.as_ref()?;
        let mut inputs = Vec::new();
        while let Some(result) = joined {
            inputs.extend(self.complete(result));
            joined = self.tasks.try_join_next_with_id();
        }
        Some(inputs)
    }

    /// A panic while a response is parsed is a failure of that request only.
    fn complete(
        &mut self,
        joined: Result<(task::Id, ProviderResponse), JoinError>,
    ) -> Option<Input> {
        let (id, response) = match joined {
            Ok((id, response)) => (id, Ok(response)),
            Err(error) => (error.id(), Err(task_error(&error))),
        };
        let (request, sent_at) = self.requests.remove(&id)?;
        // By the monotonic clock: the wall clock may have been set since.
        let received_at = self.clock.utc_now();
        let elapsed = self.clock.monotonic_now().duration_since(sent_at);
        let request_times = RequestTimes { sent_at: received_at.minus(elapsed), received_at };
        Some(match request {
            PollOrListRequest::Poll(poll) => {
                let answer = match response {
                    Ok(ProviderResponse::Poll(answer)) => answer,
                    Ok(ProviderResponse::List(_)) => Answer::failed(internal_error()),
                    Err(error) => Answer::failed(error),
                };
                if let Err(error) = &answer.result {
                    let (job, provider) = (poll.job, &poll.provider);
                    tracing::debug!(%job, %provider, remote_id = %poll.remote_id, reason = %error, "poll of job {job} failed");
                }
                Input::PollAnswered(poll.job, poll.provider_index, request_times, Box::new(answer))
            }
            PollOrListRequest::List(list) => {
                let answer = match response {
                    Ok(ProviderResponse::List(answer)) => answer,
                    Ok(ProviderResponse::Poll(_)) => Answer::failed(internal_error()),
                    Err(error) => Answer::failed(error),
                };
                if let Err(error) = &answer.result
                    && !answer.credential_replaced
                {
                    let provider = &list.provider;
                    tracing::warn!(
                        %provider,
                        "list request to {provider} failed; its jobs are polled one by one for a \
                         while: {error}"
                    );
                }
                Input::ListAnswered(list, request_times, Box::new(answer))
            }
        })
    }

    /// Ends all requests as failed: after a suspend no answer comes on their connections, and the
    /// timers of the async runtime, which stood still, would end them too late.
    pub(super) fn interrupt(&mut self) {
        self.tasks.abort_all();
    }

    /// Aborts all requests. Their jobs stay due as they were.
    pub(super) async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
    }
}

fn task_error(error: &JoinError) -> ProviderError {
    if error.is_cancelled() {
        let message = "the machine was suspended, or jobtrackd was stopped, during the request";
        ProviderError::new(ProviderErrorKind::Transient, message)
    } else {
        internal_error()
    }
}

fn internal_error() -> ProviderError {
    let message = "internal error: the task of the request failed; please report it with the log";
    ProviderError::new(ProviderErrorKind::Malformed, message)
}
