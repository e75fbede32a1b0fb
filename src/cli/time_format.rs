//! The present and the time zone in which a command reads and prints times: UTC, or the local one with
//! `--local`.
//!
//! Used by the commands that print times in columns. A printed time can be given to every option that takes
//! a time.

use anyhow::Context;
use jiff::tz::TimeZone;

use super::render;
use crate::clock::Clock;
use crate::job::{TimeExpression, UtcTime};

/// How times are read and printed.
#[derive(Debug, Clone)]
pub(super) struct TimeFormat {
    /// When the command began.
    pub(super) now: UtcTime,
    /// `None` is UTC.
    local: Option<TimeZone>,
}

impl TimeFormat {
    /// # Errors
    /// If the local time zone is wanted and unknown.
    pub(super) fn new(local: bool) -> anyhow::Result<Self> {
        let zone = local.then(TimeZone::try_system).transpose();
        let local = zone.context(
            "cannot find the local time zone for --local; set TZ, for example TZ=Europe/Berlin",
        )?;
        Ok(Self { now: Clock::start().utc_now(), local })
    }

    /// The time that an option names.
    pub(super) fn resolve(&self, time: TimeExpression) -> UtcTime {
        time.resolve(self.now, self.local.as_ref().unwrap_or(&TimeZone::UTC))
    }

    /// In UTC as in the database, `2026-11-21 23:17:05.123`; a local time has its offset,
    /// `2026-11-22 00:17:05.123+01:00`.
    pub(super) fn format(&self, at: UtcTime) -> String {
        let Some(zone) = &self.local else { return render::format_time(at) };
        let at = at.timestamp().to_zoned(zone.clone());
        at.strftime("%Y-%m-%d %H:%M:%S%.3f%:z").to_string()
    }

    /// As [`Self::format`], for text outside a column whose heading names the zone.
    pub(super) fn format_with_zone(&self, at: UtcTime) -> String {
        let text = self.format(at);
        if self.local.is_some() { text } else { format!("{text} UTC") }
    }

    pub(super) fn is_utc(&self) -> bool {
        self.local.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_time_is_read_as_the_same_time() {
        let at = UtcTime::parse_rfc3339("2026-11-25T15:00:00.123Z").expect("a time");
        let zone = TimeZone::fixed(jiff::tz::offset(-5));
        for (local, expected) in
            [(None, "2026-11-25 15:00:00.123"), (Some(zone), "2026-11-25 10:00:00.123-05:00")]
        {
            let format = TimeFormat { now: at, local };
            assert_eq!(format.format(at), expected);
            for text in [format.format(at), format.format_with_zone(at)] {
                assert_eq!(format.resolve(text.parse().expect("a time")), at, "{text}");
            }
        }
    }
}
