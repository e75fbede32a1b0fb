//! The proxy of a provider: read from the place that its setting names, and checked.
//!
//! Used by [`transport`](super::transport). The URL of a proxy may contain a user and a password: no error and no
//! `Debug` output shows more than its host and port.

use std::fmt;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::{NoProxy, Proxy, Url};
use secrecy::{ExposeSecret, SecretString};

use crate::config::{ConnectionConfig, ProxySetting};

use super::secret::{self, SecretUse};

/// A proxy that can be used.
pub(super) struct ProviderProxy {
    url: SecretString,
    host_and_port: String,
    /// Where the URL comes from.
    source: String,
    /// Hosts that are reached directly.
    no_proxy: String,
    /// The rule by which `reqwest` chooses between the proxy and a direct connection.
    rule: Matcher,
}

impl ProviderProxy {
    /// A proxy would look for the service on its own machine.
    const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";
    const SCHEMES: [&str; 4] = ["http", "https", "socks5", "socks5h"];

    /// # Errors
    /// If the place of the URL cannot be read, or its content is no proxy's URL.
    pub(super) fn from_config(connection: &ConnectionConfig) -> Result<Option<Self>, String> {
        let (text, source) = match &connection.proxy {
            ProxySetting::None => return Ok(None),
            ProxySetting::Url(url) => (url.clone().into(), "setting proxy".to_owned()),
            ProxySetting::Reference(reference) => {
                let text = secret::read(reference, SecretUse::Password);
                (text.map_err(|error| format!("proxy: {error}"))?, reference.to_string())
            }
        };
        let Some((url, host_and_port)) = parse(&text) else {
            return Err(format!(
                "proxy: {source} is not the URL of a proxy, such as http://HOST:PORT or \
                 http://USER:PASSWORD@HOST:PORT, with special characters of the password as %XX; \
                 http, https, socks5 and socks5h are supported"
            ));
        };
        let exceptions = connection.no_proxy.split([',', ' ']).map(|host| {
            // Other programs take *.example.com for what reqwest calls .example.com.
            if host.starts_with("*.") { &host[1..] } else { host }
        });
        let exceptions = exceptions.chain([Self::LOOPBACK]).collect::<Vec<_>>();
        let no_proxy = exceptions.join(",");
        let rule = Matcher::builder().all(url.expose_secret()).no(no_proxy.as_str()).build();
        Ok(Some(Self { url, host_and_port, source, no_proxy, rule }))
    }

    pub(super) fn for_client(&self) -> Result<Proxy, String> {
        let proxy = Proxy::all(self.url.expose_secret());
        // The error could repeat the URL.
        let proxy = proxy.map_err(|_| format!("proxy: {} is not a URL", self.source))?;
        Ok(proxy.no_proxy(NoProxy::from_string(&self.no_proxy)))
    }

    /// Whether requests to this address go through the proxy.
    pub(super) fn applies_to(&self, url: &Url) -> bool {
        url.as_str().parse().is_ok_and(|uri| self.rule.intercept(&uri).is_some())
    }
}

/// The URL as the HTTP client takes it, and its host and port.
fn parse(text: &SecretString) -> Option<(SecretString, String)> {
    let text = text.expose_secret();
    let url = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&url).ok()?;
    let host = url.host_str().filter(|host| !host.is_empty())?;
    let default_port = if url.scheme().starts_with("socks") { Some(1080) } else { None };
    let port = url.port_or_known_default().or(default_port)?;
    let host_and_port = format!("{host}:{port}");
    // The HTTP client connects directly if it cannot read the URL.
    let is_usable = ProviderProxy::SCHEMES.contains(&url.scheme())
        && Matcher::builder()
            .all(url.as_str())
            .build()
            .intercept(&ANY_SERVICE.parse().ok()?)
            .is_some();
    is_usable.then(|| (url.as_str().to_owned().into(), host_and_port))
}

const ANY_SERVICE: &str = "https://service.invalid/";

impl fmt::Display for ProviderProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.host_and_port, self.source)
    }
}

impl fmt::Debug for ProviderProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy(url: &str, no_proxy: &str) -> Result<Option<ProviderProxy>, String> {
        ProviderProxy::from_config(&ConnectionConfig {
            proxy: ProxySetting::Url(url.to_owned()),
            no_proxy: no_proxy.to_owned(),
            ca_file: None,
        })
    }

    #[test]
    fn the_proxy_applies_to_all_but_loopback_and_the_exceptions() {
        let no_proxy = "api.example.com, .internal,*.corp 10.0.0.0/8";
        let proxy = proxy("proxy:3128", no_proxy).expect("a URL").expect("a proxy");
        let cases = [
            ("https://api.dune.com/x", true),
            ("https://example.com/", true),
            ("https://api.example.com/", false),
            ("https://dli.internal/", false),
            ("https://iam.corp/", false),
            ("https://10.1.2.3/", false),
            ("http://localhost:8080/", false),
            ("http://127.0.0.1:8080/", false),
            ("http://127.8.8.8/", false),
            ("http://[::1]:8080/", false),
        ];
        for (url, applies) in cases {
            assert_eq!(proxy.applies_to(&url.parse().expect("a URL")), applies, "{url}");
        }
        assert_eq!(proxy.to_string(), "proxy:3128 (setting proxy)");
    }

    #[test]
    fn fault_56_a_proxys_password_is_not_shown() {
        let urls = ["http://u:Canary@proxy:3128", "u:Canary@proxy", "socks5h://u:Can%20ary@proxy"];
        for url in urls {
            let proxy = proxy(url, "").expect(url).expect("a proxy");
            let shown = format!("{proxy} {proxy:?} {:#?}", proxy.for_client().map(drop));
            assert!(shown.contains("proxy:") && !shown.contains("Can"), "{shown}");
        }
        for url in [
            "ftp://u:Canary@proxy",
            "http://u:Canary@",
            "http://u:Can ary@:0:0",
            "socks://u:Canary@x",
        ] {
            let error = proxy(url, "").expect_err(url);
            assert!(error.contains("http://HOST:PORT") && !error.contains("Canary"), "{error}");
        }
    }
}
