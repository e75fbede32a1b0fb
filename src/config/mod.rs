//! The settings: what can be set, the defaults, and the validation.
//!
//! Read by [`load()`], used by every module that does I/O. The settings of a kind of provider belong to
//! the kind, which describes them by [`KindSchema`]. A [`Config`] never holds a secret, only
//! [`SecretRef`]s, which name the place of one.

mod defaults;
mod diagnostics;
mod directories;
mod directory_access;
mod duration;
mod effective;
mod env;
mod ineffective;
mod layers;
mod load;
mod log;
mod maintenance;
mod path_setting;
mod polling;
mod previous_names;
mod provider;
mod secret_ref;

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use crate::job::ProviderName;

pub use diagnostics::{ConfigError, SettingError};
pub use directories::{Directories, parse_file_path};
pub use directory_access::check_directory_writable;
pub use effective::Setting;
pub use env::non_empty_var;
pub use load::{LoadedConfig, load};
pub use log::{LogConfig, LogFormat, LogLevel};
pub use maintenance::{CronSchedule, MaintenanceConfig, RetentionPolicy};
pub use polling::{PolicyName, PollingConfig};
pub use provider::{
    ConnectionConfig, DiscoveredSetting, KindSchema, MappedState, ProviderConfig, ProxySetting,
    SettingsTable,
};
pub use secret_ref::SecretRef;

#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    pub store: StoreConfig,
    pub control: ControlConfig,
    /// Applies to every provider that does not override it.
    pub polling: PollingConfig,
    pub maintenance: MaintenanceConfig,
    pub log: LogConfig,
    pub providers: BTreeMap<ProviderName, ProviderConfig>,
}

/// `[store]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreConfig {
    pub path: PathBuf,
    /// Accepts a network file system, on which one machine alone may use the database.
    pub allow_network_file_system: bool,
    pub statement: StatementCapture,
}

/// How much of a job's SQL statement is stored. A statement may hold personal data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatementCapture {
    /// The text, cut at 8 KiB.
    Full,
    /// A hash, equal for equal statements.
    Hash,
    None,
}

/// `[control]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControlConfig {
    pub socket: PathBuf,
    pub mode: SocketMode,
    /// The group of the socket file; without one, the group of the process.
    #[serde(default)]
    pub group: Option<String>,
    /// A second socket, for requests that change nothing; none without it.
    #[serde(default)]
    pub read_only_socket: Option<PathBuf>,
    pub read_only_mode: SocketMode,
    #[serde(default)]
    pub read_only_group: Option<String>,
    /// How many unfinished jobs each user may have added; no limit without it.
    #[serde(default)]
    pub max_jobs_per_user: Option<u32>,
    /// How many bytes the labels of these jobs may have together, as JSON; no limit without it.
    #[serde(default)]
    pub max_label_bytes_per_user: Option<u32>,
}

/// The permission bits of the socket file, written as octal text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SocketMode(pub u32);

impl TryFrom<String> for SocketMode {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        match u32::from_str_radix(&text, 8) {
            Ok(bits) if bits <= 0o777 => Ok(Self(bits)),
            Ok(_) | Err(_) => Err("must be octal permission bits in quotes, such as \"0660\""),
        }
    }
}
