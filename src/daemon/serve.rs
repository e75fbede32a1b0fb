//! Wiring of the running daemon: config, store, scheduler, control socket, maintenance, watchdog.
//!
//! Everything is started in the order in which it depends on each other; an error on the way ends
//! the process. The loop at the end waits for signals, reload requests and failed tasks.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::LoadedConfig;
use crate::control::{self, AppState, ControlSocket, DaemonContext};
use crate::scheduler::{Scheduler, SchedulerError};
use crate::store::{Reader, Store};
use crate::systemd;

use super::exit::ExitError;
use super::maintenance_task::MaintenanceTaskHandle;
use super::provider_rename::rename_at_start;
use super::providers;
use super::reload::ConfigSource;
use super::shutdown::{ShutdownSequence, scheduler_result, unexpected_task_end};
use super::signals::ShutdownSignals;

/// Runs the daemon until a signal or a fatal error ends it.
pub(super) async fn serve(loaded: LoadedConfig, source: ConfigSource) -> Result<(), ExitError> {
    let mut signals = ShutdownSignals::new()
        .context("cannot install the handlers of SIGTERM and SIGINT")
        .map_err(ExitError::io)?;
    let mut hangup = signal(SignalKind::hangup())
        .context("cannot install the handler of SIGHUP")
        .map_err(ExitError::io)?;
    let clock = Clock::start();
    let started_at = Clock::utc_now();
    let config = loaded.config;
    let providers = providers::build_providers(&config)?;
    let mut store = Store::open(&config.store.path).await?;
    let previous_names = rename_at_start(&mut store.writer, &config, started_at)
        .await
        .map_err(SchedulerError::Write)?;
    let (newest_event, reader, unchecked) =
        (store.writer.subscribe_newest_event(), store.reader, store.quick_check_skipped);
    let (maintenance_tx, maintenance_rx) = mpsc::channel(4);
    let (scheduler, mut handle) =
        Scheduler::new(clock, store.writer, reader.clone(), maintenance_rx);
    let scheduler_shutdown = CancellationToken::new();
    let mut scheduler_task = tokio::spawn(scheduler.run(providers, scheduler_shutdown.clone()));
    tokio::select! {
        ready = handle.wait_until_ready() => drop(ready),
        ended = &mut scheduler_task => return scheduler_result(ended),
    }

    // The socket is bound after the scheduler is ready: a client that can connect gets an answer.
    let socket = ControlSocket::open(&config.control)?;
    let socket_file = socket.file_guard();
    let server_shutdown = CancellationToken::new();
    let (reload_tx, mut reload_rx) = mpsc::channel(8);
    let daemon = DaemonContext {
        clock,
        started_at,
        database: config.store.path.clone(),
        on_demand_timeout: config.polling.request_timeout.min(DaemonContext::MAX_ON_DEMAND_TIMEOUT),
    };
    let app = AppState::new(
        handle.clone(),
        reader.clone(),
        newest_event,
        reload_tx,
        daemon,
        server_shutdown.clone(),
    );
    let mut server_task = tokio::spawn(control::serve(socket, app));
    let mut watchdog_task = tokio::spawn(systemd::run_watchdog(handle.clone(), clock));
    let mut integrity_check = std::pin::pin!(deferred_integrity_check(reader.clone(), unchecked));
    let (database, socket) = (config.store.path.display(), config.control.socket.display());
    tracing::info!(
        "jobtrackd {} is ready: {} providers, database {database}, socket {socket}",
        env!("CARGO_PKG_VERSION"),
        config.providers.len(),
    );
    systemd::notify_ready(&handle);

    let maintenance = MaintenanceTaskHandle::new(reader.clone(), maintenance_tx);
    let mut reloader =
        source.activate(config, previous_names, maintenance).await.map_err(ExitError::io)?;
    loop {
        tokio::select! {
            signal = signals.recv() => {
                tracing::info!("{signal} received: shutting down");
                break;
            }
            ended = &mut scheduler_task => return scheduler_result(ended),
            ended = &mut server_task => return Err(unexpected_task_end("control socket", ended)),
            ended = &mut watchdog_task => return Err(unexpected_task_end("watchdog", ended)),
            exit = &mut integrity_check => return Err(exit),
            // The result of a reload by signal is only logged, which `reload` does.
            _ = hangup.recv() => drop(reloader.reload(&handle).await),
            Some(reply) = reload_rx.recv() => {
                let _ = reply.send(reloader.reload(&handle).await);
            }
        }
    }
    let sequence = ShutdownSequence {
        server_shutdown,
        server_task,
        socket_file,
        handle,
        scheduler_shutdown,
        scheduler_task,
        reader,
    };
    sequence.run(signals).await
}

/// Checks a database that was too large to be checked before the start. Returns only if the check
/// finds damage or fails.
async fn deferred_integrity_check(reader: Reader, unchecked: bool) -> ExitError {
    if unchecked {
        match reader.quick_check().await {
            Ok(None) => tracing::info!("the integrity check of the database found no damage"),
            Ok(Some(damage)) => {
                return ExitError::database(anyhow::anyhow!(
                    "the database is damaged ({damage}); restore a backup"
                ));
            }
            Err(error) => return ExitError::io(error.into()),
        }
    }
    std::future::pending().await
}
