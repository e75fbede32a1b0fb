//! What the configuration needs to know of a kind of provider.
//!
//! `crate::provider` implements the trait once for each kind and lists the kinds. `config` uses no kind
//! directly and so stays free of HTTP. Two files know a service all the same: `env`, for the provider
//! that `DUNE_API_KEY` adds, and `secret_ref`, for the profile of Huawei's SDKs.

use std::collections::BTreeMap;
use std::fmt::Debug;

use crate::config::diagnostics::SettingError;

use super::SettingsTable;

/// The settings of one kind of provider.
pub trait KindSchema: Debug + Sync {
    /// The value of `kind`, also stored with each job.
    fn name(&self) -> &'static str;

    /// The default of `requests_per_minute`.
    fn default_requests_per_minute(&self) -> u32;

    /// Settings that apply where no other source has set them, such as credentials in the variables of
    /// the service's own tools. `settings` are those of the other sources.
    fn implied_settings(
        &self,
        _settings: &SettingsTable,
        _env: &BTreeMap<String, String>,
    ) -> Vec<DiscoveredSetting> {
        Vec::new()
    }

    /// Validates the kind's own settings. Returns the effective values of those that have a default, in
    /// TOML, for `jobtrackd --check`.
    ///
    /// # Errors
    /// All settings that cannot be used, with keys relative to the provider's table.
    fn validate(
        &self,
        settings: &SettingsTable,
    ) -> Result<Vec<(&'static str, String)>, Vec<SettingError>>;
}

/// A setting that a kind adds because of its environment.
#[derive(Debug)]
pub struct DiscoveredSetting {
    /// The name of the variable or the file.
    pub(in crate::config) source: String,
    /// The dotted key, relative to the provider's table.
    pub(in crate::config) key: &'static str,
    /// A value that is not secret, such as the name of a variable.
    pub(in crate::config) value: String,
}

impl DiscoveredSetting {
    #[must_use]
    pub fn new(source: String, key: &'static str, value: impl Into<String>) -> Self {
        Self { source, key, value: value.into() }
    }
}
