//! Tests that need more of the machine than a free port: root, a real systemd, a raised limit of open
//! files, or a minute of killing. They do not share a process with the tests of `daemon`.

mod boot;
mod crash;
mod full_disk;
#[path = "../support/mod.rs"]
mod support;
mod systemd_units;
mod tokens;
