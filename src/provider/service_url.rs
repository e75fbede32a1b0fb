//! The address of a service, as a setting.
//!
//! Used by the kinds for `base_url` and `iam_url`. A credential is never sent in clear text over a
//! network: plain HTTP is allowed to a loopback address only.

use std::fmt;
use std::net::IpAddr;

use reqwest::Url;
use serde::Deserialize;

const EXPECTED_FORM: &str =
    "must be https://HOST, or http:// to a loopback address, without user, query or fragment";

/// A URL to which credentials may be sent.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct ServiceUrl(Url);

impl ServiceUrl {
    pub(super) fn into_url(self) -> Url {
        self.0
    }
}

impl TryFrom<String> for ServiceUrl {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let url = Url::parse(&text).map_err(|_| EXPECTED_FORM)?;
        let is_loopback = match url.host_str() {
            Some("localhost") => true,
            Some(host) => host
                .trim_matches(['[', ']'])
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback()),
            None => false,
        };
        let has_extras = !url.username().is_empty()
            || url.password().is_some()
            || url.query().is_some()
            || url.fragment().is_some();
        let is_safe = match url.scheme() {
            "https" => url.has_host(),
            "http" => is_loopback,
            _ => false,
        };
        if is_safe && !has_extras { Ok(Self(url)) } else { Err(EXPECTED_FORM) }
    }
}

impl fmt::Display for ServiceUrl {
    /// Omits the slash that parsing adds to an empty path.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_loopback_urls_are_safe() {
        for safe_url in [
            "https://api.dune.com",
            "https://proxy.example/dune/",
            "http://127.0.0.1:8080",
            "http://[::1]:80",
            "http://localhost:1",
        ] {
            assert!(ServiceUrl::try_from(safe_url.to_owned()).is_ok(), "{safe_url}");
        }
        for unsafe_url in [
            "http://api.dune.com",
            "http://10.0.0.1",
            "http://127.0.0.1.example.com",
            "ftp://127.0.0.1",
            "https://user:pass@api.dune.com",
            "https://api.dune.com?api_key=x",
            "api.dune.com",
            "",
        ] {
            assert!(ServiceUrl::try_from(unsafe_url.to_owned()).is_err(), "{unsafe_url}");
        }
    }
}
