//! `formerly`: whose a former name is. One that could be two providers' is refused, and named.

use std::collections::BTreeMap;

use crate::job::ProviderName;

use super::ProviderConfig;

/// What is wrong with the former names: the key, and why.
pub(super) fn complaints(
    providers: &BTreeMap<ProviderName, ProviderConfig>,
) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut owners: BTreeMap<&ProviderName, &ProviderName> = BTreeMap::new();
    for (name, provider) in providers {
        for former in &provider.formerly {
            let owner = *owners.entry(former).or_insert(name);
            let why = if former == name {
                format!("must not name {former} itself")
            } else if providers.contains_key(former) {
                format!("must not name {former}, which is configured: [providers.{former}]")
            } else if owner != name {
                format!("must not name {former}, which providers.{owner}.formerly names too")
            } else {
                continue;
            };
            found.push((format!("providers.{name}.formerly"), why));
        }
    }
    found
}
