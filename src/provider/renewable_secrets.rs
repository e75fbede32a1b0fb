//! The secrets of one credential, which may be replaced at their places while the daemon runs, for example
//! by a sidecar that renews a token.
//!
//! Used by the kinds. After the service rejected the secrets they are read again, off the event loop and with
//! a time limit. If they have changed, the request fails as [`stale`](stale_credential) and is sent again with
//! the new ones. Values that were read after a rejection and are rejected themselves are not replaced in this
//! way again, so that values which alternate do not repeat requests for ever.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use crate::config::SecretRef;
use crate::job::{ProviderError, ProviderErrorKind};

use super::secret::{self, SecretError, SecretUse};

/// The values of a credential, in the order of its references.
pub(super) type SecretValues = Arc<[SecretString]>;

pub(super) struct RenewableSecrets {
    references: Arc<[SecretRef]>,
    secret_use: SecretUse,
    state: Mutex<SecretState>,
    /// Held by the thread that reads, which may hang for longer than anybody waits.
    reading: Arc<Semaphore>,
}

struct SecretState {
    values: SecretValues,
    /// Whether the service rejected these values.
    rejected: bool,
    /// Whether these values replaced rejected ones and were not accepted yet.
    untried: bool,
}

impl RenewableSecrets {
    /// A file system that hangs must not delay a poll for longer.
    const READ_TIMEOUT: Duration = Duration::from_secs(3);

    /// Reads the secrets.
    ///
    /// # Errors
    /// If one cannot be read.
    pub(super) fn read(
        references: impl Into<Arc<[SecretRef]>>,
        secret_use: SecretUse,
    ) -> Result<Self, SecretError> {
        let references = references.into();
        let values = read_all(&references, secret_use)?;
        Ok(Self {
            references,
            secret_use,
            state: Mutex::new(SecretState { values, rejected: false, untried: false }),
            reading: Arc::new(Semaphore::new(1)),
        })
    }

    /// Secrets without a place.
    #[cfg(test)]
    pub(super) fn fixed(values: impl Into<SecretValues>) -> Self {
        let state =
            Mutex::new(SecretState { values: values.into(), rejected: false, untried: false });
        let reading = Arc::new(Semaphore::new(1));
        Self { references: [].into(), secret_use: SecretUse::Key, state, reading }
    }

    pub(super) fn values(&self) -> SecretValues {
        Arc::clone(&self.state().values)
    }

    /// A number that changes with the values; see [`secret::fingerprint`].
    pub(super) fn fingerprint(&self) -> u64 {
        secret::fingerprint(&self.values().iter().collect::<Vec<_>>())
    }

    /// The values for the next request. If the service rejected the last ones, their places are read again
    /// first.
    pub(super) async fn values_for_request(&self) -> SecretValues {
        let (values, rejected) = {
            let state = self.state();
            (Arc::clone(&state.values), state.rejected)
        };
        if rejected { self.read_again(&values).await.unwrap_or(values) } else { values }
    }

    /// Reads the places again if the service rejected the values.
    pub(super) async fn renew_if_rejected(&self) {
        let (values, rejected) = {
            let state = self.state();
            (Arc::clone(&state.values), state.rejected)
        };
        // A failure is reported by the next request.
        if rejected && let Some(Ok(new)) = self.read_in_thread().await {
            self.replace(&values, new);
        }
    }

    /// The service accepted the values of a request.
    pub(super) fn mark_accepted(&self, used: &SecretValues) {
        let mut state = self.state();
        if Arc::ptr_eq(&state.values, used) {
            (state.rejected, state.untried) = (false, false);
        }
    }

    /// The service rejected the values of a request. Returns other values with which to repeat the request, if
    /// there are by now.
    pub(super) async fn renewed(&self, rejected: &SecretValues) -> Option<SecretValues> {
        let was_untried = {
            let mut state = self.state();
            if !Arc::ptr_eq(&state.values, rejected) {
                return Some(Arc::clone(&state.values));
            }
            state.rejected = true;
            state.untried
        };
        self.read_again(rejected).await.filter(|_| !was_untried)
    }

    /// Reads the places again. Returns the values if they differ from `old`.
    async fn read_again(&self, old: &SecretValues) -> Option<SecretValues> {
        match self.read_in_thread().await? {
            Ok(new) => self.replace(old, new),
            Err(reason) => {
                tracing::warn!("a secret that the service rejected cannot be read again: {reason}");
                None
            }
        }
    }

    /// `None` if the secrets cannot change.
    async fn read_in_thread(&self) -> Option<Result<SecretValues, String>> {
        if self.references.iter().all(|reference| matches!(reference, SecretRef::Env(_))) {
            return None;
        }
        let (references, secret_use) = (Arc::clone(&self.references), self.secret_use);
        let reading = async {
            // One thread at most: while one hangs, another would hang too.
            let permit = Arc::clone(&self.reading).acquire_owned().await;
            let read = move || {
                let _permit = permit;
                read_all(&references, secret_use)
            };
            tokio::task::spawn_blocking(read).await
        };
        Some(match tokio::time::timeout(Self::READ_TIMEOUT, reading).await {
            Ok(Ok(result)) => result.map_err(|error| error.to_string()),
            Ok(Err(_)) => Err("the reading was interrupted".to_owned()),
            Err(_) => Err("its file system does not answer".to_owned()),
        })
    }

    /// Takes over new values. Returns them if they differ from `old`.
    fn replace(&self, old: &SecretValues, new: SecretValues) -> Option<SecretValues> {
        let is_same =
            |(a, b): (&SecretString, &SecretString)| a.expose_secret() == b.expose_secret();
        if new.iter().zip(old.iter()).all(is_same) {
            return None;
        }
        *self.state() = SecretState { values: Arc::clone(&new), rejected: false, untried: true };
        Some(new)
    }

    /// No code panics while it holds the lock.
    fn state(&self) -> MutexGuard<'_, SecretState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The error of a request whose secrets were rejected while [`RenewableSecrets`] has other ones.
pub(super) fn stale_credential() -> ProviderError {
    ProviderError::new(
        ProviderErrorKind::StaleCredential,
        "the credential was rejected and has been replaced: the request is sent again",
    )
}

impl fmt::Debug for RenewableSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RenewableSecrets").finish_non_exhaustive()
    }
}

fn read_all(references: &[SecretRef], secret_use: SecretUse) -> Result<SecretValues, SecretError> {
    references.iter().map(|reference| secret::read(reference, secret_use)).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::OpenOptionsExt as _;

    use secrecy::ExposeSecret as _;

    use super::*;

    #[tokio::test]
    async fn fault_63_secrets_that_change_at_every_rejection_do_not_repeat_requests_for_ever() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key");
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600).open(&path).expect("a file");
        let write = |key: &str| std::fs::write(&path, key).expect("a key");
        write("key-a");
        let secrets =
            RenewableSecrets::read([SecretRef::File(path.clone())], SecretUse::Key).expect("a key");
        let first = secrets.values_for_request().await;
        write("key-b");
        let second = secrets.renewed(&first).await.expect("the key that replaced the first");
        write("key-a");
        assert!(secrets.renewed(&second).await.is_none(), "the second was never accepted");
        // The next request is sent with the new values all the same.
        let third = secrets.values_for_request().await;
        assert_eq!(third[0].expose_secret(), "key-a");
        secrets.mark_accepted(&third);
        write("key-b");
        assert!(secrets.renewed(&third).await.is_some());
    }
}
