//! Reads a secret from the place that its reference names: a systemd credential, a file, a variable or
//! the profile of Huawei's SDKs.
//!
//! Called while a provider is built, and again after the service rejected the secret. The secret is a
//! [`SecretString`], whose `Debug` output hides it; no error or log line contains it.

use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use secrecy::{ExposeSecret, SecretString};

use crate::config::SecretRef;

use super::huawei_profile::{huawei_profile_path, huawei_profile_value};
use super::secret_file;
use super::secret_form::flaw;

/// A secret cannot be read. Contains the place, never its content.
#[derive(Debug, thiserror::Error)]
#[error("{location}: {reason}")]
pub(super) struct SecretError {
    location: String,
    reason: String,
}

/// What a secret is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SecretUse {
    /// A key or a token, made by the service.
    Key,
    /// A password, made by a person: it may have any form that one line can have.
    Password,
}

/// Reads a secret, without white space at its end.
///
/// # Errors
/// If the place does not exist, cannot be read within two seconds, or does not contain one line of visible ASCII
/// characters; for a key also if it contains something other than the key alone, such as quotation marks.
pub(super) fn read(
    reference: &SecretRef,
    secret_use: SecretUse,
) -> Result<SecretString, SecretError> {
    let secret_error = |reason: String| SecretError { location: reference.to_string(), reason };
    let read_file =
        |path: &Path| secret_file::read(path).map_err(|error| secret_error(error.to_string()));
    let text = match reference {
        SecretRef::File(path) => read_file(path)?,
        SecretRef::Credential(name) => {
            let path = credential_path(name).ok_or_else(|| {
                secret_error(
                    "$CREDENTIALS_DIRECTORY is not set; systemd sets it for LoadCredential=".into(),
                )
            })?;
            read_file(&path)?
        }
        SecretRef::HuaweiProfile(key) => {
            let home =
                std::env::var_os("HOME").ok_or_else(|| secret_error("HOME is not set".into()))?;
            let text = read_file(&huawei_profile_path(Path::new(&home)))?;
            let value = huawei_profile_value(text.expose_secret(), key).map(SecretString::from);
            value.ok_or_else(|| secret_error("is not set in the section [basic]".into()))?
        }
        SecretRef::Env(name) => std::env::var(name)
            .map(SecretString::from)
            .map_err(|_| secret_error("is not set, or not UTF-8".into()))?,
    };
    let trimmed_secret = SecretString::from(text.expose_secret().trim_end());
    match flaw(trimmed_secret.expose_secret()) {
        Some(flaw) if flaw.is_certain || secret_use == SecretUse::Key => {
            return Err(secret_error(flaw.description.into()));
        }
        Some(flaw) => {
            tracing::warn!(
                "{reference} {}; if this is the password itself, ignore this warning",
                flaw.description
            );
        }
        None => {}
    }
    Ok(trimmed_secret)
}

/// A number that changes with the secrets. It is keyed at random for this process, so that it reveals
/// nothing about them, and is never stored.
pub(super) fn fingerprint(secrets: &[&SecretString]) -> u64 {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    KEY.hash_one(secrets.iter().map(|secret| secret.expose_secret()).collect::<Vec<_>>())
}

fn credential_path(name: &str) -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(|dir| Path::new(&dir).join(name))
}
