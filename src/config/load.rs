//! Where settings come from: defaults, then one file, then the environment, each overriding the
//! one before, merged by figment.
//!
//! Complaints name the file, the line and the key, and what is allowed; never a value, since a
//! value in the wrong place may be a secret.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use figment::error::{Actual, Kind as Complaint};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::{Config, Directories, huawei_sdk};

/// Why the settings cannot be used; one line for each complaint.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(String);

/// The settings in force, and where each comes from.
#[derive(Debug)]
pub struct LoadedConfig {
    /// The settings.
    pub config: Config,
    /// The file that was read; none if there is none.
    pub file: Option<PathBuf>,
    /// Each value that is set, by key.
    pub settings: Vec<Setting>,
}

/// One setting, to be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its key, dotted.
    pub key: String,
    /// Its value.
    pub value: String,
    /// Where it comes from.
    pub source: String,
}

const ENV_PREFIX: &str = "JOBTRACK__";

/// Reads the settings. `env` is the environment, `explicit` the file of the command line.
///
/// # Errors
/// If the file cannot be read, a key is not known, or a value is not allowed.
pub fn load(
    explicit_path: Option<&Path>,
    env: &BTreeMap<String, String>,
) -> Result<LoadedConfig, ConfigError> {
    let directories = Directories::from_env(|name| env.get(name).map(Into::into));
    let mut figment = Figment::from(Layer::new("default", defaults(&directories)));
    let file = find_config_file(explicit_path, env, &directories);
    let mut text = String::new();
    if let Some(path) = &file {
        text = std::fs::read_to_string(path)
            .map_err(|error| ConfigError(format!("{}: {error}", path.display())))?;
        let dict: Dict = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| line_of_offset(&text, span.start));
            ConfigError(format!("{}:{line}: {}", path.display(), error.message()))
        })?;
        figment = figment.merge(Layer::new(path.display().to_string(), dict));
    }
    for (name, value) in env.iter().filter(|(name, _)| name.starts_with(ENV_PREFIX)) {
        figment = figment.merge(Layer::new(format!("${name}"), env_var_layer(name, value)));
    }
    // A table of the user's takes the place of the whole default: what it does not name is kept.
    if figment.find_value("maintenance.retention").is_err() {
        figment = figment.join(Layer::new("default", default_retention()));
    }
    if let Some(dune) = dune_from_api_key_var(&figment, env) {
        figment = figment.join(Layer::new("$DUNE_API_KEY", dune));
    }
    if let Ok(Value::Dict(_, providers)) = figment.find_value("providers") {
        for implied in huawei_sdk::implied_settings(&providers, env) {
            let layer = dict_at_key(&implied.key, implied.value.into());
            figment = figment.join(Layer::new(implied.source, layer));
        }
    }
    let locator = SettingLocator { file: file.as_deref(), text: &text, figment: &figment };
    let config: Config = figment.extract().map_err(|errors| {
        let lines: Vec<_> =
            errors.into_iter().map(|error| locator.describe_error(&error)).collect();
        ConfigError(lines.join("\n"))
    })?;
    let errors: Vec<_> = config
        .validate()
        .into_iter()
        .map(|(key, allowed)| format!("{}: {key} {allowed}", locator.locate(&key)))
        .collect();
    if !errors.is_empty() {
        return Err(ConfigError(errors.join("\n")));
    }
    let settings = collect_settings(&figment, &config);
    Ok(LoadedConfig { config, file, settings })
}

fn find_config_file(
    explicit_path: Option<&Path>,
    env: &BTreeMap<String, String>,
    directories: &Directories,
) -> Option<PathBuf> {
    let explicit_file = explicit_path
        .map(Path::to_owned)
        .or_else(|| non_empty_var(env, "JOBTRACK_CONFIG").map(Into::into));
    explicit_file.or_else(|| directories.config_files().into_iter().find(|path| path.exists()))
}

pub(super) fn non_empty_var<'a>(env: &'a BTreeMap<String, String>, name: &str) -> Option<&'a str> {
    env.get(name).map(String::as_str).filter(|value| !value.is_empty())
}

fn defaults(directories: &Directories) -> Dict {
    let text = |path: PathBuf| path.to_string_lossy().into_owned();
    let table = |entries: &[(&str, String)]| -> Value {
        let entries = entries.iter().map(|(key, value)| ((*key).to_owned(), value.clone().into()));
        Value::from(entries.collect::<Dict>())
    };
    let sections = [
        (
            "store",
            table(&[
                ("path", text(directories.state().join("jobtrack.db"))),
                ("statement", "full".into()),
            ]),
        ),
        ("control", table(&[("socket", text(directories.socket())), ("mode", "0660".into())])),
        (
            "polling",
            table(&[
                ("policy", "learned".into()),
                ("price", "1s".into()),
                ("min_interval", "1s".into()),
                ("max_interval", "5m".into()),
                ("request_timeout", "30s".into()),
                ("give_up_after", "30d".into()),
                ("lost_after", "15m".into()),
                ("lost_after_never_seen", "1h".into()),
            ]),
        ),
        ("maintenance", table(&[("prune_schedule", "17 3 * * *".into())])),
    ];
    sections.map(|(name, section)| (name.to_owned(), section)).into()
}

fn default_retention() -> Dict {
    let max_ages = [("succeeded", "90d"), ("default", "365d")];
    let max_ages: Dict =
        max_ages.into_iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
    let maintenance = Dict::from([("retention".to_owned(), max_ages.into())]);
    Dict::from([("maintenance".to_owned(), maintenance.into())])
}

/// A variable's value is text, but where the key wants a number: an id such as `00123` stays text.
fn env_var_layer(name: &str, value: &str) -> Dict {
    let path = name[ENV_PREFIX.len()..].to_lowercase().replace("__", ".");
    let wants_number = path.ends_with(".requests_per_minute") || path.ends_with(".max_in_flight");
    let value = match value.parse::<u64>() {
        Ok(number) if wants_number => Value::from(number),
        Ok(_) | Err(_) => Value::from(value),
    };
    dict_at_key(&path, value)
}

/// A value at a dotted key.
fn dict_at_key(path: &str, value: Value) -> Dict {
    match figment::util::nest(path, value) {
        Value::Dict(_, dict) => dict,
        other => Dict::from([(path.to_owned(), other)]),
    }
}

/// `DUNE_API_KEY` alone is enough of a config: it makes the provider `dune`, or completes it.
fn dune_from_api_key_var(figment: &Figment, env: &BTreeMap<String, String>) -> Option<Dict> {
    non_empty_var(env, "DUNE_API_KEY")?;
    let providers = match figment.find_value("providers") {
        Ok(Value::Dict(_, providers)) => providers,
        Ok(_) => return None,
        Err(_) => Dict::new(),
    };
    let is_incomplete = |provider: &Value| {
        provider
            .as_dict()
            .is_some_and(|dict| !dict.contains_key("kind") && !dict.contains_key("api_key"))
    };
    let applies = providers.is_empty()
        || (providers.len() == 1 && providers.get("dune").is_some_and(is_incomplete));
    let key = Dict::from([("env".to_owned(), "DUNE_API_KEY".into())]);
    let dune = Dict::from([("kind".to_owned(), "dune".into()), ("api_key".to_owned(), key.into())]);
    let providers = Dict::from([("dune".to_owned(), dune.into())]);
    applies.then(|| Dict::from([("providers".to_owned(), providers.into())]))
}

/// One source of settings, named.
struct Layer {
    name: String,
    dict: Dict,
}

impl Layer {
    fn new(name: impl Into<String>, dict: Dict) -> Self {
        Self { name: name.into(), dict }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

/// Where a key stands, for complaints.
struct SettingLocator<'a> {
    file: Option<&'a Path>,
    text: &'a str,
    figment: &'a Figment,
}

impl SettingLocator<'_> {
    fn locate(&self, key: &str) -> String {
        let mut existing_key = key;
        let source = loop {
            if let Some(metadata) = self.figment.find_metadata(existing_key) {
                break metadata.name.to_string();
            }
            match existing_key.rsplit_once('.') {
                Some((parent, _)) => existing_key = parent,
                None => break "config".to_owned(),
            }
        };
        match self.file {
            Some(file) if source == file.display().to_string() => line_of_key(self.text, key)
                .map_or_else(|| source.clone(), |line| format!("{source}:{line}")),
            Some(_) | None => source,
        }
    }

    fn describe_error(&self, error: &figment::Error) -> String {
        let mut key = error.path.join(".");
        let description = match &error.kind {
            // The path leads to the key itself.
            Complaint::UnknownField(_, allowed) => {
                format!("is not a setting; here these are: {}", allowed.join(", "))
            }
            Complaint::UnknownVariant(_, allowed) => {
                format!("must be one of: {}", allowed.join(", "))
            }
            Complaint::MissingField(field) => {
                if !key.is_empty() {
                    key.push('.');
                }
                key.push_str(field);
                "is needed and not set".to_owned()
            }
            Complaint::InvalidType(found, expected) | Complaint::InvalidValue(found, expected) => {
                format!("must be {expected}, not {}", type_name(found))
            }
            Complaint::Message(what) => what.clone(),
            other @ (Complaint::InvalidLength(..)
            | Complaint::DuplicateField(_)
            | Complaint::ISizeOutOfRange(_)
            | Complaint::USizeOutOfRange(_)
            | Complaint::Unsupported(_)
            | Complaint::UnsupportedKey(..)) => format!("cannot be used: {}", variant_name(other)),
        };
        format!("{}: {key} {description}", self.locate(&key))
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
        | Actual::Other(_) => "something else",
    }
}

fn variant_name(kind: &Complaint) -> &'static str {
    match kind {
        Complaint::InvalidLength(..) => "wrong length",
        Complaint::DuplicateField(_) => "set twice",
        Complaint::ISizeOutOfRange(_) | Complaint::USizeOutOfRange(_) => "number out of range",
        _ => "wrong type",
    }
}

fn line_of_offset(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

/// The line of a key in a TOML text, or of its nearest parent that stands there.
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

fn collect_settings(figment: &Figment, config: &Config) -> Vec<Setting> {
    let mut collected = Vec::new();
    if let Ok(all) = figment.extract::<Dict>() {
        flatten(figment, "", &all, &mut collected);
    }
    for (name, provider) in &config.providers {
        let kind_defaults = [
            ("base_url", format!("{:?}", provider.base_url().unwrap_or_default())),
            ("requests_per_minute", provider.requests_per_minute().to_string()),
            ("max_in_flight", provider.max_in_flight().to_string()),
        ];
        let iam_url = provider.fetches_tokens().then(|| provider.iam_url()).flatten();
        let iam_url = iam_url.map(|url| ("iam_url", format!("{url:?}")));
        for (key, value) in kind_defaults.into_iter().chain(iam_url) {
            let key = format!("providers.{name}.{key}");
            if !collected.iter().any(|setting| setting.key == key) {
                let source = format!("default of kind {}", provider.kind.as_str());
                collected.push(Setting { key, value, source });
            }
        }
    }
    collected.sort_by(|a, b| a.key.cmp(&b.key));
    collected
}

fn flatten(figment: &Figment, parent_key: &str, dict: &Dict, collected: &mut Vec<Setting>) {
    for (name, value) in dict {
        let mut key = parent_key.to_owned();
        if !key.is_empty() {
            key.push('.');
        }
        key.push_str(name);
        if let Value::Dict(_, inner) = value {
            flatten(figment, &key, inner, collected);
            continue;
        }
        let mut rendered = String::new();
        match value {
            Value::String(_, text) => {
                let _ = write!(rendered, "{text:?}");
            }
            Value::Num(_, number) => {
                let _ = match number.to_u128().map(u128::cast_signed).or_else(|| number.to_i128()) {
                    Some(whole) => write!(rendered, "{whole}"),
                    None => write!(rendered, "a number"),
                };
            }
            Value::Bool(_, flag) => {
                let _ = write!(rendered, "{flag}");
            }
            Value::Char(..) | Value::Dict(..) | Value::Array(..) | Value::Empty(..) => {
                rendered.push('…');
            }
        }
        let source = figment
            .find_metadata(&key)
            .map_or_else(|| "default".to_owned(), |metadata| metadata.name.to_string());
        collected.push(Setting { key, value: rendered, source });
    }
}
