//! Validation of `previous_names`: a previous name belongs to one provider and is not configured.
//! [`super::Config`] calls it after the config is parsed.

use std::collections::BTreeMap;

use crate::job::ProviderName;

use super::provider::ProviderConfig;

/// The validation errors: a key and what is wrong with its value.
pub(super) fn validate(
    providers: &BTreeMap<ProviderName, ProviderConfig>,
) -> Vec<(String, String)> {
    let mut errors = Vec::new();
    let mut claims: BTreeMap<&ProviderName, &ProviderName> = BTreeMap::new();
    for (name, provider) in providers {
        for previous in &provider.previous_names {
            let claimed_by = *claims.entry(previous).or_insert(name);
            let error = if previous == name {
                format!("must not name {previous} itself")
            } else if providers.contains_key(previous) {
                format!("must not name {previous}, which is configured: [providers.{previous}]")
            } else if claimed_by != name {
                format!(
                    "must not name {previous}, which providers.{claimed_by}.previous_names names as well"
                )
            } else {
                continue;
            };
            errors.push((format!("providers.{name}.previous_names"), error));
        }
    }
    errors
}
