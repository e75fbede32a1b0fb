//! The lists of files in Cargo.toml: both packages have the same files, and each file exists.

use std::collections::BTreeMap;
use std::path::Path;

use toml::{Table, Value};

/// Source and destination of each file of a package, as in Cargo.toml.
type Assets = BTreeMap<String, String>;

fn package_metadata() -> Table {
    let manifest: Table = include_str!("../../../Cargo.toml").parse().expect("TOML");
    manifest["package"]["metadata"].as_table().expect("a table").clone()
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn debian_assets() -> Assets {
    let metadata = package_metadata();
    let assets = metadata["deb"]["assets"].as_array().expect("a list");
    assets.iter().map(|asset| (text(&asset[0]), format!("/{}", text(&asset[1])))).collect()
}

fn rpm_assets() -> Assets {
    let metadata = package_metadata();
    let assets = metadata["generate-rpm"]["assets"].as_array().expect("a list");
    assets.iter().map(|asset| (text(&asset["source"]), text(&asset["dest"]))).collect()
}

#[test]
fn both_packages_have_the_same_files_at_the_places_of_their_distributions() {
    let mut expected = debian_assets();
    expected
        .insert("packaging/completions/_jobtrack".into(), "/usr/share/zsh/site-functions/".into());
    // cargo-deb writes the licence into the file copyright.
    expected.insert("LICENSE-*".into(), "/usr/share/licenses/jobtrack/".into());
    assert_eq!(rpm_assets(), expected);
}

#[test]
fn the_packages_have_every_unit_and_only_files_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for source in debian_assets().keys().filter(|source| !source.starts_with("target/")) {
        let (directory, name) = source.rsplit_once('/').unwrap_or((".", source));
        let suffix = name.trim_start_matches('*');
        let files = std::fs::read_dir(root.join(directory)).expect(source);
        let fits = |file: &str| if name == suffix { file == name } else { file.ends_with(suffix) };
        let found = files.flatten().any(|file| fits(&file.file_name().to_string_lossy()));
        assert!(found, "{source}");
    }
    for entry in std::fs::read_dir(root.join("systemd")).expect("the units").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_packaged = debian_assets().keys().any(|source| {
            source.strip_prefix("systemd/").is_some_and(|source| match source.split_once('/') {
                Some((directory, _)) => name == directory,
                None => name.ends_with(source.trim_start_matches('*')),
            })
        });
        assert!(is_packaged, "systemd/{name}");
    }
}
