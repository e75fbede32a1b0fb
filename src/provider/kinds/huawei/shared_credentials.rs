//! The tokens and the attempts with a credential that all providers of the process share, also across a
//! reload.
//!
//! The daemon owns one [`SharedCredentials`] and passes it to each build of the providers. An entry lives as long as
//! a provider uses it.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::credential_gate::{CredentialGate, Fingerprint};
use super::iam_user::{IamUser, ProjectScope, UserName};
use super::token::TokenCache;

#[derive(Debug, Default)]
pub struct SharedCredentials {
    token_caches: SharedMap<(UserName, ProjectScope, Fingerprint), TokenCache>,
    user_gates: SharedMap<UserName, CredentialGate>,
    /// By the id of the access key.
    access_key_gates: SharedMap<Fingerprint, CredentialGate>,
}

type SharedMap<K, V> = Mutex<HashMap<K, Weak<V>>>;

impl SharedCredentials {
    /// The attempts of a user, whatever the project.
    pub(super) fn user_gate(&self, user: &UserName) -> Arc<CredentialGate> {
        get_or_insert(&self.user_gates, user.clone(), CredentialGate::default)
    }

    pub(super) fn access_key_gate(&self, id: Fingerprint) -> Arc<CredentialGate> {
        get_or_insert(&self.access_key_gates, id, CredentialGate::default)
    }

    /// The tokens of a user for one project. A user with another password has tokens of its own.
    pub(super) fn token_cache(&self, user: IamUser) -> Arc<TokenCache> {
        let key = (user.name.clone(), user.scope.clone(), user.password_fingerprint());
        get_or_insert(&self.token_caches, key, || TokenCache::new(user))
    }
}

/// The entry that is in use, or a new one. No code panics while it holds the lock.
fn get_or_insert<K: Hash + Eq, V>(
    map: &SharedMap<K, V>,
    key: K,
    new: impl FnOnce() -> V,
) -> Arc<V> {
    let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
    map.retain(|_, entry| entry.strong_count() > 0);
    if let Some(entry) = map.get(&key).and_then(Weak::upgrade) {
        return entry;
    }
    let entry = Arc::new(new());
    map.insert(key, Arc::downgrade(&entry));
    entry
}
