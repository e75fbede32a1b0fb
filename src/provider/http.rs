//! Sends one HTTP request and reads the response, up to a limit for its size.
//!
//! Used by every kind. No error contains the URL or a header, and a secret that the response repeats is
//! replaced with asterisks before anything reads the response.

use std::sync::Arc;

use reqwest::header::{CACHE_CONTROL, HeaderName, HeaderValue};
use reqwest::{Method, Request, Response, StatusCode, Url};
use secrecy::{ExposeSecret, SecretString};

use crate::job::{Answer, ProviderError, ProviderErrorKind, RateLimitInfo, UtcTime};

use super::connection_error::error_chain;
use super::json_limiter::JsonLimiter;
use super::rate_limit_headers;
use super::redaction::Redactor;
use super::transport::Transport;

/// The connections of one provider.
#[derive(Debug, Clone)]
pub(super) struct HttpClient {
    transport: Arc<dyn Transport>,
    redactor: Arc<Redactor>,
}

#[derive(Debug)]
pub(super) struct HttpRequest<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    /// Values that are marked as sensitive are redacted in the response.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// The body; may be empty.
    pub(super) body: Vec<u8>,
    /// Secrets to redact in the response that are not the whole value of a header.
    pub(super) secrets_to_redact: Vec<&'a SecretString>,
    /// The keys whose values are dropped while the body is received.
    pub(super) dropped_keys: &'static [&'static str],
    /// Limit for the body after decompression, without dropped values and with long texts cut.
    pub(super) max_bytes: usize,
}

/// A complete response of any status.
#[derive(Debug)]
pub(super) struct HttpResponse {
    pub(super) status: StatusCode,
    pub(super) rate_limit: RateLimitInfo,
    pub(super) server_date: Option<UtcTime>,
    /// Seconds by which the local clock is ahead of `server_date`.
    pub(super) clock_ahead_s: Option<i64>,
    /// What a client adds to the error of an unsuccessful response.
    pub(super) rejection_note: Option<String>,
    /// Whether the response rejects a credential that the client has replaced since.
    pub(super) credential_replaced: bool,
    /// The header `X-Subject-Token`, marked as sensitive.
    pub(super) subject_token: Option<HeaderValue>,
    /// Decompressed, shortened and redacted. Empty if the body of an unsuccessful response could not be read.
    pub(super) body: Vec<u8>,
}

impl HttpClient {
    /// The limit for a response about one job.
    pub(super) const MAX_BODY_BYTES: usize = 1 << 20;
    /// The limit for a decompressed body before it is shortened: result rows may be large.
    const MAX_RECEIVED_BYTES: usize = 256 << 20;

    const SUBJECT_TOKEN_HEADER: HeaderName = HeaderName::from_static("x-subject-token");

    pub(super) fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport, redactor: Arc::default() }
    }

    /// Sends a request, once. `now` is the local clock, used if the response has no `Date`.
    pub(super) async fn send(
        &self,
        outgoing: HttpRequest<'_>,
        now: UtcTime,
    ) -> Result<HttpResponse, ProviderError> {
        let mut request = Request::new(outgoing.method, outgoing.url);
        // A cache on the way, such as a proxy's, must not answer with an earlier state of a job.
        request.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        for (name, value) in &outgoing.headers {
            request.headers_mut().append(name, value.clone());
        }
        if !outgoing.body.is_empty() {
            *request.body_mut() = Some(outgoing.body.into());
        }
        let mut response = self.transport.send(request).await?;
        let server_date = rate_limit_headers::server_date(response.headers());
        let status = response.status();
        let rate_limit =
            rate_limit_headers::parse(response.headers(), status, server_date.unwrap_or(now));
        let mut subject_token = response.headers_mut().remove(Self::SUBJECT_TOKEN_HEADER);
        if let Some(token) = &mut subject_token {
            token.set_sensitive(true);
        }
        let mut body = Vec::new();
        let limiter = JsonLimiter::new(outgoing.dropped_keys);
        match Self::read_body(&mut response, limiter, outgoing.max_bytes, &mut body).await {
            Ok(()) => {}
            Err(error) if status.is_success() => return Err(error),
            // Without its body it is not known whether a rejection is the service's own or a proxy's.
            Err(error)
                if status.is_client_error()
                    && status != StatusCode::TOO_MANY_REQUESTS
                    && error.kind == ProviderErrorKind::Transient =>
            {
                let message = format!("HTTP {}, and its body breaks off: {error}", status.as_u16());
                return Err(ProviderError { message, ..error });
            }
            // The status and the headers of another unsuccessful response are enough to classify it.
            Err(_) => body.clear(),
        }
        let sensitive_headers = outgoing.headers.iter().filter(|(_, value)| value.is_sensitive());
        let other_secrets = outgoing.secrets_to_redact.iter();
        let secrets: Vec<&[u8]> = sensitive_headers
            .map(|(_, value)| value.as_bytes())
            .chain(other_secrets.map(|secret| secret.expose_secret().as_bytes()))
            .collect();
        self.redactor.redact(&mut body, &secrets);
        let clock_ahead_s = server_date.map(|date| (now.as_millis() - date.as_millis()) / 1000);
        Ok(HttpResponse {
            status,
            rate_limit,
            server_date,
            clock_ahead_s,
            rejection_note: None,
            credential_replaced: false,
            subject_token,
            body,
        })
    }

    async fn read_body(
        response: &mut Response,
        mut limiter: JsonLimiter,
        max_bytes: usize,
        body: &mut Vec<u8>,
    ) -> Result<(), ProviderError> {
        let transient_error =
            |error| ProviderError::new(ProviderErrorKind::Transient, error_chain(error));
        let mut received_bytes = 0;
        while let Some(chunk) = response.chunk().await.map_err(transient_error)? {
            received_bytes += chunk.len();
            limiter.filter_chunk(&chunk, body);
            let too_long = if body.len() > max_bytes {
                format!("the response is longer than {max_bytes} bytes")
            } else if received_bytes > Self::MAX_RECEIVED_BYTES {
                format!(
                    "the response is longer than {} bytes with its rows and texts",
                    Self::MAX_RECEIVED_BYTES
                )
            } else {
                continue;
            };
            return Err(ProviderError::new(ProviderErrorKind::Malformed, too_long));
        }
        Ok(())
    }
}

/// A header with a secret: hidden in `Debug` output and redacted in the response.
pub(super) fn sensitive_header(
    name: HeaderName,
    secret: &SecretString,
) -> Result<(HeaderName, HeaderValue), ProviderError> {
    let mut value = HeaderValue::from_str(secret.expose_secret()).map_err(|_| {
        ProviderError::new(
            ProviderErrorKind::Auth,
            "the credential contains characters that a header cannot carry",
        )
    })?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// The answer to a poll; `parse` is the kind's own function for a complete response.
pub(super) fn parse_answer<T>(
    response: Result<HttpResponse, ProviderError>,
    parse: impl FnOnce(&HttpResponse) -> Result<T, ProviderError>,
) -> Answer<T> {
    match response {
        Ok(response) => Answer {
            result: parse(&response),
            rate_limit: response.rate_limit,
            server_date: response.server_date,
            credential_replaced: response.credential_replaced,
        },
        Err(error) => Answer::failed(error),
    }
}
