//! `auth = { … }`: how an account of Huawei's proves who asks.
//!
//! Either a token or a key that signs; what mixes them, or is half of one, is no [`AuthConfig`].

use serde::Deserialize;

use super::SecretRef;

/// Where the proof of who asks lies; read again on reload.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Keys")]
pub enum AuthConfig {
    /// A token, sent as it is.
    Token(SecretRef),
    /// An access key, which signs each request.
    Signed {
        /// Its id.
        ak: SecretRef,
        /// Its secret half.
        sk: SecretRef,
        /// Comes with a temporary one.
        security_token: Option<SecretRef>,
    },
}

/// The table as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "{ token = … } or { ak = …, sk = … }")]
struct Keys {
    token: Option<SecretRef>,
    ak: Option<SecretRef>,
    sk: Option<SecretRef>,
    security_token: Option<SecretRef>,
}

impl TryFrom<Keys> for AuthConfig {
    type Error = &'static str;

    fn try_from(keys: Keys) -> Result<Self, Self::Error> {
        match keys {
            Keys { token: Some(token), ak: None, sk: None, security_token: None } => {
                Ok(Self::Token(token))
            }
            Keys { token: None, ak: Some(ak), sk: Some(sk), security_token } => {
                Ok(Self::Signed { ak, sk, security_token })
            }
            Keys { .. } => {
                Err("must be { token = … }, { ak = …, sk = … }, or for a temporary key \
                                { ak = …, sk = …, security_token = … }")
            }
        }
    }
}
