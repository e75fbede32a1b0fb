//! `[polling]`: when jobs are polled, and when polling a job ends.
//!
//! A provider's own section may override each key. [`super::load()`] merges those keys into
//! `[polling]` and parses the result as another [`PollingConfig`], so every setting is declared once.

use std::time::Duration;

use serde::Deserialize;

use crate::job::PollPrice;

use super::diagnostics::SettingError;
use super::duration::deserialize_duration;

/// The effective settings, for all providers or for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PollingConfig {
    pub policy: PolicyName,
    /// Policy `learned` only.
    pub price: PollPrice,
    #[serde(deserialize_with = "deserialize_duration")]
    pub min_interval: Duration,
    /// The longest interval that backoff reaches.
    #[serde(deserialize_with = "deserialize_duration")]
    pub max_interval: Duration,
    #[serde(deserialize_with = "deserialize_duration")]
    pub request_timeout: Duration,
    /// The age, since its registration, at which an unfinished job becomes `untracked`.
    #[serde(deserialize_with = "deserialize_duration")]
    pub give_up_after: Duration,
    /// How long a provider must answer "not found" before the job becomes `lost`.
    #[serde(deserialize_with = "deserialize_duration")]
    pub lost_after: Duration,
    /// The value of `lost_after` for a job that the provider has never reported.
    #[serde(deserialize_with = "deserialize_duration")]
    pub lost_after_never_seen: Duration,
}

/// How the time of a job's next poll is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PolicyName {
    /// By the durations of similar past runs.
    Learned,
    /// By intervals that grow while the state does not change.
    Backoff,
}

impl PollingConfig {
    /// The maximum of every setting except `price`, and of `give_up_after` of a single job.
    pub const MAX_DURATION: Duration = Duration::from_hours(400 * 24);

    /// The keys of this table, which are also keys of `[providers.NAME]`.
    pub(super) const KEYS: &[&str] = &[
        "policy",
        "price",
        "min_interval",
        "max_interval",
        "request_timeout",
        "give_up_after",
        "lost_after",
        "lost_after_never_seen",
    ];

    /// The settings that are out of range.
    pub(super) fn validate(&self) -> Vec<SettingError> {
        const MAX: Duration = PollingConfig::MAX_DURATION;
        let interval =
            (Duration::from_millis(100)..=MAX, "must be at least 100ms and at most 400d");
        let not_found = (Duration::from_mins(1)..=MAX, "must be at least 1m and at most 400d");
        let values = [
            ("min_interval", self.min_interval, &interval),
            ("max_interval", self.max_interval, &interval),
            ("request_timeout", self.request_timeout, &interval),
            ("give_up_after", self.give_up_after, &interval),
            ("lost_after", self.lost_after, &not_found),
            ("lost_after_never_seen", self.lost_after_never_seen, &not_found),
        ];
        let out_of_range =
            values.into_iter().filter(|(_, value, (range, _))| !range.contains(value));
        let mut errors: Vec<_> =
            out_of_range.map(|(key, _, (_, allowed))| SettingError::new(key, *allowed)).collect();
        if self.min_interval > self.max_interval {
            errors.push(SettingError::new("max_interval", "must not be less than min_interval"));
        }
        errors
    }
}
