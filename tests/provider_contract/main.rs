//! What every kind of provider keeps to, shown against the stand-in: how its words and bodies are
//! read, what each refusal is, that every poll ends in time, that the secret stays one.
//!
//! A new kind is one more row of `subject::SUBJECTS` and gets all of it.

mod bodies;
mod cancel;
mod check;
mod dataarts;
mod dli;
mod dune;
mod likeness;
mod list;
mod pace;
mod refusals;
mod secrecy;
mod signing;
#[path = "../support/standin/mod.rs"]
mod standin;
mod subject;
mod transport;
mod words;
