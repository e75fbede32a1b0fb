//! The Debian package in a booted Debian: the commands of docs/install.md, verbatim, and the steps of
//! `package/steps.sh`: an upgrade, a downgrade, a removal, a purge.
//!
//! The package is built by cargo-deb from the metadata in Cargo.toml, with the programs of this test run. Needs
//! cargo-deb and what the boot test needs.

mod metadata;

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::boot::{self, BootUnavailable, Container, FakeDuneProcess};
use crate::manual_pages;
use crate::support::daemon::utf8;

const INSTALL_DOCUMENT: &str = include_str!("../../../docs/install.md");
const SCRIPT_STEPS: &str = include_str!("steps.sh");
/// The versions of the two packages, which have the same files.
const VERSIONS: [&str; 2] = ["0.1.0-1", "0.1.1-1"];

/// Builds both packages in `directory`.
fn build_packages(directory: &Path) -> Result<(), BootUnavailable> {
    let cargo_deb = Command::new("cargo").args(["deb", "--version"]).output();
    if !cargo_deb.is_ok_and(|output| output.status.success()) {
        return Err(BootUnavailable("cargo-deb is not installed".into()));
    }
    // cargo-deb takes programs from target/release only.
    let source = directory.join("source");
    let programs = source.join("target/release");
    fs::create_dir_all(&programs).expect("a directory");
    for entry in fs::read_dir(env!("CARGO_MANIFEST_DIR")).expect("the project") {
        let entry = entry.expect("an entry");
        if entry.file_name() != "target" && entry.file_name() != ".git" {
            std::os::unix::fs::symlink(entry.path(), source.join(entry.file_name()))
                .expect("a link");
        }
    }
    for program in [env!("CARGO_BIN_EXE_jobtrackd"), env!("CARGO_BIN_EXE_jobtrack")] {
        let name = Path::new(program).file_name().expect("a name");
        run(Command::new("strip")
            .args(["--strip-unneeded", program, "-o"])
            .arg(programs.join(name)));
    }
    manual_pages::write_pages(&source.join("target/man"));
    for version in VERSIONS {
        let package = directory.join(format!("jobtrack_{version}_amd64.deb"));
        let mut build = Command::new("cargo");
        // cargo-deb itself compresses slowly if it was not built for speed.
        build.args([
            "deb",
            "--no-build",
            "--no-strip",
            "--compress-system",
            "--compress-type",
            "gzip",
        ]);
        build.args(["--locked", "--offline", "--deb-version", version, "--output"]).arg(package);
        run(build.current_dir(&source).env_remove("CARGO_TARGET_DIR"));
    }
    Ok(())
}

fn run(command: &mut Command) {
    let output = command.output().expect("the program is installed");
    let printed = [&output.stdout, &output.stderr].map(|bytes| utf8(bytes)).concat();
    assert!(output.status.success(), "{command:?}: {}\n{printed}", output.status);
}

/// The shell blocks of a section of docs/install.md. A step `document: HEADING` runs them before its own script.
fn document_blocks(heading: &str) -> impl Iterator<Item = &'static str> {
    let (_, section) = INSTALL_DOCUMENT.split_once(&format!("\n## {heading}\n")).expect(heading);
    let section = section.split("\n## ").next().unwrap_or_default();
    section.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap_or_default())
}

#[test]
fn the_debian_package_installs_upgrades_and_purges_a_working_service() {
    let directory = TempDir::with_prefix("jobtrack-package-").expect("a directory");
    let packages = directory.path().display().to_string();
    let prelude = SCRIPT_STEPS.split("\n## ").next().unwrap_or_default();
    let booted = build_packages(directory.path())
        .and_then(|()| Container::boot(&[(&packages, "/packages")], prelude));
    let container = match booted {
        Ok(container) => container,
        Err(unavailable) => return boot::report_unavailable(&unavailable),
    };
    let dune = FakeDuneProcess::start(&container);
    container.run_step("setup", &boot::setup_script(&dune.base_url), "");
    for step in SCRIPT_STEPS.split("\n## ").skip(1) {
        let (name, script) = step.split_once('\n').expect("a script follows its name");
        if let Some(heading) = name.strip_prefix("document: ") {
            for block in document_blocks(heading) {
                container.run_step(name, block, boot::CREDENTIAL_KEY);
            }
        }
        container.run_step(name, script, "");
    }
    drop(container);
    assert!(dune.finish_without_violations());
}
