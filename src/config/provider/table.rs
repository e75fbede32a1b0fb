//! A table of settings of which each reader takes its own keys.
//!
//! `[providers.NAME]` holds keys of several readers: those of every provider, those of `[polling]` and
//! those of the kind. serde cannot combine `flatten` with `deny_unknown_fields`, and `flatten` loses the
//! key of an error, so the table is split by key first and each part is parsed strictly.

use figment::value::{Dict, Value};
use serde::de::DeserializeOwned;

use crate::config::diagnostics::SettingError;

/// Some keys of one table.
#[derive(Debug, Clone, PartialEq)]
pub struct SettingsTable {
    values: Dict,
    /// Keys of the same table that other readers take; named where a key is unknown.
    other_keys: Vec<&'static str>,
}

impl SettingsTable {
    pub(super) fn new(values: Dict) -> Self {
        Self { values, other_keys: Vec::new() }
    }

    /// Splits the table into the part with these keys and the rest.
    #[must_use]
    pub fn split(self, keys: &[&'static str]) -> (Self, Self) {
        let (part, rest) =
            self.values.into_iter().partition(|(key, _)| keys.contains(&key.as_str()));
        let rest_keys = [self.other_keys.as_slice(), keys].concat();
        (Self::new(part), Self { values: rest, other_keys: rest_keys })
    }

    /// Parses the table. `T` should deny unknown fields.
    ///
    /// # Errors
    /// If a key is unknown or missing, or a value is not allowed.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, SettingError> {
        Value::from(self.values.clone())
            .deserialize()
            .map_err(|error| SettingError::from_figment(&error, &self.other_keys))
    }

    /// All keys and values as JSON: equal tables have equal texts.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.values).unwrap_or_default()
    }

    #[must_use]
    pub fn contains_key(&self, key: &str) -> bool {
        self.values.contains_key(key)
    }

    pub(super) fn into_values(self) -> Dict {
        self.values
    }
}
