//! Housekeeping: when it is time to prune, to optimize, to give space back, to empty the WAL.
//!
//! tokio-cron-scheduler rings; it loses and doubles rings when the machine is busy, so a ring is only
//! a reason to look. What is due follows from when it was last done, which stands in the database:
//! a run that was missed is caught up, one that rings twice is done once. The work itself goes
//! through the scheduler to the writer.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::Duration;

use chrono::{DateTime, TimeZone};
use croner::Cron;
use tokio::sync::mpsc;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::MaintenanceConfig;
use crate::job::{Mono, State, Utc};
use crate::store::Upkeep;

/// One kind of housekeeping and when it is done.
#[derive(Debug)]
struct Task {
    upkeep: Upkeep,
    cron: Cron,
    expression: String,
    last_run: Option<Utc>,
}

/// The housekeeping of one daemon.
#[derive(Debug)]
pub struct Maintenance {
    tasks: Vec<Task>,
    orders: mpsc::Sender<Upkeep>,
    clock: Clock,
    /// Both clocks at the last look: when they part, the calendar is not to be believed.
    looked: (Utc, Mono),
}

/// Why there is no housekeeping.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// A schedule cannot be read.
    #[error("the schedule {0:?} cannot be read")]
    Cron(String),
    /// The bells cannot be hung.
    #[error("the cron scheduler: {0}")]
    Scheduler(#[from] JobSchedulerError),
}

impl Maintenance {
    const OPTIMIZE: &str = "0 41 3 * * *";
    const VACUUM: &str = "0 51 3 * * *";
    const CHECKPOINT: &str = "30 */10 * * * *";
    /// The calendar may run ahead of the stopwatch by this, as after a suspend.
    const JUMP: Duration = Duration::from_hours(24);
    /// A look at the clock even if no bell rang.
    const LOOK_PERIOD: Duration = Duration::from_mins(15);

    /// What is to be done and when; `last_runs` as the database has them. Orders go to `orders`.
    ///
    /// # Errors
    /// If a schedule cannot be read.
    pub fn new(
        config: &MaintenanceConfig,
        last_runs: &BTreeMap<String, Utc>,
        orders: mpsc::Sender<Upkeep>,
    ) -> Result<Self, MaintenanceError> {
        let keep: Vec<(State, Duration)> = config.keep.limits().collect();
        let table = [
            (Upkeep::Prune(keep), config.prune.as_str()),
            (Upkeep::Optimize, Self::OPTIMIZE),
            (Upkeep::Vacuum, Self::VACUUM),
            (Upkeep::Checkpoint, Self::CHECKPOINT),
        ];
        let tasks = table.into_iter().map(|(upkeep, expression)| {
            let unreadable = |_| MaintenanceError::Cron(expression.to_owned());
            Ok(Task {
                cron: Cron::from_str(expression).map_err(unreadable)?,
                expression: expression.to_owned(),
                last_run: last_runs.get(upkeep.name()).copied(),
                upkeep,
            })
        });
        let tasks = tasks.collect::<Result<_, MaintenanceError>>()?;
        let clock = Clock::start();
        Ok(Self { tasks, orders, clock, looked: (Clock::wall(), clock.mono()) })
    }

    /// Orders what is due until `shutdown`.
    ///
    /// # Errors
    /// If the bells cannot be hung.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), MaintenanceError> {
        let (ring, mut rings) = mpsc::channel::<()>(1);
        let mut bells = JobScheduler::new().await?;
        for task in &self.tasks {
            let ring = ring.clone();
            let bell = Job::new(task.expression.as_str(), move |_, _| {
                // One that waits already is enough.
                let _ = ring.try_send(());
            })?;
            bells.add(bell).await?;
        }
        bells.start().await?;
        let mut look = tokio::time::interval(Self::LOOK_PERIOD);
        while !shutdown.is_cancelled() {
            tokio::select! {
                _ = rings.recv() => self.order_what_is_due(),
                _ = look.tick() => self.order_what_is_due(),
                () = shutdown.cancelled() => {}
            }
        }
        Ok(bells.shutdown().await?)
    }

    fn order_what_is_due(&mut self) {
        let (now, passed) = (Clock::wall(), self.clock.mono());
        let (wall, mono) = std::mem::replace(&mut self.looked, (now, passed));
        let expected = wall.plus(passed.since(mono));
        if now.since(expected) > Self::JUMP || expected.since(now) > Self::JUMP {
            // What an hour ago was kept is not removed because the clock says that a year went by.
            tracing::warn!(
                "the clock jumped from {expected} to {now}; housekeeping waits for the next look"
            );
            return;
        }
        for task in &mut self.tasks {
            // A database that was just made owes nothing; a clock that was ahead left nothing true.
            let since = task.last_run.filter(|last| *last <= now).unwrap_or(now);
            task.last_run = Some(since);
            // An order that finds no room comes again with the next look.
            if is_due(&task.cron, since, now) && self.orders.try_send(task.upkeep.clone()).is_ok() {
                task.last_run = Some(now);
            }
        }
    }
}

/// Whether a run was to be made after `since` and up to `now`.
fn is_due(cron: &Cron, since: Utc, now: Utc) -> bool {
    let at = |time: Utc| -> Option<DateTime<chrono::Utc>> {
        chrono::Utc.timestamp_millis_opt(time.as_millis()).single()
    };
    let (Some(since), Some(now)) = (at(since), at(now)) else { return false };
    cron.find_next_occurrence(&since, false).is_ok_and(|next| next <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_run_is_caught_up_and_a_doubled_one_is_not_made() {
        let at = |text: &str| Utc::parse(text).expect("a time");
        let cron = Cron::from_str("0 17 3 * * *").expect("a cron expression");
        let cases = [
            ("2026-11-20T03:17:00Z", "2026-11-20T03:17:00Z", false),
            ("2026-11-20T03:17:00.400Z", "2026-11-20T03:17:01Z", false),
            ("2026-11-20T03:16:59Z", "2026-11-20T03:17:00Z", true),
            ("2026-11-20T03:17:00Z", "2026-11-21T03:16:59Z", false),
            ("2026-11-20T03:17:00Z", "2026-11-25T12:00:00Z", true),
            // The clock was set back.
            ("2026-11-25T12:00:00Z", "2026-11-20T03:17:00Z", false),
        ];
        for (since, now, due) in cases {
            assert_eq!(is_due(&cron, at(since), at(now)), due, "{since} {now}");
        }
    }
}
