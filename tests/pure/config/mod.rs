//! The configuration: its sources, its error messages, and that no secret is repeated.

mod invalid;
mod secrets;
mod sources;

use std::collections::BTreeMap;
use std::path::PathBuf;

use jobtrack::config::{LoadedConfig, load};
use jobtrack::provider::kind_schemas;
use tempfile::TempDir;

/// An environment and, optionally, a config file.
struct ConfigCase {
    dir: TempDir,
    env: BTreeMap<String, String>,
    file: Option<PathBuf>,
}

impl ConfigCase {
    fn new() -> Self {
        let dir = TempDir::with_prefix("jobtrack-config-").expect("a temporary directory");
        Self { dir, env: BTreeMap::new(), file: None }
    }

    /// With this file named on the command line.
    fn with_file(text: &str) -> Self {
        let mut case = Self::new();
        case.file = Some(case.write("config.toml", text));
        case
    }

    /// A file below the case's directory.
    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        let directory = path.parent().expect("a directory");
        std::fs::create_dir_all(directory).expect("a directory");
        std::fs::write(&path, text).expect("a file");
        path
    }

    fn with_env(mut self, name: &str, value: &str) -> Self {
        self.env.insert(name.to_owned(), value.to_owned());
        self
    }

    /// Loads the settings, which must be valid.
    fn load_ok(&self) -> LoadedConfig {
        load(self.file.as_deref(), &self.env, &kind_schemas())
            .unwrap_or_else(|error| panic!("{error}"))
    }

    /// The error message of settings that are not valid.
    fn load_error(&self) -> String {
        match load(self.file.as_deref(), &self.env, &kind_schemas()) {
            Err(error) => error.to_string(),
            Ok(loaded) => panic!("taken: {:?}", loaded.config),
        }
    }
}

/// The value of a setting as `jobtrackd --check` shows it, and its source.
fn setting_with_source(loaded: &LoadedConfig, key: &str) -> (String, String) {
    let setting = loaded.settings.iter().find(|setting| setting.key == key);
    let setting = setting.unwrap_or_else(|| panic!("{key} is not shown"));
    (setting.value.clone(), setting.source.clone())
}
