//! The list of faults in `docs/faults.md` and the tests name each other: every test that carries a
//! fault's number is listed under that number, and every listed test exists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fs, iter};

const FAULT_COUNT: u32 = 75;

/// The faults by number, each with the names of its tests.
fn listed_tests() -> BTreeMap<u32, BTreeSet<String>> {
    let document = fs::read_to_string(repository().join("docs/faults.md")).expect("the list");
    let mut faults: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    let mut entry = String::new();
    // One more line ends the last entry.
    for line in document.lines().chain(iter::once("##")) {
        let starts_entry = line.split_once(". **").is_some_and(|(number, _)| is_number(number));
        if starts_entry || line.starts_with('#') {
            if let Some((number, text)) = entry.split_once(". **") {
                let number = number.parse().expect("a number");
                assert!(faults.insert(number, test_names(text)).is_none(), "{number} comes twice");
            }
            entry.clear();
        }
        if starts_entry || !entry.is_empty() {
            entry.push_str(line);
            entry.push('\n');
        }
    }
    faults
}

/// The names between backticks at the end of an entry; none where the entry has no test yet.
fn test_names(entry: &str) -> BTreeSet<String> {
    let Some((_, tests)) = entry.split_once("\n    Tests: ").or(entry.split_once("\n   Tests: "))
    else {
        assert!(entry.contains("No test yet"), "neither tests nor \"No test yet\": {entry}");
        return BTreeSet::new();
    };
    tests.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The names of all functions in `src/` and `tests/`.
fn function_names() -> BTreeSet<String> {
    let mut files = Vec::new();
    rust_files(&repository().join("src"), &mut files);
    rust_files(&repository().join("tests"), &mut files);
    let names = files.iter().flat_map(|file| {
        let source = fs::read_to_string(file).expect("a source file");
        let names = source.lines().filter_map(|line| {
            let (_, rest) = line.trim_start().split_once("fn ")?;
            Some(rest.split('(').next()?.to_owned())
        });
        names.collect::<Vec<_>>()
    });
    names.collect()
}

fn rust_files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The numbers that a test's name carries: 17 and 19 for `fault_17_19_…`.
fn fault_numbers(test: &str) -> Vec<u32> {
    let Some(rest) = test.strip_prefix("fault_") else { return Vec::new() };
    rest.split('_').map_while(|part| part.parse().ok()).collect()
}

#[test]
fn faults_are_numbered_without_a_gap() {
    assert!(listed_tests().into_keys().eq(1..=FAULT_COUNT));
}

#[test]
fn every_test_with_a_fault_number_is_listed_under_that_number() {
    let faults = listed_tests();
    let mut missing = Vec::new();
    for test in function_names() {
        for number in fault_numbers(&test) {
            if !faults.get(&number).is_some_and(|tests| tests.contains(&test)) {
                missing.push(format!("{number}: {test}"));
            }
        }
    }
    assert!(missing.is_empty(), "add these to docs/faults.md:\n{}", missing.join("\n"));
}

#[test]
fn every_listed_test_exists() {
    let functions = function_names();
    let listed: BTreeSet<_> = listed_tests().into_values().flatten().collect();
    let missing: Vec<_> = listed.difference(&functions).collect();
    assert!(missing.is_empty(), "docs/faults.md names tests that do not exist: {missing:#?}");
    assert!(listed.iter().any(|test| test.starts_with("fault_")), "no test is listed at all");
}
