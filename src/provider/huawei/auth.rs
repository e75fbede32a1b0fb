//! Who asks Huawei Cloud, and how he proves it: with a token, given or fetched, or with a signature
//! of the request.
//!
//! Used by [`Account`](super::Account). What is signed is read off the URL that goes out, so both
//! are the same whatever became of the path on its way into the URL.

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};

use crate::job::{ProviderError, ProviderErrorKind, UtcTime};

use super::sign::{self, AccessKey, SigningRequest, sign};
use super::token::{TokenCache, TokenLease};
use crate::provider::http::sensitive_header;

const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-auth-token");
const PROJECT_HEADER: HeaderName = HeaderName::from_static("x-project-id");
const SECURITY_TOKEN_HEADER: HeaderName = HeaderName::from_static("x-security-token");
const DATE_HEADER: HeaderName = HeaderName::from_static(sign::DATE_HEADER);
const JSON_CONTENT_TYPE: &str = "application/json";

/// The proof of an account.
#[derive(Debug)]
pub(in crate::provider) enum Auth {
    /// A token, sent as it is.
    Token(SecretString),
    /// A user, for whom tokens are fetched.
    Password(TokenCache),
    /// A key that signs; a temporary one has a token that says so.
    AccessKey { access_key: AccessKey, security_token: Option<SecretString> },
}

impl Auth {
    /// The headers that make a request without a body ours, with the token that was lent for it.
    pub(super) fn auth_headers(
        &self,
        method: &Method,
        url: &Url,
        project_id: &str,
        lease: Option<&TokenLease>,
        now: UtcTime,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, ProviderError> {
        let (access_key, security_token) = match self {
            Self::Token(token) => return Ok(vec![sensitive_header(TOKEN_HEADER, token)?]),
            Self::Password(_) => {
                return Ok(lease
                    .map(|lease| (TOKEN_HEADER, lease.token.clone()))
                    .into_iter()
                    .collect());
            }
            Self::AccessKey { access_key, security_token } => (access_key, security_token),
        };
        let host = host_header(url);
        let mut signed_headers = vec![
            (HOST, host.as_str()),
            (CONTENT_TYPE, JSON_CONTENT_TYPE),
            (PROJECT_HEADER, project_id),
        ];
        let mut headers = signed_headers
            .iter()
            .map(|(name, value)| plain_header(name, value))
            .collect::<Result<Vec<_>, _>>()?;
        if let Some(token) = security_token {
            signed_headers.push((SECURITY_TOKEN_HEADER, token.expose_secret()));
            headers.push(sensitive_header(SECURITY_TOKEN_HEADER, token)?);
        }
        let signed_headers: Vec<_> =
            signed_headers.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let query: Vec<_> = url.query_pairs().collect();
        let query: Vec<_> = query.iter().map(|(name, value)| (&**name, &**value)).collect();
        let path = url.path();
        let request = SigningRequest {
            method: method.as_str(),
            path,
            query: &query,
            headers: &signed_headers,
            body: b"",
        };
        let signature = sign(&request, access_key, now);
        headers.push(plain_header(&DATE_HEADER, &signature.date)?);
        headers.push(sensitive_header(AUTHORIZATION, &signature.authorization)?);
        Ok(headers)
    }

    /// The secrets that are not the whole value of a header.
    pub(super) fn secrets_to_redact(&self) -> Vec<&SecretString> {
        match self {
            Self::Token(_) => Vec::new(),
            Self::Password(token_cache) => vec![&token_cache.user.password],
            Self::AccessKey { access_key, .. } => vec![&access_key.id, &access_key.secret],
        }
    }
}

/// With the port if it is not the scheme's own.
fn host_header(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn plain_header(
    name: &HeaderName,
    value: &str,
) -> Result<(HeaderName, HeaderValue), ProviderError> {
    HeaderValue::from_str(value).map(|value| (name.clone(), value)).map_err(|_| {
        ProviderError::new(
            ProviderErrorKind::Misconfigured,
            format!("{name} cannot be sent in a header"),
        )
    })
}
