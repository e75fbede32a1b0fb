//! Decides when the maintenance of the database is due: prune, optimize, vacuum, checkpoint.
//!
//! tokio-cron-scheduler only wakes this task, because on a busy machine it loses triggers and sends
//! some twice. A task is due if its schedule has an occurrence after its last run, whose time is in
//! the database: a missed run is caught up, a duplicate trigger has no effect. Due tasks are sent to
//! the scheduler, which hands them to the writer.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{CronSchedule, MaintenanceConfig};
use crate::job::{MonotonicTime, State, UtcTime};
use crate::store::MaintenanceTask;

/// A task, its schedule and its last run.
#[derive(Debug)]
struct ScheduledTask {
    task: MaintenanceTask,
    schedule: CronSchedule,
    last_run: Option<UtcTime>,
}

/// The maintenance of one database.
#[derive(Debug)]
pub struct MaintenanceScheduler {
    tasks: Vec<ScheduledTask>,
    task_sender: mpsc::Sender<MaintenanceTask>,
    clock: Clock,
    /// Both clocks at the last check. If they disagree later, the wall clock has jumped.
    last_clock_readings: (UtcTime, MonotonicTime),
}

#[derive(Debug, thiserror::Error)]
pub enum MaintenanceError {
    #[error("invalid cron schedule {0:?}")]
    InvalidCron(&'static str),
    #[error("the cron scheduler failed: {0}")]
    CronScheduler(#[from] JobSchedulerError),
}

impl MaintenanceScheduler {
    const OPTIMIZE_SCHEDULE: &str = "0 41 3 * * *";
    const VACUUM_SCHEDULE: &str = "0 51 3 * * *";
    const CHECKPOINT_SCHEDULE: &str = "30 */10 * * * *";
    /// Tasks are not run after a larger jump of the wall clock.
    const MAX_CLOCK_JUMP: Duration = Duration::from_hours(24);
    /// The time between two checks without a trigger.
    const CHECK_INTERVAL: Duration = Duration::from_mins(15);

    /// `last_runs` maps the name of a task to the time of its last run, as the database has it. Due
    /// tasks are sent to `task_sender`.
    ///
    /// # Errors
    /// If a schedule is invalid.
    pub fn new(
        config: &MaintenanceConfig,
        last_runs: &BTreeMap<String, UtcTime>,
        task_sender: mpsc::Sender<MaintenanceTask>,
        clock: Clock,
    ) -> Result<Self, MaintenanceError> {
        let keep: Vec<(State, Duration)> = config.retention.max_ages().collect();
        let built_in = |expression: &'static str| {
            expression
                .parse::<CronSchedule>()
                .map_err(|_| MaintenanceError::InvalidCron(expression))
        };
        let schedules = [
            (MaintenanceTask::Prune(keep), config.prune_schedule.clone()),
            (MaintenanceTask::Optimize, built_in(Self::OPTIMIZE_SCHEDULE)?),
            (MaintenanceTask::Vacuum, built_in(Self::VACUUM_SCHEDULE)?),
            (MaintenanceTask::Checkpoint, built_in(Self::CHECKPOINT_SCHEDULE)?),
        ];
        let tasks = schedules.into_iter().map(|(task, schedule)| {
            let last_run = last_runs.get(task.name()).copied();
            ScheduledTask { task, schedule, last_run }
        });
        let tasks = tasks.collect();
        Ok(Self {
            tasks,
            task_sender,
            last_clock_readings: (clock.utc_now(), clock.monotonic_now()),
            clock,
        })
    }

    /// Sends due tasks until `shutdown` is cancelled.
    ///
    /// # Errors
    /// If the cron scheduler fails.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), MaintenanceError> {
        let (trigger, mut triggers) = mpsc::channel::<()>(1);
        let mut cron_scheduler = JobScheduler::new().await?;
        for task in &self.tasks {
            let trigger = trigger.clone();
            let cron_job = Job::new(task.schedule.as_str(), move |_, _| {
                // If the channel is full, a trigger is pending already.
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
        let (now, elapsed) = (self.clock.utc_now(), self.clock.monotonic_now());
        let (last_wall, last_mono) =
            std::mem::replace(&mut self.last_clock_readings, (now, elapsed));
        let expected = last_wall.plus(elapsed.duration_since(last_mono));
        if now.duration_since(expected) > Self::MAX_CLOCK_JUMP
            || expected.duration_since(now) > Self::MAX_CLOCK_JUMP
        {
            // A wrong clock must not prune jobs as too old. If the new time is right, the next check
            // sees no jump and runs the tasks.
            tracing::warn!(
                "the clock jumped from {expected} to {now}; maintenance waits for the next check"
            );
            return;
        }
        for task in &mut self.tasks {
            let last_run = MaintenanceTask::catch_up_from(task.last_run, now);
            task.last_run = Some(last_run);
            // If the channel is full, the next check sends the task.
            if task.schedule.is_due(last_run, now)
                && self.task_sender.try_send(task.task.clone()).is_ok()
            {
                task.last_run = Some(now);
            }
        }
    }
}
