//! Keeps the secrets in memory out of core dumps and out of reach of other processes of the same user.
//!
//! Called before a secret is read.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// No core dump is written; only root can attach a debugger or read the memory.
pub(super) fn disable() -> std::io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?)
}
