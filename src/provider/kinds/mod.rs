//! The kinds of providers, one file each: its settings, their validation, its construction, its requests
//! and the meaning of its answers.
//!
//! To add a kind, add its file, a line in [`KINDS`], and a row in the fixtures of
//! `tests/daemon/provider_contract`.

mod dune;
mod huawei;

use std::collections::BTreeMap;

use crate::config::{KindSchema, MappedState, SettingsTable, StatementCapture};

use super::Provider;
use super::classify::ErrorRule;
use super::http::HttpClient;

pub use huawei::{SharedCredentials, sign};

pub(super) const KINDS: [&dyn Kind; 3] =
    [&dune::Dune, &huawei::dli::Dli, &huawei::dataarts::DataArts];

/// A kind of provider. The supertrait describes its settings to the configuration.
pub(super) trait Kind: KindSchema {
    /// Builds a provider from settings that were validated; reads the secrets.
    fn build(
        &self,
        settings: &SettingsTable,
        context: BuildContext<'_>,
    ) -> Result<Box<dyn Provider>, String>;

    /// The kind's own rules for unsuccessful responses. They come before the rules for statuses.
    fn error_rules(&self) -> &'static [&'static [ErrorRule]];
}

/// What a provider is built from, apart from the kind's own settings.
#[derive(Debug)]
pub(super) struct BuildContext<'a> {
    pub(super) http: HttpClient,
    /// `state_map` of the configuration.
    pub(super) user_states: &'a BTreeMap<String, MappedState>,
    pub(super) statement_capture: StatementCapture,
    pub(super) shared_credentials: &'a SharedCredentials,
}
