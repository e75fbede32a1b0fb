//! Notifications to systemd: ready, reloading, stopping, and the watchdog.
//!
//! The watchdog is notified only while the scheduler makes progress, so that systemd restarts a daemon
//! that hangs. Without `$NOTIFY_SOCKET` nothing is sent.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::clock::Clock;
use crate::scheduler::SchedulerHandle;

/// Reports that the start or a reload is complete.
pub fn notify_ready(handle: &SchedulerHandle) {
    let jobs: u64 =
        handle.snapshot().providers.iter().map(|provider| provider.report.active_jobs).sum();
    notify(&[NotifyState::Ready, NotifyState::Status(&format!("tracking {jobs} jobs"))]);
}

/// Reports the start of a reload, which [`notify_ready`] ends.
pub fn notify_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!("cannot notify systemd of the reload: {error}"),
    }
}

/// Reports the start of the shutdown.
pub fn notify_stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Notifies the watchdog three times per time-out while the scheduler makes progress, from the time
/// when the jobs are loaded. Never returns.
pub async fn run_watchdog(mut handle: SchedulerHandle, clock: Clock) {
    // systemd expects notifications only once the daemon is ready.
    let (Some(watchdog_timeout), Ok(())) =
        (sd_notify::watchdog_enabled(), handle.wait_until_ready().await)
    else {
        return std::future::pending().await;
    };
    let mut interval =
        tokio::time::interval((watchdog_timeout / 3).max(Duration::from_millis(100)));
    let mut stalled_ticks = 0_u32;
    loop {
        interval.tick().await;
        match handle.snapshot().stall_reason(clock.running_time()) {
            None => {
                notify(&[NotifyState::Watchdog]);
                if std::mem::take(&mut stalled_ticks) > 1 {
                    tracing::info!("notifying the watchdog of systemd again");
                }
            }
            Some(reason) => {
                stalled_ticks += 1;
                // After a suspend the scheduler's loop needs a moment to run again.
                if stalled_ticks == 2 {
                    tracing::error!(
                        "stopped notifying the watchdog of systemd, which will restart jobtrackd: \
                         {reason}"
                    );
                }
            }
        }
    }
}

fn notify(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("cannot notify systemd: {error}");
    }
}
