//! Runs the rigs in `tests/rigs`, which attack the built programs and count what is lost.
//!
//! A rig that this machine cannot run prints the reason and passes; with `JOBTRACK_RIGS=required` it fails.
//! With that setting the rigs also run longer: a machine that must run them is one that checks a change.

use std::env;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::support::daemon::{run_with_timeout, utf8};
use crate::support::report_unavailable;

const TIMEOUT: Duration = Duration::from_mins(10);
/// The exit code of a rig that the machine cannot run.
const UNAVAILABLE: i32 = 77;

fn run_rig(name: &str) {
    let required = env::var("JOBTRACK_RIGS").is_ok_and(|value| value == "required");
    let programs = Path::new(env!("CARGO_BIN_EXE_jobtrackd")).parent().expect("a directory");
    let mut command = Command::new("python3");
    command
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rigs"))
        .args(["--length", if required { "short" } else { "quick" }])
        .arg("--programs")
        .arg(programs)
        .arg(name);
    let output = run_with_timeout(&mut command, "", TIMEOUT);
    let printed = [output.stdout, output.stderr].map(|bytes| utf8(&bytes)).concat();
    println!("{printed}");
    if output.status.code() == Some(UNAVAILABLE) {
        return report_unavailable(&printed);
    }
    assert!(output.status.success(), "{name}: {}\n{printed}", output.status);
}

#[test]
fn fault_01_02_kills_lose_nothing_and_a_writer_that_acknowledges_early_does() {
    run_rig("kill-cycles");
}

#[test]
fn fault_03_a_kill_at_any_call_of_a_migration_leaves_the_old_schema_or_the_new() {
    run_rig("migration-kills");
}

#[test]
fn fault_04_a_kill_at_any_call_of_a_checkpoint_loses_nothing() {
    run_rig("checkpoint-kills");
}

#[test]
fn fault_11_a_kill_for_lack_of_memory_loses_nothing() {
    run_rig("memory-limit");
}

#[test]
fn fault_12_power_cuts_lose_nothing_and_a_writer_without_fsync_does() {
    run_rig("power-cuts");
}

#[test]
fn fault_16_one_failed_system_call_at_any_point_loses_nothing() {
    run_rig("torture");
}

#[test]
fn fault_29_jumps_of_the_wall_clock_change_no_interval() {
    run_rig("clock-jumps");
}
