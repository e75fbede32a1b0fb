//! Error messages of the configuration: the file, the line, the key and what is allowed.
//!
//! Called by [`load()`](super::load()) and, through [`SettingsTable`](super::SettingsTable), by the kinds
//! of providers. A message never repeats a value: a value in the wrong place may be a secret.

use std::fmt;
use std::path::Path;

use figment::Figment;
use figment::error::{Actual, Kind};

/// The settings cannot be used. One line for each error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub(super) String);

/// One setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingError {
    /// The dotted key, relative to the table that was read.
    key: String,
    /// Continues a sentence that begins with the key, such as "must be 1 to 1000".
    problem: String,
}

impl SettingError {
    #[must_use]
    pub fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into() }
    }

    /// The error with its key relative to the parent of `table`.
    pub(super) fn within(self, table: &str) -> Self {
        let key =
            if self.key.is_empty() { table.to_owned() } else { format!("{table}.{}", self.key) };
        Self { key, ..self }
    }

    /// Translates an error of figment. `other_keys` are valid keys that figment does not know.
    pub(super) fn from_figment(error: &figment::Error, other_keys: &[&str]) -> Self {
        let mut key = error.path.join(".");
        let problem = match &error.kind {
            // The path leads to the unknown key itself.
            Kind::UnknownField(_, allowed) => {
                let is_top_level = error.path.len() == 1;
                let others = if is_top_level { other_keys } else { &[] };
                let (kind, others): (Vec<&str>, Vec<&str>) =
                    others.iter().partition(|other| **other == "kind");
                let allowed = [kind.as_slice(), allowed, others.as_slice()].concat();
                format!("is not a setting; here these are: {}", allowed.join(", "))
            }
            Kind::UnknownVariant(_, allowed) => format!("must be one of: {}", allowed.join(", ")),
            Kind::MissingField(field) => {
                if !key.is_empty() {
                    key.push('.');
                }
                key.push_str(field);
                "is needed and not set".to_owned()
            }
            Kind::InvalidType(found, expected) | Kind::InvalidValue(found, expected) => {
                format!("must be {}, not {}", expected_type(expected), type_name(found))
            }
            Kind::Message(problem) => problem.clone(),
            Kind::ISizeOutOfRange(_) | Kind::USizeOutOfRange(_) => {
                "must be a smaller number".to_owned()
            }
            Kind::DuplicateField(_) => "must be set once".to_owned(),
            Kind::InvalidLength(..) | Kind::Unsupported(_) | Kind::UnsupportedKey(..) => {
                "has a type that cannot be used here".to_owned()
            }
        };
        Self { key, problem }
    }
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.key, self.problem)
    }
}

/// The config file that was read, with its text.
#[derive(Debug)]
pub(super) struct ConfigText<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

/// Every error on a line of its own, with the place of its key.
pub(super) fn config_error(
    errors: &[SettingError],
    figment: &Figment,
    file: Option<&ConfigText<'_>>,
) -> ConfigError {
    let lines: Vec<_> = errors
        .iter()
        .map(|error| format!("{}: {error}", locate(&error.key, figment, file)))
        .collect();
    ConfigError(lines.join("\n"))
}

/// The source of a key, or of its nearest parent that is set; in the file also the line.
fn locate(key: &str, figment: &Figment, file: Option<&ConfigText<'_>>) -> String {
    let mut existing_key = key;
    let source = loop {
        if let Some(metadata) = figment.find_metadata(existing_key) {
            break metadata.name.to_string();
        }
        match existing_key.rsplit_once('.') {
            Some((parent, _)) => existing_key = parent,
            None => break "config".to_owned(),
        }
    };
    match file.filter(|file| source == file.path.display().to_string()) {
        Some(file) => line_of_key(file.text, key)
            .map_or_else(|| source.clone(), |line| format!("{source}:{line}")),
        None => source,
    }
}

/// The line of a byte offset, from 1.
pub(super) fn line_of_offset(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// The line of a key in a TOML text, or of its nearest parent that the text has.
fn line_of_key(text: &str, key: &str) -> Option<usize> {
    let table = toml::de::DeTable::parse(text).ok()?;
    let mut table = table.get_ref();
    let mut line = None;
    for part in key.split('.') {
        let Some((name, value)) = table.iter().find(|(name, _)| name.get_ref().as_ref() == part)
        else {
            break;
        };
        line = Some(line_of_offset(text, name.span().start));
        match value.get_ref() {
            toml::de::DeValue::Table(inner) => table = inner,
            _ => break,
        }
    }
    line
}

/// serde names the Rust type that it expects; the reader of the message wants the type in TOML.
fn expected_type(expected: &str) -> &str {
    match expected {
        "u32" => "a whole number",
        "a string" => "text in quotes",
        "a sequence" => "a list",
        "a map" => "a table",
        rust_type if rust_type.starts_with("struct ") => "a table",
        described => described,
    }
}

fn type_name(found: &Actual) -> &'static str {
    match found {
        Actual::Bool(_) => "a boolean",
        Actual::Unsigned(_) | Actual::Signed(_) => "a whole number",
        Actual::Float(_) => "a number with a fraction",
        Actual::Char(_) | Actual::Str(_) => "text",
        Actual::Seq => "a list",
        Actual::Map => "a table",
        Actual::Bytes(_)
        | Actual::Unit
        | Actual::Option
        | Actual::NewtypeStruct
        | Actual::Enum
        | Actual::UnitVariant
        | Actual::NewtypeVariant
        | Actual::TupleVariant
        | Actual::StructVariant
        | Actual::Other(_) => "a value of another type",
    }
}
