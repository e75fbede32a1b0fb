//! Wiring: config → store → scheduler → control socket, and the way back at the end.
//!
//! The only room that knows all others. What fails here ends the process, with an exit code that
//! tells a service manager whether a restart can help.

mod check;
mod exit;
mod log;
mod providers;
mod reload;
mod upkeep;

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
use crate::config::{self, Loaded};
use crate::control::{self, About, App, Leftover, Socket};
use crate::scheduler::{Fatal, Handle, Scheduler};
use crate::store::{Reader, Store};
use crate::systemd;

use exit::Exit;
use reload::Reloader;
use upkeep::Housekeeper;

const HELP: &str = "\
The config file is the first of --config, $JOBTRACK_CONFIG, $XDG_CONFIG_HOME/jobtrack/config.toml
and /etc/jobtrack/config.toml; none is fine. Environment variables such as
JOBTRACK__POLLING__MAX_INTERVAL=2m override it. With DUNE_API_KEY set and no provider configured,
the provider dune is there. RUST_LOG sets the log level.

Exit codes: 0 ended on request, 2 usage, 65 database not usable, 74 disk or socket failed,
78 config not usable.";

/// Tracks jobs submitted to remote services until they end, and keeps their history in a database
#[derive(Debug, Parser)]
#[command(name = "jobtrackd", version, after_help = HELP)]
struct Args {
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
    let args = Args::parse();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(exit) => exit.report(),
    }
}

fn run(args: &Args) -> Result<(), Exit> {
    let environment: BTreeMap<_, _> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    let loaded = config::load(args.config.as_deref(), &environment)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot be started")
        .map_err(Exit::io)?;
    log::start();
    if args.check {
        return runtime.block_on(check::check(&loaded));
    }
    let ended = runtime.block_on(serve(loaded, Reloader::new(args.config.clone(), environment)));
    // Nothing of ours is left; a name look-up that hangs in the system's resolver is not waited for.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ended
}

/// The signals that end us.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Only kept, so that a file-size limit is an error of the write and not our death.
    _file_size: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        const SIGXFSZ: i32 = 25;
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            _file_size: signal(SignalKind::from_raw(SIGXFSZ))?,
        })
    }

    async fn received(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}

async fn serve(loaded: Loaded, reloader: Reloader) -> Result<(), Exit> {
    let mut signals = Signals::new().context("no signal can be caught").map_err(Exit::io)?;
    let hangup = signal(SignalKind::hangup()).context("SIGHUP cannot be caught");
    let mut hangup = hangup.map_err(Exit::io)?;
    let clock = Clock::start();
    let started_at = Clock::wall();
    let config = loaded.config;
    let providers = providers::build_all(&config)?;
    let mut store = Store::open(&config.store.path).await?;
    providers::rename(&mut store.writer, &providers, started_at).await?;
    let (newest, reader, unchecked) = (store.writer.newest(), store.reader, store.unchecked);
    let (ordering, orders) = mpsc::channel(4);
    let (scheduler, mut handle) = Scheduler::new(clock, store.writer, reader.clone(), orders);
    let stop_polling = CancellationToken::new();
    let mut polling = tokio::spawn(scheduler.run(providers, stop_polling.clone()));
    tokio::select! {
        ready = handle.ready() => drop(ready),
        ended = &mut polling => return scheduler_ended(ended),
    }

    // Bound late: a socket that can be reached is one that answers.
    let socket = Socket::open(&config.control)?;
    let leftover = socket.leftover();
    let stop_serving = CancellationToken::new();
    let (reload, mut reloads) = mpsc::channel(8);
    let app = App {
        handle: handle.clone(),
        reader: reader.clone(),
        newest,
        reload,
        about: Arc::new(About {
            clock,
            started_at,
            database: config.store.path.clone(),
            poll_patience: config.polling.request_timeout.min(About::LONGEST_POLL_PATIENCE),
        }),
        shutdown: stop_serving.clone(),
        places: App::places(),
    };
    let mut serving = tokio::spawn(control::serve(socket, app));
    let mut watching = tokio::spawn(systemd::watch(handle.clone(), clock));
    let mut damage = std::pin::pin!(damage(reader.clone(), unchecked));
    let (database, socket) = (config.store.path.display(), config.control.socket.display());
    tracing::info!(
        "jobtrackd {} is ready: {} providers, database {database}, socket {socket}",
        env!("CARGO_PKG_VERSION"),
        config.providers.len(),
    );
    systemd::ready(&handle);

    let housekeeper = Housekeeper::new(reader.clone(), ordering);
    let mut reloader = reloader.of(config.clone(), housekeeper).await.map_err(Exit::io)?;
    loop {
        tokio::select! {
            signal = signals.received() => {
                tracing::info!("{signal}: ending");
                break;
            }
            ended = &mut polling => return scheduler_ended(ended),
            ended = &mut serving => return Err(core_ended("control socket", ended)),
            ended = &mut watching => return Err(core_ended("watchdog", ended)),
            exit = &mut damage => return Err(exit),
            _ = hangup.recv() => {
                // The error was logged where it was found.
                let _ = reloader.reload(&handle).await;
            }
            Some(reply) = reloads.recv() => {
                let _ = reply.send(reloader.reload(&handle).await);
            }
        }
    }
    let end = End { stop_serving, serving, leftover, reader, stop_polling, polling, handle };
    shut_down(signals, end).await
}

/// What has to end, in this order.
struct End {
    stop_serving: CancellationToken,
    serving: JoinHandle<()>,
    leftover: Leftover,
    reader: Reader,
    stop_polling: CancellationToken,
    polling: JoinHandle<Result<(), Fatal>>,
    handle: Handle,
}

/// Requests under way are answered first, then what is decided is committed. A second signal
/// spares the requests, not the commit.
async fn shut_down(mut signals: Signals, mut end: End) -> Result<(), Exit> {
    systemd::stopping();
    end.stop_serving.cancel();
    tokio::select! {
        _ = &mut end.serving => {}
        _ = signals.received() => end.serving.abort(),
    }
    drop(end.leftover);
    drop(end.handle);
    end.stop_polling.cancel();
    let ended = scheduler_ended((&mut end.polling).await);
    // A question that takes its time, such as the check of a large file, is not waited for.
    let _ = tokio::time::timeout(Duration::from_secs(1), end.reader.close()).await;
    ended
}

fn scheduler_ended(ended: Result<Result<(), Fatal>, tokio::task::JoinError>) -> Result<(), Exit> {
    match ended {
        Ok(ended) => ended.map_err(Exit::from),
        Err(error) => Err(Exit::io(error.into())),
    }
}

/// Never half dead: without one of its tasks the daemon ends, to be started anew.
fn core_ended(task: &str, ended: Result<(), tokio::task::JoinError>) -> Exit {
    let why = ended.err().map_or_else(|| "it returned".to_owned(), |error| error.to_string());
    Exit::io(anyhow::anyhow!("the task of the {task} ended: {why}"))
}

/// What is wrong with a file that was too large to be checked before the start; never returns if
/// nothing is.
async fn damage(reader: Reader, unchecked: bool) -> Exit {
    if unchecked {
        match reader.quick_check().await {
            Ok(None) => tracing::info!("the database was checked and is whole"),
            Ok(Some(what)) => {
                return Exit::database(anyhow::anyhow!("the database is damaged ({what})"));
            }
            Err(error) => return Exit::io(error.into()),
        }
    }
    std::future::pending().await
}
