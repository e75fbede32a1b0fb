//! Durations in the configuration, such as `"90s"`, `"15m"`, `"2h"` or `"7d"`.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

const EXPECTED_FORM: &str =
    "must be a duration in quotes, such as \"90s\", \"15m\", \"2h\" or \"7d\"";

pub(super) fn deserialize_duration<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|_| de::Error::custom(EXPECTED_FORM))
}
