//! `formerly`: whose a former name is. One that could be two providers' is refused, and named.

use std::collections::BTreeMap;

use crate::job::ProviderName;

use super::ProviderConfig;

/// What is wrong with the former names: the key, and why.
pub(super) fn validate(
    providers: &BTreeMap<ProviderName, ProviderConfig>,
) -> Vec<(String, String)> {
    let mut errors = Vec::new();
    let mut owners: BTreeMap<&ProviderName, &ProviderName> = BTreeMap::new();
    for (name, provider) in providers {
        for previous in &provider.previous_names {
            let claimed_by = *owners.entry(previous).or_insert(name);
            let error = if previous == name {
                format!("must not name {previous} itself")
            } else if providers.contains_key(previous) {
                format!("must not name {previous}, which is configured: [providers.{previous}]")
            } else if claimed_by != name {
                format!(
                    "must not name {previous}, which providers.{claimed_by}.previous_names names too"
                )
            } else {
                continue;
            };
            errors.push((format!("providers.{name}.previous_names"), error));
        }
    }
    errors
}
