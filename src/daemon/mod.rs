//! Wiring: config → store → scheduler → control socket, and the way back at the end.
//!
//! The only room that knows all others. What fails here ends the process, with an exit code that
//! tells a service manager whether a restart can help.

mod config_check;
mod exit;
mod logging;
mod maintenance_runner;
mod provider_rename;
mod providers;
mod reload;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::LoadedConfig;
use crate::control::{self, AppState, ControlSocket, DaemonInfo, SocketFileGuard};
use crate::scheduler::{Scheduler, SchedulerError, SchedulerHandle};
use crate::store::{Reader, Store};
use crate::systemd;

use exit::ExitError;
use maintenance_runner::MaintenanceRunner;
use reload::ConfigSource;

const HELP: &str = "\
The config file is the first of --config, $JOBTRACK_CONFIG, $XDG_CONFIG_HOME/jobtrack/config.toml (by
default ~/.config, except for root) and /etc/jobtrack/config.toml; none is fine. Environment variables such as
JOBTRACK__POLLING__MAX_INTERVAL=2m override it. With DUNE_API_KEY set and no provider configured,
the provider dune is there. RUST_LOG sets the log level.

Exit codes: 0 ended on request, 2 usage, 65 database not usable, 74 disk or socket failed,
78 config not usable.";

/// Tracks jobs submitted to remote services until they end, and keeps their history in a database
#[derive(Debug, Parser)]
#[command(name = "jobtrackd", version, after_help = HELP)]
struct DaemonArgs {
    /// Read the settings from this file
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print the settings in force and where each comes from, then end
    #[arg(long)]
    check: bool,
}

/// The whole of `jobtrackd`.
#[must_use]
pub fn main() -> ExitCode {
    let args = DaemonArgs::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => exit.report(),
    }
}

fn run(args: &DaemonArgs) -> Result<(), ExitError> {
    let environment: BTreeMap<_, _> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let source = ConfigSource::new(args.config.clone(), environment);
    let loaded = source.load()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")
        .map_err(ExitError::io)?;
    logging::init();
    if args.check {
        return runtime.block_on(config_check::check_config(&loaded));
    }
    let result = runtime.block_on(serve(loaded, source));
    // Nothing of ours is left; a name look-up that hangs in the system's resolver is not waited for.
    runtime.shutdown_timeout(Duration::from_millis(100));
    result
}

/// The signals that end us.
struct ShutdownSignals {
    terminate: Signal,
    interrupt: Signal,
    /// Only kept, so that a file-size limit is an error of the write and not our death.
    _file_size_exceeded: Signal,
}

impl ShutdownSignals {
    fn new() -> std::io::Result<Self> {
        const SIGXFSZ: i32 = 25;
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _file_size_exceeded: signal(SignalKind::from_raw(SIGXFSZ))?,
        })
    }

    async fn recv(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

async fn serve(loaded: LoadedConfig, reloader: ConfigSource) -> Result<(), ExitError> {
    let mut signals =
        ShutdownSignals::new().context("no signal can be caught").map_err(ExitError::io)?;
    let hangup = signal(SignalKind::hangup()).context("SIGHUP cannot be caught");
    let mut hangup = hangup.map_err(ExitError::io)?;
    let clock = Clock::start();
    let started_at = Clock::utc_now();
    let config = loaded.config;
    let providers = providers::build_providers(&config)?;
    let mut store = Store::open(&config.store.path).await?;
    let renames = provider_rename::rename_at_start(&mut store.writer, &config, started_at);
    let previous_names = renames.await.map_err(SchedulerError::Write)?;
    let (newest_seq, reader, unchecked) =
        (store.writer.subscribe_newest_seq(), store.reader, store.quick_check_skipped);
    let (maintenance_tx, maintenance_rx) = mpsc::channel(4);
    let (scheduler, mut handle) =
        Scheduler::new(clock, store.writer, reader.clone(), maintenance_rx);
    let scheduler_shutdown = CancellationToken::new();
    let mut scheduler_task = tokio::spawn(scheduler.run(providers, scheduler_shutdown.clone()));
    tokio::select! {
        ready = handle.wait_until_ready() => drop(ready),
        ended = &mut scheduler_task => return scheduler_result(ended),
    }

    // Bound late: a socket that can be reached is one that answers.
    let socket = ControlSocket::open(&config.control)?;
    let socket_file = socket.file_guard();
    let server_shutdown = CancellationToken::new();
    let (reload_tx, mut reload_rx) = mpsc::channel(8);
    let app = AppState {
        handle: handle.clone(),
        reader: reader.clone(),
        newest_seq,
        reload_tx,
        daemon_info: Arc::new(DaemonInfo {
            clock,
            started_at,
            database: config.store.path.clone(),
            on_demand_timeout: config
                .polling
                .request_timeout
                .min(DaemonInfo::MAX_ON_DEMAND_TIMEOUT),
        }),
        shutdown: server_shutdown.clone(),
        waiter_permits: AppState::new_waiter_permits(),
    };
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

    let maintenance = MaintenanceRunner::new(reader.clone(), maintenance_tx);
    let mut reloader = reloader
        .activate(config.clone(), previous_names, maintenance)
        .await
        .map_err(ExitError::io)?;
    loop {
        tokio::select! {
            signal = signals.recv() => {
                tracing::info!("{signal}: ending");
                break;
            }
            ended = &mut scheduler_task => return scheduler_result(ended),
            ended = &mut server_task => return Err(unexpected_task_end("control socket", ended)),
            ended = &mut watchdog_task => return Err(unexpected_task_end("watchdog", ended)),
            exit = &mut integrity_check => return Err(exit),
            _ = hangup.recv() => {
                // The error was logged where it was found.
                let _ = reloader.reload(&handle).await;
            }
            Some(reply) = reload_rx.recv() => {
                let _ = reply.send(reloader.reload(&handle).await);
            }
        }
    }
    let shutdown = ShutdownSequence {
        server_shutdown,
        server_task,
        socket_file,
        reader,
        scheduler_shutdown,
        scheduler_task,
        handle,
    };
    shut_down(signals, shutdown).await
}

/// What has to end, in this order.
struct ShutdownSequence {
    server_shutdown: CancellationToken,
    server_task: JoinHandle<()>,
    socket_file: SocketFileGuard,
    reader: Reader,
    scheduler_shutdown: CancellationToken,
    scheduler_task: JoinHandle<Result<(), SchedulerError>>,
    handle: SchedulerHandle,
}

/// Requests under way are answered first, then what is decided is committed. A second signal
/// spares the requests, not the commit.
async fn shut_down(
    mut signals: ShutdownSignals,
    mut sequence: ShutdownSequence,
) -> Result<(), ExitError> {
    systemd::notify_stopping();
    sequence.server_shutdown.cancel();
    tokio::select! {
        _ = &mut sequence.server_task => {}
        _ = signals.recv() => sequence.server_task.abort(),
    }
    drop(sequence.socket_file);
    drop(sequence.handle);
    sequence.scheduler_shutdown.cancel();
    let result = scheduler_result((&mut sequence.scheduler_task).await);
    // A question that takes its time, such as the check of a large file, is not waited for.
    let _ = tokio::time::timeout(Duration::from_secs(1), sequence.reader.close()).await;
    result
}

fn scheduler_result(
    joined: Result<Result<(), SchedulerError>, tokio::task::JoinError>,
) -> Result<(), ExitError> {
    match joined {
        Ok(ended) => ended.map_err(ExitError::from),
        Err(error) => Err(ExitError::io(error.into())),
    }
}

/// Never half dead: without one of its tasks the daemon ends, to be started anew.
fn unexpected_task_end(task: &str, joined: Result<(), tokio::task::JoinError>) -> ExitError {
    let reason = joined.err().map_or_else(|| "it returned".to_owned(), |error| error.to_string());
    ExitError::io(anyhow::anyhow!("the task of the {task} ended: {reason}"))
}

/// What is wrong with a file that was too large to be checked before the start; never returns if
/// nothing is.
async fn deferred_integrity_check(reader: Reader, unchecked: bool) -> ExitError {
    if unchecked {
        match reader.quick_check().await {
            Ok(None) => tracing::info!("the database was checked and is whole"),
            Ok(Some(damage)) => {
                return ExitError::database(anyhow::anyhow!("the database is damaged ({damage})"));
            }
            Err(error) => return ExitError::io(error.into()),
        }
    }
    std::future::pending().await
}
