//! The files in `systemd/`, as systemd's own tools read them: without a complaint, and with the
//! exposure that the service is held to. And the daemon's part in a restart that no client notices.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::EVENT_TIMEOUT;
use crate::support::daemon::DaemonHome;
use rustix::process::Signal;
use tempfile::TempDir;

const UNIT_FILES: [&str; 2] = ["systemd/jobtrackd.service", "systemd/jobtrackd.socket"];
/// 0 is shut in, 10 is free; what calls out and serves a socket reaches about 1.
const MAX_EXPOSURE: f64 = 1.5;

/// Whether the tool is here; says so if not.
fn is_installed(tool: &str) -> bool {
    let there = Command::new(tool).arg("--version").output().is_ok();
    if !there {
        println!("skipped: {tool} is not installed");
    }
    there
}

/// Runs it where the project lies; what it printed, on either stream.
fn run_tool(command: &mut Command) -> String {
    let ran = command.current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let Output { status, stdout, stderr } = ran.expect("the tool is installed");
    let said = [stdout, stderr].map(|bytes| String::from_utf8(bytes).expect("UTF-8")).concat();
    assert!(status.success(), "{command:?}: {status}\n{said}");
    said
}

/// A root directory with systemd's own targets, and our files where an installation puts them.
fn installation_root() -> TempDir {
    let root = TempDir::with_prefix("jobtrack-root-").expect("a temporary directory");
    let at = |path: &str| root.path().join(path);
    for dir in
        ["usr/bin", "usr/lib/systemd/system", "usr/lib/sysusers.d", "usr/lib/tmpfiles.d", "etc"]
    {
        fs::create_dir_all(at(dir)).expect("a directory");
    }
    std::os::unix::fs::symlink("usr/bin", at("bin")).expect("a link");
    for program in ["usr/bin/jobtrackd", "usr/bin/kill"] {
        fs::copy("/bin/true", at(program)).expect("a program");
    }
    // Without the services that other packages hang on them.
    for unit in fs::read_dir("/usr/lib/systemd/system").expect("systemd's units") {
        let unit = unit.expect("an entry").path();
        if unit.extension().is_some_and(|kind| kind == "target") {
            fs::copy(&unit, at("usr/lib/systemd/system").join(unit.file_name().expect("a name")))
                .expect("a unit");
        }
    }
    let ours = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (from, to) in [
        (UNIT_FILES[0], "usr/lib/systemd/system/jobtrackd.service"),
        (UNIT_FILES[1], "usr/lib/systemd/system/jobtrackd.socket"),
        ("systemd/sysusers.d/jobtrack.conf", "usr/lib/sysusers.d/jobtrack.conf"),
        ("systemd/tmpfiles.d/jobtrack.conf", "usr/lib/tmpfiles.d/jobtrack.conf"),
    ] {
        fs::copy(ours.join(from), at(to)).expect(from);
    }
    root
}

/// Some complaints leave the exit code at 0.
#[test]
fn systemd_analyze_verifies_the_units() {
    if !is_installed("systemd-analyze") {
        return;
    }
    let root = installation_root();
    let mut verify = Command::new("systemd-analyze");
    verify.arg("verify").arg("--man=no").arg("--root").arg(root.path());
    assert_eq!(run_tool(verify.args(["jobtrackd.service", "jobtrackd.socket"])), "");
}

#[test]
fn service_exposure_is_low() {
    if !is_installed("systemd-analyze") {
        return;
    }
    let mut security = Command::new("systemd-analyze");
    let said = run_tool(security.args(["security", "--offline=true", "--no-pager", UNIT_FILES[0]]));
    let (_, figure) = said.split_once("exposure level for jobtrackd.service: ").expect(&said);
    let figure = figure.split(' ').next().expect("a number");
    println!("exposure {figure}");
    assert!(figure.parse::<f64>().expect(figure) <= MAX_EXPOSURE, "{said}");
}

#[test]
fn sysusers_and_tmpfiles_create_user_and_directory() {
    if !is_installed("systemd-sysusers") || !is_installed("systemd-tmpfiles") {
        return;
    }
    let root = installation_root();
    let of = |tool: &str| {
        let mut command = Command::new(tool);
        command.arg("--root").arg(root.path());
        command
    };
    let said = run_tool(of("systemd-sysusers").args(["--dry-run", "jobtrack.conf"]));
    assert!(said.contains("user 'jobtrack'"), "{said}");
    // Who runs the test is whom it may make directories for.
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let users = format!("root:x:0:0::/:/bin/sh\njobtrack:x:{uid}:{gid}::/:/bin/sh\n");
    fs::write(root.path().join("etc/passwd"), users).expect("users");
    let groups = format!("root:x:0:\njobtrack:x:{gid}:\n");
    fs::write(root.path().join("etc/group"), groups).expect("groups");
    assert_eq!(run_tool(of("systemd-tmpfiles").args(["--create", "jobtrack.conf"])), "");
    assert!(root.path().join("run/jobtrack").is_dir());
}

/// With its request a moment later it would have waited for the next daemon.
#[test]
fn socket_activation_serves_a_client_during_restart() {
    let home = DaemonHome::new("http://127.0.0.1:1", "");
    let daemon = home.start();
    let mut early = UnixStream::connect(home.socket()).expect("the daemon listens");
    early.set_read_timeout(Some(EVENT_TIMEOUT)).expect("a deadline");
    // Accepted after the other.
    home.run_client_ok(&["status"]);
    daemon.signal(Signal::TERM);
    daemon.wait_for_notification("STOPPING=1", &home);
    early.write_all(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n").expect("a request");
    let mut answer = String::new();
    early.read_to_string(&mut answer).expect("an answer, and its end");
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer:?}");
    assert!(daemon.wait_for_exit().success());
}
