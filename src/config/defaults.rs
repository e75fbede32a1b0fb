//! The defaults of all settings except those of a kind of provider, which the kind itself declares.
//!
//! Used by [`layers`](super::layers) as the lowest layer, and by [`provider`](super::provider). No other
//! place states these defaults.

use std::path::PathBuf;

use figment::value::{Dict, Value};

use super::Directories;

/// `max_in_flight` of a provider. Not a layer: providers have names that only the other layers know.
pub(super) const MAX_IN_FLIGHT: u32 = 8;

/// The lowest layer. The default paths depend on the user and the environment.
pub(super) fn defaults(directories: &Directories) -> Dict {
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let database = text(directories.state().join("jobtrack.db"));
    let socket = text(directories.socket());
    table([
        (
            "store",
            table([
                ("path", database.into()),
                ("allow_network_file_system", false.into()),
                ("statement", "full".into()),
            ])
            .into(),
        ),
        (
            "control",
            table([
                ("socket", socket.into()),
                ("mode", "0660".into()),
                ("read_only_mode", "0660".into()),
            ])
            .into(),
        ),
        (
            "polling",
            table([
                ("policy", "learned".into()),
                ("price", "auto".into()),
                ("min_interval", "1s".into()),
                ("max_interval", "5m".into()),
                ("request_timeout", "30s".into()),
                ("give_up_after", "30d".into()),
                ("lost_after", "15m".into()),
                ("lost_after_never_seen", "1h".into()),
            ])
            .into(),
        ),
        ("maintenance", table([("prune_schedule", "17 3 * * *".into())]).into()),
        ("log", table([("format", "text".into()), ("level", "info".into())]).into()),
    ])
}

/// Applies only where `maintenance.retention` is not set at all: outcomes that a user's table leaves out
/// are kept forever, so the two must not be merged.
pub(super) fn default_retention() -> Dict {
    let retention = table([("succeeded", "90d".into()), ("default", "365d".into())]);
    table([("maintenance", table([("retention", retention.into())]).into())])
}

fn table<const N: usize>(entries: [(&str, Value); N]) -> Dict {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}
