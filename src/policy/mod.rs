//! PURE. When to ask next: for one job ([`Backoff`]), and for all jobs of a provider ([`Budget`]).
//!
//! Called by the tracker, with the time and the throw of the dice handed in.

mod backoff;
mod budget;

pub use backoff::Backoff;
pub use budget::Budget;
