//! Tokens that are fetched from Huawei Cloud's IAM for a user, and shared by all requests for one project, of
//! whichever provider.
//!
//! Used by [`HuaweiClient`](super::client::HuaweiClient). One fetch runs at a time; requests that wait for it
//! share its result, a token or an error. Fetches are counted, and a request keeps the count at which it
//! took its token: if the token is rejected and a fetch has ended since, the result of that fetch is
//! used. Many requests that are rejected at once cause one fetch, and one request causes two at most.

use std::time::Duration;

use reqwest::header::HeaderValue;
use tokio::sync::{Mutex, watch};

use crate::job::{ProviderError, ProviderErrorKind, UtcTime};
use crate::provider::http::HttpClient;

use super::iam_user::{FetchedToken, IamUser};

/// The tokens of one user for one project.
#[derive(Debug)]
pub(super) struct TokenCache {
    pub(super) user: IamUser,
    entry: watch::Sender<TokenCacheState>,
    /// Locked during a fetch.
    fetch_lock: Mutex<()>,
}

/// A token for one request.
#[derive(Debug)]
pub(super) struct IssuedToken {
    pub(super) token: HeaderValue,
    /// The number of fetches that had ended when the token was taken.
    fetch_count: u64,
}

/// The results of the fetches so far.
#[derive(Debug, Clone, Default)]
struct TokenCacheState {
    fetch_count: u64,
    /// The newest token. A failed fetch does not remove it.
    token: Option<CachedToken>,
    /// The error and the time of the last fetch, if it failed.
    last_failure: Option<(ProviderError, UtcTime)>,
}

/// A token. The times are by the local clock.
#[derive(Debug, Clone)]
struct CachedToken {
    value: HeaderValue,
    /// The number of the fetch that returned it.
    fetch_number: u64,
    renew_at: UtcTime,
    expires_at: UtcTime,
}

impl CachedToken {
    fn new(token: FetchedToken, fetch_number: u64, now: UtcTime) -> Self {
        let FetchedToken { value, lifetime } = token;
        let expires_at = now.plus(lifetime);
        let renew_at = expires_at.minus(TokenCache::RENEW_BEFORE_EXPIRY.min(lifetime / 2));
        Self { value, fetch_number, renew_at, expires_at }
    }
}

impl TokenCache {
    /// A token is renewed so long before it expires, or at half of its lifetime if that is later.
    const RENEW_BEFORE_EXPIRY: Duration = Duration::from_hours(1);
    /// The delay after which a failed renewal is tried again while the token is still valid.
    const RENEWAL_RETRY_DELAY: Duration = Duration::from_mins(5);

    pub(super) fn new(user: IamUser) -> Self {
        Self { user, entry: watch::Sender::default(), fetch_lock: Mutex::default() }
    }

    /// A token that has not expired. Fetches one if there is none.
    pub(super) async fn lease(
        &self,
        http: &HttpClient,
        now: UtcTime,
    ) -> Result<IssuedToken, ProviderError> {
        let entry = self.current_entry();
        let Some(lease) = entry.valid_lease(now) else {
            return self.lease_after_fetch(http, entry.fetch_count, now).await;
        };
        // While the old token is valid, only the request that renews it waits for the renewal.
        if entry.needs_renewal(now)
            && let Ok(_fetch_guard) = self.fetch_lock.try_lock()
            && self.current_entry().fetch_count == entry.fetch_count
        {
            return Ok(self.fetch(http, now).await.unwrap_or(lease));
        }
        Ok(lease)
    }

    /// A token to use instead of one that the service rejected.
    pub(super) async fn replace_rejected(
        &self,
        http: &HttpClient,
        rejected: &IssuedToken,
        now: UtcTime,
    ) -> Result<IssuedToken, ProviderError> {
        self.lease_after_fetch(http, rejected.fetch_count, now).await
    }

    /// The result of a fetch that ended after the first `seen_fetches`. Fetches if there is none.
    async fn lease_after_fetch(
        &self,
        http: &HttpClient,
        seen_fetches: u64,
        now: UtcTime,
    ) -> Result<IssuedToken, ProviderError> {
        let _fetch_guard = self.fetch_lock.lock().await;
        let entry = self.current_entry();
        if entry.fetch_count == seen_fetches {
            return self.fetch(http, now).await;
        }
        entry.result_after_fetch(seen_fetches)
    }

    /// The caller holds `fetch_lock`.
    async fn fetch(&self, http: &HttpClient, now: UtcTime) -> Result<IssuedToken, ProviderError> {
        let previous_count = self.current_entry().fetch_count;
        let fetched = self.user.fetch_token(http, now).await;
        let fetched = fetched.map(|token| CachedToken::new(token, previous_count + 1, now));
        self.entry.send_modify(|entry| {
            entry.fetch_count = previous_count + 1;
            match fetched {
                Ok(token) => (entry.token, entry.last_failure) = (Some(token), None),
                Err(error) => entry.last_failure = Some((error, now)),
            }
        });
        self.current_entry().result_after_fetch(previous_count)
    }

    fn current_entry(&self) -> TokenCacheState {
        self.entry.borrow().clone()
    }
}

impl TokenCacheState {
    fn lease_for(&self, token: &CachedToken) -> IssuedToken {
        IssuedToken { token: token.value.clone(), fetch_count: self.fetch_count }
    }

    fn valid_lease(&self, now: UtcTime) -> Option<IssuedToken> {
        self.token
            .as_ref()
            .filter(|token| now < token.expires_at)
            .map(|token| self.lease_for(token))
    }

    fn needs_renewal(&self, now: UtcTime) -> bool {
        // A clock that was set back must not delay the next attempt.
        let may_retry = self.last_failure.as_ref().is_none_or(|(_, at)| {
            now < *at || now.duration_since(*at) >= TokenCache::RENEWAL_RETRY_DELAY
        });
        may_retry && self.token.as_ref().is_some_and(|token| now >= token.renew_at)
    }

    /// The result of the fetches after the first `seen_fetches`.
    fn result_after_fetch(&self, seen_fetches: u64) -> Result<IssuedToken, ProviderError> {
        let newer_token = self.token.as_ref().filter(|token| token.fetch_number > seen_fetches);
        match (newer_token, &self.last_failure) {
            (Some(token), _) => Ok(self.lease_for(token)),
            (None, Some((error, _))) => Err(error.clone()),
            (None, None) => {
                Err(ProviderError::new(ProviderErrorKind::Transient, "no token was fetched"))
            }
        }
    }
}
