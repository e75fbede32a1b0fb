//! Notifications to systemd: ready, reloading, stopping, and the watchdog.
//!
//! The watchdog is notified only while the scheduler makes progress, so that systemd restarts a daemon
//! that hangs. Without `$NOTIFY_SOCKET` nothing is sent. Notifications are sent in a thread of their own,
//! because a send blocks while systemd does not read.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread::Builder;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::scheduler::SchedulerHandle;

const NOTIFY_TIMEOUT: Duration = Duration::from_secs(1);

/// Reports that the start or a reload is complete.
pub async fn notify_ready(handle: &SchedulerHandle) {
    let snapshot = handle.snapshot().await;
    let jobs: u64 = snapshot.providers.iter().map(|provider| provider.report.active_jobs).sum();
    let status = format!("tracking {jobs} jobs");
    notify(move || sd_notify::notify(&[NotifyState::Ready, NotifyState::Status(&status)])).await;
}

/// Reports the start of a reload, which [`notify_ready`] ends.
pub async fn notify_reloading() {
    notify(|| sd_notify::notify(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?]))
        .await;
}

/// Reports the start of the shutdown.
pub async fn notify_stopping() {
    notify(|| sd_notify::notify(&[NotifyState::Stopping])).await;
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
    let Some(pings) = start_ping_thread() else { return std::future::pending().await };
    let mut interval =
        tokio::time::interval((watchdog_timeout / 3).max(Duration::from_millis(100)));
    let mut stalled_ticks = 0_u32;
    loop {
        interval.tick().await;
        match handle.heartbeat().stall_reason(clock.running_time()) {
            None => {
                // If it is full, the thread still waits for systemd.
                let _ = pings.try_send(());
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

/// Starts the thread that notifies the watchdog once for each message: one of its own, because the threads
/// of the runtime may all wait for file systems or for the resolver. It ends with the sender.
fn start_ping_thread() -> Option<SyncSender<()>> {
    let (sender, pings) = sync_channel(1);
    let ping_each = move || {
        for () in pings {
            if let Err(error) = sd_notify::notify(&[NotifyState::Watchdog]) {
                tracing::warn!("cannot notify the watchdog of systemd: {error}");
            }
        }
    };
    match Builder::new().name("watchdog".to_owned()).spawn(ping_each) {
        Ok(_) => Some(sender),
        Err(error) => {
            tracing::error!(
                "cannot start the thread that notifies the watchdog of systemd, which will restart \
                 jobtrackd: {error}"
            );
            None
        }
    }
}

/// Waits at most [`NOTIFY_TIMEOUT`] for the notification to be sent.
async fn notify(send: impl FnOnce() -> std::io::Result<()> + Send + 'static) {
    let (result_tx, result_rx) = oneshot::channel();
    let send = || {
        // Nobody may wait for the result any more.
        let _ = result_tx.send(send());
    };
    if let Err(error) = Builder::new().name("notify".to_owned()).spawn(send) {
        tracing::warn!("cannot notify systemd: {error}");
        return;
    }
    match tokio::time::timeout(NOTIFY_TIMEOUT, result_rx).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::warn!("cannot notify systemd: {error}"),
        Ok(Err(_)) => tracing::warn!("cannot notify systemd: the thread ended"),
        Err(_) => tracing::warn!("cannot notify systemd: it does not read notifications"),
    }
}
