//! Reading the config again, on SIGHUP or on request. A config that cannot be used changes nothing.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::api::ReloadAnswer;
use crate::config::{self, Config, StoreConfig};
use crate::scheduler::{Handle, Refusal};
use crate::store::Renamed;
use crate::systemd;

use super::providers;
use super::upkeep::Housekeeper;

/// How the config was found. It holds the environment, and in it perhaps a key: no `Debug`.
pub(super) struct Reloader {
    file: Option<PathBuf>,
    environment: BTreeMap<String, String>,
}

/// The config in force, and what it is in force on.
pub(super) struct Running {
    found: Reloader,
    current: Config,
    housekeeper: Housekeeper,
}

impl Reloader {
    pub(super) fn new(file: Option<PathBuf>, environment: BTreeMap<String, String>) -> Self {
        Self { file, environment }
    }

    /// Puts `current` in force where nothing else has done so yet.
    pub(super) async fn of(
        self,
        current: Config,
        mut housekeeper: Housekeeper,
    ) -> anyhow::Result<Running> {
        let first = housekeeper.prepare(&current.maintenance).await.map_err(anyhow::Error::msg)?;
        housekeeper.start(first);
        Ok(Running { found: self, current, housekeeper })
    }
}

impl Running {
    /// Reads config and secrets again and puts them in force; says what changed, or what is wrong.
    pub(super) async fn reload(&mut self, handle: &Handle) -> Result<ReloadAnswer, String> {
        systemd::reloading();
        let done = self.try_reload(handle).await;
        match &done {
            Ok(answer) => tracing::info!("config reloaded: {}", told(answer)),
            Err(error) => {
                tracing::error!("config not reloaded; the old one stays in force: {error}");
            }
        }
        systemd::ready(handle);
        done
    }

    async fn try_reload(&mut self, handle: &Handle) -> Result<ReloadAnswer, String> {
        let loaded = config::load(self.found.file.as_deref(), &self.found.environment);
        let new = loaded.map_err(|error| error.to_string())?.config;
        let providers = providers::build_all(&new).map_err(|error| error.to_string())?;
        // What can fail comes before what takes effect.
        let maintenance = if self.current.maintenance == new.maintenance {
            None
        } else {
            Some(self.housekeeper.prepare(&new.maintenance).await?)
        };
        let renamed = handle.configure(providers).await.map_err(|refusal| match refusal {
            Refusal::Busy => "the jobs of former names could not be renamed in time; they may be \
                              later; reload again"
                .to_owned(),
            refusal @ (Refusal::Storage(_)
            | Refusal::NoProvider(..)
            | Refusal::Upstream(_)
            | Refusal::ShuttingDown) => refusal.to_string(),
        })?;
        if let Some(maintenance) = maintenance {
            self.housekeeper.start(maintenance);
        }
        let answer = compare(&self.current, &new, &renamed);
        // What needs a restart stays as it is, so that the next reload says so again.
        self.current = Config {
            store: StoreConfig { path: self.current.store.path.clone(), ..new.store },
            control: self.current.control.clone(),
            ..new
        };
        Ok(answer)
    }
}

/// What changed, on one line.
fn told(answer: &ReloadAnswer) -> String {
    let waiting = answer.needs_restart.iter().map(|section| format!("{section} needs a restart"));
    let lines: Vec<_> = answer.changed.iter().cloned().chain(waiting).collect();
    if lines.is_empty() { "nothing changed".to_owned() } else { lines.join("; ") }
}

fn compare(old: &Config, new: &Config, renamed: &[Renamed]) -> ReloadAnswer {
    let mut changed: Vec<_> = renamed.iter().map(ToString::to_string).collect();
    if old.polling != new.polling {
        changed.push("polling changed".to_owned());
    }
    if old.maintenance != new.maintenance {
        changed.push("maintenance changed".to_owned());
    }
    for (name, provider) in &new.providers {
        match old.providers.get(name) {
            None if renamed.iter().any(|one| one.to == *name) => {}
            None => changed.push(format!("provider {name} added")),
            Some(before) if before != provider => changed.push(format!("provider {name} changed")),
            Some(_) => {}
        }
    }
    for name in old.providers.keys().filter(|name| !new.providers.contains_key(name)) {
        if new.providers.values().any(|heir| heir.formerly.contains(name)) {
            continue;
        }
        changed.push(format!("provider {name} removed; its jobs wait"));
    }
    let mut needs_restart = Vec::new();
    if old.store.statement != new.store.statement {
        changed.push("store.statement changed".to_owned());
    }
    if old.store.path != new.store.path {
        needs_restart.push("[store]".to_owned());
    }
    if old.control != new.control {
        needs_restart.push("[control]".to_owned());
    }
    ReloadAnswer { changed, needs_restart }
}
