//! Every fuzz target: the name of the binary selects the function.

#![no_main]

#[path = "../tests/support/fuzz_inputs.rs"]
mod fuzz_inputs;

use fuzz_inputs::{FUZZ_FUNCTIONS, FuzzFunction};

const NAME: &str = env!("CARGO_BIN_NAME");

fn function() -> FuzzFunction {
    let found = FUZZ_FUNCTIONS.iter().find(|(name, _)| *name == NAME);
    found.expect("a function of this name").1
}

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    function()(input);
});
