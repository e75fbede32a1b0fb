//! How a request reaches its service.
//!
//! Used by [`HttpClient`](super::http::HttpClient). The daemon sends requests over the [`Network`]; the
//! services of `tests/simulation` answer them in the same process, so that everything above the sockets
//! is the same code.

use std::error::Error as _;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::{Client, Request, Response, redirect, retry};

use crate::tls::install_cryptography;

/// Sends a request, once.
pub trait Transport: Debug + Send + Sync {
    /// Returns the response once its headers have arrived. An error is a description without the URL; a
    /// request that takes too long ends with an error too.
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, String>>;
}

/// Makes the transport of one provider, for requests that may take this long.
pub type NewTransport = dyn Fn(Duration) -> Result<Arc<dyn Transport>, String>;

/// Connections of one provider over the network. `timeout` covers a whole exchange, from connecting to
/// the last byte of the body.
///
/// # Errors
/// If TLS cannot be used, for example because no CA certificates are found.
pub fn network(timeout: Duration) -> Result<Arc<dyn Transport>, String> {
    Ok(Arc::new(Network::new(timeout)?))
}

/// HTTP/1.1 over TCP, without redirects or retries.
#[derive(Debug)]
struct Network {
    client: Client,
}

impl Network {
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

    fn new(timeout: Duration) -> Result<Self, String> {
        install_cryptography();
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
}

impl Transport for Network {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, String>> {
        Box::pin(async move { self.client.execute(request).await.map_err(error_chain) })
    }
}

/// The messages of an error and of its causes, without the URL.
pub(super) fn error_chain(error: reqwest::Error) -> String {
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
