//! How a request reaches its service.
//!
//! Used by [`HttpClient`](super::http::HttpClient). The daemon sends requests over the [`Network`]; the
//! services of `tests/simulation` answer them in the same process, so that everything above the sockets
//! is the same code.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::{Certificate, Client, Request, Response, redirect, retry};

use crate::config::ConnectionConfig;
use crate::job::ProviderError;
use crate::tls::install_cryptography;

use super::connection_error::{error_chain, to_provider_error};
use super::proxy::ProviderProxy;

/// Sends a request, once.
pub trait Transport: Debug + Send + Sync {
    /// Returns the response once its headers have arrived. An error is transient and does not contain the
    /// URL; a request that takes too long ends with an error too.
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, ProviderError>>;
}

/// Makes the transport of one provider, for requests that may take this long.
pub type NewTransport = dyn Fn(Duration, &ConnectionConfig) -> Result<Arc<dyn Transport>, String>;

/// Connections of one provider over the network. `timeout` covers a whole exchange, from connecting to
/// the last byte of the body. Reads the file of CA certificates and the URL of the proxy.
///
/// # Errors
/// If the proxy's URL or the CA certificates cannot be read or used, or the system has no CA certificates.
pub fn network(
    timeout: Duration,
    connection: &ConnectionConfig,
) -> Result<Arc<dyn Transport>, String> {
    Ok(Arc::new(Network::new(timeout, connection)?))
}

/// HTTP/1.1 over TCP, directly or through a proxy, without redirects or retries.
#[derive(Debug)]
struct Network {
    client: Client,
    proxy: Option<ProviderProxy>,
}

impl Network {
    const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

    fn new(timeout: Duration, connection: &ConnectionConfig) -> Result<Self, String> {
        install_cryptography();
        let proxy = ProviderProxy::from_config(connection)?;
        // Without this, reqwest would apply the variables of the environment to loopback addresses too.
        let mut builder = Client::builder().no_proxy();
        if let Some(proxy) = &proxy {
            builder = builder.proxy(proxy.for_client()?);
        }
        if let Some(file) = &connection.ca_file {
            builder = builder.tls_certs_merge(read_certificates(file)?);
        }
        let client = builder
            .user_agent(concat!("jobtrack/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .referer(false)
            .retry(retry::never())
            .http1_only()
            .connect_timeout(Self::CONNECT_TIMEOUT)
            .timeout(timeout)
            .pool_max_idle_per_host(8)
            .build()
            .map_err(tls_error)?;
        Ok(Self { client, proxy })
    }
}

impl Transport for Network {
    fn send(&self, request: Request) -> BoxFuture<'_, Result<Response, ProviderError>> {
        Box::pin(async move {
            let url = request.url().clone();
            let response = self.client.execute(request).await;
            response.map_err(|error| to_provider_error(error, &url, self.proxy.as_ref()))
        })
    }
}

/// Why no client can be built.
fn tls_error(error: reqwest::Error) -> String {
    let reason = error_chain(error);
    if reason.contains("No CA certificates were loaded") {
        "this machine has no CA certificates: install ca-certificates, or set ca_file or SSL_CERT_FILE".to_owned()
    } else {
        format!("cannot use TLS: {reason}")
    }
}

/// The CA certificates in a PEM file.
fn read_certificates(file: &Path) -> Result<Vec<Certificate>, String> {
    let ca_file_error = |reason: &str| format!("ca_file {}: {reason}", file.display());
    let pem = std::fs::read(file).map_err(|error| ca_file_error(&error.to_string()))?;
    let certificates = Certificate::from_pem_bundle(&pem);
    certificates.ok().filter(|certificates| !certificates.is_empty()).ok_or_else(|| {
        ca_file_error("contains no certificate in PEM (-----BEGIN CERTIFICATE-----)")
    })
}
