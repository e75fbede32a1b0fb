//! What a reload changes, and what only a restart can change. Pure functions.
//!
//! Used by `reload`. Each setting of `[store]` and `[control]` is named here: a new one does not compile
//! until it is decided whether a reload applies it.

use crate::api::ReloadResponse;
use crate::config::{Config, ControlConfig, LogConfig, StoreConfig};

/// The differences between the config in effect and a new one, setting by setting.
pub(super) fn config_changes(old: &Config, new: &Config) -> ReloadResponse {
    let Config { store, control, polling, maintenance, log, providers } = new;
    let LogConfig { format, level } = log;
    let StoreConfig { path, allow_network_file_system, statement } = store;
    let ControlConfig {
        socket,
        mode,
        group,
        read_only_socket,
        read_only_mode,
        read_only_group,
        max_jobs_per_user,
        max_label_bytes_per_user,
    } = control;
    let needs_restart = [
        ("store.path", *path != old.store.path),
        (
            "store.allow_network_file_system",
            *allow_network_file_system != old.store.allow_network_file_system,
        ),
        ("control.socket", *socket != old.control.socket),
        ("control.mode", *mode != old.control.mode),
        ("control.group", *group != old.control.group),
        ("control.read_only_socket", *read_only_socket != old.control.read_only_socket),
        ("control.read_only_mode", *read_only_mode != old.control.read_only_mode),
        ("control.read_only_group", *read_only_group != old.control.read_only_group),
        ("control.max_jobs_per_user", *max_jobs_per_user != old.control.max_jobs_per_user),
        (
            "control.max_label_bytes_per_user",
            *max_label_bytes_per_user != old.control.max_label_bytes_per_user,
        ),
        ("log.format", *format != old.log.format),
    ];
    let mut changed = Vec::new();
    for (what, differs) in [
        ("store.statement", *statement != old.store.statement),
        ("polling", *polling != old.polling),
        ("maintenance", *maintenance != old.maintenance),
        ("log.level", *level != old.log.level),
    ] {
        changed.extend(differs.then(|| format!("{what} changed")));
    }
    for (name, provider) in providers {
        match old.providers.get(name) {
            None => changed.push(format!("provider {name} added")),
            Some(before) if before != provider => changed.push(format!("provider {name} changed")),
            Some(_) => {}
        }
    }
    for name in old.providers.keys().filter(|name| !providers.contains_key(name)) {
        changed.push(format!("provider {name} removed; its jobs are not polled"));
    }
    let needs_restart = needs_restart.into_iter().filter(|(_, differs)| *differs);
    ReloadResponse {
        changed,
        needs_restart: needs_restart.map(|(setting, _)| setting.to_owned()).collect(),
    }
}

/// The config in effect after a reload. What needs a restart keeps its old value, so that the next reload
/// reports it again.
pub(super) fn apply_reload(old: &Config, new: Config) -> Config {
    let StoreConfig { path, allow_network_file_system, statement: _ } = old.store.clone();
    Config {
        store: StoreConfig { path, allow_network_file_system, statement: new.store.statement },
        control: old.control.clone(),
        log: LogConfig { format: old.log.format, level: new.log.level },
        ..new
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::config::load;
    use crate::provider::kind_schemas;

    /// Another value for each setting in the tables of the example, and whether it needs a restart.
    const OTHER_VALUES: [(&str, &str, bool); 22] = [
        ("store.path", "'/other/jobtrack.db'", true),
        ("store.allow_network_file_system", "true", true),
        ("store.statement", "'hash'", false),
        ("control.socket", "'/other/control.sock'", true),
        ("control.mode", "'0600'", true),
        ("control.group", "'other'", true),
        ("control.read_only_socket", "'/other/read-only.sock'", true),
        ("control.read_only_mode", "'0666'", true),
        ("control.read_only_group", "'other'", true),
        ("control.max_jobs_per_user", "7", true),
        ("control.max_label_bytes_per_user", "7", true),
        ("polling.policy", "'backoff'", false),
        ("polling.price", "'7s'", false),
        ("polling.min_interval", "'7s'", false),
        ("polling.max_interval", "'7m'", false),
        ("polling.request_timeout", "'7s'", false),
        ("polling.give_up_after", "'7d'", false),
        ("polling.lost_after", "'7m'", false),
        ("polling.lost_after_never_seen", "'7h'", false),
        ("maintenance.prune_schedule", "'7 7 * * *'", false),
        ("log.format", "'json'", true),
        ("log.level", "'debug'", false),
    ];

    fn config(text: &str) -> Config {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("config.toml");
        std::fs::write(&file, text).expect("a file");
        let environment = BTreeMap::from([("HOME".to_owned(), "/home/someone".to_owned())]);
        load(Some(&file), &environment, &kind_schemas()).expect(text).config
    }

    /// The settings in the tables of config.example.toml before the providers, commented or not.
    fn example_settings() -> BTreeSet<String> {
        let mut table = "";
        let mut settings = BTreeSet::new();
        let example = include_str!("../../config.example.toml");
        for line in example.lines().take_while(|line| !line.starts_with("[providers")) {
            if let Some(name) = line.strip_prefix('[') {
                table = name.trim_end_matches(']');
            }
            let setting = line.trim_start_matches("# ").split_once(" = ").map(|(key, _)| key);
            if let Some(key) = setting.filter(|key| !key.contains(' ')) {
                settings.insert(format!("{table}.{key}"));
            }
        }
        settings
    }

    #[test]
    fn every_changed_setting_is_reported_with_what_it_takes() {
        let covered = OTHER_VALUES.iter().map(|(setting, ..)| (*setting).to_owned());
        let covered: BTreeSet<_> = covered.chain(["maintenance.retention".to_owned()]).collect();
        assert_eq!(covered, example_settings(), "a setting is missing here or in the example");
        let old = config("");
        let retention = ("maintenance.retention.default", "'7d'", false);
        for (setting, value, needs_restart) in OTHER_VALUES.into_iter().chain([retention]) {
            let new = config(&format!("{setting} = {value}\n"));
            let report = config_changes(&old, &new);
            let table = setting.split('.').next().expect("a table");
            let applied = if ["store", "log"].contains(&table) { setting } else { table };
            let expected = if needs_restart {
                ReloadResponse { changed: vec![], needs_restart: vec![setting.to_owned()] }
            } else {
                ReloadResponse {
                    changed: vec![format!("{applied} changed")],
                    needs_restart: vec![],
                }
            };
            assert_eq!(report, expected, "{setting}");
            // The next reload reports what still needs a restart, and nothing else.
            let again = config_changes(&apply_reload(&old, new.clone()), &new);
            assert_eq!(again, ReloadResponse { changed: vec![], ..expected }, "{setting}");
        }
    }
}
