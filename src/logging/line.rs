//! A log line, and its forms: text, JSON, and the native protocol of systemd's journal. PURE.
//!
//! Built by `layer`, written by `writer`. Values are escaped and cut as they are collected, so that no text
//! from outside can forge a line or fill the memory.

use std::fmt::{self, Write};

use anstyle::{AnsiColor, Style};
use serde_json::{Map, Value};
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
    /// One JSON object.
    Json,
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
            LineFormat::Json => self.to_json(at),
            LineFormat::Journal => self.to_journal_entry(),
        }
    }

    fn to_text(&self, colored: bool, at: UtcTime) -> String {
        let style = if colored { level_style(self.level) } else { Style::new() };
        let mut text = format!("{at} {style}{:>5}{style:#} {}", self.level, self.message);
        // A reason is a part of most messages.
        let is_repeated =
            |name: &str, value: &str| name == "reason" && self.message.contains(value);
        for (name, value) in self.fields.iter().filter(|(name, value)| !is_repeated(name, value)) {
            // Writing to a String cannot fail.
            let _ = write!(text, " {name}={value}");
        }
        text.push('\n');
        text
    }

    /// `job` is a number and `labels` an object; every other field is text.
    fn to_json(&self, at: UtcTime) -> Vec<u8> {
        let mut object = Map::new();
        object.insert("time".to_owned(), at.to_string().into());
        object.insert("level".to_owned(), self.level.as_str().to_lowercase().into());
        object.insert("message".to_owned(), self.message.as_str().into());
        for (name, text) in &self.fields {
            let parsed = match *name {
                "job" => text.parse::<u64>().ok().map(Value::from),
                "labels" => serde_json::from_str(text).ok().filter(Value::is_object),
                _ => None,
            };
            object.insert((*name).to_owned(), parsed.unwrap_or_else(|| text.as_str().into()));
        }
        object.insert("target".to_owned(), self.target.into());
        let mut line = Value::Object(object).to_string().into_bytes();
        line.push(b'\n');
        line
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

#[cfg(test)]
mod tests {
    use super::*;

    fn line(fields: &[(&'static str, &str)]) -> LogLine {
        let mut line =
            LogLine::about_log(Level::WARN, "polls of dune fail: no \"route\"".to_owned());
        line.fields.extend(fields.iter().map(|(name, value)| (*name, (*value).to_owned())));
        line
    }

    #[test]
    fn a_json_line_is_one_object_with_the_fields_of_the_event() {
        let fields = [("job", "17"), ("labels", r#"{"team":"a"}"#), ("reason", "no \"route\"")];
        let line = line(&fields).encode(LineFormat::Json, UtcTime::from_millis(1_000));
        let text = String::from_utf8(line).expect("UTF-8");
        assert_eq!(text.matches('\n').count(), 1);
        let value: Value = serde_json::from_str(&text).expect("JSON");
        let expected = serde_json::json!({
            "time": "1970-01-01T00:00:01.000Z",
            "level": "warn",
            "message": "polls of dune fail: no \"route\"",
            "job": 17,
            "labels": {"team": "a"},
            "reason": "no \"route\"",
            "target": "jobtrack::logging::line",
        });
        assert_eq!(value, expected);
    }

    #[test]
    fn a_text_line_does_not_repeat_a_reason_of_its_message() {
        let at = UtcTime::from_millis(0);
        let text = line(&[("provider", "dune"), ("reason", "no \"route\"")])
            .encode(LineFormat::Text { colored: false }, at);
        assert!(String::from_utf8(text).expect("UTF-8").ends_with("route\" provider=dune\n"));
        let text = line(&[("reason", "another")]).encode(LineFormat::Text { colored: false }, at);
        assert!(String::from_utf8(text).expect("UTF-8").ends_with(" reason=another\n"));
    }
}
