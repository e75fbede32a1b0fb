//! Tests that need more of the machine than a free port: root, a real systemd, a raised limit of
//! open files, or a minute of repeated kills. They do not share a process with the `daemon` tests.

mod boot;
mod container_image;
mod crash;
mod file_systems;
mod full_disk;
mod loop_mount;
mod manual_pages;
mod package;
mod rigs;
#[path = "../support/mod.rs"]
mod support;
mod systemd_units;
mod tokens;
