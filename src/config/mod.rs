//! The settings, data only: what can be set, its defaults, and what is refused.
//!
//! Read by [`load()`], handed to the IO rooms. The defaults stand here and nowhere else. No secret is
//! ever in it, only [`SecretRef`]s to where one lies.

mod auth;
mod directories;
mod duration;
mod huawei_sdk;
mod load;
mod maintenance;
mod previous_names;
mod provider;
mod secret_ref;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::job::ProviderName;

pub use auth::AuthConfig;
pub use directories::Directories;
use duration::deserialize_duration;
pub use huawei_sdk::{huawei_profile_path, huawei_profile_value};
pub use load::{ConfigError, LoadedConfig, Setting, load};
pub use maintenance::{CronSchedule, MaintenanceConfig, RetentionPolicy};
use provider::KeyRequirement;
pub use provider::{MappedState, ProviderConfig, ProviderKind};
pub use secret_ref::SecretRef;

/// All settings.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The database.
    pub store: StoreConfig,
    /// The control socket.
    pub control: ControlConfig,
    /// How every provider is polled, unless it says otherwise.
    pub polling: PollingConfig,
    /// Housekeeping.
    pub maintenance: MaintenanceConfig,
    /// The providers, by name.
    #[serde(default)]
    pub providers: BTreeMap<ProviderName, ProviderConfig>,
}

/// `[store]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    /// The database file.
    pub path: PathBuf,
    /// How much of a job's SQL is kept.
    pub statement: StatementCapture,
}

/// What is kept of a statement that an answer tells: it is a user's SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatementCapture {
    /// All of it, cut at 8 KiB.
    Full,
    /// A hash: equal statements are seen to be equal.
    Hash,
    /// Nothing.
    None,
}

/// `[control]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlConfig {
    /// The socket's path.
    pub socket: PathBuf,
    /// Its mode, octal.
    pub mode: SocketMode,
    /// Its group; the process's own if none is given.
    #[serde(default)]
    pub group: Option<String>,
}

/// Permission bits, written as octal text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SocketMode(pub u32);

impl TryFrom<String> for SocketMode {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        match u32::from_str_radix(&text, 8) {
            Ok(bits) if bits <= 0o777 => Ok(Self(bits)),
            Ok(_) | Err(_) => Err("must be octal permission bits in quotes, such as \"0660\""),
        }
    }
}

/// `[polling]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PollingConfig {
    /// By which rule a job is asked again.
    pub policy: PolicyName,
    /// The expected delay that one request may cost, where the rule is learned.
    #[serde(deserialize_with = "deserialize_duration")]
    pub price: Duration,
    /// A job is asked again after this at the soonest.
    #[serde(deserialize_with = "deserialize_duration")]
    pub min_interval: Duration,
    /// Backoff grows to this at most.
    #[serde(deserialize_with = "deserialize_duration")]
    pub max_interval: Duration,
    /// No request takes longer.
    #[serde(deserialize_with = "deserialize_duration")]
    pub request_timeout: Duration,
    /// A job that is not over so long after its registration is let go.
    #[serde(deserialize_with = "deserialize_duration")]
    pub give_up_after: Duration,
    /// "Not found" for so long makes a job lost.
    #[serde(deserialize_with = "deserialize_duration")]
    pub lost_after: Duration,
    /// The same for a job that the provider has never known.
    #[serde(deserialize_with = "deserialize_duration")]
    pub lost_after_never_seen: Duration,
}

/// By which rule jobs are asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyName {
    /// When past runs say that it is worth a request.
    Learned,
    /// After pauses that grow.
    Backoff,
}

impl Config {
    /// What no type can say. Each complaint is the key and what is allowed.
    fn validate(&self) -> Vec<(String, Cow<'static, str>)> {
        const DURATION_ERROR: &str = "must be at least 100ms and at most 400d";
        const REQUEST_COST_ERROR: &str = "must be at least 10ms and at most 1h";
        const LOST_AFTER_ERROR: &str = "must be at least 1m and at most 400d";
        const URL_ERROR: &str = "must be https://HOST, or http:// to a loopback address, without user, \
                           query or fragment";
        let mut errors = Vec::new();
        let mut require = |valid: bool, key: String, message| {
            if !valid {
                errors.push((key, Cow::Borrowed(message)));
            }
        };
        let mut check_polling = |key: &str, polling: &PollingConfig| {
            let allowed_durations = Duration::from_millis(100)..=Duration::from_hours(400 * 24);
            for (name, value) in [
                ("min_interval", polling.min_interval),
                ("max_interval", polling.max_interval),
                ("request_timeout", polling.request_timeout),
                ("give_up_after", polling.give_up_after),
            ] {
                require(
                    allowed_durations.contains(&value),
                    format!("{key}.{name}"),
                    DURATION_ERROR,
                );
            }
            let allowed_lost_after = Duration::from_mins(1)..=*allowed_durations.end();
            for (name, value) in [
                ("lost_after", polling.lost_after),
                ("lost_after_never_seen", polling.lost_after_never_seen),
            ] {
                require(
                    allowed_lost_after.contains(&value),
                    format!("{key}.{name}"),
                    LOST_AFTER_ERROR,
                );
            }
            let allowed_request_cost = Duration::from_millis(10)..=Duration::from_hours(1);
            require(
                allowed_request_cost.contains(&polling.price),
                format!("{key}.price"),
                REQUEST_COST_ERROR,
            );
            let ordered = polling.min_interval <= polling.max_interval;
            require(ordered, format!("{key}.max_interval"), "must not be less than min_interval");
        };
        check_polling("polling", &self.polling);
        for (name, provider) in &self.providers {
            let effective_polling = provider.effective_polling(&self.polling);
            // What is wrong for all is told once, where it stands.
            if effective_polling != self.polling {
                check_polling(&format!("providers.{name}"), &effective_polling);
            }
        }
        // sun_path has 108 bytes, one of them the closing zero.
        let fits = self.control.socket.as_os_str().len() <= 107;
        require(fits, "control.socket".into(), "must be a path of at most 107 bytes");
        for (name, provider) in &self.providers {
            let provider_key = |key| format!("providers.{name}.{key}");
            let rate_in_range = (1..=60_000).contains(&provider.requests_per_minute());
            require(rate_in_range, provider_key("requests_per_minute"), "must be 1 to 60000");
            let in_flight_in_range = (1..=1000).contains(&provider.max_in_flight());
            require(in_flight_in_range, provider_key("max_in_flight"), "must be 1 to 1000");
            match provider.base_url() {
                None => require(false, provider_key("region"), "is needed, or base_url"),
                Some(url) => require(is_safe_url(&url), provider_key("base_url"), URL_ERROR),
            }
            match provider.iam_url() {
                None => require(
                    !provider.fetches_tokens(),
                    provider_key("iam_url"),
                    "is needed, or region",
                ),
                Some(url) => require(is_safe_url(&url), provider_key("iam_url"), URL_ERROR),
            }
            for (name, is_set, requirement) in provider.key_requirements() {
                require(
                    is_set || requirement != KeyRequirement::Required,
                    provider_key(name),
                    "is needed for this kind",
                );
                require(
                    !is_set || requirement != KeyRequirement::Unsupported,
                    provider_key(name),
                    "is not a setting of this kind",
                );
            }
        }
        let name_errors = previous_names::validate(&self.providers).into_iter();
        errors.extend(name_errors.map(|(key, error)| (key, Cow::Owned(error))));
        errors
    }
}

/// A key in clear text never leaves the machine.
fn is_safe_url(text: &str) -> bool {
    let Ok(url) = reqwest::Url::parse(text) else { return false };
    let loopback = match url.host_str() {
        Some("localhost") => true,
        Some(host) => host
            .trim_matches(['[', ']'])
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
        None => false,
    };
    let has_no_extras = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    has_no_extras
        && url.has_host()
        && (url.scheme() == "https" || (url.scheme() == "http" && loopback))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_and_loopback_urls_are_safe() {
        for safe_url in [
            "https://api.dune.com",
            "https://proxy.example/dune/",
            "http://127.0.0.1:8080",
            "http://[::1]:80",
            "http://localhost:1",
        ] {
            assert!(is_safe_url(safe_url), "{safe_url}");
        }
        for unsafe_url in [
            "http://api.dune.com",
            "http://10.0.0.1",
            "http://127.0.0.1.example.com",
            "ftp://127.0.0.1",
            "https://user:pass@api.dune.com",
            "https://api.dune.com?api_key=x",
            "api.dune.com",
            "",
        ] {
            assert!(!is_safe_url(unsafe_url), "{unsafe_url}");
        }
    }
}
