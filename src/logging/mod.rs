//! The daemon's log: one line for each event, to the journal of systemd if stderr is connected to it, else
//! to stderr as text or JSON.
//!
//! Started by `daemon`. Invariant: a thread that logs never waits. Lines go through a bounded queue to a
//! thread of their own (`writer`), which may block for as long as nobody reads the pipe, the terminal is
//! stopped or journald hangs. Lines that find the queue full, or cannot be written, are counted as lost
//! ([`LostLines`]).

mod filter;
mod layer;
mod line;
mod lost_lines;
mod repeat_limiter;
mod writer;

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{IsTerminal, Write};
use std::mem::ManuallyDrop;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Registry, reload};

use crate::clock::Clock;
use crate::config::{LogConfig, LogFormat, LogLevel};

use layer::LogLayer;
use line::LineFormat;
pub use lost_lines::LostLines;
use writer::{LineWriter, Sink};

/// The queue between the threads that log and the thread that writes. With the longest lines it takes
/// 16 MiB.
const MAX_QUEUED_LINES: usize = 2048;
/// How long the end of the process waits for a log or a stderr that cannot be written.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(1500);
/// The target of the lines that say how a job ended. They are as many as the jobs, so that none is left out.
pub const JOB_ENDS: &str = "jobtrack::job_ends";
const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";

/// Writes the queued lines when dropped, as far as that is possible within `FLUSH_TIMEOUT`.
#[derive(Debug)]
pub struct LogGuard {
    lost_lines: LostLines,
    /// Never dropped: the guard of tracing-appender prints to stdout if it gives up, which can block.
    _worker: ManuallyDrop<WorkerGuard>,
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        const STEP: Duration = Duration::from_millis(5);
        let mut waited = Duration::ZERO;
        while self.lost_lines.has_waiting_lines() && waited < FLUSH_TIMEOUT {
            std::thread::sleep(STEP);
            waited += STEP;
        }
    }
}

/// The log that [`init`] has started.
pub struct StartedLog {
    /// To be dropped last.
    pub guard: LogGuard,
    pub lost_lines: LostLines,
    pub level: LevelSwitch,
}

/// Sets the level of the log while the daemon runs; without effect if `RUST_LOG` is in force.
#[derive(Debug, Clone, Default)]
pub struct LevelSwitch(Option<reload::Handle<Targets, Registry>>);

impl LevelSwitch {
    pub fn set(&self, level: LogLevel) {
        if let Some(filter) = &self.0 {
            // Fails only if the log was never started.
            let _ = filter.reload(filter::for_level(level));
        }
    }
}

/// Starts logging, at the levels that `RUST_LOG` sets, else at that of the config. Panics are logged too.
///
/// # Errors
/// If stderr cannot be used or the log is started already.
pub fn init(config: LogConfig) -> std::io::Result<StartedLog> {
    let (env_filter, problem) = match filter::from_env() {
        Ok(filter) => (filter, None),
        Err(problem) => (None, Some(problem)),
    };
    let is_fixed = env_filter.is_some();
    let filter = env_filter.unwrap_or_else(|| filter::for_level(config.level));
    let (filter, handle) = reload::Layer::new(filter);
    let clock = Clock::start();
    let (sink, format) = choose_sink(config.format)?;
    let lost_lines = LostLines::default();
    let (lines, worker) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(MAX_QUEUED_LINES)
        .thread_name("log-writer")
        .finish(LineWriter::new(sink, format, clock.clone(), lost_lines.clone()));
    lost_lines.count_rejected_by(lines.error_counter());
    let layer = LogLayer::new(lines, format, clock, lost_lines.clone());
    tracing_subscriber::registry()
        .with(filter)
        .with(layer)
        .try_init()
        .map_err(std::io::Error::other)?;
    std::panic::set_hook(Box::new(log_panic));
    if let Some(problem) = problem {
        tracing::warn!("RUST_LOG is invalid ({problem}); log.level applies");
    }
    let guard = LogGuard { lost_lines: lost_lines.clone(), _worker: ManuallyDrop::new(worker) };
    let level = LevelSwitch((!is_fixed).then_some(handle));
    Ok(StartedLog { guard, lost_lines, level })
}

/// Writes to stderr at the end of the process. If nobody reads it, gives up after `FLUSH_TIMEOUT`.
pub fn write_to_stderr(text: String) {
    let text: Arc<str> = text.into();
    let (done, finished) = mpsc::channel::<()>();
    let write = {
        let text = Arc::clone(&text);
        move || {
            let _ = std::io::stderr().write_all(text.as_bytes());
            drop(done);
        }
    };
    match std::thread::Builder::new().spawn(write) {
        Ok(_) => {
            // Returns when `done` is dropped.
            let _ = finished.recv_timeout(FLUSH_TIMEOUT);
        }
        // No thread can be created: waiting for a reader is better than saying nothing.
        Err(_) => {
            let _ = std::io::stderr().write_all(text.as_bytes());
        }
    }
}

fn choose_sink(format: LogFormat) -> std::io::Result<(Sink, LineFormat)> {
    if stderr_is_journal() && Path::new(JOURNAL_SOCKET).exists() {
        return Ok((Sink::journal(JOURNAL_SOCKET)?, LineFormat::Journal));
    }
    let stderr = std::io::stderr();
    let colored = stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    // A descriptor of its own: a blocked write must not hold the lock of `std::io::stderr`.
    let format = match format {
        LogFormat::Text => LineFormat::Text { colored },
        LogFormat::Json => LineFormat::Json,
    };
    Ok((Sink::file(stderr.as_fd().try_clone_to_owned()?), format))
}

/// `$JOURNAL_STREAM` holds the device and inode of the stream to the journal: systemd.exec(5). A
/// redirected stderr has others.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stderr) = std::fs::metadata("/dev/stderr") else { return false };
    stream == format!("{}:{}", stderr.dev(), stderr.ino())
}

/// Replaces the hook of the standard library, which writes to stderr and so can block.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let thread = std::thread::current();
    let name = thread.name().unwrap_or("unnamed");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let message = panic.payload_as_str().unwrap_or("not a text");
    let backtrace = Backtrace::capture();
    if backtrace.status() == BacktraceStatus::Captured {
        tracing::error!("panic in thread {name} at {place}: {message}\n{backtrace}");
    } else {
        tracing::error!("panic in thread {name} at {place}: {message}");
    }
}
