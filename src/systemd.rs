//! Notifications to systemd: ready, reloading, stopping, and the watchdog.
//!
//! The watchdog is notified only while the scheduler makes progress, so that systemd restarts a daemon
//! that hangs. Without `$NOTIFY_SOCKET` nothing is sent. One thread sends all notifications, because a
//! send blocks while systemd does not read, and the threads of the runtime may all wait for file systems
//! or for the resolver.

use std::io;
use std::sync::{Condvar, LazyLock, Mutex, PoisonError};
use std::thread::Builder;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::job::counted;
use crate::scheduler::SchedulerHandle;

const NOTIFY_TIMEOUT: Duration = Duration::from_secs(1);

/// What the notification thread sends next.
#[derive(Default)]
struct Pending {
    /// A later one replaces an earlier one: systemd needs the latest state of the daemon, and only one
    /// waits for a systemd that does not read.
    state: Option<StateNotification>,
    watchdog: bool,
}

struct StateNotification {
    send: Box<dyn FnOnce() -> io::Result<()> + Send>,
    result: oneshot::Sender<io::Result<()>>,
}

static PENDING: Mutex<Pending> = Mutex::new(Pending { state: None, watchdog: false });
static CHANGED: Condvar = Condvar::new();
/// Starts the notification thread, which never ends, at its first use.
static THREAD: LazyLock<io::Result<()>> = LazyLock::new(|| {
    Builder::new().name("notify".to_owned()).spawn(send_notifications).map(|_| ())
});

/// Reports that the start or a reload is complete.
pub async fn notify_ready(handle: &SchedulerHandle) {
    let snapshot = handle.snapshot().await;
    let jobs: u64 = snapshot.providers.iter().map(|provider| provider.report.active_jobs).sum();
    let status = format!("tracking {}", counted(jobs, "job"));
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
    if let Err(error) = &*THREAD {
        tracing::error!(
            "cannot start the thread that notifies the watchdog of systemd, which will restart \
             jobtrackd: {error}"
        );
        return std::future::pending().await;
    }
    let mut interval =
        tokio::time::interval((watchdog_timeout / 3).max(Duration::from_millis(100)));
    let mut stalled_ticks = 0_u32;
    loop {
        interval.tick().await;
        match handle.heartbeat().stall_reason(clock.running_time()) {
            None => {
                change_pending(|pending| pending.watchdog = true);
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

/// Waits at most [`NOTIFY_TIMEOUT`] for the notification to be sent.
async fn notify(send: impl FnOnce() -> io::Result<()> + Send + 'static) {
    if std::env::var_os("NOTIFY_SOCKET").is_none() {
        return;
    }
    if let Err(error) = &*THREAD {
        tracing::warn!("cannot notify systemd: {error}");
        return;
    }
    let (result, reply) = oneshot::channel();
    let notification = StateNotification { send: Box::new(send), result };
    change_pending(|pending| pending.state = Some(notification));
    match tokio::time::timeout(NOTIFY_TIMEOUT, reply).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::warn!("cannot notify systemd: {error}"),
        Ok(Err(_)) | Err(_) => {
            tracing::warn!("cannot notify systemd: it does not read notifications");
        }
    }
}

fn change_pending(change: impl FnOnce(&mut Pending)) {
    change(&mut PENDING.lock().unwrap_or_else(PoisonError::into_inner));
    CHANGED.notify_one();
}

fn send_notifications() {
    loop {
        let pending = PENDING.lock().unwrap_or_else(PoisonError::into_inner);
        let nothing_to_send = |pending: &mut Pending| pending.state.is_none() && !pending.watchdog;
        let mut pending =
            CHANGED.wait_while(pending, nothing_to_send).unwrap_or_else(PoisonError::into_inner);
        let Pending { state, watchdog } = std::mem::take(&mut *pending);
        // A send can block.
        drop(pending);
        if let Some(StateNotification { send, result }) = state {
            // Nobody may wait for the result any more.
            let _ = result.send(send());
        }
        if watchdog && let Err(error) = sd_notify::notify(&[NotifyState::Watchdog]) {
            tracing::warn!("cannot notify the watchdog of systemd: {error}");
        }
    }
}
