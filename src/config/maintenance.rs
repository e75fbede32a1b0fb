//! `[maintenance]`: when finished jobs are deleted, and how long they are kept.
//!
//! Used by `daemon` and `maintenance`. Only finished jobs are ever deleted.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use chrono::TimeZone;
use serde::de;
use serde::{Deserialize, Deserializer};

use crate::job::{State, UtcTime};

/// `[maintenance]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceConfig {
    /// When jobs whose retention has ended are deleted, with their history.
    pub prune_schedule: CronSchedule,
    pub retention: RetentionPolicy,
}

/// A cron expression in UTC, normalized to six fields; the first field is the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronSchedule(String);

impl CronSchedule {
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether there is an occurrence after `after` and not later than `now`.
    #[must_use]
    pub fn is_due(&self, after: UtcTime, now: UtcTime) -> bool {
        self.next_after(after).is_some_and(|next| next <= now)
    }

    /// The first occurrence after `after`; `None` if there is none.
    #[must_use]
    pub fn next_after(&self, after: UtcTime) -> Option<UtcTime> {
        let cron = croner::Cron::from_str(&self.0).ok()?;
        let after = chrono::Utc.timestamp_millis_opt(after.as_millis()).single()?;
        let next = cron.find_next_occurrence(&after, false).ok()?;
        // Occurrences are at whole seconds; croner keeps the milliseconds of `after`.
        Some(UtcTime::from_millis(next.timestamp() * 1000))
    }
}

impl FromStr for CronSchedule {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let six_fields = match text.split_whitespace().count() {
            5 => format!("0 {text}"),
            _ => text.to_owned(),
        };
        let is_valid = six_fields.split_whitespace().count() == 6
            && croner::Cron::from_str(&six_fields).is_ok();
        is_valid
            .then_some(Self(six_fields))
            .ok_or("must be a cron expression of five or six fields, in UTC")
    }
}

impl<'de> Deserialize<'de> for CronSchedule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// How long a job is kept after its end, by its terminal state; forever if the state has no limit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetentionPolicy(BTreeMap<State, Duration>);

impl RetentionPolicy {
    /// The terminal states that have a limit.
    pub fn max_ages(&self) -> impl Iterator<Item = (State, Duration)> {
        self.0.iter().map(|(state, limit)| (*state, *limit))
    }
}

impl<'de> Deserialize<'de> for RetentionPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const FOREVER: &str = "forever";
        let raw = BTreeMap::<String, String>::deserialize(deserializer)?;
        let mut default = None;
        let mut by_outcome = BTreeMap::new();
        for (outcome, limit) in raw {
            let limit = match limit.as_str() {
                FOREVER => None,
                text => Some(humantime::parse_duration(text).map_err(|_| {
                    de::Error::custom("must hold durations such as \"90d\", or \"forever\"")
                })?),
            };
            match outcome.parse::<State>() {
                Ok(state) if state.is_terminal() => {
                    by_outcome.insert(state, limit);
                }
                Err(_) if outcome == "default" => default = limit,
                Ok(_) | Err(_) => {
                    return Err(de::Error::custom(
                        "must be a table of outcomes, such as succeeded or failed, and default",
                    ));
                }
            }
        }
        let terminal_states = State::ALL.into_iter().filter(|state| state.is_terminal());
        let limit = |state| by_outcome.get(&state).copied().unwrap_or(default);
        Ok(Self(terminal_states.filter_map(|state| Some((state, limit(state)?))).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_occurrence_is_due_and_a_past_one_is_not() {
        let at = |text: &str| UtcTime::parse_rfc3339(text).expect("a time");
        let schedule: CronSchedule = "17 3 * * *".parse().expect("a cron expression");
        let cases = [
            ("2026-11-20T03:17:00Z", "2026-11-20T03:17:00Z", false),
            ("2026-11-20T03:17:00.400Z", "2026-11-20T03:17:01Z", false),
            ("2026-11-20T03:16:59Z", "2026-11-20T03:17:00Z", true),
            ("2026-11-20T03:16:59.900Z", "2026-11-20T03:17:00.100Z", true),
            ("2026-11-20T03:16:59.900Z", "2026-11-20T03:16:59.999Z", false),
            ("2026-11-20T03:17:00Z", "2026-11-21T03:16:59Z", false),
            ("2026-11-20T03:17:00Z", "2026-11-25T12:00:00Z", true),
            // The clock was set back.
            ("2026-11-25T12:00:00Z", "2026-11-20T03:17:00Z", false),
        ];
        for (last_run, now, due) in cases {
            assert_eq!(schedule.is_due(at(last_run), at(now)), due, "{last_run} {now}");
        }
    }
}
