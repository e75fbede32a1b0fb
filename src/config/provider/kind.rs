//! What the configuration needs to know of a kind of provider.
//!
//! `crate::provider` implements the trait once for each kind and lists the kinds; `config` knows no kind
//! by name, and so stays free of HTTP.

use std::fmt::Debug;

use crate::config::diagnostics::SettingError;

use super::SettingsTable;

/// The settings of one kind of provider.
pub trait KindSchema: Debug + Sync {
    /// The value of `kind`, also stored with each job.
    fn name(&self) -> &'static str;

    /// The default of `requests_per_minute`.
    fn default_requests_per_minute(&self) -> u32;

    /// Whether the credentials of Huawei's SDKs apply where `auth` is not set.
    fn uses_huawei_sdk_credentials(&self) -> bool {
        false
    }

    /// Validates the kind's own settings. Returns the values in force of those that have a default, in
    /// TOML, for `jobtrackd --check`.
    ///
    /// # Errors
    /// All settings that cannot be used, with keys relative to the provider's table.
    fn validate(
        &self,
        settings: &SettingsTable,
    ) -> Result<Vec<(&'static str, String)>, Vec<SettingError>>;
}
