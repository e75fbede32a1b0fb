//! `[providers.NAME]`: one account of a service.
//!
//! Parsed by [`load()`](super::load()). This module owns the keys that every kind has; each kind owns the
//! others, in its own file under `provider::kinds`.

mod connection;
mod kind;
mod table;

use std::collections::BTreeMap;
use std::path::PathBuf;

use figment::value::{Dict, Value};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::job::ProviderName;

use super::diagnostics::SettingError;
use super::{PollingConfig, defaults};

pub use connection::{ConnectionConfig, ProxySetting};
pub use kind::{DiscoveredSetting, KindSchema};
pub use table::SettingsTable;

/// The effective settings of one provider.
#[derive(Debug, Clone, PartialEq)]
pub struct ProviderConfig {
    /// The name of the kind.
    pub kind: &'static str,
    /// The account of the service, where several providers use one: they share its rate limit.
    pub account: Option<ProviderName>,
    /// Previous names of the provider. Jobs may be stored under them.
    pub previous_names: Vec<ProviderName>,
    pub requests_per_minute: u32,
    pub max_in_flight: u32,
    /// Meanings of states that the kind does not know.
    pub state_map: BTreeMap<String, MappedState>,
    /// `[polling]`, overridden by the provider's own keys.
    pub polling: PollingConfig,
    pub connection: ConnectionConfig,
    /// The kind's own settings; they were validated.
    pub settings: SettingsTable,
}

/// A state to which `state_map` may map a provider state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MappedState {
    Pending,
    Running,
    Succeeded,
    Failed,
    Cancelled,
    Expired,
}

/// The keys that every kind has.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CommonSettings {
    #[serde(default, deserialize_with = "deserialize_optional_name")]
    account: Option<ProviderName>,
    #[serde(default, deserialize_with = "deserialize_names")]
    previous_names: Vec<ProviderName>,
    requests_per_minute: Option<u32>,
    max_in_flight: Option<u32>,
    #[serde(default)]
    state_map: BTreeMap<String, MappedState>,
    #[serde(default)]
    proxy: ProxySetting,
    #[serde(default)]
    no_proxy: String,
    ca_file: Option<PathBuf>,
}

impl CommonSettings {
    const KEYS: &[&str] = &[
        "account",
        "previous_names",
        "requests_per_minute",
        "max_in_flight",
        "state_map",
        "proxy",
        "no_proxy",
        "ca_file",
    ];

    fn validate(&self) -> Vec<SettingError> {
        let mut errors = Vec::new();
        if self.requests_per_minute.is_some_and(|rate| !(1..=60_000).contains(&rate)) {
            errors.push(SettingError::new("requests_per_minute", "must be 1 to 60000"));
        }
        if self.max_in_flight.is_some_and(|count| !(1..=1000).contains(&count)) {
            errors.push(SettingError::new("max_in_flight", "must be 1 to 1000"));
        }
        errors
    }
}

/// The effective values of keys that have a default, in TOML. Keys that are set are included:
/// `effective_settings` drops them.
type DefaultValues = Vec<(&'static str, String)>;

impl ProviderConfig {
    /// Parses a provider's table. `polling` is the table `[polling]` with its defaults.
    pub(super) fn parse(
        table: Dict,
        polling: &Dict,
        kinds: &[&'static dyn KindSchema],
    ) -> Result<(Self, DefaultValues), Vec<SettingError>> {
        let (kind, rest) = SettingsTable::new(table).split(&["kind"]);
        let kind = find_kind(&kind.into_values(), kinds).map_err(|error| vec![error])?;
        let (common, rest) = rest.split(CommonSettings::KEYS);
        let (own_polling, settings) = rest.split(PollingConfig::KEYS);

        let mut errors = Vec::new();
        let common = common.parse::<CommonSettings>().map_err(|error| errors.push(error));
        if let Ok(common) = &common {
            errors.extend(common.validate());
        }
        let mut effective_polling = polling.clone();
        effective_polling.extend(own_polling.into_values());
        let polling = SettingsTable::new(effective_polling)
            .parse::<PollingConfig>()
            .map_err(|error| errors.push(error));
        let default_values = kind.validate(&settings).map_err(|found| errors.extend(found));
        let (Ok(common), Ok(polling), Ok(mut default_values), []) =
            (common, polling, default_values, errors.as_slice())
        else {
            return Err(errors);
        };
        let CommonSettings {
            account,
            previous_names,
            requests_per_minute,
            max_in_flight,
            state_map,
            proxy,
            no_proxy,
            ca_file,
        } = common;
        let requests_per_minute = requests_per_minute.unwrap_or(kind.default_requests_per_minute());
        let max_in_flight = max_in_flight.unwrap_or(defaults::MAX_IN_FLIGHT);
        default_values.push(("requests_per_minute", requests_per_minute.to_string()));
        default_values.push(("max_in_flight", max_in_flight.to_string()));
        let config = Self {
            kind: kind.name(),
            account,
            previous_names,
            requests_per_minute,
            max_in_flight,
            state_map,
            polling,
            connection: ConnectionConfig { proxy, no_proxy, ca_file },
            settings,
        };
        Ok((config, default_values))
    }
}

/// The kind that the table names.
fn find_kind(
    table: &Dict,
    kinds: &[&'static dyn KindSchema],
) -> Result<&'static dyn KindSchema, SettingError> {
    let Some(kind) = table.get("kind") else {
        return Err(SettingError::new("kind", "is needed and not set"));
    };
    let name = kind.as_str();
    let known = name.and_then(|name| kinds.iter().find(|kind| kind.name() == name));
    known.copied().ok_or_else(|| {
        let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
        SettingError::new("kind", format!("must be one of: {}", names.join(", ")))
    })
}

/// The settings that the environment and the kind of a provider's table add to it. Wrong tables are
/// reported later.
pub(super) fn implied_settings(
    table: &Value,
    kinds: &[&'static dyn KindSchema],
    env: &BTreeMap<String, String>,
) -> Vec<DiscoveredSetting> {
    let Some(table) = table.as_dict() else { return Vec::new() };
    let of_kind = find_kind(table, kinds).map_or_else(
        |_| Vec::new(),
        |kind| kind.implied_settings(&SettingsTable::new(table.clone()), env),
    );
    of_kind.into_iter().chain(connection::discovered_proxy(table, env)).collect()
}

fn deserialize_optional_name<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<ProviderName>, D::Error> {
    parse_provider_name(String::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
}

fn deserialize_names<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<ProviderName>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?.into_iter();
    texts.map(|text| parse_provider_name(text).map_err(D::Error::custom)).collect()
}

/// The message of [`ProviderName`] itself repeats the text, which may be a secret.
fn parse_provider_name(text: String) -> Result<ProviderName, &'static str> {
    ProviderName::try_from(text).map_err(
        |_| "must be a lower-case letter, then lower-case letters, digits or _, 64 at most",
    )
}
