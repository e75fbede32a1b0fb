//! The contract of every kind of provider, tested against a fake server: how states and bodies are read,
//! how unsuccessful answers are classified, that every poll ends in time, that no secret is shown.
//!
//! A new kind is one more row of `harness::FIXTURES`; all tests then cover it.

mod answer_corpus;
mod body_parsing;
mod cancel;
mod connection_check;
mod dataarts;
mod dli;
mod documentation;
mod dune;
mod error_classification;
mod harness;
mod job_list;
mod rate_limits;
mod secrecy;
mod signing;
mod similarity;
mod state_mapping;
mod transport;
