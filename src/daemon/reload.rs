//! Reload of the config and the secrets, on SIGHUP or by `jobtrack reload`.
//!
//! An unusable config changes nothing. Settings that only a start can apply are reported with each
//! reload until a restart.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use crate::api::{ReloadFailure, ReloadResponse};
use crate::clock::Clock;
use crate::config::{self, Config, ConfigError, LoadedConfig};
use crate::control;
use crate::job::{AuditEntry, AuditTarget, AuditedCommand, Requester};
use crate::logging::LevelSwitch;
use crate::provider::{self, BuildError, SharedCredentials};
use crate::scheduler::{CommandError, Providers, SchedulerHandle};
use crate::systemd;

use super::config_change::{apply_reload, config_changes};
use super::maintenance_task::MaintenanceTaskHandle;
use super::provider_rename::{CurrentNameByPrevious, pending_renames};
use super::providers::{build_providers, read_in_thread, renew_rejected_secrets};

/// Where the config comes from. The environment may hold a secret, so this has no `Debug`.
pub(super) struct ConfigSource {
    file: Option<PathBuf>,
    environment: BTreeMap<String, String>,
    /// Kept over a reload.
    shared_credentials: SharedCredentials,
}

/// Holds the effective config and applies a new one at each reload.
pub(super) struct ConfigReloader {
    source: Arc<ConfigSource>,
    current: Config,
    /// The providers of `current`.
    providers: Providers,
    /// The names that the start renamed; a reload renames nothing.
    previous_names: CurrentNameByPrevious,
    maintenance: MaintenanceTaskHandle,
    clock: Clock,
    log_level: LevelSwitch,
    /// For `status`: the failure of the last reload, until one succeeds.
    failure: watch::Sender<Option<ReloadFailure>>,
}

impl ConfigSource {
    pub(super) fn new(file: Option<PathBuf>, environment: BTreeMap<String, String>) -> Self {
        Self { file, environment, shared_credentials: SharedCredentials::default() }
    }

    /// Makes each reload read this file, which the start has found: a file that is missing for a moment, while
    /// an editor replaces it, is an error and not the end of all providers.
    pub(super) fn keep_file(&mut self, found: Option<PathBuf>) {
        self.file = found.or(self.file.take());
    }

    pub(super) fn load(&self) -> Result<LoadedConfig, ConfigError> {
        config::load(self.file.as_deref(), &self.environment, &provider::kind_schemas())
    }

    /// Builds the providers of a config, which reads their secrets.
    pub(super) fn build_providers(&self, config: &Config) -> Result<Providers, BuildError> {
        build_providers(config, &provider::network, &self.shared_credentials)
    }
}

impl ConfigReloader {
    /// Starts the maintenance with the config of the start, `current`.
    pub(super) async fn start(
        source: Arc<ConfigSource>,
        current: Config,
        providers: Providers,
        previous_names: CurrentNameByPrevious,
        mut maintenance: MaintenanceTaskHandle,
        clock: Clock,
        failure: watch::Sender<Option<ReloadFailure>>,
    ) -> anyhow::Result<Self> {
        let initial_run =
            maintenance.prepare(&current.maintenance).await.map_err(anyhow::Error::msg)?;
        maintenance.start(initial_run, &current.maintenance);
        Ok(Self {
            source,
            current,
            providers,
            previous_names,
            maintenance,
            clock,
            log_level: LevelSwitch::default(),
            failure,
        })
    }

    /// Makes reloads set the level of the log too.
    pub(super) fn with_log_level(self, log_level: LevelSwitch) -> Self {
        Self { log_level, ..self }
    }

    /// Reads config and secrets again and applies them. Returns what changed, or why nothing did, and
    /// logs it.
    pub(super) async fn reload(
        &mut self,
        handle: &SchedulerHandle,
    ) -> Result<ReloadResponse, String> {
        systemd::notify_reloading().await;
        // The errors of a config are on lines of their own; here they become one sentence.
        let result =
            self.try_reload(handle).await.map_err(|reason| reason.trim().replace('\n', "; "));
        let failed_at = self.clock.utc_now();
        let failure = result.as_ref().err();
        self.failure.send_replace(
            failure.map(|reason| ReloadFailure { failed_at, reason: reason.clone() }),
        );
        match &result {
            Ok(response) => tracing::info!("config reloaded: {response}"),
            Err(error) => {
                tracing::error!("config not reloaded; the old one stays in effect: {error}");
            }
        }
        systemd::notify_ready(handle).await;
        result
    }

    /// The same for SIGHUP, which waits for no result: it is logged and recorded in the audit.
    pub(super) async fn reload_by_signal(&mut self, handle: &SchedulerHandle) {
        let entry = AuditEntry::new(
            self.clock.utc_now(),
            Requester::Signal,
            AuditedCommand::Reload,
            AuditTarget::Daemon,
        );
        let entry = entry.with_result_of(self.reload(handle).await);
        let handle = handle.clone();
        // The commit can take long, and the next signal must not wait for it.
        tokio::spawn(async move {
            if let Err(error) = handle.record_audit(entry).await {
                tracing::warn!("the audit entry of the reload is not committed yet: {error}");
            }
        });
    }

    /// Ends the pauses of providers whose secrets were replaced at their places after the service rejected them.
    pub(super) async fn apply_renewed_secrets(&mut self, handle: &SchedulerHandle) {
        let renewed = renew_rejected_secrets(&self.current, &mut self.providers).await;
        for name in &renewed {
            tracing::info!("provider {name}: the secret was replaced; the new one is used now");
        }
        if !renewed.is_empty()
            && let Err(error) = handle.configure(self.providers.clone()).await
        {
            tracing::warn!("the replaced secret is tried after the pause: {error}");
        }
    }

    async fn try_reload(&mut self, handle: &SchedulerHandle) -> Result<ReloadResponse, String> {
        let source = Arc::clone(&self.source);
        let read = move || {
            let loaded = source.load().map_err(|error| error.to_string())?;
            let providers = source.build_providers(&loaded.config);
            Ok((loaded, providers.map_err(|error| error.to_string())?))
        };
        let read: Result<_, String> =
            read_in_thread(read).await.map_err(|timeout| timeout.to_string())?;
        let (LoadedConfig { config: new, warnings, .. }, providers) = read?;
        for warning in warnings {
            tracing::warn!("{warning}");
        }
        // All steps that can fail come before the first one that has an effect.
        let maintenance = if self.current.maintenance == new.maintenance {
            None
        } else {
            Some(self.maintenance.prepare(&new.maintenance).await?)
        };
        handle.configure(providers.clone()).await.map_err(|error| match error {
            CommandError::TimedOut => {
                "the scheduler did not answer in time; reload again".to_owned()
            }
            other @ (CommandError::Storage(_)
            | CommandError::ProviderNotConfigured(..)
            | CommandError::ProviderPaused(_)
            | CommandError::TooManyRequests(_)
            | CommandError::Upstream(_)
            | CommandError::ShuttingDown) => other.to_string(),
        })?;
        if let Some(maintenance) = maintenance {
            self.maintenance.start(maintenance, &new.maintenance);
        }
        self.log_level.set(new.log.level);
        let mut response = config_changes(&self.current, &new);
        let renames = pending_renames(&self.previous_names, &new, &*handle.snapshot().await);
        response.needs_restart.extend(renames);
        // The database is not checked: opening the file in this process, which may have it open under
        // another path, would release the locks of SQLite.
        if self.current.control != new.control
            && let Err(error) = control::check_socket_config(&new.control)
        {
            response.needs_restart.push(format!("the restart would fail: {error}"));
        }
        self.providers = providers;
        self.current = apply_reload(&self.current, new);
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_the_start_has_found_must_be_there_at_a_reload() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("jobtrack/config.toml");
        std::fs::create_dir(directory.path().join("jobtrack")).expect("a directory");
        std::fs::write(&file, "").expect("a file");
        let home = directory.path().to_string_lossy().into_owned();
        let environment = [("XDG_CONFIG_HOME", home.clone()), ("HOME", home)];
        let environment = environment.map(|(name, value)| (name.to_owned(), value));
        let mut source = ConfigSource::new(None, environment.into());
        let found = source.load().expect("a config").file;
        assert_eq!(found.as_ref(), Some(&file));
        source.keep_file(found);
        std::fs::remove_file(&file).expect("removed");
        let error = source.load().expect_err("the file is missing").to_string();
        assert!(error.contains("config.toml: No such file"), "{error}");
    }
}
