//! `config.example.toml` is valid, and its comments state the defaults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use jobtrack::config::{LoadedConfig, load};

use crate::support::daemon::utf8;

fn example_path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml")
}

fn example_text() -> String {
    std::fs::read_to_string(example_path()).expect("the example")
}

/// Loads `text` as a config file, with an empty environment. The error is its message.
fn load_text(text: &str) -> Result<LoadedConfig, String> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("config.toml");
    std::fs::write(&file, text).expect("a file");
    load(Some(&file), &BTreeMap::new(), &jobtrack::provider::kind_schemas())
        .map_err(|error| error.to_string())
}

/// The example with every setting uncommented: comments are sentences, settings are `key = …`, and
/// `[section]`.
fn example_with_comments_enabled() -> String {
    let is_setting = |line: &str| {
        let key = line.split_once(" = ").map_or("", |(key, _)| key);
        let is_key = !key.is_empty() && key.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        is_key || (line.starts_with('[') && line.ends_with(']'))
    };
    let lines = example_text();
    let lines = lines.lines().map(|line| match line.strip_prefix("# ") {
        Some(setting) if is_setting(setting) => setting,
        Some(_) | None => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn it_passes_the_check_once_its_secret_exists() {
    let check = |key: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_jobtrackd"));
        command.env_clear().args(["--check", "--config"]).arg(example_path());
        command.envs(key.map(|key| ("DUNE_API_KEY", key)));
        command.output().expect("jobtrackd runs")
    };
    let good = check(Some("a-key-of-ours"));
    assert_eq!(good.status.code(), Some(0), "{}", utf8(&good.stderr));
    assert!(!utf8(&good.stdout).contains("a-key-of-ours"));
    let without = check(None);
    assert_eq!(without.status.code(), Some(78));
    assert!(utf8(&without.stderr).contains("DUNE_API_KEY"));
}

#[test]
fn its_comments_are_the_defaults() {
    let plain = load_text(&example_text()).expect("the example is valid");
    let whole = load_text(&example_with_comments_enabled()).expect("the whole example is valid");
    let group = whole.config.control.group.clone();
    assert!(group.is_some(), "the group has no default, only an example");
    // A provider's own settings are present in one and absent in the other; the values in force are equal.
    let in_force = |loaded: &LoadedConfig| {
        let config = loaded.config.clone();
        let provider = config.providers.into_values().next().expect("dune comes first");
        let numbers = (provider.requests_per_minute, provider.max_in_flight);
        let base_url = loaded.settings.iter().find(|one| one.key == "providers.dune.base_url");
        (
            config.store,
            config.maintenance,
            config.control.socket,
            config.control.mode,
            config.polling,
            provider.polling,
            numbers,
            base_url.map(|setting| setting.value.clone()),
        )
    };
    assert_eq!(in_force(&plain), in_force(&whole));
}

#[test]
fn it_names_every_setting() {
    // The error for an unknown key lists the keys that are known.
    let sections = [
        ("store", ""),
        ("control", ""),
        ("polling", ""),
        ("maintenance", ""),
        ("log", ""),
        ("providers.dune", "kind = \"dune\"\n"),
        ("providers.lake", "kind = \"dli\"\n"),
        ("providers.scripts", "kind = \"dataarts\"\n"),
    ];
    let text = example_with_comments_enabled();
    let start_of = |section: &str| text.find(&format!("\n[{section}]\n")).expect(section);
    let first_provider = start_of("providers.dune");
    let mut previous_start = 0;
    for (section, kind) in sections {
        let start = start_of(section);
        assert!(start >= previous_start, "[{section}] has its place");
        previous_start = start;
        // The keys that all providers have are shown once, for the first provider.
        let body = if section.starts_with("providers") {
            &text[first_provider..]
        } else {
            text[start + 2..].split("\n[").next().expect("a section")
        };
        let error = load_text(&format!("[{section}]\n{kind}bogus = 1\n")).expect_err(section);
        let known = error.split("here these are: ").nth(1).expect("the known keys");
        for key in known.lines().next().expect("a line").split(", ") {
            let is_set = body.lines().any(|line| line.starts_with(&format!("{key} = ")));
            assert!(is_set, "{section}.{key}");
        }
    }
}

/// The page that describes all settings.
const PAGE: &str = include_str!("../../docs/configuration.md");

#[test]
fn the_configuration_page_describes_every_setting_and_states_the_defaults() {
    let sections = [
        ("store", "", "## `[store]`"),
        ("control", "", "## `[control]`"),
        ("polling", "", "## `[polling]`"),
        ("maintenance", "", "## `[maintenance]`"),
        ("log", "", "## `[log]`"),
        ("providers.x", "kind = \"dune\"\n", "## `[polling]`"),
        ("providers.x", "kind = \"dli\"\n", "## `[polling]`"),
        ("providers.x", "kind = \"dataarts\"\n", "## `[polling]`"),
    ];
    for (section, kind, heading) in sections {
        let (_, body) = PAGE.split_once(heading).expect(heading);
        let body =
            if kind.is_empty() { body.split("\n## ").next().expect("a section") } else { body };
        let error = load_text(&format!("[{section}]\n{kind}bogus = 1\n")).expect_err(section);
        let known = error.split("here these are: ").nth(1).expect("the known keys");
        for key in known.lines().next().expect("a line").split(", ") {
            assert!(body.contains(&format!("\n| `{key}` |")), "{section}.{key}");
        }
    }
    let defaults = load_text("").expect("the defaults are valid").settings;
    for setting in defaults {
        let (_, key) = setting.key.split_once('.').expect("a section");
        let row = PAGE.lines().find(|line| line.starts_with(&format!("| `{key}` |")));
        // The default paths depend on the user, and the retention is one table.
        if let Some(row) = row.filter(|_| !matches!(key, "path" | "socket")) {
            assert!(
                row.contains(&format!("`{}`", setting.value)),
                "{key} = {}: {row}",
                setting.value
            );
        }
    }
}

#[test]
fn the_examples_of_the_configuration_page_are_valid() {
    for example in PAGE.split("```toml\n").skip(1) {
        let example = example.split("```").next().expect("a block ends");
        load_text(example).expect("a valid example");
    }
}
