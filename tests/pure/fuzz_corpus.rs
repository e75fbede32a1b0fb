//! Runs the seeds of the fuzz targets as a plain test, for machines without `cargo fuzz`.

use std::fs;
use std::path::Path;

use crate::fuzz_inputs::FUZZ_FUNCTIONS;

#[test]
fn every_fuzz_seed_keeps_the_promises_and_each_target_accepts_and_rejects_some() {
    for (name, function) in FUZZ_FUNCTIONS {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus").join(name);
        let seeds = fs::read_dir(&directory).unwrap_or_else(|e| panic!("{name}: {e}"));
        let accepted: Vec<_> = seeds
            .map(|seed| function(&fs::read(seed.expect("an entry").path()).expect("a seed")))
            .collect();
        assert!(accepted.contains(&true), "{name}: no seed is accepted");
        assert!(accepted.contains(&false), "{name}: no seed is rejected");
    }
}

#[test]
fn every_fuzz_function_has_a_target() {
    let manifest = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/Cargo.toml"));
    let manifest = manifest.expect("the manifest of the fuzz targets");
    for (name, _) in FUZZ_FUNCTIONS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name}");
    }
}
