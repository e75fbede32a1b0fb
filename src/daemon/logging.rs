//! Logging: to the journal of systemd if stderr is connected to it, else to stderr as text.
//!
//! The journal receives the fields of a log event as fields, so that `journalctl` can filter by them.

use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// tokio-cron-scheduler logs its internals at `info`.
const DEFAULT_FILTER: &str = "info,tokio_cron_scheduler=warn";

/// Starts logging, at the levels that `RUST_LOG` sets, else at `info`.
pub(super) fn init() {
    let (filter, invalid_filter) = match EnvFilter::try_from_default_env() {
        Ok(filter) => (filter, None),
        Err(error) => (EnvFilter::new(DEFAULT_FILTER), Some(error)),
    };
    start(filter);
    // Without RUST_LOG the error is that the variable is not set.
    if let Some(error) = invalid_filter
        && std::env::var_os(EnvFilter::DEFAULT_ENV).is_some()
    {
        tracing::warn!("RUST_LOG is invalid ({error}); the level is info");
    }
}

fn start(filter: EnvFilter) {
    let registry = tracing_subscriber::registry().with(filter);
    if stderr_is_journal()
        && let Ok(journal) = tracing_journald::layer()
    {
        registry.with(journal.with_field_prefix(None)).init();
        return;
    }
    // An error of logging would be printed to stderr; if stderr is closed, that panics.
    let text = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false)
        .log_internal_errors(false);
    registry.with(text).init();
}

/// `$JOURNAL_STREAM` holds the device and inode of the stream to the journal: systemd.exec(5). A
/// redirected stderr has others.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stderr) = std::fs::metadata("/dev/stderr") else { return false };
    stream == format!("{}:{}", stderr.dev(), stderr.ino())
}
