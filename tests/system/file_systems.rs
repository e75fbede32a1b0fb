//! The daemon on file systems that lack something: a directory for temporary files, the directory of
//! the database, space, permanence. The mounts are made in a mount namespace of their own, which needs
//! root; the tests are skipped where that is impossible.

use std::fs;
use std::process::{Command, Output};

use crate::loop_mount::LoopMount;
use crate::support::daemon::{DaemonHome, run_with_timeout, utf8};
use crate::support::{EVENT_TIMEOUT, db, report_unavailable};

/// Runs a shell script in a mount namespace of its own; `$HOME` is the home, `$D` the command of the
/// daemon and `$J` that of the client. `None`, with a message, where that is impossible.
fn run_in_namespace(home: &DaemonHome, script: &str) -> Option<Output> {
    let possible = Command::new("unshare").args(["-m", "mount", "--make-rprivate", "/"]).output();
    if !possible.is_ok_and(|output| output.status.success()) {
        report_unavailable("no mount namespace");
        return None;
    }
    let path = |program: &str, rest: &str| format!("{program} {rest}");
    let config = home.path("config.toml").display().to_string();
    let socket = home.socket().display().to_string();
    let mut command = Command::new("unshare");
    command
        .args(["-m", "sh", "-c", script])
        .env("HOME", home.path(""))
        .env("D", path(env!("CARGO_BIN_EXE_jobtrackd"), &format!("--config {config}")))
        .env("J", path(env!("CARGO_BIN_EXE_jobtrack"), &format!("--socket {socket}")));
    Some(run_with_timeout(&mut command, "", EVENT_TIMEOUT))
}

fn home() -> DaemonHome {
    DaemonHome::new("http://127.0.0.1:1", "")
}

#[test]
fn fault_64_no_temporary_directory_is_needed() {
    let home = home();
    let ids: Vec<_> = (0..1000).map(|number| format!("01JOB{number}")).collect();
    fs::write(home.path("ids"), ids.join("\n")).expect("a file");
    let script = r#"
        for directory in /tmp /var/tmp; do
            mount --bind $directory $directory && mount -o remount,bind,ro $directory || exit 99
        done
        mount --bind "$HOME" "$HOME" && mount -o remount,bind,rw "$HOME" || exit 99
        cd /proc
        for directory in /tmp /var/tmp .; do touch $directory/x 2>/dev/null && exit 98; done
        $D 2>"$HOME/log" & daemon=$!
        until $J status >/dev/null 2>&1; do kill -0 $daemon || exit 97; done
        value=$(printf '%0200d' 0)
        for round in 1 2; do
            $J add dune - -q --label a$round=$value --label b$round=$value <"$HOME/ids" || exit 96
        done
        $J backup "$HOME/backup.db" && $D verify && $D verify "$HOME/backup.db" || exit 95
        kill $daemon; wait $daemon && $D restore "$HOME/backup.db""#;
    let Some(output) = run_in_namespace(&home, script) else { return };
    assert_eq!(output.status.code(), Some(0), "{output:?}\n{}", home.log());
    assert_eq!(db::query_value(&home.database(), "SELECT count(*) FROM jobs"), "1000");
}

/// As in a container with one volume, started with `--read-only --user 3999999`: no account has this number.
#[test]
fn a_user_without_a_name_needs_one_writable_directory_and_no_setting() {
    let home = home();
    let script = r#"
        mount -t tmpfs none /var/lib && mkdir /var/lib/bin /var/lib/jobtrack || exit 99
        cp ${D%% *} ${J%% *} /var/lib/bin && chown 3999999:3999999 /var/lib/jobtrack || exit 99
        mount --bind /var/lib/jobtrack /var/lib/jobtrack || exit 99
        mount -t tmpfs -o ro none /run || exit 99
        mount -o remount,bind,ro /var/lib && mount -o remount,bind,ro / || exit 99
        cd / && touch /x /var/lib/x 2>/dev/null && exit 98
        programs="env -i PATH=/var/lib/bin:/usr/bin:/bin DUNE_API_KEY=x
            JOBTRACK__PROVIDERS__DUNE__BASE_URL=http://127.0.0.1:1"
        as_user="setpriv --reuid=3999999 --regid=3999999 --clear-groups $programs"
        trap 'kill $daemon 2>/dev/null' EXIT
        for home in HOME=/ NONE=x; do
            $as_user $home jobtrackd & daemon=$!
            until $as_user $home jobtrack status >/dev/null 2>&1; do kill -0 $daemon || exit 97; done
            $as_user $home jobtrack add dune 01GBM4W2N0NMCGPZYW8AYK4YF1 || exit 96
            $as_user $home jobtrack backup /var/lib/jobtrack/copy-$daemon.db || exit 95
            $programs jobtrack list || exit 94
            kill $daemon; wait $daemon || exit 93
        done
        ls /var/lib/jobtrack; mount -o remount,bind,ro /var/lib/jobtrack || exit 99
        $as_user jobtrackd"#;
    let Some(output) = run_in_namespace(&home, script) else { return };
    let (printed, log) = (utf8(&output.stdout), utf8(&output.stderr));
    assert_eq!(output.status.code(), Some(74), "{printed}\n{log}");
    assert!(printed.contains("jobtrack.db\n"), "{printed}\n{log}");
    let last = log.lines().last().unwrap_or_default();
    assert!(last.contains("/var/lib/jobtrack") && last.contains("ead-only"), "{log}");
}

#[test]
fn fault_65_a_database_that_is_mounted_as_a_single_file_is_refused() {
    let home = home();
    assert!(home.start().stop().success());
    fs::create_dir(home.path("container")).expect("a directory");
    fs::write(home.path("container/jobtrack.db"), "").expect("a mount point");
    let config = fs::read_to_string(home.path("config.toml")).expect("the config");
    let state = home.path("state").display().to_string();
    let other = config.replace(&state, &home.path("container").display().to_string());
    fs::write(home.path("other.toml"), other).expect("a config");
    let script = r#"
        mount --bind "$HOME/state/jobtrack.db" "$HOME/container/jobtrack.db" || exit 99
        ${D%--config*} --config "$HOME/other.toml""#;
    let Some(output) = run_in_namespace(&home, script) else { return };
    let why = utf8(&output.stderr);
    assert_eq!(output.status.code(), Some(65), "{why}");
    assert!(why.contains("is mounted as a single file") && why.contains("directory"), "{why}");
    assert!(!home.path("container/jobtrack.db-wal").exists());
}

#[test]
fn fault_26_75_a_file_system_that_does_not_last_is_named_in_the_log() {
    let home = home();
    fs::create_dir(home.path("state")).expect("a directory");
    let overlay = r#"
        mkdir "$HOME/lower" "$HOME/upper"; mount -t tmpfs none "$HOME/upper" || exit 99
        mkdir "$HOME/upper/data" "$HOME/upper/work"
        mount -t overlay overlay "$HOME/state" \
            -o lowerdir="$HOME/lower",upperdir="$HOME/upper/data",workdir="$HOME/upper/work" || exit 99"#;
    for (name, mount) in
        [("tmpfs", r#"mount -t tmpfs none "$HOME/state" || exit 99"#), ("overlay", overlay)]
    {
        let script = format!(
            "{mount}
             $D 2>\"$HOME/{name}.log\" & daemon=$!
             until $J add dune 01JOB >/dev/null 2>&1; do kill -0 $daemon || exit 97; done
             kill $daemon; wait $daemon"
        );
        let Some(output) = run_in_namespace(&home, &script) else { return };
        let log = fs::read_to_string(home.path(&format!("{name}.log"))).unwrap_or_default();
        assert_eq!(output.status.code(), Some(0), "{name}: {output:?}\n{log}");
        assert!(log.contains(&format!("is on {name}: the database is lost")), "{name}: {log}");
    }
}

/// SQLite's shared memory is a file with holes, which a write cannot fill on a full disk.
#[test]
fn fault_14_75_a_full_disk_with_small_blocks_never_ends_the_daemon_by_a_signal() {
    let Some(disk) = LoopMount::ext4_with_small_blocks() else { return };
    let home = home();
    let config = fs::read_to_string(home.path("config.toml")).expect("the config");
    let state = home.path("state").display().to_string();
    home.write_config(&config.replace(&state, &disk.path().join("state").display().to_string()));
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01BEFORE"]);
    let fill = "dd if=/dev/zero of=disk/filler bs=1k 2>/dev/null || true";
    disk.run(fill);
    let label = format!("x={}", "x".repeat(200));
    let lines: Vec<_> = (0..1000).map(|number| format!("01FULL{number} {label}")).collect();
    for _ in 0..5 {
        let added = home.run_client_with_input(&["add", "dune", "-", "-q"], &lines.join("\n"));
        assert!(matches!(added.status.code(), Some(0 | 1)), "{added:?}\n{}", home.log());
    }
    home.run_client_ok(&["status"]);
    daemon.kill();

    let database = disk.path().join("state/jobtrack.db");
    let contents =
        || ["", "-wal"].map(|suffix| fs::read(format!("{}{suffix}", database.display())));
    let before = contents().map(|file| file.expect("a file"));
    for free_kib in [0, 8, 20, 36, 60, 100, 200] {
        disk.run(&format!(
            "rm -f disk/filler; fallocate -l {}k disk/keep; {fill}; rm disk/keep",
            free_kib + 1
        ));
        let output = home.run_daemon_to_exit(&[]);
        let why = utf8(&output.stderr);
        assert_eq!(output.status.code(), Some(74), "{free_kib} KiB free: {output:?}");
        assert!(why.contains("database or disk is full"), "{why}");
    }
    assert!(contents().map(|file| file.expect("a file")) == before, "the files are unchanged");
    disk.run("rm disk/filler");
    let daemon = home.start();
    home.run_client_ok(&["add", "dune", "01AFTER"]);
    assert_eq!(db::query_value(&database, "PRAGMA integrity_check"), "ok");
    assert!(daemon.stop().success());
}
