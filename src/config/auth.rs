//! `auth = { … }`: how an account of Huawei's proves who asks.
//!
//! A token, a user whose password fetches one, or a key that signs; what mixes them, or is half of
//! one, is no [`AuthConfig`].

use serde::Deserialize;

use super::SecretRef;

/// Where the proof of who asks lies; read again on reload.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawAuthConfig")]
pub enum AuthConfig {
    /// A token, sent as it is.
    Token(SecretRef),
    /// A user, for whom tokens are fetched.
    Password {
        /// His name.
        user: String,
        /// What proves that it is he.
        password: SecretRef,
        /// The account that he belongs to.
        domain: String,
        /// The project that the tokens are for; if it is not named, that of the region.
        project: Option<String>,
    },
    /// An access key, which signs each request.
    AccessKey {
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
#[serde(deny_unknown_fields, expecting = "{ token = … }, { user = …, … } or { ak = …, … }")]
struct RawAuthConfig {
    token: Option<SecretRef>,
    user: Option<String>,
    password: Option<SecretRef>,
    domain: Option<String>,
    project: Option<String>,
    ak: Option<SecretRef>,
    sk: Option<SecretRef>,
    security_token: Option<SecretRef>,
}

impl TryFrom<RawAuthConfig> for AuthConfig {
    type Error = &'static str;

    fn try_from(raw: RawAuthConfig) -> Result<Self, Self::Error> {
        let RawAuthConfig { token, user, password, domain, project, ak, sk, security_token } = raw;
        let has_user_keys =
            user.is_some() || password.is_some() || domain.is_some() || project.is_some();
        let has_access_keys = ak.is_some() || sk.is_some() || security_token.is_some();
        match (token, user, password, domain, ak, sk) {
            (Some(token), ..) if !has_user_keys && !has_access_keys => Ok(Self::Token(token)),
            (None, Some(user), Some(password), Some(domain), ..) if !has_access_keys => {
                Ok(Self::Password { user, password, domain, project })
            }
            (None, .., Some(ak), Some(sk)) if !has_user_keys => {
                Ok(Self::AccessKey { ak, sk, security_token })
            }
            _ => Err("must be { token = … }, { user = \"…\", password = …, domain = \"…\" } with \
                      or without project = \"…\", { ak = …, sk = … }, or for a temporary key \
                      { ak = …, sk = …, security_token = … }"),
        }
    }
}
