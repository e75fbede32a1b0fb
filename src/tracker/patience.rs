//! The rules of a provider that bear on a single job: when to ask again, when to let go. Letting go is
//! final and goes by the calendar, so a calendar that cannot be right lets nothing go.

use std::time::Duration;

use crate::job::{Grace, Utc};
use crate::policy::{Backoff, Memory, Rule};

/// The rules of a lane that bear on a single job.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience<'a> {
    /// By what was learned, where that is the rule.
    pub(super) learned: Option<Learned<'a>>,
    pub(super) backoff: Backoff,
    pub(super) give_up_after: Duration,
    pub(super) lost_after: Grace,
    /// Whether the calendar may be believed.
    pub(super) clock_is_true: bool,
}

/// What was learned, and the rule by which it is used.
#[derive(Debug, Clone, Copy)]
pub(super) struct Learned<'a> {
    pub(super) rule: Rule,
    pub(super) memory: &'a Memory,
}

impl Patience<'_> {
    /// How far the provider's clock and ours may be apart for ours to be believed.
    const CLOCKS_AGREE: Duration = Duration::from_hours(24);

    /// 2026-01-01: a job that seems older was registered before our clock was set.
    const FIRST_RELEASE_MS: i64 = 1_767_225_600_000;

    /// A calendar that is far from the provider's ends no job.
    pub(super) fn where_clocks_agree(self, server_date: Option<Utc>, wall: Utc) -> Self {
        let apart = server_date.map(|date| wall.since(date).max(date.since(wall)));
        Self { clock_is_true: apart.is_none_or(|apart| apart <= Self::CLOCKS_AGREE), ..self }
    }

    /// The limit that a job of this age is beyond, if it is; `own` is the job's own.
    pub(super) fn run_out(
        self,
        registered_at: Utc,
        own: Option<Duration>,
        wall: Utc,
    ) -> Option<Duration> {
        let limit = own.unwrap_or(self.give_up_after);
        let believed = self.clock_is_true && registered_at.as_millis() >= Self::FIRST_RELEASE_MS;
        (believed && wall >= registered_at.plus(limit)).then_some(limit)
    }
}
