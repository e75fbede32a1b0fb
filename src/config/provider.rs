//! `[providers.NAME]`: one account of a service. All kinds share one table; which of its keys a kind
//! needs, takes or refuses is [`ProviderConfig::rules`].

use std::collections::BTreeMap;
use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::job::ProviderName;

use super::duration::deserialize_optional_duration;
use super::{AuthConfig, PolicyName, PollingConfig, SecretRef};

/// The services that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// Dune query executions.
    Dune,
    /// Jobs of Huawei's Data Lake Insight.
    Dli,
    /// Script instances of Huawei's `DataArts` Studio.
    DataArts,
}

impl ProviderKind {
    /// The name used in the config and in the `jobs` view.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dune => "dune",
            Self::Dli => "dli",
            Self::DataArts => "dataarts",
        }
    }

    /// The budget if none is set. Dune's free plan allows 40 a minute for everything that uses the
    /// account, some are left to others; DLI documents no limit, but gateways enforce 60; `DataArts`
    /// allows 30 a second for a user.
    #[must_use]
    pub fn default_requests_per_minute(self) -> u32 {
        match self {
            Self::Dune => 30,
            Self::Dli => 60,
            Self::DataArts => 600,
        }
    }
}

/// Whether a kind has a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyRequirement {
    /// It must be set.
    Required,
    /// It may be.
    Optional,
    /// It must not.
    Unsupported,
}

/// `[providers.NAME]`. What is not set comes from [`Kind`] and `[polling]`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// Which service it is.
    pub kind: ProviderKind,
    /// Its address: https, or http to a loopback address.
    pub base_url: Option<String>,
    /// Where its key lies (Dune).
    pub api_key: Option<SecretRef>,
    /// How to prove who asks (Huawei).
    pub auth: Option<AuthConfig>,
    /// Where tokens are fetched, as `base_url` (Huawei).
    pub iam_url: Option<String>,
    /// Such as `cn-north-4`; gives `base_url` and `iam_url` (Huawei).
    pub region: Option<String>,
    /// Whose jobs they are (Huawei).
    pub project_id: Option<String>,
    /// A workspace's id; without it the workspace "default" is meant (`DataArts`).
    pub workspace_id: Option<String>,
    /// Which account of the service it uses, if others use it too: they share budget and key.
    #[serde(default, deserialize_with = "deserialize_optional_name")]
    pub account: Option<ProviderName>,
    /// Names that it bore: what is in the database under them becomes its own.
    #[serde(default, deserialize_with = "deserialize_names")]
    pub previous_names: Vec<ProviderName>,
    /// The budget.
    pub requests_per_minute: Option<u32>,
    /// Requests under way at once.
    pub max_in_flight: Option<u32>,
    /// As in `[polling]`.
    pub policy: Option<PolicyName>,
    /// As in `[polling]`.
    #[serde(default, deserialize_with = "deserialize_optional_duration")]
    pub price: Option<Duration>,
    /// As in `[polling]`.
    #[serde(default, deserialize_with = "deserialize_optional_duration")]
    pub min_interval: Option<Duration>,
    /// As in `[polling]`.
    #[serde(default, deserialize_with = "deserialize_optional_duration")]
    pub max_interval: Option<Duration>,
    /// As in `[polling]`.
    #[serde(default, deserialize_with = "deserialize_optional_duration")]
    pub request_timeout: Option<Duration>,
    /// As in `[polling]`.
    #[serde(default, deserialize_with = "deserialize_optional_duration")]
    pub give_up_after: Option<Duration>,
    /// As in `[polling]`.
    #[serde(default, deserialize_with = "deserialize_optional_duration")]
    pub lost_after: Option<Duration>,
    /// As in `[polling]`.
    #[serde(default, deserialize_with = "deserialize_optional_duration")]
    pub lost_after_never_seen: Option<Duration>,
    /// Words of the service that we do not know, and what they mean.
    #[serde(default)]
    pub state_map: BTreeMap<String, MappedState>,
}

/// A state that a word of a service may mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MappedState {
    /// It waits.
    Pending,
    /// It runs.
    Running,
    /// Over, well.
    Succeeded,
    /// Over, badly.
    Failed,
    /// Over, stopped.
    Cancelled,
    /// Over, its result gone.
    Expired,
}

fn deserialize_optional_name<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<ProviderName>, D::Error> {
    parse_provider_name(String::deserialize(deserializer)?).map(Some).map_err(D::Error::custom)
}

fn deserialize_names<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<ProviderName>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?.into_iter();
    texts.map(|text| parse_provider_name(text).map_err(D::Error::custom)).collect()
}

/// A name, by the rule of providers' names; a wrong one is not told, it may be a secret.
fn parse_provider_name(text: String) -> Result<ProviderName, &'static str> {
    ProviderName::try_from(text).map_err(
        |_| "must be a lower-case letter, then lower-case letters, digits or _, 64 at most",
    )
}

impl ProviderConfig {
    /// Requests under way at once if nothing is set.
    const DEFAULT_MAX_IN_FLIGHT: u32 = 8;

    /// The keys that not every kind has: whether each is set, and whether it may be.
    pub(super) fn key_requirements(&self) -> [(&'static str, bool, KeyRequirement); 6] {
        let (dune, huawei, workspace) = match self.kind {
            ProviderKind::Dune => {
                (KeyRequirement::Required, KeyRequirement::Unsupported, KeyRequirement::Unsupported)
            }
            ProviderKind::Dli => {
                (KeyRequirement::Unsupported, KeyRequirement::Required, KeyRequirement::Unsupported)
            }
            ProviderKind::DataArts => {
                (KeyRequirement::Unsupported, KeyRequirement::Required, KeyRequirement::Optional)
            }
        };
        let region =
            if huawei == KeyRequirement::Required { KeyRequirement::Optional } else { huawei };
        [
            ("api_key", self.api_key.is_some(), dune),
            ("auth", self.auth.is_some(), huawei),
            ("iam_url", self.iam_url.is_some(), region),
            ("project_id", self.project_id.is_some(), huawei),
            ("region", self.region.is_some(), region),
            ("workspace_id", self.workspace_id.is_some(), workspace),
        ]
    }

    /// The budget in force.
    #[must_use]
    pub fn requests_per_minute(&self) -> u32 {
        self.requests_per_minute.unwrap_or(self.kind.default_requests_per_minute())
    }

    /// Requests under way at once.
    #[must_use]
    pub fn max_in_flight(&self) -> u32 {
        self.max_in_flight.unwrap_or(Self::DEFAULT_MAX_IN_FLIGHT)
    }

    /// The address in force; none if neither it nor a region is set and the kind has no other.
    #[must_use]
    pub fn base_url(&self) -> Option<String> {
        self.base_url.clone().or_else(|| match self.kind {
            ProviderKind::Dune => Some("https://api.dune.com".to_owned()),
            ProviderKind::Dli => self.regional_url("dli"),
            ProviderKind::DataArts => self.regional_url("dayu-dlf"),
        })
    }

    /// Where tokens are fetched; none if neither it nor a region is set.
    #[must_use]
    pub fn iam_url(&self) -> Option<String> {
        self.iam_url.clone().or_else(|| self.regional_url("iam"))
    }

    /// Whether tokens are fetched at all.
    pub(super) fn fetches_tokens(&self) -> bool {
        matches!(self.auth, Some(AuthConfig::Password { .. }))
    }

    /// The address of a service in the region.
    fn regional_url(&self, service: &str) -> Option<String> {
        let region = self.region.as_deref()?;
        let domain = match region {
            "eu-west-101" => "myhuaweicloud.eu",
            // Open Telekom Cloud.
            "eu-de" | "eu-nl" => "otc.t-systems.com",
            _ => "myhuaweicloud.com",
        };
        Some(format!("https://{service}.{region}.{domain}"))
    }

    /// The polling rules in force: its own where it has any, else those for all.
    #[must_use]
    pub fn effective_polling(&self, defaults: &PollingConfig) -> PollingConfig {
        PollingConfig {
            policy: self.policy.unwrap_or(defaults.policy),
            price: self.price.unwrap_or(defaults.price),
            min_interval: self.min_interval.unwrap_or(defaults.min_interval),
            max_interval: self.max_interval.unwrap_or(defaults.max_interval),
            request_timeout: self.request_timeout.unwrap_or(defaults.request_timeout),
            give_up_after: self.give_up_after.unwrap_or(defaults.give_up_after),
            lost_after: self.lost_after.unwrap_or(defaults.lost_after),
            lost_after_never_seen: self
                .lost_after_never_seen
                .unwrap_or(defaults.lost_after_never_seen),
        }
    }
}
