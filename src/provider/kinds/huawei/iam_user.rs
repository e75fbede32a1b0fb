//! A user of IAM, and the request for a token.
//!
//! Used by [`TokenCache`](super::token::TokenCache). A rejected password is read again, and tried again if it has
//! changed; the attempts of a user are limited by its gate. Source: IAM API reference, "Obtaining a User Token
//! Through Password Authentication".

use std::sync::Arc;

use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use crate::job::{ProviderError, ProviderErrorKind, UtcTime};
use crate::provider::http::{HttpClient, HttpRequest, HttpResponse};
use crate::provider::renewable_secrets::{RenewableSecrets, SecretValues};

use super::credential_gate::{CredentialGate, Fingerprint, RefusalReason, fingerprint_of};
use super::error::{iam_rejection_error, is_user_locked};

#[derive(Debug)]
pub(super) struct IamUser {
    pub(super) name: UserName,
    pub(super) scope: ProjectScope,
    pub(super) password: RenewableSecrets,
    pub(super) gate: Arc<CredentialGate>,
}

/// What names a user.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct UserName {
    pub(super) iam_url: Url,
    pub(super) user: String,
    /// The account that the user belongs to.
    pub(super) domain: String,
}

/// The project that tokens are valid for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum ProjectScope {
    Name(String),
    Id(String),
}

/// A token, and the time of its end by the local clock.
#[derive(Debug)]
pub(super) struct FetchedToken {
    pub(super) value: HeaderValue,
    pub(super) lifetime: std::time::Duration,
}

/// A token request without a token.
#[derive(Debug)]
struct TokenError {
    error: ProviderError,
    /// Why, if IAM refused the user.
    reason: RefusalReason,
}

impl IamUser {
    pub(super) fn password_fingerprint(&self) -> Fingerprint {
        fingerprint_of(&self.password.values())
    }

    /// Requests a token, once, or twice if the password was replaced.
    pub(super) async fn fetch_token(
        &self,
        http: &HttpClient,
        now: UtcTime,
    ) -> Result<FetchedToken, ProviderError> {
        let (password, mut admission) = self.gate.admit_secrets(&self.password, now).await?;
        let mut result = self.request_token(http, &password, now).await;
        let mut used = password;
        if let Err(TokenError { error, reason }) = &result
            && error.kind == ProviderErrorKind::Auth
            && let Some(new_password) = self.password.renewed(&used).await
        {
            admission.record_refusal(fingerprint_of(&used), *reason, error, now);
            admission.check(fingerprint_of(&new_password), now)?;
            result = self.request_token(http, &new_password, now).await;
            used = new_password;
        }
        match &result {
            Ok(_) => {
                self.password.mark_accepted(&used);
                admission.record_acceptance();
            }
            Err(TokenError { error, reason }) if error.kind == ProviderErrorKind::Auth => {
                admission.record_refusal(fingerprint_of(&used), *reason, error, now);
            }
            Err(_) => admission.record_no_verdict(),
        }
        result.map_err(|failure| failure.error)
    }

    async fn request_token(
        &self,
        http: &HttpClient,
        password: &SecretValues,
        now: UtcTime,
    ) -> Result<FetchedToken, TokenError> {
        let iam_url = &self.name.iam_url;
        let mut url = iam_url.clone();
        url.set_path(&format!("{}/v3/auth/tokens", iam_url.path().trim_end_matches('/')));
        url.set_query(Some("nocatalog=true"));
        let headers = vec![(CONTENT_TYPE, HeaderValue::from_static("application/json"))];
        let request = HttpRequest {
            method: Method::POST,
            url,
            headers,
            body: self.request_body(password),
            secrets_to_redact: password.iter().collect(),
            dropped_keys: &[],
            max_bytes: HttpClient::MAX_BODY_BYTES,
        };
        let failure = |error, reason| TokenError { error: with_iam_context(error), reason };
        let response = http.send(request, now).await;
        let response = response.map_err(|error| failure(error, RefusalReason::Wrong))?;
        if response.status.is_success() {
            return parse_token(response, now)
                .map_err(|error| failure(error, RefusalReason::Wrong));
        }
        let is_locked = is_user_locked(&response);
        let reason = if is_locked { RefusalReason::Locked } else { RefusalReason::Wrong };
        Err(failure(iam_rejection_error(&response), reason))
    }

    fn request_body(&self, password: &SecretValues) -> Vec<u8> {
        let project = match &self.scope {
            ProjectScope::Name(name) => json!({ "name": name }),
            ProjectScope::Id(id) => json!({ "id": id }),
        };
        let user = json!({
            "name": self.name.user,
            "password": password.first().map(SecretString::expose_secret),
            "domain": { "name": self.name.domain },
        });
        let identity = json!({ "methods": ["password"], "password": { "user": user } });
        let scope = json!({ "project": project });
        json!({ "auth": { "identity": identity, "scope": scope } }).to_string().into_bytes()
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

/// The lifetime is computed by IAM's clock (the header `Date`). With a wrong local clock a new
/// token could seem to have expired, and every request would fetch another.
fn parse_token(response: HttpResponse, now: UtcTime) -> Result<FetchedToken, ProviderError> {
    let malformed = |reason: &str| ProviderError::new(ProviderErrorKind::Malformed, reason);
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
    Ok(FetchedToken { value, lifetime })
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
