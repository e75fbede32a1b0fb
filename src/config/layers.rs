//! The layers of the configuration, each overriding the one before: defaults, one file, environment.
//!
//! Used by [`load()`](super::load()) alone. Each layer carries the name of its source, which
//! [`diagnostics`](super::diagnostics) and `jobtrackd --check` show.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::diagnostics::{ConfigError, ConfigText, line_of_offset};
use super::env::{dict_at_key, dune_from_api_key, non_empty_var, overrides};
use super::path_setting::resolve_file_path;
use super::provider::{KindSchema, implied_settings};
use super::{Directories, defaults};

pub(super) const DEFAULT_SOURCE: &str = "default";

/// All layers, merged.
pub(super) struct Layers {
    pub(super) figment: Figment,
    /// The file that was read.
    pub(super) file: Option<PathBuf>,
    /// The text of that file.
    text: String,
    pub(super) directories: Directories,
}

impl Layers {
    /// Reads the file and merges all layers.
    pub(super) fn read(
        explicit_path: Option<&Path>,
        env: &BTreeMap<String, String>,
        kinds: &[&'static dyn KindSchema],
    ) -> Result<Self, ConfigError> {
        let directories = Directories::from_env(|name| env.get(name).map(Into::into));
        let mut figment =
            Figment::from(Layer::new(DEFAULT_SOURCE, defaults::defaults(&directories)));
        let file = find_config_file(explicit_path, env, &directories)?;
        let mut text = String::new();
        if let Some(path) = &file {
            text = std::fs::read_to_string(path)
                .map_err(|error| ConfigError(format!("{}: {error}", path.display())))?;
            figment =
                figment.merge(Layer::new(path.display().to_string(), parse_toml(path, &text)?));
        }
        for (source, dict) in overrides(env) {
            figment = figment.merge(Layer::new(source, dict));
        }
        // From here on the layers only add what no layer before has set.
        if figment.find_value("maintenance.retention").is_err() {
            figment = figment.join(Layer::new(DEFAULT_SOURCE, defaults::default_retention()));
        }
        if let Some((source, dict)) = dune_from_api_key(&figment, env) {
            figment = figment.join(Layer::new(source, dict));
        }
        if let Ok(Value::Dict(_, providers)) = figment.find_value("providers") {
            for (name, table) in &providers {
                for implied in implied_settings(table, kinds, env) {
                    let key = format!("providers.{name}.{}", implied.key);
                    let dict = dict_at_key(&key, implied.value.into());
                    figment = figment.join(Layer::new(implied.source, dict));
                }
            }
        }
        Ok(Self { figment, file, text, directories })
    }

    /// The file with its text, for messages that name a line.
    pub(super) fn config_text(&self) -> Option<ConfigText<'_>> {
        self.file.as_deref().map(|path| ConfigText { path, text: &self.text })
    }
}

fn parse_toml(path: &Path, text: &str) -> Result<Dict, ConfigError> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of_offset(text, span.start));
        ConfigError(format!("{}:{line}: {}", path.display(), error.message()))
    })
}

fn find_config_file(
    explicit_path: Option<&Path>,
    env: &BTreeMap<String, String>,
    directories: &Directories,
) -> Result<Option<PathBuf>, ConfigError> {
    let explicit_file =
        explicit_path.or_else(|| non_empty_var(env, "JOBTRACK_CONFIG").map(Path::new));
    match explicit_file {
        Some(path) => resolve_file_path(path, directories.home())
            .map(Some)
            .map_err(|problem| ConfigError(format!("config file {}: {problem}", path.display()))),
        None => Ok(directories.config_files().into_iter().find(|path| path.exists())),
    }
}

/// The settings of one source.
struct Layer {
    source: String,
    dict: Dict,
}

impl Layer {
    fn new(source: impl Into<String>, dict: Dict) -> Self {
        Self { source: source.into(), dict }
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.clone())
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}
