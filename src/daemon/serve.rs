//! Wiring of the running daemon: config, store, scheduler, control socket, maintenance, watchdog.
//!
//! Each part starts after the parts that it needs. Invariant: once the scheduler runs, every exit path
//! ends in [`RunningScheduler::stop`], so that what is decided is committed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::api::ReloadFailure;
use crate::clock::Clock;
use crate::config::{Config, LoadedConfig, MaintenanceConfig};
use crate::control::{self, AppState, ControlSockets, DaemonContext};
use crate::job::{EventCursor, UtcTime, counted};
use crate::logging::{LevelSwitch, LostLines};
use crate::scheduler::{Providers, Scheduler, SchedulerError};
use crate::store::{FileSystemPolicy, MaintenanceTask, Reader, Store, UserLimits};
use crate::systemd;

use super::exit::ExitError;
use super::maintenance_task::MaintenanceTaskHandle;
use super::provider_rename::{CurrentNameByPrevious, rename_at_start};
use super::providers::read_in_thread;
use super::reload::{ConfigReloader, ConfigSource};
use super::shutdown::{RunningScheduler, RunningServer, unexpected_task_end};
use super::signals::ShutdownSignals;

/// How often rejected secrets are looked at, in case somebody has replaced them.
const SECRET_CHECK_INTERVAL: Duration = Duration::from_secs(5);

/// What the parts that start after the scheduler need.
struct StartContext {
    providers: Providers,
    config: Config,
    source: Arc<ConfigSource>,
    clock: Clock,
    started_at: UtcTime,
    previous_names: CurrentNameByPrevious,
    newest_event: watch::Receiver<EventCursor>,
    /// Whether the database was too large to be checked before the start.
    quick_check_skipped: bool,
    maintenance_tasks: mpsc::Sender<MaintenanceTask>,
    /// The settings of the running maintenance.
    maintenance_settings: watch::Sender<MaintenanceConfig>,
    hangup: Signal,
    lost_log_lines: LostLines,
    log_level: LevelSwitch,
    /// The failure of the last reload, until one succeeds.
    reload_failure: watch::Sender<Option<ReloadFailure>>,
}

/// Runs the daemon until a signal or a fatal error ends it.
pub(super) async fn serve(
    loaded: LoadedConfig,
    source: ConfigSource,
    lost_log_lines: LostLines,
    log_level: LevelSwitch,
) -> Result<(), ExitError> {
    let mut signals = ShutdownSignals::new()
        .context("cannot install the signal handlers")
        .map_err(ExitError::io)?;
    let hangup = signal(SignalKind::hangup())
        .context("cannot install the handler of SIGHUP")
        .map_err(ExitError::io)?;
    let clock = Clock::start();
    let started_at = clock.utc_now();
    let config = loaded.config;
    let source = Arc::new(source);
    let building = {
        let (source, config) = (Arc::clone(&source), config.clone());
        read_in_thread(move || source.build_providers(&config))
    };
    let Some(providers) = signals.unless_stopped(building).await else { return Ok(()) };
    let providers = providers??;
    // Each change of the database at the start is one transaction, which may be interrupted.
    let opening = open_store(&config, &clock, started_at);
    let Some(opened) = signals.unless_stopped(opening).await else { return Ok(()) };
    let (store, previous_names) = opened?;
    let newest_event = store.writer.subscribe_newest_event();
    let quick_check_skipped = store.quick_check_skipped;
    let (maintenance_tasks, due_tasks) = mpsc::channel(4);
    let mut scheduler = start_scheduler(store, providers.clone(), clock.clone(), due_tasks);
    let context = StartContext {
        providers,
        maintenance_settings: watch::Sender::new(config.maintenance.clone()),
        config,
        source,
        clock,
        started_at,
        previous_names,
        newest_event,
        quick_check_skipped,
        maintenance_tasks,
        hangup,
        lost_log_lines,
        log_level,
        reload_failure: watch::Sender::new(None),
    };
    let result = run_until_end(context, &mut scheduler, &mut signals).await;
    // The first error is the cause, and a later one may be its consequence.
    result.and(scheduler.stop().await)
}

/// Opens the database, which may check and migrate it, and renames providers in it.
async fn open_store(
    config: &Config,
    clock: &Clock,
    started_at: UtcTime,
) -> Result<(Store, CurrentNameByPrevious), ExitError> {
    let mut store =
        Store::open_on(&config.store.path, FileSystemPolicy::from(&config.store), clock).await?;
    store.writer.set_user_limits(UserLimits {
        max_jobs: config.control.max_jobs_per_user.map(u64::from),
        max_label_bytes: config.control.max_label_bytes_per_user.map(u64::from),
    });
    let previous_names = rename_at_start(&mut store.writer, config, started_at)
        .await
        .map_err(SchedulerError::Write)?;
    Ok((store, previous_names))
}

fn start_scheduler(
    store: Store,
    providers: Providers,
    clock: Clock,
    due_tasks: mpsc::Receiver<MaintenanceTask>,
) -> RunningScheduler {
    let reader = store.reader;
    let (scheduler, handle) =
        Scheduler::new(clock.clone(), Box::new(store.writer), Arc::new(reader.clone()), due_tasks);
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(scheduler.run(providers, shutdown.clone()));
    let watchdog = tokio::spawn(systemd::run_watchdog(handle.clone(), clock));
    RunningScheduler { handle, reader, shutdown, task, watchdog: AbortOnDropHandle::new(watchdog) }
}

/// Serves clients from the time when the jobs are loaded until a signal or an error ends the daemon;
/// then stops the server. If the scheduler ends by itself, [`RunningScheduler::stop`] returns why.
async fn run_until_end(
    context: StartContext,
    scheduler: &mut RunningScheduler,
    signals: &mut ShutdownSignals,
) -> Result<(), ExitError> {
    let ready = signals.unless_stopped(scheduler.handle.wait_until_ready()).await;
    if !matches!(ready, Some(Ok(()))) {
        return Ok(());
    }
    // The socket is bound after the scheduler is ready: a client that can connect gets an answer.
    let mut server = start_server(&context, scheduler)?;
    tracing::info!(
        "jobtrackd {} is ready: {}, database {}, socket {}",
        env!("CARGO_PKG_VERSION"),
        counted(context.config.providers.len(), "provider"),
        context.config.store.path.display(),
        context.config.control.socket.display(),
    );
    if context.config.providers.is_empty() {
        tracing::warn!(
            "no provider is configured, so that no job can be added; set DUNE_API_KEY, or add a section \
             [providers.NAME] to the configuration"
        );
    }
    systemd::notify_ready(&scheduler.handle).await;
    let result = main_loop(context, scheduler, &mut server, signals).await;
    systemd::notify_stopping().await;
    server.stop(signals).await;
    result
}

fn start_server(
    context: &StartContext,
    scheduler: &RunningScheduler,
) -> Result<RunningServer, ExitError> {
    let config = &context.config;
    let sockets = ControlSockets::open(&config.control)?;
    let socket_file = sockets.file_guard();
    let shutdown = CancellationToken::new();
    let (reload_tx, reload_requests) = mpsc::channel(8);
    let daemon = DaemonContext {
        clock: context.clock.clone(),
        started_at: context.started_at,
        database: config.store.path.clone(),
        lost_log_lines: context.lost_log_lines.clone(),
        reload_failure: context.reload_failure.subscribe(),
        maintenance: context.maintenance_settings.subscribe(),
        on_demand_timeout: config.polling.request_timeout.min(DaemonContext::MAX_ON_DEMAND_TIMEOUT),
    };
    let app = AppState::new(
        scheduler.handle.clone(),
        scheduler.reader.clone(),
        context.newest_event.clone(),
        reload_tx,
        daemon,
        shutdown.clone(),
    );
    let task = tokio::spawn(control::serve(sockets, app));
    Ok(RunningServer { shutdown, task, socket_file, reload_requests })
}

/// Handles signals and reload requests until the daemon must end.
async fn main_loop(
    context: StartContext,
    scheduler: &mut RunningScheduler,
    server: &mut RunningServer,
    signals: &mut ShutdownSignals,
) -> Result<(), ExitError> {
    let RunningScheduler { handle, reader, watchdog, .. } = scheduler;
    let StartContext {
        providers,
        config,
        source,
        clock,
        previous_names,
        maintenance_tasks,
        maintenance_settings,
        mut hangup,
        log_level,
        reload_failure,
        ..
    } = context;
    let integrity_check = deferred_integrity_check(reader, context.quick_check_skipped);
    let mut integrity_check = std::pin::pin!(integrity_check);
    let maintenance = MaintenanceTaskHandle::new(
        reader.clone(),
        maintenance_tasks,
        clock.clone(),
        maintenance_settings,
    );
    let mut reloader = ConfigReloader::start(
        source,
        config,
        providers,
        previous_names,
        maintenance,
        clock,
        reload_failure,
    )
    .await
    .map_err(ExitError::io)?
    .with_log_level(log_level);
    let mut secret_checks = tokio::time::interval(SECRET_CHECK_INTERVAL);
    secret_checks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = secret_checks.tick() => {
                if signals.unless_stopped(reloader.apply_renewed_secrets(handle)).await.is_none() {
                    return Ok(());
                }
            }
            _ = signals.unless_stopped(std::future::pending::<()>()) => return Ok(()),
            () = handle.closed() => return Ok(()),
            ended = &mut server.task => return Err(unexpected_task_end("control socket", ended)),
            ended = &mut *watchdog => return Err(unexpected_task_end("watchdog", ended)),
            exit = &mut integrity_check => return Err(exit),
            _ = hangup.recv() => {
                if signals.unless_stopped(reloader.reload_by_signal(handle)).await.is_none() {
                    return Ok(());
                }
            }
            Some(reply) = server.reload_requests.recv() => {
                match signals.unless_stopped(reloader.reload(handle)).await {
                    Some(result) => { let _ = reply.send(result); }
                    None => return Ok(()),
                }
            }
        }
    }
}

/// Checks a database that was too large to be checked before the start. Returns only if the check
/// finds damage or fails.
async fn deferred_integrity_check(reader: &Reader, quick_check_skipped: bool) -> ExitError {
    if quick_check_skipped {
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
