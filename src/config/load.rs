//! Reads the configuration: merges the layers, parses each section, validates the whole.
//!
//! Called at a start, on a reload, by `jobtrackd --check` and by tests. An error names the place of the
//! setting; all errors that are found after parsing the fixed sections are reported together.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::value::Dict;
use serde::Deserialize;

use crate::job::ProviderName;

use super::diagnostics::{ConfigError, SettingError, config_error};
use super::effective::{Setting, effective_settings};
use super::ineffective::ineffective_settings;
use super::layers::Layers;
use super::path_setting::resolve_file_path;
use super::provider::{KindSchema, ProviderConfig};
use super::{
    Config, ControlConfig, LogConfig, MaintenanceConfig, PollingConfig, StoreConfig, previous_names,
};

/// The effective settings, and the source of each.
#[derive(Debug)]
pub struct LoadedConfig {
    pub config: Config,
    /// The file that was read, if there is one.
    pub file: Option<PathBuf>,
    /// In the order of their keys.
    pub settings: Vec<Setting>,
    /// Settings and variables that have no effect, one sentence each.
    pub warnings: Vec<String>,
}

/// The sections as they are written. The tables of the providers are parsed in a second step, since
/// their keys depend on `kind`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sections {
    store: StoreConfig,
    control: ControlConfig,
    polling: PollingConfig,
    maintenance: MaintenanceConfig,
    log: LogConfig,
    #[serde(default)]
    providers: BTreeMap<ProviderName, Dict>,
}

/// Reads the settings. `explicit_path` is the file named on the command line, `env` the environment,
/// `kinds` the kinds of providers that the program has.
///
/// # Errors
/// If the file cannot be read, a key is unknown or missing, or a value is not allowed.
pub fn load(
    explicit_path: Option<&Path>,
    env: &BTreeMap<String, String>,
    kinds: &[&'static dyn KindSchema],
) -> Result<LoadedConfig, ConfigError> {
    let layers = Layers::read(explicit_path, env, kinds)?;
    let text = layers.config_text();
    let to_config_error =
        |errors: &[SettingError]| config_error(errors, &layers.figment, text.as_ref());
    let sections: Sections = layers.figment.extract().map_err(|errors| {
        let errors: Vec<_> =
            errors.into_iter().map(|error| SettingError::from_figment(&error, &[])).collect();
        to_config_error(&errors)
    })?;
    let polling: Dict = layers.figment.extract_inner("polling").unwrap_or_default();

    let mut errors = Vec::new();
    let mut providers = BTreeMap::new();
    let mut kind_defaults = Vec::new();
    for (name, table) in sections.providers {
        match ProviderConfig::parse(table, &polling, kinds) {
            Ok((provider, defaults)) => {
                let source = format!("default of kind {}", provider.kind);
                kind_defaults.extend(defaults.into_iter().map(|(key, value)| Setting {
                    key: format!("providers.{name}.{key}"),
                    value,
                    source: source.clone(),
                }));
                providers.insert(name, provider);
            }
            Err(found) => {
                let table = format!("providers.{name}");
                errors.extend(found.into_iter().map(|error| error.within(&table)));
            }
        }
    }
    let Sections { mut store, mut control, polling, maintenance, log, .. } = sections;
    let paths = [
        ("store.path".to_owned(), Some(&mut store.path)),
        ("control.socket".to_owned(), Some(&mut control.socket)),
        ("control.read_only_socket".to_owned(), control.read_only_socket.as_mut()),
    ];
    let ca_files = providers.iter_mut().map(|(name, provider)| {
        (format!("providers.{name}.ca_file"), provider.connection.ca_file.as_mut())
    });
    let paths = paths.into_iter().chain(ca_files);
    for (key, path) in paths.filter_map(|(key, path)| Some((key, path?))) {
        match resolve_file_path(path, layers.directories.home()) {
            Ok(resolved) => *path = resolved,
            Err(problem) => errors.push(SettingError::new(key, problem)),
        }
    }
    let config = Config { store, control, polling, maintenance, log, providers };
    errors.extend(validate(&config));
    if !errors.is_empty() {
        return Err(to_config_error(&errors));
    }
    let settings = effective_settings(&layers.figment, kind_defaults);
    let warnings = ineffective_settings(&config, &layers.figment, env);
    Ok(LoadedConfig { config, file: layers.file, settings, warnings })
}

/// The errors that depend on more than one value, and ranges that are checked after parsing.
fn validate(config: &Config) -> Vec<SettingError> {
    let within = |table: String| move |error: SettingError| error.within(&table);
    let mut errors: Vec<_> =
        config.polling.validate().into_iter().map(within("polling".into())).collect();
    for (name, provider) in &config.providers {
        // An error in [polling] is reported once, for its own section.
        if provider.polling != config.polling {
            let own_errors = provider.polling.validate().into_iter();
            errors.extend(own_errors.map(within(format!("providers.{name}"))));
        }
    }
    // sun_path has 108 bytes, one of them for the terminating zero.
    let control = &config.control;
    let read_only = control.read_only_socket.as_ref();
    let sockets =
        [("control.socket", Some(&control.socket)), ("control.read_only_socket", read_only)];
    for (key, path) in sockets {
        if path.is_some_and(|path| path.as_os_str().len() > 107) {
            errors.push(SettingError::new(key, "must be a path of at most 107 bytes"));
        }
    }
    if read_only == Some(&control.socket) {
        let reason = "must be another path than control.socket";
        errors.push(SettingError::new("control.read_only_socket", reason));
    }
    errors.extend(previous_names::validate(&config.providers));
    errors
}
