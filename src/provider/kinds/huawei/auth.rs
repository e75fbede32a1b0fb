//! The authentication of a request: a token, given or fetched, or a signature.
//!
//! Used by [`HuaweiClient`](super::client::HuaweiClient). The signature is computed from the URL that is sent, so
//! both contain the same path and query.

use std::sync::Arc;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use secrecy::{ExposeSecret, SecretString};

use crate::job::{ProviderError, ProviderErrorKind, UtcTime};
use crate::provider::http::sensitive_header;
use crate::provider::renewable_secrets::RenewableSecrets;

use super::credential_gate::CredentialGate;
use super::sign::{self, AccessKey, SigningRequest, sign};
use super::token::{RequestToken, TokenCache};

const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-auth-token");
const PROJECT_HEADER: HeaderName = HeaderName::from_static("x-project-id");
const SECURITY_TOKEN_HEADER: HeaderName = HeaderName::from_static("x-security-token");
const DATE_HEADER: HeaderName = HeaderName::from_static(sign::DATE_HEADER);
const JSON_CONTENT_TYPE: &str = "application/json";

/// The credentials of an account.
#[derive(Debug)]
pub(super) enum Auth {
    /// A token, sent as it is.
    Token(RenewableSecrets),
    /// A user, for whom tokens are fetched.
    Password(Arc<TokenCache>),
    /// The id and the secret of an access key; a temporary one comes with a security token.
    AccessKey { secrets: RenewableSecrets, gate: Arc<CredentialGate> },
}

impl Auth {
    pub(super) fn secrets(&self) -> &RenewableSecrets {
        match self {
            Self::Token(secrets) | Self::AccessKey { secrets, .. } => secrets,
            Self::Password(token_cache) => &token_cache.user.password,
        }
    }

    /// Of the configured secrets, not of a fetched token; as [`crate::provider::Provider::credential_fingerprint`].
    pub(super) fn credential_fingerprint(&self) -> u64 {
        match self {
            Self::Token(secrets) | Self::AccessKey { secrets, .. } => secrets.fingerprint(),
            Self::Password(token_cache) => token_cache.user.password_fingerprint(),
        }
    }
}

/// What authenticates one request.
#[derive(Debug)]
pub(super) enum Credential<'a> {
    Token(&'a SecretString),
    FetchedToken(&'a RequestToken),
    AccessKey { access_key: AccessKey, security_token: Option<&'a SecretString> },
}

impl<'a> Credential<'a> {
    /// The credential that `values` are: a token, or an access key with or without a security token.
    pub(super) fn from_secrets(values: &'a [SecretString]) -> Result<Self, ProviderError> {
        match values {
            [token] => Ok(Self::Token(token)),
            [id, secret, rest @ ..] => Ok(Self::AccessKey {
                access_key: AccessKey { id: id.clone(), secret: secret.clone() },
                security_token: rest.first(),
            }),
            [] => Err(ProviderError::new(ProviderErrorKind::Misconfigured, "auth has no secret")),
        }
    }

    /// The headers that authenticate a request with an empty body. The caller passes a fresh `now`: a signature is
    /// valid for 15 minutes.
    pub(super) fn headers(
        &self,
        method: &Method,
        url: &Url,
        project_id: &str,
        now: UtcTime,
    ) -> Result<Vec<(HeaderName, HeaderValue)>, ProviderError> {
        match self {
            Self::Token(token) => Ok(vec![sensitive_header(TOKEN_HEADER, token)?]),
            Self::FetchedToken(token) => Ok(vec![(TOKEN_HEADER, token.value.clone())]),
            Self::AccessKey { access_key, security_token } => {
                signed_headers(method, url, project_id, access_key, *security_token, now)
            }
        }
    }

    /// The secrets that a header contains only in part, or not at all.
    pub(super) fn secrets_to_redact(&self) -> Vec<&SecretString> {
        match self {
            Self::Token(_) | Self::FetchedToken(_) => Vec::new(),
            Self::AccessKey { access_key, .. } => vec![&access_key.id, &access_key.secret],
        }
    }
}

fn signed_headers(
    method: &Method,
    url: &Url,
    project_id: &str,
    access_key: &AccessKey,
    security_token: Option<&SecretString>,
    now: UtcTime,
) -> Result<Vec<(HeaderName, HeaderValue)>, ProviderError> {
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
    let request = SigningRequest {
        method: method.as_str(),
        path: url.path(),
        query: &query,
        headers: &signed_headers,
        body: b"",
    };
    let signature = sign(&request, access_key, now);
    headers.push(plain_header(&DATE_HEADER, &signature.date)?);
    headers.push(sensitive_header(AUTHORIZATION, &signature.authorization)?);
    Ok(headers)
}

/// Host and port; the default port of the scheme is left out, as HTTP clients do.
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
            format!("the value of the header {name} contains characters that are not allowed"),
        )
    })
}
