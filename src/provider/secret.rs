//! Reads a secret from the place that its reference names: a systemd credential, a file, a variable or
//! the profile of Huawei's SDKs.
//!
//! Called while a provider is built. The secret is a [`SecretString`], whose `Debug` output hides it; no
//! error or log line contains it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use crate::config::SecretRef;

use super::huawei_profile::{huawei_profile_path, huawei_profile_value};

/// A secret cannot be read. Contains the place, never its content.
#[derive(Debug, thiserror::Error)]
#[error("{location}: {reason}")]
pub(super) struct SecretError {
    location: String,
    reason: String,
}

/// Reads a secret, without white space at its end.
///
/// # Errors
/// If the place does not exist, is empty, or contains more than one line of visible ASCII characters: a
/// header could not carry it.
pub(super) fn read(reference: &SecretRef) -> Result<SecretString, SecretError> {
    let secret_error = |reason: String| SecretError { location: reference.to_string(), reason };
    let text = match reference {
        SecretRef::File(path) => {
            warn_if_world_readable(path);
            read_file(path).map_err(|error| secret_error(error.to_string()))?
        }
        SecretRef::Credential(name) => {
            let path = credential_path(name).ok_or_else(|| {
                secret_error(
                    "$CREDENTIALS_DIRECTORY is not set; systemd sets it for LoadCredential=".into(),
                )
            })?;
            read_file(&path).map_err(|error| secret_error(error.to_string()))?
        }
        SecretRef::HuaweiProfile(key) => {
            let home =
                std::env::var_os("HOME").ok_or_else(|| secret_error("HOME is not set".into()))?;
            let path = huawei_profile_path(Path::new(&home));
            warn_if_world_readable(&path);
            let text = read_file(&path).map_err(|error| secret_error(error.to_string()))?;
            let value = huawei_profile_value(text.expose_secret(), key).map(SecretString::from);
            value.ok_or_else(|| secret_error("is not set in the section [basic]".into()))?
        }
        SecretRef::Env(name) => std::env::var(name)
            .map(SecretString::from)
            .map_err(|_| secret_error("is not set, or not UTF-8".into()))?,
    };
    let trimmed_secret = SecretString::from(text.expose_secret().trim_end());
    let plaintext = trimmed_secret.expose_secret();
    if plaintext.is_empty() {
        return Err(secret_error("is empty".into()));
    }
    if !plaintext.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(secret_error("must be one line of visible ASCII characters".into()));
    }
    Ok(trimmed_secret)
}

fn credential_path(name: &str) -> Option<PathBuf> {
    std::env::var_os("CREDENTIALS_DIRECTORY").map(|dir| Path::new(&dir).join(name))
}

/// Container runtimes mount secrets below `/run/secrets` and let all users of the container read them;
/// elsewhere such a mode is a mistake.
fn warn_if_world_readable(path: &Path) {
    const OTHERS_READ_BIT: u32 = 0o004;
    let world_readable = std::fs::metadata(path)
        .is_ok_and(|found| found.permissions().mode() & OTHERS_READ_BIT != 0);
    if world_readable && !path.starts_with("/run/secrets") {
        tracing::warn!(
            "secret file {} is readable by all users; run: chmod o= {0}",
            path.display()
        );
    }
}

fn read_file(path: &Path) -> std::io::Result<SecretString> {
    std::fs::read_to_string(path).map(SecretString::from)
}
