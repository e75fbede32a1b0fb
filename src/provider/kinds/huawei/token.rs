//! Tokens that are fetched from Huawei Cloud's IAM for a user, and shared by all requests of an account.
//!
//! Used by [`HuaweiClient`](super::client::HuaweiClient). One fetch runs at a time; requests that wait for it
//! share its result, a token or an error. Fetches are counted, and a request keeps the count at which it
//! took its token: if the token is rejected and a fetch has ended since, the result of that fetch is
//! used. Many requests that are rejected at once cause one fetch, and one request causes two at most.
//! Source: IAM API reference, "Obtaining a User Token Through Password Authentication".

use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::{Mutex, watch};

use crate::job::{ProviderError, ProviderErrorKind, UtcTime};
use crate::provider::http::{HttpClient, HttpRequest, HttpResponse};

use super::error::iam_rejection_error;

/// A user of IAM.
#[derive(Debug)]
pub(super) struct IamUser {
    pub(super) iam_url: Url,
    pub(super) name: String,
    pub(super) password: SecretString,
    pub(super) domain: String,
    pub(super) scope: ProjectScope,
}

/// The project that tokens are valid for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum ProjectScope {
    Name(String),
    Id(String),
}

/// The tokens of one user.
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
        let fetched = self.user.fetch_token(http, previous_count + 1, now).await;
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

/// The body of a successful response.
#[derive(Deserialize)]
struct IamTokenResponse {
    token: IamTokenInfo,
}

#[derive(Deserialize)]
struct IamTokenInfo {
    expires_at: String,
}

impl IamUser {
    /// Sends one request for a token.
    async fn fetch_token(
        &self,
        http: &HttpClient,
        fetch_number: u64,
        now: UtcTime,
    ) -> Result<CachedToken, ProviderError> {
        let mut url = self.iam_url.clone();
        url.set_path(&format!("{}/v3/auth/tokens", self.iam_url.path().trim_end_matches('/')));
        url.set_query(Some("nocatalog=true"));
        let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let request = HttpRequest {
            method: Method::POST,
            url,
            headers,
            body: self.request_body(),
            secrets_to_redact: vec![&self.password],
            dropped_keys: &[],
            max_bytes: HttpClient::MAX_BODY_BYTES,
        };
        let response = http.send(request, now).await.map_err(with_iam_context)?;
        if response.status.is_success() {
            parse_token(response, fetch_number, now)
        } else {
            Err(with_iam_context(iam_rejection_error(&response)))
        }
    }

    fn request_body(&self) -> Vec<u8> {
        let project = match &self.scope {
            ProjectScope::Name(name) => json!({ "name": name }),
            ProjectScope::Id(id) => json!({ "id": id }),
        };
        let user = json!({
            "name": self.name,
            "password": self.password.expose_secret(),
            "domain": { "name": self.domain },
        });
        let identity = json!({ "methods": ["password"], "password": { "user": user } });
        let scope = json!({ "project": project });
        json!({ "auth": { "identity": identity, "scope": scope } }).to_string().into_bytes()
    }
}

/// The lifetime is computed by IAM's clock (the header `Date`). With a wrong local clock a new
/// token could seem to have expired, and every request would fetch another.
fn parse_token(
    response: HttpResponse,
    fetch_number: u64,
    now: UtcTime,
) -> Result<CachedToken, ProviderError> {
    let malformed =
        |reason: &str| with_iam_context(ProviderError::new(ProviderErrorKind::Malformed, reason));
    let value =
        response.subject_token.ok_or_else(|| malformed("the answer has no X-Subject-Token"))?;
    let fetched: IamTokenResponse = serde_json::from_slice(&response.body)
        .map_err(|_| malformed("the answer does not contain token.expires_at"))?;
    let expires_at = UtcTime::parse_rfc3339(&fetched.token.expires_at)
        .ok_or_else(|| malformed("token.expires_at is not a time"))?;
    let lifetime = expires_at.duration_since(response.server_date.unwrap_or(now));
    if lifetime.is_zero() {
        return Err(malformed("the token has expired already"));
    }
    let expires_at = now.plus(lifetime);
    let renew_at = expires_at.minus(TokenCache::RENEW_BEFORE_EXPIRY.min(lifetime / 2));
    Ok(CachedToken { value, fetch_number, renew_at, expires_at })
}

/// Marks an error as one of IAM, so that it is not read as an error of the service.
fn with_iam_context(error: ProviderError) -> ProviderError {
    let error = error.with_context("no token from IAM");
    match error.kind {
        // IAM answers 400 to an unknown user, domain or project, and knows no jobs.
        ProviderErrorKind::Malformed
        | ProviderErrorKind::NotFound
        | ProviderErrorKind::InvalidId => {
            ProviderError { kind: ProviderErrorKind::Misconfigured, ..error }
        }
        ProviderErrorKind::Transient
        | ProviderErrorKind::RateLimited
        | ProviderErrorKind::QuotaExceeded
        | ProviderErrorKind::Auth
        | ProviderErrorKind::Misconfigured => error,
    }
}
