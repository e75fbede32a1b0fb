//! A log line, and its two forms: text, and the native protocol of systemd's journal. PURE.
//!
//! Built by `layer`, written by `writer`. Values are escaped and cut as they are collected, so that no text
//! from outside can forge a line or fill the memory.

use std::fmt::{self, Write};

use anstyle::{AnsiColor, Style};
use tracing::field::{Field, Visit};
use tracing::{Level, Metadata};

use crate::escape::push_escaped;
use crate::job::UtcTime;

/// How lines are encoded.
#[derive(Debug, Clone, Copy)]
pub(super) enum LineFormat {
    Text {
        colored: bool,
    },
    /// <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>; the fields of the event become fields of the
    /// journal, so that `journalctl` can filter by them.
    Journal,
}

/// The message and the fields of one event.
#[derive(Debug)]
pub(super) struct LogLine {
    level: Level,
    /// The module that logs.
    target: &'static str,
    /// The file and line in the source code.
    place: Option<(&'static str, u32)>,
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl LogLine {
    /// An event without its values, which [`Visit`] adds.
    pub(super) fn new(metadata: &Metadata<'static>) -> Self {
        Self {
            level: *metadata.level(),
            target: metadata.target(),
            place: metadata.file().zip(metadata.line()),
            message: String::new(),
            fields: Vec::new(),
        }
    }

    /// A line about the log itself.
    pub(super) fn about_log(level: Level, message: String) -> Self {
        let target = module_path!();
        Self { level, target, place: None, message, fields: Vec::new() }
    }

    pub(super) fn encode(&self, format: LineFormat, at: UtcTime) -> Vec<u8> {
        match format {
            LineFormat::Text { colored } => self.to_text(colored, at).into_bytes(),
            LineFormat::Journal => self.to_journal_entry(),
        }
    }

    fn to_text(&self, colored: bool, at: UtcTime) -> String {
        let style = if colored { level_style(self.level) } else { Style::new() };
        let mut text = format!("{at} {style}{:>5}{style:#} {}", self.level, self.message);
        for (name, value) in &self.fields {
            // Writing to a String cannot fail.
            let _ = write!(text, " {name}={value}");
        }
        text.push('\n');
        text
    }

    /// Values contain no newline, so each field is one line.
    fn to_journal_entry(&self) -> Vec<u8> {
        let mut entry = format!(
            "PRIORITY={}\nSYSLOG_IDENTIFIER=jobtrackd\nTARGET={}\nMESSAGE={}\n",
            journal_priority(self.level),
            self.target,
            self.message
        );
        if let Some((file, line)) = self.place {
            let _ = write!(entry, "CODE_FILE={file}\nCODE_LINE={line}\n");
        }
        for (name, value) in &self.fields {
            let _ = writeln!(entry, "{}={value}", name.replace('.', "_").to_uppercase());
        }
        entry.into_bytes()
    }
}

impl Visit for LogLine {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // The crate `log` passes its metadata as fields of this form.
        if field.name().starts_with("log.") {
            return;
        }
        let mut text = EscapedText::default();
        // Fails when the text is full.
        let _ = write!(text, "{value:?}");
        match field.name() {
            "message" => self.message = text.0,
            name => self.fields.push((name, text.0)),
        }
    }
}

/// Text that was escaped and, beyond a limit, cut.
#[derive(Debug, Default)]
struct EscapedText(String);

impl EscapedText {
    const MAX_BYTES: usize = 6 << 10;
}

impl Write for EscapedText {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.0.len() >= Self::MAX_BYTES {
                self.0.push('…');
                return Err(fmt::Error);
            }
            push_escaped(&mut self.0, character);
        }
        Ok(())
    }
}

fn level_style(level: Level) -> Style {
    match level {
        Level::ERROR => AnsiColor::Red.on_default(),
        Level::WARN => AnsiColor::Yellow.on_default(),
        Level::INFO => AnsiColor::Green.on_default(),
        Level::DEBUG => AnsiColor::Blue.on_default(),
        Level::TRACE => AnsiColor::Magenta.on_default(),
    }
}

/// As in syslog(3): 3 is an error, 7 is debugging.
fn journal_priority(level: Level) -> u8 {
    match level {
        Level::ERROR => 3,
        Level::WARN => 4,
        Level::INFO => 5,
        Level::DEBUG => 6,
        Level::TRACE => 7,
    }
}
