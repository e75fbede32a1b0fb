//! Where the log goes: to the journal if our stderr is the journal's, so that fields stay fields;
//! else to stderr.

use std::io::IsTerminal;
use std::os::unix::fs::MetadataExt;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// The cron library tells of its own doings at `info`.
const DEFAULT_FILTER: &str = "info,tokio_cron_scheduler=warn";

/// Starts logging, at `info` or what `RUST_LOG` says.
pub(super) fn init() {
    let filter =
        EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER));
    let registry = tracing_subscriber::registry().with(filter);
    if stderr_is_journal()
        && let Ok(journal) = tracing_journald::layer()
    {
        registry.with(journal.with_field_prefix(None)).init();
        return;
    }
    // It would complain on the very stderr that is closed, and panic.
    let text = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false)
        .log_internal_errors(false);
    registry.with(text).init();
}

/// systemd.exec(5): `$JOURNAL_STREAM` holds device and inode of the journal's stream.
fn stderr_is_journal() -> bool {
    let Ok(stream) = std::env::var("JOURNAL_STREAM") else { return false };
    let Ok(stderr) = std::fs::metadata("/dev/stderr") else { return false };
    stream == format!("{}:{}", stderr.dev(), stderr.ino())
}
