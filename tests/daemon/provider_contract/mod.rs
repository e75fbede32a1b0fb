//! What every kind of provider keeps to, shown against the stand-in: how its words and bodies are
//! read, what each refusal is, that every poll ends in time, that the secret stays one.
//!
//! A new kind is one more row of `harness::SUBJECTS` and gets all of it.

mod body_parsing;
mod cancel;
mod connection_check;
mod dataarts;
mod dli;
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
