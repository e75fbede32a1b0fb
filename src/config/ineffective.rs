//! Settings and variables that are valid and have no effect, one sentence each.
//!
//! Called by [`load()`](super::load()) after validation. A start, a reload and `jobtrackd --check` log them as
//! warnings: whoever set them expects an effect.

use std::collections::BTreeMap;

use figment::Figment;

use super::env::{PREFIX, non_empty_var};
use super::{Config, PolicyName};

/// Variables of jobtrack that are not settings. All but `JOBTRACK_CONFIG` are the client's.
const OTHER_VARIABLES: [&str; 4] =
    ["JOBTRACK_CONFIG", "JOBTRACK_SOCKET", "JOBTRACK_PAGER", "JOBTRACK_COMPLETE"];

pub(super) fn ineffective_settings(
    config: &Config,
    figment: &Figment,
    env: &BTreeMap<String, String>,
) -> Vec<String> {
    let mut warnings: Vec<_> = env.keys().filter_map(|name| unread_variable(name)).collect();
    warnings.extend(unused_api_key(config, figment, env));
    warnings.extend(unused_log_level(figment, env));
    warnings.extend(unused_http_proxy(config, figment, env));
    warnings.extend(unused_prices(config, figment));
    warnings
}

/// A variable with a misspelt prefix.
fn unread_variable(name: &str) -> Option<String> {
    let upper = name.to_uppercase();
    let is_read = name.starts_with(PREFIX) || OTHER_VARIABLES.contains(&name);
    (upper.starts_with("JOBTRACK_") && !is_read).then(|| {
        format!(
            "the variable {name} has no effect; settings are {PREFIX}SECTION__KEY, with two \
             underscores between the parts"
        )
    })
}

fn unused_api_key(
    config: &Config,
    figment: &Figment,
    env: &BTreeMap<String, String>,
) -> Option<String> {
    const VARIABLE: &str = "DUNE_API_KEY";
    non_empty_var(env, VARIABLE)?;
    let refers = |name: &_| {
        let key = figment.extract_inner::<String>(&format!("providers.{name}.api_key.env"));
        key.is_ok_and(|variable| variable == VARIABLE)
    };
    (!config.providers.keys().any(refers)).then(|| {
        format!(
            "{VARIABLE} has no effect, because providers are configured; to use it, set api_key = \
             {{ env = \"{VARIABLE}\" }} in the section of the provider"
        )
    })
}

/// Services are reached by HTTPS, to which this variable does not apply.
fn unused_http_proxy(
    config: &Config,
    figment: &Figment,
    env: &BTreeMap<String, String>,
) -> Option<String> {
    let variable =
        ["HTTP_PROXY", "http_proxy"].into_iter().find(|name| non_empty_var(env, name).is_some())?;
    let has_no_proxy = |name: &_| figment.find_value(&format!("providers.{name}.proxy")).is_err();
    config.providers.keys().any(has_no_proxy).then(|| {
        format!(
            "{variable} has no effect, because providers are reached by HTTPS; to use a proxy, set \
             HTTPS_PROXY or the setting proxy"
        )
    })
}

fn unused_log_level(figment: &Figment, env: &BTreeMap<String, String>) -> Option<String> {
    non_empty_var(env, "RUST_LOG")
        .filter(|_| is_set(figment, "log.level"))
        .map(|_| "log.level has no effect, because the variable RUST_LOG is set".to_owned())
}

/// Whether a key has another value than the default, or the same by another source.
fn is_set(figment: &Figment, key: &str) -> bool {
    let metadata = figment.find_metadata(key);
    metadata.is_some_and(|metadata| metadata.name != super::layers::DEFAULT_SOURCE)
}

/// Settings `price` that no provider uses, because all providers concerned have another policy.
fn unused_prices(config: &Config, figment: &Figment) -> Vec<String> {
    let is_learned = |policy| match policy {
        PolicyName::Learned => true,
        PolicyName::Backoff => false,
    };
    let mut keys = Vec::new();
    let policies = config.providers.values().map(|provider| provider.polling.policy);
    if !policies.chain([config.polling.policy]).any(is_learned) {
        keys.push("polling.price".to_owned());
    }
    for (name, provider) in &config.providers {
        if !is_learned(provider.polling.policy) {
            keys.push(format!("providers.{name}.price"));
        }
    }
    keys.retain(|key| is_set(figment, key));
    keys.into_iter()
        .map(|key| format!("{key} has no effect: only the policy \"learned\" uses a price"))
        .collect()
}
