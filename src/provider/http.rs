//! One request, safely: no redirects, bounded in time and in size, and nothing of the request in its
//! errors. Shared by all kinds of providers.

use std::error::Error as _;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Client, Method, Response, StatusCode, Url, redirect, retry};
use secrecy::{ExposeSecret, SecretString};

use crate::job::{Answer, Observation, ProviderError, ProviderErrorKind, RateLimitInfo, UtcTime};

use super::json_filter::JsonKeyFilter;
use super::rate_limit_headers;

/// A client for one provider.
#[derive(Debug, Clone)]
pub(super) struct HttpClient {
    client: Client,
}

/// One request.
#[derive(Debug)]
pub(super) struct HttpRequest<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    /// What is sensitive among them is blotted out of the answer.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// Empty if there is none.
    pub(super) body: Vec<u8>,
    /// Secrets that are not sent, or only as a part of a header: blotted out likewise.
    pub(super) secrets_to_redact: Vec<&'a SecretString>,
    /// What of the body is not kept.
    pub(super) body_filter: Option<JsonKeyFilter>,
    /// Bytes of the body that are kept at most, decoded: a compressed bomb counts by what it becomes.
    pub(super) max_bytes: usize,
}

/// An answer that came in whole, whatever its status.
#[derive(Debug)]
pub(super) struct HttpResponse {
    pub(super) status: StatusCode,
    pub(super) rate_limit: RateLimitInfo,
    pub(super) server_date: Option<UtcTime>,
    /// A token that was fetched; shows itself to nobody.
    pub(super) subject_token: Option<HeaderValue>,
    /// Decoded; what it echoed of the secret is blotted out.
    pub(super) body: Vec<u8>,
}

impl HttpClient {
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
    /// Room for an answer about one job.
    pub(super) const MAX_BODY_BYTES: usize = 1 << 20;
    /// With what a sieve holds back.
    const MAX_RECEIVED_BYTES: usize = 256 << 20;

    const SUBJECT_TOKEN_HEADER: HeaderName = HeaderName::from_static("x-subject-token");

    /// `timeout` bounds a request from its first byte to its answer's last.
    pub(super) fn new(timeout: Duration) -> Result<Self, String> {
        let client = Client::builder()
            .user_agent(concat!("jobtrack/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .referer(false)
            .retry(retry::never())
            .no_proxy()
            .http1_only()
            .connect_timeout(Self::CONNECT_TIMEOUT)
            .timeout(timeout)
            .pool_max_idle_per_host(8)
            .build()
            .map_err(error_chain)?;
        Ok(Self { client })
    }

    /// Sends it, once.
    pub(super) async fn send(
        &self,
        outgoing: HttpRequest<'_>,
        now: UtcTime,
    ) -> Result<HttpResponse, ProviderError> {
        let transient_error =
            |error| ProviderError::new(ProviderErrorKind::Transient, error_chain(error));
        let mut request = self.client.request(outgoing.method, outgoing.url);
        for (name, value) in &outgoing.headers {
            request = request.header(name, value);
        }
        if !outgoing.body.is_empty() {
            request = request.body(outgoing.body);
        }
        let mut response = request.send().await.map_err(transient_error)?;
        let server_date = rate_limit_headers::server_date(response.headers());
        let rate_limit = rate_limit_headers::parse(response.headers(), server_date.unwrap_or(now));
        let status = response.status();
        let mut subject_token = response.headers_mut().remove(Self::SUBJECT_TOKEN_HEADER);
        if let Some(token) = &mut subject_token {
            token.set_sensitive(true);
        }
        let mut body = Vec::new();
        match Self::read_body(&mut response, outgoing.body_filter, outgoing.max_bytes, &mut body)
            .await
        {
            Ok(()) => {}
            Err(error) if status.is_success() => return Err(error),
            // The status and the headers of a refusal say enough, whatever became of its words.
            Err(_) => body.clear(),
        }
        for (_, value) in outgoing.headers.iter().filter(|(_, value)| value.is_sensitive()) {
            redact_with_escapes(&mut body, value.as_bytes());
        }
        for secret in outgoing.secrets_to_redact {
            redact_with_escapes(&mut body, secret.expose_secret().as_bytes());
        }
        Ok(HttpResponse { status, rate_limit, server_date, subject_token, body })
    }

    async fn read_body(
        response: &mut Response,
        mut filter: Option<JsonKeyFilter>,
        max_bytes: usize,
        body: &mut Vec<u8>,
    ) -> Result<(), ProviderError> {
        let transient_error =
            |error| ProviderError::new(ProviderErrorKind::Transient, error_chain(error));
        let mut received_bytes = 0;
        while let Some(chunk) = response.chunk().await.map_err(transient_error)? {
            received_bytes += chunk.len();
            match &mut filter {
                Some(filter) => filter.filter_chunk(&chunk, body),
                None => body.extend_from_slice(&chunk),
            }
            if body.len() > max_bytes || received_bytes > Self::MAX_RECEIVED_BYTES {
                return Err(ProviderError::new(
                    ProviderErrorKind::Malformed,
                    format!("the answer is longer than {max_bytes} bytes"),
                ));
            }
        }
        Ok(())
    }
}

/// A header that shows itself to nobody, and is blotted out where an answer repeats it.
pub(super) fn sensitive_header(
    name: HeaderName,
    secret: &SecretString,
) -> Result<(HeaderName, HeaderValue), ProviderError> {
    let mut value = HeaderValue::from_str(secret.expose_secret()).map_err(|_| {
        ProviderError::new(ProviderErrorKind::Auth, "the key cannot be sent in a header")
    })?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// What came back, read as the service means it.
pub(super) fn parse_answer(
    reply: Result<HttpResponse, ProviderError>,
    parse: impl FnOnce(&HttpResponse) -> Result<Observation, ProviderError>,
) -> Answer {
    match reply {
        Ok(reply) => Answer {
            result: parse(&reply),
            rate_limit: reply.rate_limit,
            server_date: reply.server_date,
        },
        Err(error) => Answer::failed(error),
    }
}

/// An error and its causes, without the URL.
fn error_chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut next_cause = error.source();
    while let Some(cause) = next_cause {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next_cause = cause.source();
    }
    text
}

/// Also as JSON writes it, which must escape quotes and backslashes and may escape slashes.
fn redact_with_escapes(body: &mut [u8], secret: &[u8]) {
    redact(body, secret);
    for escaped_chars in [&b"\"\\"[..], &b"\"\\/"[..]] {
        if secret.iter().any(|byte| escaped_chars.contains(byte)) {
            let escape = |byte: &u8| escaped_chars.contains(byte).then_some(b'\\');
            let escaped: Vec<u8> =
                secret.iter().flat_map(|byte| escape(byte).into_iter().chain([*byte])).collect();
            redact(body, &escaped);
        }
    }
}

fn redact(body: &mut [u8], secret: &[u8]) {
    let mut start = 0;
    while let Some(offset) = body[start..].windows(secret.len()).position(|window| window == secret)
    {
        body[start + offset..start + offset + secret.len()].fill(b'*');
        start += offset + secret.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn echoed_secrets_are_redacted() {
        let mut body = b"key abcabc, again abc.".to_vec();
        redact(&mut body, b"abc");
        assert_eq!(body, b"key ******, again ***.");
        let mut escaped = br#"{"why":"a\/b and a/b"}"#.to_vec();
        redact_with_escapes(&mut escaped, b"a/b");
        assert_eq!(escaped, br#"{"why":"**** and ***"}"#);
        let mut quoted = br#"{"why":"a\"b\\\/c, a\"b\\/c"}"#.to_vec();
        redact_with_escapes(&mut quoted, br#"a"b\/c"#);
        assert_eq!(quoted, br#"{"why":"*********, ********"}"#);
        let mut short = b"ab".to_vec();
        redact(&mut short, b"abc");
        assert_eq!(short, b"ab");
    }
}
