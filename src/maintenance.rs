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
use crate::job::{MonotonicTime, State, UtcTime};
use crate::store::MaintenanceTask;

/// One kind of housekeeping and when it is done.
#[derive(Debug)]
struct ScheduledTask {
    task: MaintenanceTask,
    cron: Cron,
    expression: String,
    last_run: Option<UtcTime>,
}

/// The housekeeping of one daemon.
#[derive(Debug)]
pub struct MaintenanceScheduler {
    tasks: Vec<ScheduledTask>,
    task_sender: mpsc::Sender<MaintenanceTask>,
    clock: Clock,
    /// Both clocks at the last look: when they part, the calendar is not to be believed.
    last_clock_readings: (UtcTime, MonotonicTime),
}

/// Why there is no housekeeping.
#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    /// A schedule cannot be read.
    #[error("the schedule {0:?} cannot be read")]
    InvalidCron(String),
    /// The bells cannot be hung.
    #[error("the cron scheduler: {0}")]
    CronScheduler(#[from] JobSchedulerError),
}

impl MaintenanceScheduler {
    const OPTIMIZE_SCHEDULE: &str = "0 41 3 * * *";
    const VACUUM_SCHEDULE: &str = "0 51 3 * * *";
    const CHECKPOINT_SCHEDULE: &str = "30 */10 * * * *";
    /// The calendar may run ahead of the stopwatch by this, as after a suspend.
    const MAX_CLOCK_JUMP: Duration = Duration::from_hours(24);
    /// A look at the clock even if no bell rang.
    const CHECK_INTERVAL: Duration = Duration::from_mins(15);

    /// What is to be done and when; `last_runs` as the database has them. Orders go to `orders`.
    ///
    /// # Errors
    /// If a schedule cannot be read.
    pub fn new(
        config: &MaintenanceConfig,
        last_runs: &BTreeMap<String, UtcTime>,
        task_sender: mpsc::Sender<MaintenanceTask>,
    ) -> Result<Self, MaintenanceError> {
        let keep: Vec<(State, Duration)> = config.retention.max_ages().collect();
        let schedule = [
            (MaintenanceTask::Prune(keep), config.prune_schedule.as_str()),
            (MaintenanceTask::Optimize, Self::OPTIMIZE_SCHEDULE),
            (MaintenanceTask::Vacuum, Self::VACUUM_SCHEDULE),
            (MaintenanceTask::Checkpoint, Self::CHECKPOINT_SCHEDULE),
        ];
        let tasks = schedule.into_iter().map(|(task, expression)| {
            let invalid_cron = |_| MaintenanceError::InvalidCron(expression.to_owned());
            Ok(ScheduledTask {
                cron: Cron::from_str(expression).map_err(invalid_cron)?,
                expression: expression.to_owned(),
                last_run: last_runs.get(task.name()).copied(),
                task,
            })
        });
        let tasks = tasks.collect::<Result<_, MaintenanceError>>()?;
        let clock = Clock::start();
        Ok(Self {
            tasks,
            task_sender,
            clock,
            last_clock_readings: (Clock::utc_now(), clock.monotonic_now()),
        })
    }

    /// Orders what is due until `shutdown`.
    ///
    /// # Errors
    /// If the bells cannot be hung.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), MaintenanceError> {
        let (trigger, mut triggers) = mpsc::channel::<()>(1);
        let mut cron_scheduler = JobScheduler::new().await?;
        for task in &self.tasks {
            let trigger = trigger.clone();
            let cron_job = Job::new(task.expression.as_str(), move |_, _| {
                // One that waits already is enough.
                let _ = trigger.try_send(());
            })?;
            cron_scheduler.add(cron_job).await?;
        }
        cron_scheduler.start().await?;
        let mut check_interval = tokio::time::interval(Self::CHECK_INTERVAL);
        while !shutdown.is_cancelled() {
            tokio::select! {
                _ = triggers.recv() => self.enqueue_due_tasks(),
                _ = check_interval.tick() => self.enqueue_due_tasks(),
                () = shutdown.cancelled() => {}
            }
        }
        Ok(cron_scheduler.shutdown().await?)
    }

    fn enqueue_due_tasks(&mut self) {
        let (now, elapsed) = (Clock::utc_now(), self.clock.monotonic_now());
        let (last_wall, last_mono) =
            std::mem::replace(&mut self.last_clock_readings, (now, elapsed));
        let expected = last_wall.plus(elapsed.duration_since(last_mono));
        if now.duration_since(expected) > Self::MAX_CLOCK_JUMP
            || expected.duration_since(now) > Self::MAX_CLOCK_JUMP
        {
            // What an hour ago was kept is not removed because the clock says that a year went by.
            tracing::warn!(
                "the clock jumped from {expected} to {now}; housekeeping waits for the next look"
            );
            return;
        }
        for task in &mut self.tasks {
            // A database that was just made owes nothing; a clock that was ahead left nothing true.
            let last_run = task.last_run.filter(|last| *last <= now).unwrap_or(now);
            task.last_run = Some(last_run);
            // An order that finds no room comes again with the next look.
            if is_due(&task.cron, last_run, now)
                && self.task_sender.try_send(task.task.clone()).is_ok()
            {
                task.last_run = Some(now);
            }
        }
    }
}

/// Whether a run was to be made after `since` and up to `now`.
fn is_due(cron: &Cron, after: UtcTime, now: UtcTime) -> bool {
    let to_chrono = |time: UtcTime| -> Option<DateTime<chrono::Utc>> {
        chrono::Utc.timestamp_millis_opt(time.as_millis()).single()
    };
    let (Some(after), Some(now)) = (to_chrono(after), to_chrono(now)) else { return false };
    cron.find_next_occurrence(&after, false).is_ok_and(|next| next <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missed_run_is_caught_up_and_a_duplicate_trigger_is_ignored() {
        let at = |text: &str| UtcTime::parse_rfc3339(text).expect("a time");
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
        for (last_run, now, due) in cases {
            assert_eq!(is_due(&cron, at(last_run), at(now)), due, "{last_run} {now}");
        }
    }
}
