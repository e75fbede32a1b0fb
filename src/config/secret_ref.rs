//! Where a secret lies; never the secret.
//!
//! Written as a table of one key. Whatever else stands in its place may be the secret itself, so no
//! complaint repeats it.

use std::fmt;
use std::path::PathBuf;

use serde::de::{self, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// Where a secret lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretRef {
    /// A systemd credential of this name, under `$CREDENTIALS_DIRECTORY`.
    Credential(String),
    /// A file that holds it.
    File(PathBuf),
    /// An environment variable that holds it.
    Env(String),
    /// A key of the file that Huawei's SDKs read in the home directory.
    HuaweiProfile(String),
}

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
            // A path in a credential's name would reach outside its directory.
            "credential" if !value.contains('/') => Ok(SecretRef::Credential(value)),
            "file" => Ok(SecretRef::File(value.into())),
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
