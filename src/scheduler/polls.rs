//! The requests under way: each a task of its own, whose end becomes an input of the tracker.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::{self, JoinError, JoinSet};

use crate::clock::Clock;
use crate::job::{Answer, Asked, Listing, ProviderError, ProviderName, Utc};
use crate::provider::Provider;
use crate::tracker::{Input, PageQuestion, Question};

/// What is asked for.
#[derive(Debug)]
pub(super) enum Sent {
    Job(Question),
    Page(PageQuestion),
}

/// What came back.
#[derive(Debug)]
enum Answered {
    Job(Answer),
    Page(Listing),
}

#[derive(Debug, Default)]
pub(super) struct Polls {
    tasks: JoinSet<Answered>,
    sent: HashMap<task::Id, (Sent, Utc)>,
}

impl Sent {
    /// Whom to ask.
    pub(super) fn provider(&self) -> &ProviderName {
        match self {
            Self::Job(question) => &question.provider,
            Self::Page(question) => &question.provider,
        }
    }
}

impl Polls {
    /// Asks; a provider that is gone has no answer.
    pub(super) fn send(&mut self, sent: Sent, provider: Option<Arc<dyn Provider>>) {
        let sent_at = Clock::wall();
        let gone = || ProviderError::Misconfigured("not configured".into());
        let task = match &sent {
            Sent::Job(question) => {
                let id = question.remote_id.clone();
                self.tasks.spawn(async move {
                    Answered::Job(match provider {
                        Some(provider) => provider.poll(&id, sent_at).await,
                        None => Answer::failed(gone()),
                    })
                })
            }
            Sent::Page(question) => {
                let (page, jobs) = (question.page, question.jobs.len());
                tracing::debug!(provider = %question.provider, ?page, "one page for {jobs} jobs");
                self.tasks.spawn(async move {
                    Answered::Page(match provider {
                        Some(provider) => provider.list(&page, sent_at).await,
                        None => Listing::failed(gone()),
                    })
                })
            }
        };
        self.sent.insert(task.id(), (sent, sent_at));
    }

    /// The next one that is over; none if none is under way.
    pub(super) async fn next(&mut self) -> Option<Input> {
        loop {
            let done = self.tasks.join_next_with_id().await?;
            if let Some(input) = self.read(done) {
                return Some(input);
            }
        }
    }

    /// A panic while an answer is read is that request's failure, not our end.
    fn read(&mut self, done: Result<(task::Id, Answered), JoinError>) -> Option<Input> {
        let (id, answered) = match done {
            Ok((id, answered)) => (id, Some(answered)),
            Err(error) => (error.id(), None),
        };
        let (sent, sent_at) = self.sent.remove(&id)?;
        let asked = Asked { sent_at, answered_at: Clock::wall() };
        let broken = || ProviderError::Malformed("the answer could not be handled".into());
        Some(match sent {
            Sent::Job(question) => {
                let answer = match answered {
                    Some(Answered::Job(answer)) => answer,
                    Some(Answered::Page(_)) | None => Answer::failed(broken()),
                };
                if let Err(error) = &answer.result {
                    let (job, provider) = (question.job, &question.provider);
                    tracing::debug!(%job, %provider, %error, "poll failed");
                }
                Input::Answered(question.job, question.lane, asked, Box::new(answer))
            }
            Sent::Page(question) => {
                let listing = match answered {
                    Some(Answered::Page(listing)) => listing,
                    Some(Answered::Job(_)) | None => Listing::failed(broken()),
                };
                if let Err(error) = &listing.result {
                    let provider = &question.provider;
                    tracing::warn!(
                        %provider,
                        "{provider}: no list, its jobs are asked one by one for a while: {error}"
                    );
                }
                Input::Listed(question, asked, Box::new(listing))
            }
        })
    }

    /// Drops what is under way.
    pub(super) async fn shutdown(&mut self) {
        self.tasks.shutdown().await;
    }
}
