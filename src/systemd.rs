//! What the service manager is told: that we are ready, reload or stop, and, as long as polls that
//! are due get done, that we are alive. Without a service manager nothing here does anything.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::clock::Clock;
use crate::scheduler::Handle;

/// Start-up or a reload is complete.
pub fn ready(handle: &Handle) {
    let jobs: u64 = handle.snapshot().lanes.iter().map(|lane| lane.report.active_jobs).sum();
    notify(&[NotifyState::Ready, NotifyState::Status(&format!("{jobs} jobs are tracked"))]);
}

/// The config is read again; [`ready`] ends it.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!("the service manager was not told of a reload: {error}"),
    }
}

/// The end has begun.
pub fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Pings the watchdog as long as the scheduler gets its work done; never returns.
pub async fn watch(handle: Handle, clock: Clock) {
    let Some(limit) = sd_notify::watchdog_enabled() else {
        return std::future::pending().await;
    };
    let mut period = tokio::time::interval((limit / 3).max(Duration::from_millis(100)));
    let mut told = false;
    loop {
        period.tick().await;
        match handle.snapshot().stuck(clock.mono()) {
            None => notify(&[NotifyState::Watchdog]),
            Some(why) if !told => {
                tracing::error!("the watchdog is not pinged any more: {why}");
                told = true;
            }
            Some(_) => {}
        }
    }
}

fn notify(state: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!("the service manager was not told: {error}");
    }
}
