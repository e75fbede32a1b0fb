//! The settings of an account of Huawei Cloud or Open Telekom Cloud, shared by `dli` and `dataarts`.
//!
//! Parsed by both kinds. A region gives the addresses; `base_url` and `iam_url` override them.

use std::collections::BTreeMap;
use std::sync::Arc;

use reqwest::header::HeaderValue;
use serde::Deserialize;

use crate::config::{DiscoveredSetting, SecretRef, SettingError, SettingsTable};
use crate::provider::http::HttpClient;
use crate::provider::renewable_secrets::RenewableSecrets;
use crate::provider::secret::{SecretUse, fingerprint};
use crate::provider::service_url::ServiceUrl;

use super::auth::Auth;
use super::client::HuaweiClient;
use super::iam_user::{IamUser, ProjectScope, UserName};
use super::region::{RegionalService, service_url};
use super::sdk_credentials;
use super::shared_credentials::SharedCredentials;

/// The settings as they are written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawSettings {
    base_url: Option<ServiceUrl>,
    auth: AuthConfig,
    iam_url: Option<ServiceUrl>,
    region: Option<String>,
    project_id: HeaderText,
}

/// Settings from which a client can be built.
#[derive(Debug)]
pub(super) struct HuaweiSettings {
    base_url: ServiceUrl,
    /// Where tokens are fetched; only if `auth` fetches tokens.
    iam_url: Option<ServiceUrl>,
    auth: AuthConfig,
    project_id: HeaderText,
}

const IAM_URL_NEEDED: &str = "is needed for auth with a user if region is not set";

impl HuaweiSettings {
    /// `service` is the first part of the service's host name, such as `dli`.
    pub(super) fn parse(
        table: &SettingsTable,
        service: &'static str,
    ) -> Result<Self, Vec<SettingError>> {
        let raw: RawSettings = table.parse().map_err(|error| vec![error])?;
        let RawSettings { base_url, auth, iam_url, region, project_id } = raw;
        let regional = |service| region.as_deref().map(|region| service_url(service, region));
        let mut errors = Vec::new();
        let base_url = base_url.map(Ok).or_else(|| regional(RegionalService::Named(service)));
        let iam_url = match (iam_url, &auth) {
            (_, AuthConfig::Token(_) | AuthConfig::AccessKey { .. }) => None,
            (Some(url), AuthConfig::Password { .. }) => Some(Ok(url)),
            (None, AuthConfig::Password { .. }) => {
                let url = regional(RegionalService::Iam);
                if url.is_none() {
                    errors.push(SettingError::new("iam_url", IAM_URL_NEEDED));
                }
                url
            }
        };
        if let Some(Err(error)) = base_url.as_ref().filter(|url| url.is_err()).or(iam_url.as_ref())
        {
            errors.push(SettingError::new("region", *error));
        }
        if base_url.is_none() && region.is_none() {
            errors.push(SettingError::new("region", "is needed if base_url is not set"));
        }
        match base_url {
            Some(Ok(base_url)) if errors.is_empty() => {
                let iam_url = iam_url.and_then(Result::ok);
                Ok(Self { base_url, iam_url, auth, project_id })
            }
            Some(_) | None => Err(errors),
        }
    }

    /// The effective addresses, in TOML.
    pub(super) fn effective_urls(&self) -> Vec<(&'static str, String)> {
        let base_url = ("base_url", format!("{:?}", self.base_url.to_string()));
        let iam_url =
            self.iam_url.as_ref().map(|url| ("iam_url", format!("{:?}", url.to_string())));
        [base_url].into_iter().chain(iam_url).collect()
    }

    /// Reads the secrets and builds the client.
    pub(super) fn into_client(
        self,
        http: HttpClient,
        shared: &SharedCredentials,
    ) -> Result<HuaweiClient, String> {
        let Self { base_url, iam_url, auth, project_id } = self;
        let project_id = project_id.0;
        let auth = match auth {
            AuthConfig::Token(token) => Auth::Token(read_secrets([token], SecretUse::Key)?),
            AuthConfig::Password { user, password, domain, project } => {
                let iam_url = iam_url.ok_or(format!("iam_url {IAM_URL_NEEDED}"))?.into_url();
                let name = UserName { iam_url, user, domain };
                let scope = project
                    .map_or_else(|| ProjectScope::Id(project_id.clone()), ProjectScope::Name);
                let password = read_secrets([password], SecretUse::Password)?;
                let gate = shared.user_gate(&name);
                Auth::Password(shared.token_cache(IamUser { name, scope, password, gate }))
            }
            AuthConfig::AccessKey { ak, sk, security_token } => {
                let references: Vec<_> = [ak, sk].into_iter().chain(security_token).collect();
                let secrets = read_secrets(references, SecretUse::Key)?;
                let id = secrets.values().first().map(|id| fingerprint(&[id])).unwrap_or_default();
                Auth::AccessKey { secrets, gate: shared.access_key_gate(id) }
            }
        };
        Ok(HuaweiClient { http, base_url: base_url.into_url(), project_id, auth })
    }
}

/// The credentials of Huawei's SDKs, where `auth` is not set.
pub(super) fn implied_settings(
    settings: &SettingsTable,
    env: &BTreeMap<String, String>,
) -> Vec<DiscoveredSetting> {
    if settings.contains_key("auth") { Vec::new() } else { sdk_credentials::implied_settings(env) }
}

/// The errors as one text, for settings that are parsed once more after validation.
pub(super) fn join(errors: &[SettingError]) -> String {
    let errors: Vec<_> = errors.iter().map(ToString::to_string).collect();
    errors.join("; ")
}

fn read_secrets(
    references: impl Into<Arc<[SecretRef]>>,
    secret_use: SecretUse,
) -> Result<RenewableSecrets, String> {
    RenewableSecrets::read(references, secret_use).map_err(|error| error.to_string())
}

/// Text that is valid as the value of a header.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct HeaderText(String);

impl HeaderText {
    /// The text as a header's value.
    pub(super) fn to_header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.0).ok()
    }
}

impl TryFrom<String> for HeaderText {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        match HeaderValue::from_str(&text) {
            Ok(_) if !text.is_empty() => Ok(Self(text)),
            Ok(_) | Err(_) => Err("must be text without line breaks or other control characters"),
        }
    }
}

/// `auth = { … }`: how requests are authenticated.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "RawAuthConfig")]
enum AuthConfig {
    /// A token, sent as it is.
    Token(SecretRef),
    /// A user of IAM, for whom tokens are fetched.
    Password {
        user: String,
        password: SecretRef,
        /// The account that the user belongs to.
        domain: String,
        /// The name of the project that tokens are for, instead of `project_id`.
        project: Option<String>,
    },
    /// An access key, which signs each request.
    AccessKey {
        /// The id of the key.
        ak: SecretRef,
        /// The secret of the key.
        sk: SecretRef,
        /// Belongs to a temporary key.
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
