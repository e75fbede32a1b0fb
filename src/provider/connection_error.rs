//! Turns an error of the HTTP client into one that says which step failed: resolving a name, the proxy, the
//! certificate, or another one.
//!
//! Called by [`transport`](super::transport) and, for the body of a response, by [`http`](super::http). No text
//! contains the URL, a port of the service or a secret.

use std::error::Error;

use reqwest::Url;

use crate::job::{ConnectionFailure, ProviderError, ProviderErrorKind};

use super::proxy::ProviderProxy;

/// The error of a request to `url` without a response. `proxy` is the provider's, if it has one.
pub(super) fn to_provider_error(
    error: reqwest::Error,
    url: &Url,
    proxy: Option<&ProviderProxy>,
) -> ProviderError {
    let error = error.without_url();
    if !error.is_connect() {
        return ProviderError::new(ProviderErrorKind::Transient, error_chain(error));
    }
    let host = url.host_str().unwrap_or_default();
    let proxy = proxy.filter(|proxy| proxy.applies_to(url));
    let causes = connection_causes(&error);
    let last_cause = causes.last().map_or("unknown error", String::as_str);
    let has_cause = |text: &str| causes.iter().any(|cause| cause.contains(text));
    let (failure, message) = if has_cause("invalid peer certificate") {
        let message = format!("the certificate of {host} is not trusted: {last_cause}");
        (Some(ConnectionFailure::Certificate), message)
    } else if let Some(proxy) = proxy {
        let reason = if has_cause("proxy authorization required") {
            "it requires a user and a password (HTTP 407), or rejects those in its URL".to_owned()
        } else if has_cause("tunnel error: unsuccessful") {
            format!("it refuses to connect to {host}")
        } else if has_cause("dns error") {
            format!("its host name cannot be resolved: {last_cause}")
        } else if error.is_timeout() {
            format!("no connection to {host} in time")
        } else if has_cause("failed to create underlying connection") {
            format!("it cannot be reached: {last_cause}")
        } else {
            causes.join(": ")
        };
        (Some(ConnectionFailure::Proxy), format!("proxy {proxy}: {reason}"))
    } else if has_cause("dns error") {
        let message = format!("the host name {host} cannot be resolved: {last_cause}");
        (Some(ConnectionFailure::NameResolution), message)
    } else {
        (None, format!("cannot connect to {host}: {}", causes.join(": ")))
    };
    ProviderError {
        connection_failure: failure,
        ..ProviderError::new(ProviderErrorKind::Transient, message)
    }
}

/// The messages of an error and of its causes, without the URL.
pub(super) fn error_chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    let texts = std::iter::once(error.to_string()).chain(causes_of(&error));
    distinct(texts).join(": ")
}

/// The causes below the HTTP client's own two layers, which only say that connecting failed.
fn connection_causes(error: &reqwest::Error) -> Vec<String> {
    let is_of_client = |text: &String| text.starts_with("client error (Connect)");
    distinct(causes_of(error).filter(|text| !is_of_client(text)))
}

fn causes_of(error: &reqwest::Error) -> impl Iterator<Item = String> {
    std::iter::successors(error.source(), |&cause| cause.source()).map(ToString::to_string)
}

/// Leaves out what a text before repeats.
fn distinct(texts: impl Iterator<Item = String>) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    for text in texts {
        if !kept.iter().any(|before| before.contains(&text)) {
            kept.push(text);
        }
    }
    kept
}
