//! The client of one account: adds the authentication to a request, encodes its URL, sends it.
//!
//! Used by both kinds. A path and a query go out in exactly the form that is signed.

use std::sync::Arc;

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, Url};
use secrecy::SecretString;

use crate::job::{ProviderError, ProviderErrorKind, UtcTime};
use crate::provider::http::{HttpClient, HttpRequest, HttpResponse};
use crate::provider::renewable_secrets::{RenewableSecrets, SecretValues};

use super::auth::{Auth, Credential};
use super::credential_gate::{Admission, CredentialGate, RefusalReason, fingerprint_of};
use super::error::{CredentialVerdict, credential_verdict, is_token_rejected, rejection_error};
use super::token::{TokenCache, TokenReplacement};
use super::{rate_limit_text, sign};

/// A well-formed id that no job has, for the connection check.
pub(super) const NONEXISTENT_ID: &str = "00000000-0000-0000-0000-000000000000";

/// One account of one service.
#[derive(Debug)]
pub(super) struct HuaweiClient {
    pub(super) http: HttpClient,
    pub(super) base_url: Url,
    pub(super) project_id: String,
    pub(super) auth: Auth,
}

/// A request without its authentication.
#[derive(Debug)]
pub(super) struct HuaweiRequest<'a> {
    pub(super) method: Method,
    /// The segments of the path below `base_url`, not encoded.
    pub(super) segments: &'a [&'a str],
    /// The parameters of the query, not encoded.
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) headers: &'a [(HeaderName, HeaderValue)],
    /// The keys whose values are dropped while the body is received.
    pub(super) dropped_keys: &'static [&'static str],
    /// The limit for the body of the response.
    pub(super) max_bytes: usize,
}

impl<'a> HuaweiRequest<'a> {
    pub(super) fn get(segments: &'a [&'a str]) -> Self {
        let (method, max_bytes) = (Method::GET, HttpClient::MAX_BODY_BYTES);
        Self { method, segments, query: &[], headers: &[], dropped_keys: &[], max_bytes }
    }
}

impl HuaweiClient {
    /// Sends a request, once. If the credential is rejected, another one is obtained if there is one: a new token
    /// of the user, or secrets that were replaced at their places.
    pub(super) async fn send(
        &self,
        request: HuaweiRequest<'_>,
        now: UtcTime,
    ) -> Result<HttpResponse, ProviderError> {
        match &self.auth {
            Auth::Password(token_cache) => self.send_with_token(token_cache, request, now).await,
            Auth::Token(secrets) => self.send_with_secrets(secrets, None, request, now).await,
            Auth::AccessKey { secrets, gate } => {
                self.send_with_secrets(secrets, Some(gate), request, now).await
            }
        }
    }

    async fn send_with_token(
        &self,
        token_cache: &TokenCache,
        request: HuaweiRequest<'_>,
        now: UtcTime,
    ) -> Result<HttpResponse, ProviderError> {
        let token = token_cache.valid_token(&self.http, now).await?;
        let credential = Credential::FetchedToken(&token);
        let redacted = token_cache.user.password.values();
        let mut response = self.send_authenticated(request, &credential, &redacted, now).await?;
        if is_token_rejected(&response) {
            match token_cache.replace_rejected(&self.http, &token, now).await? {
                TokenReplacement::Replaced => response.credential_replaced = true,
                TokenReplacement::RejectedAgain => {
                    let note = "the token before this one was rejected too";
                    response.rejection_note = Some(note.to_owned());
                }
            }
        } else if credential_verdict(&response) == CredentialVerdict::Accepted {
            token_cache.mark_accepted(&token);
        }
        Ok(response)
    }

    async fn send_with_secrets(
        &self,
        secrets: &RenewableSecrets,
        gate: Option<&Arc<CredentialGate>>,
        request: HuaweiRequest<'_>,
        now: UtcTime,
    ) -> Result<HttpResponse, ProviderError> {
        let (values, mut admission) = match gate {
            Some(gate) => {
                let (values, admission) = gate.admit_secrets(secrets, now).await?;
                (values, Some(admission))
            }
            None => (secrets.values_for_request().await, None),
        };
        let mut response = self.send_secrets(request, &values, admission.as_mut(), now).await?;
        match credential_verdict(&response) {
            CredentialVerdict::Accepted => secrets.mark_accepted(&values),
            CredentialVerdict::Refused => {
                let may_send = |new: &SecretValues| {
                    let check =
                        |admission: &Admission<'_>| admission.check(fingerprint_of(new), now);
                    admission.as_ref().is_none_or(|admission| check(admission).is_ok())
                };
                response.credential_replaced =
                    secrets.renewed(&values).await.as_ref().is_some_and(may_send);
            }
            CredentialVerdict::None => {}
        }
        Ok(response)
    }

    /// Sends a request and reports the verdict on the secrets to the gate.
    async fn send_secrets(
        &self,
        request: HuaweiRequest<'_>,
        values: &SecretValues,
        admission: Option<&mut Admission<'_>>,
        now: UtcTime,
    ) -> Result<HttpResponse, ProviderError> {
        let credential = Credential::from_secrets(values)?;
        let result = self.send_authenticated(request, &credential, &[], now).await;
        let Some(admission) = admission else { return result };
        let mut response = result.inspect_err(|_| admission.record_no_verdict())?;
        if is_token_rejected(&response) {
            response.rejection_note = response.clock_ahead_s.and_then(clock_skew_note);
        }
        match credential_verdict(&response) {
            CredentialVerdict::Accepted => admission.record_acceptance(),
            CredentialVerdict::Refused => {
                let error = rejection_error(&response);
                let credential = fingerprint_of(values);
                admission.record_refusal(credential, RefusalReason::Wrong, &error, now);
            }
            CredentialVerdict::None => admission.record_no_verdict(),
        }
        Ok(response)
    }

    async fn send_authenticated(
        &self,
        request: HuaweiRequest<'_>,
        credential: &Credential<'_>,
        redacted: &[SecretString],
        now: UtcTime,
    ) -> Result<HttpResponse, ProviderError> {
        let HuaweiRequest { method, segments, query, headers, dropped_keys, max_bytes } = request;
        let url = self.endpoint_url(segments, query)?;
        let mut all_headers = credential.headers(&method, &url, &self.project_id, now)?;
        all_headers.extend_from_slice(headers);
        let http_request = HttpRequest {
            method,
            url,
            headers: all_headers,
            body: Vec::new(),
            secrets_to_redact: credential.secrets_to_redact().into_iter().chain(redacted).collect(),
            dropped_keys,
            max_bytes,
        };
        let mut response = self.http.send(http_request, now).await?;
        if !response.status.is_success()
            && let ProviderError { kind: ProviderErrorKind::RateLimited, message, .. } =
                rejection_error(&response)
        {
            response.rate_limit.quota =
                response.rate_limit.quota.or_else(|| rate_limit_text::parse_quota(&message));
        }
        Ok(response)
    }

    /// The URL, encoded as signing requires. `Url` removes the segments `.` and `..`; no job has such a
    /// name, so they are an error.
    fn endpoint_url(
        &self,
        segments: &[&str],
        query: &[(&str, &str)],
    ) -> Result<Url, ProviderError> {
        let mut path = self.base_url.path().trim_end_matches('/').to_owned();
        for segment in segments {
            path.push('/');
            path.push_str(&sign::percent_encode(segment));
        }
        let mut url = self.base_url.clone();
        url.set_path(&path);
        let encoded_query = query.iter().map(|(name, value)| {
            format!("{}={}", sign::percent_encode(name), sign::percent_encode(value))
        });
        let encoded_query = encoded_query.collect::<Vec<_>>().join("&");
        url.set_query((!encoded_query.is_empty()).then_some(&encoded_query));
        if url.path() == path {
            Ok(url)
        } else {
            Err(ProviderError::new(
                ProviderErrorKind::Misconfigured,
                "project_id or the job's id is \".\" or \"..\", which a path cannot contain",
            ))
        }
    }
}

/// What a wrong clock means for a signature that was rejected: the gateway accepts 15 minutes.
fn clock_skew_note(clock_ahead_s: i64) -> Option<String> {
    const REPORTED_SKEW_S: u64 = 10 * 60;
    let skew_s = clock_ahead_s.unsigned_abs();
    let side = if clock_ahead_s > 0 { "ahead of" } else { "behind" };
    (skew_s > REPORTED_SKEW_S).then(|| {
        format!(
            "this machine's clock is {} minutes {side} the service's, and signatures are valid for 15 minutes: \
             synchronize the clock",
            skew_s / 60
        )
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::ConnectionConfig;
    use crate::provider::transport::network;

    fn client(base: &str) -> HuaweiClient {
        HuaweiClient {
            http: HttpClient::new(
                network(Duration::from_secs(1), &ConnectionConfig::default()).expect("a client"),
            ),
            base_url: base.parse().expect("a URL"),
            project_id: "p".into(),
            auth: Auth::Token(RenewableSecrets::fixed(["t".into()])),
        }
    }

    #[test]
    fn paths_are_sent_exactly_as_signed() {
        let cases = [
            ("\u{811a}\u{672c}", "%E8%84%9A%E6%9C%AC"),
            ("a b+c", "a%20b%2Bc"),
            ("~_-.*", "~_-.%2A"),
            ("%2f/", "%252f%2F"),
            ("a?b#c\\", "a%3Fb%23c%5C"),
            ("...", "..."),
            ("", ""),
        ];
        for base in ["http://h", "http://h/"] {
            for (segment, encoded) in cases {
                let url = client(base).endpoint_url(&["v1", segment, "x"], &[]).expect(segment);
                assert_eq!(url.as_str(), format!("http://h/v1/{encoded}/x"));
            }
            for segment in [".", ".."] {
                let error =
                    client(base).endpoint_url(&["v1", segment, "x"], &[]).expect_err(segment);
                assert!(error.kind == ProviderErrorKind::Misconfigured, "{error}");
            }
        }
        let with_base_path = client("http://h/proxy/").endpoint_url(&["v1"], &[]).expect("a path");
        assert_eq!(with_base_path.path(), "/proxy/v1");
    }
}
