//! The price of a request for a job: the expected detection delay that justifies it.
//!
//! A provider's section of the configuration sets it, and a job may have a price of its own. Built from text
//! by the configuration, the client and `control`, and read back from the database. Invariant: a price that was
//! parsed is in [`PollPrice::RANGE`] and a whole number of milliseconds.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use super::id::InvalidText;

/// The expected detection delay that justifies one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum PollPrice {
    /// A job is due at a price of a second. Requests that the budget leaves are spent on polls before that,
    /// those with the highest index first (`src/policy/spare_poll.rs`).
    Auto,
    Fixed(Duration),
}

/// The price that a user chooses for a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobPrice {
    /// The provider's.
    Default,
    Own(PollPrice),
}

impl PollPrice {
    /// The texts that are a price, in words.
    const FORMS: &str = "\"auto\", or a duration of at least 10ms and at most 1h, such as \"1s\"";

    /// Of a fixed price.
    pub const RANGE: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_hours(1);

    /// The price at which a job is due.
    #[must_use]
    pub fn of_due_polls(self) -> Duration {
        match self {
            Self::Auto => Duration::from_secs(1),
            Self::Fixed(price) => price,
        }
    }
}

impl FromStr for PollPrice {
    type Err = InvalidText;

    /// Parses `auto` or a duration. A fraction of a millisecond is dropped.
    fn from_str(text: &str) -> Result<Self, InvalidText> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let duration = humantime::parse_duration(text).ok();
        let duration = duration.filter(|duration| Self::RANGE.contains(duration));
        let milliseconds = duration.and_then(|duration| u64::try_from(duration.as_millis()).ok());
        let fixed = milliseconds.map(|ms| Self::Fixed(Duration::from_millis(ms)));
        fixed.ok_or_else(|| InvalidText::new(format!("must be {}", Self::FORMS)))
    }
}

impl TryFrom<String> for PollPrice {
    type Error = InvalidText;

    fn try_from(text: String) -> Result<Self, InvalidText> {
        text.parse()
    }
}

impl fmt::Display for PollPrice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => formatter.write_str("auto"),
            Self::Fixed(price) => humantime::format_duration(*price).fmt(formatter),
        }
    }
}

impl Serialize for PollPrice {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JobPrice {
    /// The price of the job's own; none if the provider's applies.
    #[must_use]
    pub fn own(self) -> Option<PollPrice> {
        match self {
            Self::Default => None,
            Self::Own(price) => Some(price),
        }
    }
}

impl FromStr for JobPrice {
    type Err = InvalidText;

    /// Parses `default` or a [`PollPrice`].
    fn from_str(text: &str) -> Result<Self, InvalidText> {
        if text == "default" {
            return Ok(Self::Default);
        }
        text.parse().map(Self::Own).map_err(|_: InvalidText| {
            InvalidText::new(format!("must be \"default\", {}", PollPrice::FORMS))
        })
    }
}

impl fmt::Display for JobPrice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::Own(price) => price.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_parsed_from_the_text_that_it_is_written_as() {
        let fixed = |milliseconds| PollPrice::Fixed(Duration::from_millis(milliseconds));
        for (text, price, written) in [
            ("auto", PollPrice::Auto, "auto"),
            ("10ms", fixed(10), "10ms"),
            ("1500ms", fixed(1500), "1s 500ms"),
            ("10ms 999us", fixed(10), "10ms"),
            ("1m30s", fixed(90_000), "1m 30s"),
            ("1h", fixed(3_600_000), "1h"),
        ] {
            assert_eq!(text.parse(), Ok(price), "{text}");
            assert_eq!(price.to_string(), written);
            assert_eq!(written.parse(), Ok(price), "{written}");
            let json = serde_json::to_string(&price).expect("JSON");
            assert_eq!(serde_json::from_str::<PollPrice>(&json).ok(), Some(price), "{json}");
        }
    }

    #[test]
    fn a_job_has_the_default_price_or_one_of_its_own() {
        let own = |price| Ok(JobPrice::Own(price));
        assert_eq!("default".parse(), Ok(JobPrice::Default));
        assert_eq!("auto".parse(), own(PollPrice::Auto));
        assert_eq!("1s".parse(), own(PollPrice::Fixed(Duration::from_secs(1))));
        for text in ["default", "auto", "1s"] {
            assert_eq!(text.parse::<JobPrice>().map(|price| price.to_string()), Ok(text.into()));
        }
        assert!("default".parse::<PollPrice>().is_err(), "the setting has another default");
        let error = "cheap".parse::<JobPrice>().expect_err("no price").to_string();
        assert!(error.starts_with("must be \"default\", \"auto\", or a duration"), "{error}");
    }

    #[test]
    fn other_texts_are_no_price() {
        for text in ["", "Auto", "1", "-1s", "0s", "9ms", "61m", "3600001ms", "cheap", "1 s s"] {
            let error = text.parse::<PollPrice>().expect_err(text).to_string();
            assert!(error.contains("at least 10ms and at most 1h"), "{text}: {error}");
        }
    }
}
