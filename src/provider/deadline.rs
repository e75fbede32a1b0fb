//! Ends every operation of a provider by a deadline.
//!
//! Put around each provider by [`build`](super::build). One operation may be several exchanges (a token, the
//! request, another token) and waits for others that use the same credential; each exchange has its own time-out.
//! Without a deadline for all of it, requests that wait for each other would look like a daemon that hangs.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::timeout;

use crate::job::{
    Answer, ConnectionCheck, Finding, FindingKind, ListPage, ListPageQuery, ProviderError,
    ProviderErrorKind, RateLimitInfo, RemoteId, ServiceHints, UtcTime,
};

use super::Provider;

#[derive(Debug)]
pub(super) struct DeadlineProvider {
    inner: Box<dyn Provider>,
    limit: Duration,
}

impl DeadlineProvider {
    /// Longer than the time-out of one exchange, whose error says more; shorter than the time after which the
    /// tracker takes a request for stuck (`ProviderQueue::STUCK_MARGIN`).
    const MARGIN: Duration = Duration::from_secs(15);

    pub(super) fn new(inner: Box<dyn Provider>, request_timeout: Duration) -> Self {
        Self { inner, limit: request_timeout + Self::MARGIN }
    }

    fn error(&self) -> ProviderError {
        let limit = self.limit.as_secs();
        let reason = format!("no result within {limit} s, with the authentication");
        ProviderError::new(ProviderErrorKind::Transient, reason)
    }
}

impl Provider for DeadlineProvider {
    fn validate_id(&self, id: &RemoteId) -> Result<(), String> {
        self.inner.validate_id(id)
    }

    fn doubt_id(&self, id: &RemoteId) -> Option<&'static str> {
        self.inner.doubt_id(id)
    }

    fn credential_fingerprint(&self) -> u64 {
        self.inner.credential_fingerprint()
    }

    fn renew_rejected_secrets(&self) -> BoxFuture<'_, ()> {
        self.inner.renew_rejected_secrets()
    }

    fn supports_list(&self) -> bool {
        self.inner.supports_list()
    }

    fn poll<'a>(&'a self, id: &'a RemoteId, now: UtcTime) -> BoxFuture<'a, Answer> {
        Box::pin(async move {
            let result = timeout(self.limit, self.inner.poll(id, now)).await;
            result.unwrap_or_else(|_| Answer::failed(self.error()))
        })
    }

    fn list<'a>(
        &'a self,
        window: &'a ListPageQuery,
        now: UtcTime,
    ) -> BoxFuture<'a, Answer<ListPage>> {
        Box::pin(async move {
            let result = timeout(self.limit, self.inner.list(window, now)).await;
            result.unwrap_or_else(|_| Answer::failed(self.error()))
        })
    }

    fn cancel<'a>(&'a self, id: &'a RemoteId, now: UtcTime) -> BoxFuture<'a, Answer<()>> {
        Box::pin(async move {
            let result = timeout(self.limit, self.inner.cancel(id, now)).await;
            result.unwrap_or_else(|_| Answer::failed(self.error()))
        })
    }

    fn check_connection(&self, now: UtcTime) -> BoxFuture<'_, ConnectionCheck> {
        Box::pin(async move {
            let result = timeout(self.limit, self.inner.check_connection(now)).await;
            result.unwrap_or_else(|_| ConnectionCheck {
                finding: Finding::new(FindingKind::Unreachable, self.error().message),
                clock_ahead_s: None,
                rate_limit: RateLimitInfo::default(),
                credential_replaced: false,
                hints: ServiceHints::GENERIC,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    /// A provider that never answers.
    #[derive(Debug)]
    struct Hanging;

    impl Provider for Hanging {
        fn validate_id(&self, _id: &RemoteId) -> Result<(), String> {
            Ok(())
        }

        fn credential_fingerprint(&self) -> u64 {
            0
        }

        fn poll<'a>(&'a self, _id: &'a RemoteId, _now: UtcTime) -> BoxFuture<'a, Answer> {
            Box::pin(pending())
        }

        fn list<'a>(
            &'a self,
            _window: &'a ListPageQuery,
            _now: UtcTime,
        ) -> BoxFuture<'a, Answer<ListPage>> {
            Box::pin(pending())
        }

        fn cancel<'a>(&'a self, _id: &'a RemoteId, _now: UtcTime) -> BoxFuture<'a, Answer<()>> {
            Box::pin(pending())
        }

        fn check_connection(&self, _now: UtcTime) -> BoxFuture<'_, ConnectionCheck> {
            Box::pin(pending())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn fault_13_every_operation_of_a_provider_ends_by_its_deadline() {
        let provider = DeadlineProvider::new(Box::new(Hanging), Duration::from_secs(30));
        let now = UtcTime::parse_rfc3339("2026-01-01T00:00:00Z").expect("a time");
        let id: RemoteId = "x".parse().expect("an id");
        let query = ListPageQuery { from: now, to: now, page: 1 };
        let too_early = timeout(Duration::from_secs(44), provider.poll(&id, now)).await;
        assert!(too_early.is_err());
        let answer = timeout(Duration::from_secs(46), provider.poll(&id, now)).await;
        let error = answer.expect("an end").result.expect_err("no answer");
        assert_eq!(error.kind, ProviderErrorKind::Transient);
        let error = provider.list(&query, now).await.result.expect_err("no answer");
        assert_eq!(error.kind, ProviderErrorKind::Transient);
        let error = provider.cancel(&id, now).await.result.expect_err("no answer");
        assert!(error.message.contains("within 45 s"), "{error}");
        let check = provider.check_connection(now).await;
        assert_eq!(check.finding.kind, FindingKind::Unreachable);
    }
}
