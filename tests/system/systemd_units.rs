//! Checks the files in `systemd/` with systemd's own tools: no warnings, and a low security
//! exposure. One more test shows that a restart serves a client that is already connected.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::EVENT_TIMEOUT;
use crate::support::daemon::DaemonHome;
use rustix::process::Signal;
use tempfile::TempDir;

const UNIT_FILES: [&str; 3] =
    ["systemd/jobtrackd.service", "systemd/jobtrackd.socket", "systemd/jobtrackd@.service"];
/// `systemd-analyze security` rates from 0 (fully confined) to 10; a service with network access
/// and a socket can reach about 1.
const MAX_EXPOSURE: f64 = 1.2;

/// Whether the tool is installed; prints a message if not.
fn is_installed(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok();
    if !found {
        println!("skipped: {tool} is not installed");
    }
    found
}

/// Runs the command in the project directory; it must succeed. Returns stdout followed by stderr.
fn run_tool(command: &mut Command) -> String {
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let Output { status, stdout, stderr } = output.expect("the tool is installed");
    let printed = [stdout, stderr].map(|bytes| String::from_utf8(bytes).expect("UTF-8")).concat();
    assert!(status.success(), "{command:?}: {status}\n{printed}");
    printed
}

/// A root directory with systemd's own targets, and the project's files in their installed places.
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
    // Only the targets, not the services that other packages add to them.
    for unit in fs::read_dir("/usr/lib/systemd/system").expect("systemd's units") {
        let unit = unit.expect("an entry").path();
        if unit.extension().is_some_and(|kind| kind == "target") {
            fs::copy(&unit, at("usr/lib/systemd/system").join(unit.file_name().expect("a name")))
                .expect("a unit");
        }
    }
    let project_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (from, to) in [
        (UNIT_FILES[0], "usr/lib/systemd/system/jobtrackd.service"),
        (UNIT_FILES[1], "usr/lib/systemd/system/jobtrackd.socket"),
        (UNIT_FILES[2], "usr/lib/systemd/system/jobtrackd@.service"),
        ("systemd/sysusers.d/jobtrack.conf", "usr/lib/sysusers.d/jobtrack.conf"),
        ("systemd/tmpfiles.d/jobtrack.conf", "usr/lib/tmpfiles.d/jobtrack.conf"),
    ] {
        fs::copy(project_dir.join(from), at(to)).expect(from);
    }
    root
}

/// The output must be empty, because some warnings leave the exit code at 0.
#[test]
fn systemd_analyze_verifies_the_units() {
    if !is_installed("systemd-analyze") {
        return;
    }
    let root = installation_root();
    let mut verify = Command::new("systemd-analyze");
    verify.arg("verify").arg("--man=no").arg("--root").arg(root.path());
    let units = ["jobtrackd.service", "jobtrackd.socket", "jobtrackd@team.service"];
    assert_eq!(run_tool(verify.args(units)), "");
}

/// Outside a root directory of its own, which the tool does not support for units of users.
#[test]
fn systemd_analyze_verifies_the_unit_of_a_user() {
    if !is_installed("systemd-analyze") {
        return;
    }
    let directory = TempDir::with_prefix("jobtrack-user-unit-").expect("a temporary directory");
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/user/jobtrackd.service");
    let unit = fs::read_to_string(unit).expect("a unit").replace("/usr/bin/jobtrackd", "/bin/true");
    let file = directory.path().join("jobtrackd.service");
    fs::write(&file, unit).expect("a file");
    let mut verify = Command::new("systemd-analyze");
    verify.env("XDG_RUNTIME_DIR", directory.path());
    assert_eq!(run_tool(verify.args(["--user", "verify", "--man=no"]).arg(file)), "");
}

/// An instance is confined as the service of the package is.
#[test]
fn an_instance_differs_from_the_service_only_in_its_names() {
    let settings = |file: &str| -> BTreeSet<String> {
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file));
        let text = text.expect("a unit");
        text.lines()
            .filter(|line| line.contains('=') && !line.starts_with('#'))
            .map(str::to_owned)
            .collect()
    };
    let (service, instance) = (settings(UNIT_FILES[0]), settings(UNIT_FILES[2]));
    let only_in_service: Vec<_> = service.difference(&instance).map(String::as_str).collect();
    assert_eq!(
        only_in_service,
        [
            "Also=jobtrackd.socket",
            "Description=Tracks jobs submitted to remote services",
            "ExecStart=/usr/bin/jobtrackd",
            "LoadCredential=dune-api-key",
            "RuntimeDirectory=jobtrack",
            "RuntimeDirectoryPreserve=yes",
            "StateDirectory=jobtrack",
            "Wants=jobtrackd.socket",
        ]
    );
    assert!(instance.difference(&service).all(|line| line.contains("%i")), "{instance:?}");
}

#[test]
fn service_exposure_is_low() {
    if !is_installed("systemd-analyze") {
        return;
    }
    let mut security = Command::new("systemd-analyze");
    let report =
        run_tool(security.args(["security", "--offline=true", "--no-pager", UNIT_FILES[0]]));
    let (_, figure) = report.split_once("exposure level for jobtrackd.service: ").expect(&report);
    let figure = figure.split(' ').next().expect("a number");
    println!("exposure {figure}");
    assert!(figure.parse::<f64>().expect(figure) <= MAX_EXPOSURE, "{report}");
}

#[test]
fn sysusers_and_tmpfiles_create_user_and_directory() {
    if !is_installed("systemd-sysusers") || !is_installed("systemd-tmpfiles") {
        return;
    }
    let root = installation_root();
    let in_root = |tool: &str| {
        let mut command = Command::new(tool);
        command.arg("--root").arg(root.path());
        command
    };
    let printed = run_tool(in_root("systemd-sysusers").args(["--dry-run", "jobtrack.conf"]));
    assert!(printed.contains("user 'jobtrack'"), "{printed}");
    // `systemd-tmpfiles` can create directories only for the user who runs the test.
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let users = format!("root:x:0:0::/:/bin/sh\njobtrack:x:{uid}:{gid}::/:/bin/sh\n");
    fs::write(root.path().join("etc/passwd"), users).expect("users");
    let groups = format!("root:x:0:\njobtrack:x:{gid}:\n");
    fs::write(root.path().join("etc/group"), groups).expect("groups");
    assert_eq!(run_tool(in_root("systemd-tmpfiles").args(["--create", "jobtrack.conf"])), "");
    assert!(root.path().join("run/jobtrack").is_dir());
}

/// The daemon answers a request on an open connection even after it has started to stop.
#[test]
fn socket_activation_serves_a_client_during_restart() {
    let home = DaemonHome::new("http://127.0.0.1:1", "");
    let daemon = home.start();
    let mut connection = UnixStream::connect(home.socket()).expect("the daemon listens");
    connection.set_read_timeout(Some(EVENT_TIMEOUT)).expect("a deadline");
    // This connection is accepted after the first, so the first is accepted when the client exits.
    home.run_client_ok(&["status"]);
    daemon.signal(Signal::TERM);
    daemon.wait_for_notification("STOPPING=1", &home);
    connection.write_all(b"GET /v1/status HTTP/1.1\r\nHost: x\r\n\r\n").expect("a request");
    let mut response = String::new();
    connection.read_to_string(&mut response).expect("a response and the end of the connection");
    assert!(response.starts_with("HTTP/1.1 200 OK"), "{response:?}");
    assert!(daemon.wait_for_exit().success());
}
