//! What the service manager is told: that we are ready, reload or stop, and, as long as polls that
//! are due get done, that we are alive. Without a service manager nothing here does anything.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::clock::Clock;
use crate::scheduler::SchedulerHandle;

/// Start-up or a reload is complete.
pub fn notify_ready(handle: &SchedulerHandle) {
    let jobs: u64 = handle.snapshot().providers.iter().map(|lane| lane.report.active_jobs).sum();
    notify(&[NotifyState::Ready, NotifyState::Status(&format!("{jobs} jobs are tracked"))]);
}

/// The config is read again; [`ready`] ends it.
pub fn notify_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!("the service manager was not told of a reload: {error}"),
    }
}

/// The end has begun.
pub fn notify_stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Pings the watchdog as long as the scheduler gets its work done; never returns.
pub async fn run_watchdog(handle: SchedulerHandle, clock: Clock) {
    let Some(watchdog_timeout) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    let mut interval =
        tokio::time::interval((watchdog_timeout / 3).max(Duration::from_millis(100)));
    let mut stall_logged = false;
    loop {
        interval.tick().await;
        match handle.snapshot().stall_reason(clock.monotonic_now()) {
            None => notify(&[NotifyState::Watchdog]),
            Some(reason) if !stall_logged => {
                tracing::error!("the watchdog is not pinged any more: {reason}");
                stall_logged = true;
            }
            Some(_) => {}
        }
    }
}

fn notify(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("the service manager was not told: {error}");
    }
}
