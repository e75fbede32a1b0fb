//! Which lines are logged: the levels in `RUST_LOG`, in the syntax of [`Targets`], else `log.level`.
//!
//! An empty variable counts as not set, because Compose and shell scripts pass variables that are not set as
//! empty ones. Invariant: an invalid variable is reported and never silences a warning.

use tracing_subscriber::filter::{LevelFilter, ParseError, Targets};

use crate::config::LogLevel;

const VARIABLE: &str = "RUST_LOG";
const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// The filter of the variable; `None` if it is not set.
///
/// # Errors
/// What is wrong with the variable.
pub(super) fn from_env() -> Result<Option<Targets>, String> {
    let Some(value) = std::env::var_os(VARIABLE) else { return Ok(None) };
    value.to_str().ok_or_else(|| "it is not UTF-8".to_owned()).and_then(parse)
}

/// The level of jobtrack's own lines. Other crates log no more than `info`.
pub(super) fn for_level(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new()
        .with_default(level.min(LevelFilter::INFO))
        .with_target("jobtrack", level)
        // It logs its internals at `info`.
        .with_target("tokio_cron_scheduler", level.min(LevelFilter::WARN))
}

/// `None` if the text has no directive.
fn parse(text: &str) -> Result<Option<Targets>, String> {
    let directives: Vec<_> =
        text.split(',').map(str::trim).filter(|directive| !directive.is_empty()).collect();
    if directives.is_empty() {
        return Ok(None);
    }
    for directive in &directives {
        if directive.starts_with('=') {
            return Err(format!("{directive:?} names no module"));
        }
        // `Targets` reads a word that is no level as the name of a module, and then silences all others.
        let is_word = directive.chars().all(|c| c.is_alphanumeric() || c == '-');
        let is_level = LEVELS.iter().any(|level| level.eq_ignore_ascii_case(directive));
        if is_word && !is_level && !directive.starts_with("jobtrack") {
            return Err(format!(
                "{directive:?} is not a level; the levels are {}; for one module write \
                 {directive}=debug",
                LEVELS.join(", ")
            ));
        }
    }
    let filter = directives.join(",").parse();
    filter.map(Some).map_err(|error: ParseError| format!("{text:?}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_directives_are_accepted() {
        for text in
            ["warn", "INFO", "off", "jobtrack=debug", "info, hyper=warn", "jobtrack", "warn,"]
        {
            assert!(matches!(parse(text), Ok(Some(_))), "{text}: {:?}", parse(text));
        }
    }

    #[test]
    fn an_empty_text_is_as_if_not_set() {
        for text in ["", " ", ",", " , ,"] {
            assert!(matches!(parse(text), Ok(None)), "{text:?}");
        }
    }

    #[test]
    fn nonsense_is_an_error() {
        for text in ["verbose", "warning", "2x", "jobtrack=loud", "info,nonsense", "=", "a=b=c"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
