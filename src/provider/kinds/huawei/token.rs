//! Tokens that are fetched from Huawei Cloud's IAM for a user, and shared by all requests for one project, of
//! whichever provider.
//!
//! Used by [`HuaweiClient`](super::client::HuaweiClient). One fetch runs at a time; requests that wait for it
//! share its result, a token or an error. Fetches are counted, and a request keeps the count at which it
//! took its token: if the token is rejected and a fetch has ended since, the result of that fetch is
//! used. Many requests that are rejected at once cause one fetch. A token that is rejected, as the one before it
//! was, is removed and not replaced at once, so that rejections do not cause fetch after fetch.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::header::HeaderValue;

use crate::job::{ProviderError, ProviderErrorKind, UtcTime};
use crate::provider::http::HttpClient;

use super::iam_user::{FetchedToken, IamUser};

/// The tokens of one user for one project.
#[derive(Debug)]
pub(super) struct TokenCache {
    pub(super) user: IamUser,
    state: Mutex<TokenCacheState>,
    /// Locked during a fetch.
    fetch_lock: tokio::sync::Mutex<()>,
}

/// A token for one request.
#[derive(Debug)]
pub(super) struct RequestToken {
    pub(super) value: HeaderValue,
    /// The number of fetches that had ended when the token was taken.
    fetch_count: u64,
}

/// What became of a token that the service rejected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenReplacement {
    /// There is another token.
    Replaced,
    /// The token before it was rejected too, and none was accepted since. The next request fetches another one.
    RejectedAgain,
}

/// The results of the fetches so far.
#[derive(Debug, Clone, Default)]
struct TokenCacheState {
    fetch_count: u64,
    /// The newest token. A failed fetch does not remove it.
    token: Option<CachedToken>,
    /// Whether the service rejected a token and has accepted no newer one since.
    token_rejected: bool,
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
    /// Whether it was fetched after a rejection, and the service has not accepted it since.
    unconfirmed: bool,
}

impl CachedToken {
    fn new(token: FetchedToken, fetch_number: u64, unconfirmed: bool, now: UtcTime) -> Self {
        let FetchedToken { value, lifetime } = token;
        let expires_at = now.plus(lifetime);
        let renew_at = expires_at.minus(TokenCache::RENEW_BEFORE_EXPIRY.min(lifetime / 2));
        Self { value, fetch_number, renew_at, expires_at, unconfirmed }
    }
}

impl TokenCache {
    /// A token is renewed so long before it expires, or at half of its lifetime if that is later.
    const RENEW_BEFORE_EXPIRY: Duration = Duration::from_hours(1);
    /// The delay after which a failed renewal is tried again while the token is still valid.
    const RENEWAL_RETRY_DELAY: Duration = Duration::from_mins(5);

    pub(super) fn new(user: IamUser) -> Self {
        Self { user, state: Mutex::default(), fetch_lock: tokio::sync::Mutex::default() }
    }

    /// A token that has not expired. Fetches one if there is none.
    pub(super) async fn valid_token(
        &self,
        http: &HttpClient,
        now: UtcTime,
    ) -> Result<RequestToken, ProviderError> {
        let state = self.state().clone();
        let Some(token) = state.valid_token(now) else {
            return self.token_after_fetch(http, state.fetch_count, now).await;
        };
        // While the old token is valid, only the request that renews it waits for the renewal.
        if state.needs_renewal(now)
            && let Ok(_fetch_guard) = self.fetch_lock.try_lock()
            && self.state().fetch_count == state.fetch_count
        {
            return Ok(self.fetch(http, now).await.unwrap_or(token));
        }
        Ok(token)
    }

    /// The service accepted the token of a request.
    pub(super) fn mark_accepted(&self, token: &RequestToken) {
        let mut state = self.state();
        if let Some(cached) = state.token.as_mut().filter(|cached| cached.value == token.value) {
            cached.unconfirmed = false;
            state.token_rejected = false;
        }
    }

    /// Obtains a token to use instead of one that the service rejected.
    pub(super) async fn replace_rejected(
        &self,
        http: &HttpClient,
        rejected: &RequestToken,
        now: UtcTime,
    ) -> Result<TokenReplacement, ProviderError> {
        {
            let mut state = self.state();
            let is_unconfirmed = state.token.as_ref().is_none_or(|cached| cached.unconfirmed);
            if state.fetch_count == rejected.fetch_count {
                if is_unconfirmed {
                    state.token = None;
                    return Ok(TokenReplacement::RejectedAgain);
                }
                state.token_rejected = true;
            }
        }
        self.token_after_fetch(http, rejected.fetch_count, now).await?;
        Ok(TokenReplacement::Replaced)
    }

    /// The result of a fetch that ended after the first `seen_fetches`. Fetches if there is none.
    async fn token_after_fetch(
        &self,
        http: &HttpClient,
        seen_fetches: u64,
        now: UtcTime,
    ) -> Result<RequestToken, ProviderError> {
        let _fetch_guard = self.fetch_lock.lock().await;
        let state = self.state().clone();
        if state.fetch_count == seen_fetches {
            return self.fetch(http, now).await;
        }
        state.result_after_fetch(seen_fetches)
    }

    /// The caller holds `fetch_lock`.
    async fn fetch(&self, http: &HttpClient, now: UtcTime) -> Result<RequestToken, ProviderError> {
        let fetched = self.user.fetch_token(http, now).await;
        let mut state = self.state();
        let previous_count = state.fetch_count;
        state.fetch_count += 1;
        match fetched {
            Ok(token) => {
                state.token =
                    Some(CachedToken::new(token, state.fetch_count, state.token_rejected, now));
                state.last_failure = None;
            }
            Err(error) => state.last_failure = Some((error, now)),
        }
        state.result_after_fetch(previous_count)
    }

    /// No code panics while it holds the lock.
    fn state(&self) -> MutexGuard<'_, TokenCacheState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TokenCacheState {
    fn request_token(&self, token: &CachedToken) -> RequestToken {
        RequestToken { value: token.value.clone(), fetch_count: self.fetch_count }
    }

    fn valid_token(&self, now: UtcTime) -> Option<RequestToken> {
        self.token
            .as_ref()
            .filter(|token| now < token.expires_at)
            .map(|token| self.request_token(token))
    }

    fn needs_renewal(&self, now: UtcTime) -> bool {
        // A clock that was set back must not delay the next attempt.
        let may_retry = self.last_failure.as_ref().is_none_or(|(_, at)| {
            now < *at || now.duration_since(*at) >= TokenCache::RENEWAL_RETRY_DELAY
        });
        may_retry && self.token.as_ref().is_some_and(|token| now >= token.renew_at)
    }

    /// The result of the fetches after the first `seen_fetches`.
    fn result_after_fetch(&self, seen_fetches: u64) -> Result<RequestToken, ProviderError> {
        let newer_token = self.token.as_ref().filter(|token| token.fetch_number > seen_fetches);
        match (newer_token, &self.last_failure) {
            (Some(token), _) => Ok(self.request_token(token)),
            (None, Some((error, _))) => Err(error.clone()),
            (None, None) => {
                Err(ProviderError::new(ProviderErrorKind::Transient, "no token was fetched"))
            }
        }
    }
}
