//! The configured providers, by name. The daemon builds them from the config, at the start and at
//! each reload; the scheduler sends requests through them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::job::ProviderName;
use crate::provider::Provider;
use crate::tracker::ProviderSettings;

use super::error::CommandError;

/// A provider that is ready to receive requests.
#[derive(Debug, Clone)]
pub struct ConfiguredProvider {
    /// The provider's kind, as in the `jobs` view.
    pub kind: &'static str,
    /// The tracker's settings for it.
    pub settings: ProviderSettings,
    /// The client that sends requests.
    pub provider: Arc<dyn Provider>,
}

#[derive(Debug, Clone, Default)]
pub struct Providers(BTreeMap<ProviderName, ConfiguredProvider>);

impl FromIterator<(ProviderName, ConfiguredProvider)> for Providers {
    fn from_iter<I: IntoIterator<Item = (ProviderName, ConfiguredProvider)>>(iter: I) -> Self {
        Self(iter.into_iter().collect())
    }
}

impl Providers {
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&ProviderName, &mut ConfiguredProvider)> {
        self.0.iter_mut()
    }

    /// # Errors
    /// [`CommandError::ProviderNotConfigured`] with the names that are configured.
    pub(super) fn get(&self, name: &ProviderName) -> Result<&ConfiguredProvider, CommandError> {
        self.0.get(name).ok_or_else(|| {
            let names: Vec<_> = self.0.keys().map(ProviderName::as_str).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            CommandError::ProviderNotConfigured(name.clone(), names)
        })
    }

    pub(super) fn kind(&self, name: &ProviderName) -> Option<&'static str> {
        self.0.get(name).map(|configured| configured.kind)
    }

    pub(super) fn settings(&self) -> Vec<ProviderSettings> {
        self.0.values().map(|configured| configured.settings.clone()).collect()
    }
}
