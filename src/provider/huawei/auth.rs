//! Who asks Huawei Cloud, and how he proves it: with a token, given or fetched, or with a signature
//! of the request.
//!
//! Used by [`Account`](super::Account). What is signed is read off the URL that goes out, so both
//! are the same whatever became of the path on its way into the URL.

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};

use crate::job::{ProviderError, Utc};

use super::sign::{self, Key, Request, sign};
use super::token::{Lent, Tokens};
use crate::provider::http::secret_header;

const TOKEN: HeaderName = HeaderName::from_static("x-auth-token");
const PROJECT: HeaderName = HeaderName::from_static("x-project-id");
const SECURITY_TOKEN: HeaderName = HeaderName::from_static("x-security-token");
const DATE: HeaderName = HeaderName::from_static(sign::DATE_HEADER);
const JSON: &str = "application/json";

/// The proof of an account.
#[derive(Debug)]
pub(in crate::provider) enum Auth {
    /// A token, sent as it is.
    Token(SecretString),
    /// A user, for whom tokens are fetched.
    Password(Tokens),
    /// A key that signs; a temporary one has a token that says so.
    Signed { key: Key, security_token: Option<SecretString> },
}

impl Auth {
    /// The headers that make a request without a body ours, with the token that was lent for it.
    pub(super) fn headers(
        &self,
        method: &Method,
        url: &Url,
        project_id: &str,
        lent: Option<&Lent>,
        now: Utc,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, ProviderError> {
        let (key, security_token) = match self {
            Self::Token(token) => return Ok(vec![secret_header(TOKEN, token)?]),
            Self::Password(_) => {
                return Ok(lent.map(|lent| (TOKEN, lent.token.clone())).into_iter().collect());
            }
            Self::Signed { key, security_token } => (key, security_token),
        };
        let host = host(url);
        let mut signed = vec![(HOST, host.as_str()), (CONTENT_TYPE, JSON), (PROJECT, project_id)];
        let mut headers = signed
            .iter()
            .map(|(name, value)| plain_header(name, value))
            .collect::<Result<Vec<_>, _>>()?;
        if let Some(token) = security_token {
            signed.push((SECURITY_TOKEN, token.expose_secret()));
            headers.push(secret_header(SECURITY_TOKEN, token)?);
        }
        let signed: Vec<_> = signed.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let query: Vec<_> = url.query_pairs().collect();
        let query: Vec<_> = query.iter().map(|(name, value)| (&**name, &**value)).collect();
        let path = url.path();
        let request =
            Request { method: method.as_str(), path, query: &query, headers: &signed, body: b"" };
        let signature = sign(&request, key, now);
        headers.push(plain_header(&DATE, &signature.date)?);
        headers.push(secret_header(AUTHORIZATION, &signature.authorization)?);
        Ok(headers)
    }

    /// The secrets that are not the whole value of a header.
    pub(super) fn behind(&self) -> Vec<&SecretString> {
        match self {
            Self::Token(_) => Vec::new(),
            Self::Password(tokens) => vec![&tokens.user.password],
            Self::Signed { key, .. } => vec![&key.ak, &key.sk],
        }
    }
}

/// With the port if it is not the scheme's own.
fn host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn plain_header(
    name: &HeaderName,
    value: &str,
) -> Result<(HeaderName, HeaderValue), ProviderError> {
    HeaderValue::from_str(value)
        .map(|value| (name.clone(), value))
        .map_err(|_| ProviderError::Misconfigured(format!("{name} cannot be sent in a header")))
}
