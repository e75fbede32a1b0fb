//! How a provider is reached: through which proxy, and whose certificates are trusted.
//!
//! Part of [`ProviderConfig`](super::ProviderConfig), read by `provider::transport`. A proxy's user and
//! password are secrets: they may stand in the text that a [`SecretRef`] leads to, never in the configuration.

use std::collections::BTreeMap;
use std::path::PathBuf;

use figment::value::{Dict, Value};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::config::SecretRef;
use crate::config::env::non_empty_var;

use super::DiscoveredSetting;

#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct ConnectionConfig {
    pub proxy: ProxySetting,
    /// Hosts that are reached without the proxy, as in `NO_PROXY`.
    pub no_proxy: String,
    /// CA certificates in PEM, trusted in addition to those of the system.
    pub ca_file: Option<PathBuf>,
}

/// The setting `proxy`. It never concerns loopback addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub enum ProxySetting {
    #[default]
    None,
    /// A URL without user and password.
    Url(String),
    /// The place of a URL, which may contain a user and a password.
    Reference(SecretRef),
}

const EXPECTED_FORM: &str = "must be \"none\", a URL such as \"http://proxy.example:3128\" without user \
    and password, or the place of a URL: { file = \"…\" }, { env = \"…\" } or { credential = \"…\" }";

impl<'de> Deserialize<'de> for ProxySetting {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = <Value as Deserialize>::deserialize(deserializer)
            .map_err(|_| D::Error::custom(EXPECTED_FORM))?;
        match value.as_str() {
            Some("none") => Ok(Self::None),
            // A user and a password end with an @.
            Some(text) if !text.is_empty() && !text.contains('@') => Ok(Self::Url(text.to_owned())),
            Some(_) => Err(D::Error::custom(EXPECTED_FORM)),
            None => value
                .deserialize()
                .map(Self::Reference)
                .map_err(|_| D::Error::custom(EXPECTED_FORM)),
        }
    }
}

/// The proxy that the environment names, for a provider whose own table has none.
pub(super) fn discovered_proxy(
    table: &Dict,
    env: &BTreeMap<String, String>,
) -> Vec<DiscoveredSetting> {
    let first_set = |names: [&'static str; 4]| {
        names.into_iter().find(|name| non_empty_var(env, name).is_some())
    };
    let own_proxy = table.get("proxy");
    let variable = first_set(["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"]);
    let variable = variable.filter(|_| own_proxy.is_none());
    let has_proxy = variable.is_some() || own_proxy.is_some_and(|own| own.as_str() != Some("none"));
    let exceptions = ["NO_PROXY", "no_proxy"].into_iter().filter(|_| has_proxy).find_map(|name| {
        Some(DiscoveredSetting::new(format!("${name}"), "no_proxy", non_empty_var(env, name)?))
    });
    let proxy = variable.map(|name| DiscoveredSetting::new(format!("${name}"), "proxy.env", name));
    proxy.into_iter().chain(exceptions).collect()
}
