//! Settings from environment variables: `JOBTRACK__SECTION__KEY`, and `DUNE_API_KEY`.
//!
//! Used by [`layers`](super::layers). The environment is an argument, so that a reload reads the
//! environment of the start, and a test its own.

use std::collections::BTreeMap;

use figment::Figment;
use figment::value::{Dict, Value};

pub(super) const PREFIX: &str = "JOBTRACK__";

/// The value of a variable; an empty one counts as not set.
#[must_use]
pub fn non_empty_var<'a>(env: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    env.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

/// One layer for each variable that overrides a setting, with the variable's name. An empty variable
/// counts as not set.
pub(super) fn overrides(env: &BTreeMap<String, String>) -> impl Iterator<Item = (String, Dict)> {
    env.iter().filter(|(_, value)| !value.is_empty()).filter_map(|(name, value)| {
        let keys = setting_keys(name.strip_prefix(PREFIX)?);
        let last = keys.last().map_or("", String::as_str);
        let nested = keys.iter().rev().fold(env_value(last, value), |inner, key| {
            Value::from(Dict::from([(key.clone(), inner)]))
        });
        let Value::Dict(_, layer) = nested else { return None };
        Some((format!("${name}"), layer))
    })
}

/// The keys that lead to a setting, from the part of a variable's name after the prefix. A state of a
/// provider keeps its case; everything else is lower case in the configuration.
fn setting_keys(name: &str) -> Vec<String> {
    let mut parts = name.split("__");
    let mut keys: Vec<_> = parts.by_ref().take(3).map(str::to_lowercase).collect();
    let rest: Vec<_> = parts.collect();
    let is_state_map = keys.len() == 3 && keys[0] == "providers" && keys[2] == "state_map";
    if is_state_map && !rest.is_empty() {
        keys.push(rest.join("__"));
    } else {
        keys.extend(rest.into_iter().map(str::to_lowercase));
    }
    keys
}

/// The value as text, except for the keys that are numbers: an id such as `00123` must stay text.
fn env_value(key: &str, text: &str) -> Value {
    let is_number = ["requests_per_minute", "max_in_flight"].contains(&key);
    match text.parse::<u64>() {
        Ok(number) if is_number => Value::from(number),
        Ok(_) | Err(_) => Value::from(text),
    }
}

/// A table with one value at a dotted key.
pub(super) fn dict_at_key(path: &str, value: Value) -> Dict {
    match figment::util::nest(path, value) {
        Value::Dict(_, dict) => dict,
        other => Dict::from([(path.to_owned(), other)]),
    }
}

/// The provider `dune`, which `DUNE_API_KEY` adds where no provider is configured, or completes where
/// `[providers.dune]` is the only one, has no `api_key`, and has no other `kind`.
pub(super) fn dune_from_api_key(
    figment: &Figment,
    env: &BTreeMap<String, String>,
) -> Option<(String, Dict)> {
    const VARIABLE: &str = "DUNE_API_KEY";
    non_empty_var(env, VARIABLE)?;
    let providers = match figment.find_value("providers") {
        Ok(Value::Dict(_, providers)) => providers,
        Ok(_) => return None,
        Err(_) => Dict::new(),
    };
    let is_incomplete = |provider: &Value| {
        provider.as_dict().is_some_and(|dict| {
            let is_dune = dict.get("kind").is_none_or(|kind| kind.as_str() == Some("dune"));
            is_dune && !dict.contains_key("api_key")
        })
    };
    let applies = providers.is_empty()
        || (providers.len() == 1 && providers.get("dune").is_some_and(is_incomplete));
    applies.then(|| {
        let key = dict_at_key("api_key.env", VARIABLE.into());
        let kind = ("kind".to_owned(), Value::from("dune"));
        let dune: Dict = key.into_iter().chain([kind]).collect();
        (format!("${VARIABLE}"), dict_at_key("providers.dune", dune.into()))
    })
}
