//! The requests under way: each a task of its own, whose end becomes an input of the tracker.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::{self, JoinError, JoinSet};

use crate::clock::Clock;
use crate::job::{
    Answer, ListPage, ProviderError, ProviderErrorKind, ProviderName, RequestTimes, UtcTime,
};
use crate::provider::Provider;
use crate::tracker::{Input, ListRequest, PollRequest};

/// What is asked for.
#[derive(Debug)]
pub(super) enum ProviderRequest {
    Poll(PollRequest),
    List(ListRequest),
}

/// What came back.
#[derive(Debug)]
enum ProviderResponse {
    Poll(Answer),
    List(Answer<ListPage>),
}

#[derive(Debug, Default)]
pub(super) struct InFlightRequests {
    tasks: JoinSet<ProviderResponse>,
    requests: HashMap<task::Id, (ProviderRequest, UtcTime)>,
}

impl ProviderRequest {
    /// Whom to ask.
    pub(super) fn provider(&self) -> &ProviderName {
        match self {
            Self::Poll(question) => &question.provider,
            Self::List(question) => &question.provider,
        }
    }
}

impl InFlightRequests {
    /// Asks; a provider that is gone has no answer.
    pub(super) fn send(&mut self, request: ProviderRequest, provider: Option<Arc<dyn Provider>>) {
        let sent_at = Clock::utc_now();
        let not_configured =
            || ProviderError::new(ProviderErrorKind::Misconfigured, "not configured");
        let task = match &request {
            ProviderRequest::Poll(question) => {
                let id = question.remote_id.clone();
                self.tasks.spawn(async move {
                    ProviderResponse::Poll(match provider {
                        Some(provider) => provider.poll(&id, sent_at).await,
                        None => Answer::failed(not_configured()),
                    })
                })
            }
            ProviderRequest::List(question) => {
                let (window, jobs) = (question.window, question.jobs.len());
                tracing::debug!(provider = %question.provider, ?window, "one page for {jobs} jobs");
                self.tasks.spawn(async move {
                    ProviderResponse::List(match provider {
                        Some(provider) => provider.list(&window, sent_at).await,
                        None => Answer::failed(not_configured()),
                    })
                })
            }
        };
        self.requests.insert(task.id(), (request, sent_at));
    }

    /// The next one that is over; none if none is under way.
    pub(super) async fn next_completed(&mut self) -> Option<Input> {
        loop {
            let joined = self.tasks.join_next_with_id().await?;
            if let Some(input) = self.complete(joined) {
                return Some(input);
            }
        }
    }

    /// A panic while an answer is read is that request's failure, not our end.
    fn complete(
        &mut self,
        joined: Result<(task::Id, ProviderResponse), JoinError>,
    ) -> Option<Input> {
        let (id, response) = match joined {
            Ok((id, response)) => (id, Some(response)),
            Err(error) => (error.id(), None),
        };
        let (request, sent_at) = self.requests.remove(&id)?;
        let request_times = RequestTimes { sent_at, received_at: Clock::utc_now() };
        let handler_panicked =
            || ProviderError::new(ProviderErrorKind::Malformed, "the answer could not be handled");
        Some(match request {
            ProviderRequest::Poll(question) => {
                let answer = match response {
                    Some(ProviderResponse::Poll(answer)) => answer,
                    Some(ProviderResponse::List(_)) | None => Answer::failed(handler_panicked()),
                };
                if let Err(error) = &answer.result {
                    let (job, provider) = (question.job, &question.provider);
                    tracing::debug!(%job, %provider, %error, "poll failed");
                }
                Input::PollAnswered(
                    question.job,
                    question.provider_index,
                    request_times,
                    Box::new(answer),
                )
            }
            ProviderRequest::List(question) => {
                let answer = match response {
                    Some(ProviderResponse::List(listing)) => listing,
                    Some(ProviderResponse::Poll(_)) | None => Answer::failed(handler_panicked()),
                };
                if let Err(error) = &answer.result {
                    let provider = &question.provider;
                    tracing::warn!(
                        %provider,
                        "{provider}: no list, its jobs are asked one by one for a while: {error}"
                    );
                }
                Input::ListAnswered(question, request_times, Box::new(answer))
            }
        })
    }

    /// Drops what is under way.
    pub(super) async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
    }
}
