//! What only the scheduler knows, published a few times a second for everybody who looks: the
//! `status` of the control room, the watchdog of systemd.

use std::time::Duration;

use crate::job::{Mono, ProviderName, Utc};
use crate::store::Writer;
use crate::tracker::LaneReport;

/// How the scheduler is doing.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// When it was made, by the stopwatch: how long ago the loop last went round.
    pub at: Mono,
    /// The same, by the calendar.
    pub wall: Utc,
    /// Whether the jobs of an earlier life are loaded, so that polling goes on.
    pub ready: bool,
    /// One for each provider that has jobs or is configured.
    pub lanes: Vec<Lane>,
    /// Changes that are decided and not yet committed.
    pub unwritten_changes: u64,
    /// Why nothing can be written at present.
    pub write_error: Option<String>,
    /// The size of the WAL after the last commit.
    pub wal_bytes: u64,
}

/// How one provider is doing.
#[derive(Debug, Clone)]
pub struct Lane {
    /// The tracker's own account.
    pub report: LaneReport,
    /// The provider's kind; none if it is not configured.
    pub kind: Option<&'static str>,
}

impl Snapshot {
    /// The loop goes round at least this often.
    pub const PERIOD: Duration = Duration::from_secs(1);

    pub(super) fn empty(at: Mono, wall: Utc) -> Self {
        Self {
            at,
            wall,
            ready: false,
            lanes: Vec::new(),
            unwritten_changes: 0,
            write_error: None,
            wal_bytes: 0,
        }
    }

    /// Why the process should be taken for hung; none if polls that are due are being done.
    #[must_use]
    pub fn stuck(&self, now: Mono) -> Option<String> {
        let idle = now.since(self.at);
        if idle > Self::PERIOD * 10 {
            return Some(format!("the scheduler has not moved for {} s", idle.as_secs()));
        }
        let lane = self.lanes.iter().find(|lane| lane.report.stuck)?;
        Some(format!("a poll of {} should have ended long ago", lane.report.name))
    }

    /// Whether this provider refuses us and is left alone: its name, why, and how long still.
    #[must_use]
    pub fn refuses(&self, provider: &ProviderName) -> Option<(&ProviderName, &str, Duration)> {
        let report =
            self.lanes.iter().map(|lane| &lane.report).find(|own| own.name == *provider)?;
        let pause = report.pause.as_ref()?;
        Some((&report.name, pause.reason.as_deref()?, pause.until.since(self.at)))
    }

    /// What an operator should mend, a line each.
    #[must_use]
    pub fn degraded(&self) -> Vec<String> {
        let unwritten = self
            .write_error
            .iter()
            .map(|why| format!("{why}; {} changes wait to be written", self.unwritten_changes));
        let grown = (self.wal_bytes > Writer::MAX_WAL_BYTES).then(|| {
            let mib = self.wal_bytes >> 20;
            format!("the WAL has grown to {mib} MiB: another program holds a read transaction open")
        });
        let stuck = self.stuck(self.at);
        let gone = self.lanes.iter().filter(|lane| !lane.report.configured).map(|lane| {
            let jobs = lane.report.active_jobs;
            format!("provider {} is not configured; {jobs} jobs of it wait", lane.report.name)
        });
        let out = self.lanes.iter().filter_map(|lane| {
            let (name, since) = (&lane.report.name, lane.report.outage_since?);
            let why = match &lane.report.pause {
                Some(pause) => pause.reason.as_deref().unwrap_or("its limit is used up"),
                None => "polls fail",
            };
            Some(format!("provider {name} gives no answers since {}: {why}", since.sql()))
        });
        unwritten.chain(grown).chain(stuck).chain(gone).chain(out).collect()
    }
}
