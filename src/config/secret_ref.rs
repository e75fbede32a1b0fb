//! A reference to a secret: a table of one key, such as `{ file = "/etc/jobtrack/key" }`.
//!
//! Parsed with the configuration and resolved by `provider::secret`. Any other value in its place may be
//! the secret itself, so every wrong value gives the same message, which does not repeat the value.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::Directories;
use super::path_setting::resolve_file_path;

/// The place of a secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum SecretRef {
    /// The name of a systemd credential: a file in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    File(PathBuf),
    /// The name of an environment variable.
    Env(String),
    /// A key in the profile of Huawei's SDKs, `~/.huaweicloud/credentials`.
    HuaweiProfile(String),
}

// `profile` is not listed: the kinds of Huawei add it where `auth` is not set.
const EXPECTED_FORM: &str =
    "must be { credential = \"…\" }, { file = \"…\" } or { env = \"…\" }, never the text itself";

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential(name) => write!(f, "credential {name}"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Env(name) => write!(f, "environment variable {name}"),
            Self::HuaweiProfile(key) => write!(f, "{key} in ~/.huaweicloud/credentials"),
        }
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SecretRefVisitor)
    }
}

struct SecretRefVisitor;

impl<'de> Visitor<'de> for SecretRefVisitor {
    type Value = SecretRef;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(EXPECTED_FORM)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<SecretRef, A::Error> {
        let invalid = || de::Error::custom(EXPECTED_FORM);
        let (key, value) =
            map.next_entry::<String, String>().map_err(|_| invalid())?.ok_or_else(invalid)?;
        if map.next_key::<String>().map_err(|_| invalid())?.is_some() || value.is_empty() {
            return Err(invalid());
        }
        match key.as_str() {
            // A slash would lead out of the directory of the credentials.
            "credential" if !value.contains('/') => Ok(SecretRef::Credential(value)),
            "file" => {
                let directories = Directories::from_env(|name| std::env::var_os(name));
                let path = resolve_file_path(Path::new(&value), directories.home());
                path.map(SecretRef::File).map_err(de::Error::custom)
            }
            "env" => Ok(SecretRef::Env(value)),
            "profile" => Ok(SecretRef::HuaweiProfile(value)),
            _ => Err(invalid()),
        }
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<SecretRef, E> {
        Err(E::custom(EXPECTED_FORM))
    }
    fn visit_bool<E: de::Error>(self, _: bool) -> Result<SecretRef, E> {
        Err(E::custom(EXPECTED_FORM))
    }
    fn visit_i64<E: de::Error>(self, _: i64) -> Result<SecretRef, E> {
        Err(E::custom(EXPECTED_FORM))
    }
    fn visit_u64<E: de::Error>(self, _: u64) -> Result<SecretRef, E> {
        Err(E::custom(EXPECTED_FORM))
    }
    fn visit_f64<E: de::Error>(self, _: f64) -> Result<SecretRef, E> {
        Err(E::custom(EXPECTED_FORM))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<SecretRef, A::Error> {
        Err(de::Error::custom(EXPECTED_FORM))
    }
}
