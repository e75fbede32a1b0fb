//! `previous_names`: each name belongs to one provider at most, and is not configured itself.
//!
//! Called by [`load()`](super::load()). Otherwise the jobs under such a name could belong to two providers.

use std::collections::BTreeMap;

use crate::job::ProviderName;

use super::ProviderConfig;
use super::diagnostics::SettingError;

pub(super) fn validate(providers: &BTreeMap<ProviderName, ProviderConfig>) -> Vec<SettingError> {
    let mut errors = Vec::new();
    let mut owners: BTreeMap<&ProviderName, &ProviderName> = BTreeMap::new();
    for (name, provider) in providers {
        for previous in &provider.previous_names {
            let owner = *owners.entry(previous).or_insert(name);
            let problem = if previous == name {
                format!("must not name {previous} itself")
            } else if providers.contains_key(previous) {
                format!("must not name {previous}, which is configured: [providers.{previous}]")
            } else if owner != name {
                format!(
                    "must not name {previous}, which providers.{owner}.previous_names names as well"
                )
            } else {
                continue;
            };
            errors.push(SettingError::new(format!("providers.{name}.previous_names"), problem));
        }
    }
    errors
}
