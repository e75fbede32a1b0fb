//! The secrets of one credential, which may be replaced at their places while the daemon runs, for example
//! by a sidecar that renews a token.
//!
//! Used by the kinds. After the service rejected the secrets they are read again, off the event loop and with
//! a time limit. If they have changed, the answer says so, and the tracker sends the request again with the new
//! ones. Values that were sent after a rejection and are rejected themselves cause no such repetition, so that
//! values which alternate do not repeat requests for ever.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use crate::config::SecretRef;

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
    rejection: Option<Rejection>,
    /// Whether other values were sent and rejected before these, and none accepted since.
    unconfirmed: bool,
}

/// Why the values are to be read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rejection {
    /// The service rejected them.
    Sent,
    /// They were not sent, because the service rejected the same values from another provider.
    NotSent,
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
            state: Mutex::new(SecretState { values, rejection: None, unconfirmed: false }),
            reading: Arc::new(Semaphore::new(1)),
        })
    }

    /// Secrets without a place.
    #[cfg(test)]
    pub(super) fn fixed(values: impl Into<SecretValues>) -> Self {
        let state =
            Mutex::new(SecretState { values: values.into(), rejection: None, unconfirmed: false });
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
        let (values, rejection) = {
            let state = self.state();
            (Arc::clone(&state.values), state.rejection)
        };
        if rejection.is_some() { self.read_again(&values).await.unwrap_or(values) } else { values }
    }

    /// Reads the places again if the service rejected the values.
    pub(super) async fn renew_if_rejected(&self) {
        let (values, rejection) = {
            let state = self.state();
            (Arc::clone(&state.values), state.rejection)
        };
        // A failure is reported by the next request.
        if rejection.is_some()
            && let Some(Ok(new)) = self.read_in_thread().await
        {
            self.replace(&values, new);
        }
    }

    /// The service accepted the values of a request.
    pub(super) fn mark_accepted(&self, used: &SecretValues) {
        let mut state = self.state();
        if Arc::ptr_eq(&state.values, used) {
            (state.rejection, state.unconfirmed) = (None, false);
        }
    }

    /// The service rejected the values of a request. Returns other values with which to repeat the request, if
    /// there are by now.
    pub(super) async fn renewed(&self, rejected: &SecretValues) -> Option<SecretValues> {
        let was_unconfirmed = {
            let mut state = self.state();
            if !Arc::ptr_eq(&state.values, rejected) {
                return Some(Arc::clone(&state.values));
            }
            state.rejection = Some(Rejection::Sent);
            state.unconfirmed
        };
        self.read_again(rejected).await.filter(|_| !was_unconfirmed)
    }

    /// As [`Self::renewed`], for values that are not sent because the service rejected them from another provider.
    pub(super) async fn renewed_before_sending(
        &self,
        refused: &SecretValues,
    ) -> Option<SecretValues> {
        {
            let mut state = self.state();
            if !Arc::ptr_eq(&state.values, refused) {
                return Some(Arc::clone(&state.values));
            }
            state.rejection.get_or_insert(Rejection::NotSent);
        }
        self.read_again(refused).await
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
        let mut state = self.state();
        if Arc::ptr_eq(&state.values, old) {
            state.unconfirmed |= state.rejection == Some(Rejection::Sent);
            (state.values, state.rejection) = (new, None);
        }
        Some(Arc::clone(&state.values))
    }

    /// No code panics while it holds the lock.
    fn state(&self) -> MutexGuard<'_, SecretState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for RenewableSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RenewableSecrets").finish_non_exhaustive()
    }
}

fn read_all(references: &[SecretRef], secret_use: SecretUse) -> Result<SecretValues, SecretError> {
    references.iter().map(|reference| secret::read(reference, secret_use)).collect()
}

/// A file with a key, for tests.
#[cfg(test)]
#[derive(Debug)]
pub(super) struct KeyFile {
    _directory: tempfile::TempDir,
    path: std::path::PathBuf,
}

#[cfg(test)]
impl KeyFile {
    pub(super) fn create(key: &str) -> Self {
        use std::os::unix::fs::OpenOptionsExt as _;

        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("key");
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create_new(true).mode(0o600).open(&path).expect("a file");
        let file = Self { _directory: directory, path };
        file.write(key);
        file
    }

    pub(super) fn write(&self, key: &str) {
        std::fs::write(&self.path, key).expect("a key");
    }

    pub(super) fn read(&self) -> RenewableSecrets {
        let reference = SecretRef::File(self.path.clone());
        RenewableSecrets::read([reference], SecretUse::Key).expect("a key")
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[tokio::test]
    async fn fault_63_secrets_that_change_at_every_rejection_do_not_repeat_requests_for_ever() {
        let file = KeyFile::create("key-a");
        let write = |key: &str| file.write(key);
        let secrets = file.read();
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

    #[tokio::test]
    async fn fault_63_values_that_were_not_sent_do_not_count_as_rejected() {
        let file = KeyFile::create("key-a");
        let write = |key: &str| file.write(key);
        let secrets = file.read();
        let mut values = secrets.values_for_request().await;
        for key in ["key-b", "key-c"] {
            write(key);
            values = secrets.renewed_before_sending(&values).await.expect("another key");
            assert_eq!(values[0].expose_secret(), key);
        }
        write("key-d");
        values = secrets.renewed(&values).await.expect("the first key that was sent is replaced");
        write("key-e");
        assert!(secrets.renewed(&values).await.is_none(), "the second in a row is not");
    }
}
