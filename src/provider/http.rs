//! One request, safely: no redirects, bounded in time and in size, and nothing of the request in its
//! errors. Shared by all kinds of providers.

use std::error::Error as _;
use std::time::Duration;

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Client, Method, Response, StatusCode, Url, redirect, retry};
use secrecy::{ExposeSecret, SecretString};

use crate::job::{Answer, Observation, Pace, ProviderError, Utc};

use super::pace;
use super::sieve::Sieve;

/// A client for one provider.
#[derive(Debug, Clone)]
pub(super) struct Http {
    client: Client,
}

/// One request.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) method: Method,
    pub(super) url: Url,
    /// What is sensitive among them is blotted out of the answer.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    /// Empty if there is none.
    pub(super) body: Vec<u8>,
    /// Secrets that are not sent, or only as a part of a header: blotted out likewise.
    pub(super) behind: Vec<&'a SecretString>,
    /// What of the body is not kept.
    pub(super) sieve: Option<Sieve>,
    /// Bytes of the body that are kept at most, decoded: a compressed bomb counts by what it becomes.
    pub(super) room: usize,
}

/// An answer that came in whole, whatever its status.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: StatusCode,
    pub(super) pace: Pace,
    pub(super) server_date: Option<Utc>,
    /// A token that was fetched; shows itself to nobody.
    pub(super) token: Option<HeaderValue>,
    /// Decoded; what it echoed of the secret is blotted out.
    pub(super) body: Vec<u8>,
}

impl Http {
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
    /// Room for an answer about one job.
    pub(super) const MAX_BODY: usize = 1 << 20;
    /// With what a sieve holds back.
    const MAX_READ: usize = 256 << 20;

    const FETCHED_TOKEN: HeaderName = HeaderName::from_static("x-subject-token");

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
            .map_err(describe)?;
        Ok(Self { client })
    }

    /// Sends it, once.
    pub(super) async fn send(&self, call: Call<'_>, now: Utc) -> Result<Reply, ProviderError> {
        let transient = |error| ProviderError::Transient(describe(error));
        let mut request = self.client.request(call.method, call.url);
        for (name, value) in &call.headers {
            request = request.header(name, value);
        }
        if !call.body.is_empty() {
            request = request.body(call.body);
        }
        let mut response = request.send().await.map_err(transient)?;
        let server_date = pace::server_date(response.headers());
        let pace = pace::read(response.headers(), server_date.unwrap_or(now));
        let status = response.status();
        let mut token = response.headers_mut().remove(Self::FETCHED_TOKEN);
        if let Some(token) = &mut token {
            token.set_sensitive(true);
        }
        let mut body = Vec::new();
        match Self::read(&mut response, call.sieve, call.room, &mut body).await {
            Ok(()) => {}
            Err(error) if status.is_success() => return Err(error),
            // The status and the headers of a refusal say enough, whatever became of its words.
            Err(_) => body.clear(),
        }
        for (_, value) in call.headers.iter().filter(|(_, value)| value.is_sensitive()) {
            blot_out_as_written(&mut body, value.as_bytes());
        }
        for secret in call.behind {
            blot_out_as_written(&mut body, secret.expose_secret().as_bytes());
        }
        Ok(Reply { status, pace, server_date, token, body })
    }

    async fn read(
        response: &mut Response,
        mut sieve: Option<Sieve>,
        room: usize,
        body: &mut Vec<u8>,
    ) -> Result<(), ProviderError> {
        let broken = |error| ProviderError::Transient(describe(error));
        let mut read = 0;
        while let Some(chunk) = response.chunk().await.map_err(broken)? {
            read += chunk.len();
            match &mut sieve {
                Some(sieve) => sieve.pass(&chunk, body),
                None => body.extend_from_slice(&chunk),
            }
            if body.len() > room || read > Self::MAX_READ {
                return Err(ProviderError::Malformed(format!(
                    "the answer is longer than {room} bytes"
                )));
            }
        }
        Ok(())
    }
}

/// A header that shows itself to nobody, and is blotted out where an answer repeats it.
pub(super) fn secret_header(
    name: HeaderName,
    secret: &SecretString,
) -> Result<(HeaderName, HeaderValue), ProviderError> {
    let mut value = HeaderValue::from_str(secret.expose_secret())
        .map_err(|_| ProviderError::Auth("the key cannot be sent in a header".into()))?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// What came back, read as the service means it.
pub(super) fn answer(
    reply: Result<Reply, ProviderError>,
    read: impl FnOnce(&Reply) -> Result<Observation, ProviderError>,
) -> Answer {
    match reply {
        Ok(reply) => {
            Answer { result: read(&reply), pace: reply.pace, server_date: reply.server_date }
        }
        Err(error) => Answer::failed(error),
    }
}

/// An error and its causes, without the URL.
fn describe(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// Also as JSON writes it, which must escape quotes and backslashes and may escape slashes.
fn blot_out_as_written(body: &mut [u8], secret: &[u8]) {
    blot_out(body, secret);
    for special in [&b"\"\\"[..], &b"\"\\/"[..]] {
        if secret.iter().any(|byte| special.contains(byte)) {
            let escape = |byte: &u8| special.contains(byte).then_some(b'\\');
            let escaped: Vec<u8> =
                secret.iter().flat_map(|byte| escape(byte).into_iter().chain([*byte])).collect();
            blot_out(body, &escaped);
        }
    }
}

fn blot_out(body: &mut [u8], secret: &[u8]) {
    let mut from = 0;
    while let Some(at) = body[from..].windows(secret.len()).position(|window| window == secret) {
        body[from + at..from + at + secret.len()].fill(b'*');
        from += at + secret.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_echoed_secret_is_blotted_out() {
        let mut body = b"key abcabc, again abc.".to_vec();
        blot_out(&mut body, b"abc");
        assert_eq!(body, b"key ******, again ***.");
        let mut escaped = br#"{"why":"a\/b and a/b"}"#.to_vec();
        blot_out_as_written(&mut escaped, b"a/b");
        assert_eq!(escaped, br#"{"why":"**** and ***"}"#);
        let mut quoted = br#"{"why":"a\"b\\\/c, a\"b\\/c"}"#.to_vec();
        blot_out_as_written(&mut quoted, br#"a"b\/c"#);
        assert_eq!(quoted, br#"{"why":"*********, ********"}"#);
        let mut short = b"ab".to_vec();
        blot_out(&mut short, b"abc");
        assert_eq!(short, b"ab");
    }
}
