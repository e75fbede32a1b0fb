//! `jobtrack backup`, `jobtrackd restore` and `jobtrackd verify`, run as an operator runs them.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::support::daemon::{DaemonHome, path_arg, utf8};
use crate::support::db;

/// Adds jobs of these ids to a running daemon.
fn add(home: &DaemonHome, ids: &[&str]) {
    let mut arguments = vec!["add", "dune"];
    arguments.extend(ids);
    home.run_client_ok(&arguments);
}

fn jobs_in(database: &Path) -> String {
    db::query_value(database, "SELECT group_concat(remote_id) FROM job")
}

/// The exit code of `jobtrackd` with these arguments and what it printed on both streams.
fn run_daemon(home: &DaemonHome, arguments: &[&str]) -> (Option<i32>, String) {
    let output = home.run_daemon_to_exit(arguments);
    (output.status.code(), utf8(&output.stdout) + &utf8(&output.stderr))
}

/// A stopped daemon's home with two jobs, and a backup of one of them.
fn home_with_backup() -> (DaemonHome, String) {
    let home = DaemonHome::new("http://127.0.0.1:1", "");
    let backup = path_arg(&home.path("backup.db"));
    let daemon = home.start();
    add(&home, &["A"]);
    home.run_client_ok(&["backup", &backup]);
    add(&home, &["B"]);
    daemon.kill();
    (home, backup)
}

#[test]
fn fault_66_a_backup_is_a_complete_database_and_replaces_no_file() {
    let home = DaemonHome::new("http://127.0.0.1:1", "");
    let _daemon = home.start();
    let ids: Vec<_> = (0..200).map(|number| format!("01JOB{number}")).collect();
    add(&home, &ids.iter().map(String::as_str).collect::<Vec<_>>());
    let backup = path_arg(&home.path("backup.db"));
    let printed = home.run_client_ok(&["backup", &backup]);
    assert!(printed.contains("backup.db: ") && printed.contains("bytes"), "{printed}");
    let mode = fs::metadata(&backup).expect("the backup").permissions().mode() & 0o777;
    assert_eq!(mode, 0o600, "only its owner reads it");
    assert_eq!(db::query_value(Path::new(&backup), "PRAGMA integrity_check"), "ok");
    assert_eq!(db::query_value(Path::new(&backup), "SELECT count(*) FROM history"), "200");

    let before = fs::read(&backup).expect("the backup");
    let again = home.run_client(&["backup", &backup]);
    assert_eq!(again.status.code(), Some(1));
    assert!(utf8(&again.stderr).contains("exists; name a new file"));
    assert!(fs::read(&backup).expect("the backup") == before, "it is not replaced");
    let nowhere = home.run_client(&["backup", &path_arg(&home.path("missing/backup.db"))]);
    assert!(utf8(&nowhere.stderr).contains("missing/backup.db"), "{nowhere:?}");
    let names = fs::read_dir(home.path("state")).expect("a directory");
    let names: Vec<_> = names.map(|entry| entry.expect("an entry").file_name()).collect();
    assert_eq!(names.len(), 4, "nothing is left beside the database: {names:?}");
}

/// Sends a request without a body to the control socket and reads the first bytes of the response.
fn begin_request(home: &DaemonHome, method: &str) -> (UnixStream, String) {
    let mut stream = UnixStream::connect(home.socket()).expect("the daemon listens");
    write!(stream, "{method} /v1/backup HTTP/1.1\r\nhost: jobtrack\r\n\r\n").expect("it reads");
    let mut head = [0; 64];
    stream.read_exact(&mut head).expect("a response");
    (stream, String::from_utf8_lossy(&head).into_owned())
}

#[test]
fn fault_66_a_client_that_does_not_read_its_backup_holds_the_only_copy() {
    let home = DaemonHome::new("http://127.0.0.1:1", "");
    let _daemon = home.start();
    let foreign = ["jobtrack.db.backup", "jobtrack.db.restoring"];
    for name in foreign {
        fs::write(home.path("state").join(name), "of another program").expect("a file");
    }
    // More than all buffers on the way to a client.
    let large = "CREATE TABLE notes (content); INSERT INTO notes VALUES (zeroblob(8000000))";
    db::run_script_ok(&home.database(), large);
    let (_, head) = begin_request(&home, "HEAD");
    assert!(head.starts_with("HTTP/1.1 405"), "{head}");
    let (slow_client, head) = begin_request(&home, "GET");
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    for _ in 0..20 {
        let (_, head) = begin_request(&home, "GET");
        assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    }
    let backup = path_arg(&home.path("backup.db"));
    let refused = home.run_client(&["backup", &backup]);
    assert!(!refused.status.success());
    assert!(utf8(&refused.stderr).contains("another backup is in progress"), "{refused:?}");
    drop(slow_client);
    let succeeds = |_| home.run_client(&["backup", &backup]).status.success();
    assert!((0..200).any(succeeds), "the copy of a client that left is released");
    for name in foreign {
        let content = fs::read_to_string(home.path("state").join(name)).expect("it is there");
        assert_eq!(content, "of another program");
    }
}

#[test]
fn fault_66_a_restore_moves_a_rollback_journal_away() {
    let (home, backup) = home_with_backup();
    let beside = |suffix: &str| format!("{}{suffix}", home.database().display());
    fs::write(beside("-journal"), "of a process that was killed").expect("a file");
    let (code, printed) = run_daemon(&home, &["restore", &backup]);
    assert_eq!(code, Some(0), "{printed}");
    assert!(!Path::new(&beside("-journal")).exists());
    let replaced = printed.lines().find_map(|line| line.strip_prefix("the replaced database is "));
    let journal = format!("{}-journal", replaced.expect("it is named"));
    assert_eq!(fs::read_to_string(journal).expect("kept"), "of a process that was killed");
    let _daemon = home.start();
    assert_eq!(jobs_in(&home.database()), "A");
}

#[test]
fn fault_66_a_restore_by_root_leaves_files_that_the_daemons_user_can_use() {
    let (home, backup) = home_with_backup();
    if fs::metadata(home.database()).expect("the database").uid() != 0 {
        eprintln!("not run: only root can give files to another user");
        return;
    }
    let new_state = home.path("new/state");
    let daemons_user = 12_345;
    fs::create_dir(home.path("new")).expect("a directory");
    chown(home.path("new"), Some(daemons_user), Some(daemons_user)).expect("given");
    home.write_config(&format!("[store]\npath = \"{}\"\n", path_arg(&new_state.join("a.db"))));
    let (code, printed) = run_daemon(&home, &["restore", &backup]);
    assert_eq!(code, Some(0), "{printed}");
    for path in [new_state.clone(), new_state.join("a.db"), new_state.join("a.db.lock")] {
        let found = fs::metadata(&path).expect("it is there");
        assert_eq!((found.uid(), found.gid()), (daemons_user, daemons_user), "{path:?}");
    }
}

#[test]
fn fault_66_an_interrupted_backup_leaves_no_file() {
    let home = DaemonHome::without_config();
    fs::create_dir(home.path("run")).expect("a directory");
    let listener = UnixListener::bind(home.socket()).expect("a socket");
    let daemon = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut request = [0; 1024];
        assert!(stream.read(&mut request).expect("a request") > 0);
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 4096\r\n\r\nSQLite format 3";
        stream.write_all(head.as_bytes()).expect("it reads");
    });
    fs::create_dir(home.path("backups")).expect("a directory");
    let backup = path_arg(&home.path("backups/backup.db"));
    let output = home.run_client(&["backup", &backup]);
    daemon.join().expect("it ends");
    assert!(!output.status.success());
    assert!(utf8(&output.stderr).contains("no backup was written"), "{output:?}");
    assert_eq!(fs::read_dir(home.path("backups")).expect("a directory").count(), 0);
}

#[test]
fn fault_66_a_restore_replaces_the_database_and_keeps_the_old_one() {
    let (home, backup) = home_with_backup();
    let (code, printed) = run_daemon(&home, &["restore", &backup]);
    assert_eq!(code, Some(0), "{printed}");
    let replaced = printed.lines().find_map(|line| line.strip_prefix("the replaced database is "));
    let replaced = Path::new(replaced.expect("it is named"));
    assert_eq!(jobs_in(&home.database()), "A");
    assert_eq!(jobs_in(replaced), "A,B", "with what was in its log");
    let mode = fs::metadata(home.database()).expect("the database").permissions().mode() & 0o777;
    assert_eq!(mode, 0o640);
    let _daemon = home.start();
    add(&home, &["C"]);
    assert_eq!(jobs_in(&home.database()), "A,C");
    let ids = "SELECT group_concat(id) FROM (SELECT id FROM job ORDER BY id)";
    assert_eq!(
        db::query_rows(&home.database(), ids),
        ["1,3"],
        "the number of B is not given again"
    );
    let last_outage =
        "SELECT reason FROM outages WHERE provider IS NULL ORDER BY began_at DESC LIMIT 1";
    assert_eq!(db::query_rows(&home.database(), last_outage), ["a backup was restored"]);
    let (code, printed) = run_daemon(&home, &["restore", &backup]);
    assert_eq!(code, Some(74), "the daemon runs: {printed}");
    assert!(printed.contains("another jobtrackd uses this database"), "{printed}");
    assert_eq!(jobs_in(&home.database()), "A,C");
}

#[test]
fn fault_66_a_backup_copied_over_the_database_is_refused_and_restored_as_the_message_says() {
    let (home, backup) = home_with_backup();
    assert!(Command::new("cp").args([&backup, &path_arg(&home.database())]).status().is_ok());
    let (code, why) = run_daemon(&home, &[]);
    assert_eq!(code, Some(65), "{why}");
    assert!(why.contains("jobtrack.db-wal") && why.contains("`jobtrackd restore BACKUP`"), "{why}");
    assert_eq!(run_daemon(&home, &["--check"]).0, Some(65));
    let (code, printed) = run_daemon(&home, &["restore", &backup]);
    assert_eq!(code, Some(0), "{printed}");
    let _daemon = home.start();
    assert_eq!(jobs_in(&home.database()), "A");
}

#[test]
fn fault_66_an_interrupted_restore_is_not_mixed_with_the_old_log() {
    let (home, backup) = home_with_backup();
    // The state after the new file got its name and before the old log was moved away.
    let (code, printed) = run_daemon(&home, &["restore", &backup]);
    assert_eq!(code, Some(0), "{printed}");
    let names = fs::read_dir(home.path("state")).expect("a directory");
    let old_wal = names
        .map(|entry| entry.expect("an entry").path())
        .find(|path| path_arg(path).ends_with("-wal"))
        .expect("the old log is kept");
    fs::rename(old_wal, format!("{}-wal", home.database().display())).expect("moved back");
    let (code, why) = run_daemon(&home, &[]);
    assert_eq!(code, Some(65), "{why}");
    assert_eq!(run_daemon(&home, &["restore", &backup]).0, Some(0));
    let _daemon = home.start();
    assert_eq!(jobs_in(&home.database()), "A");
}

#[test]
fn what_is_no_backup_is_not_restored() {
    let (home, backup) = home_with_backup();
    let damaged = home.path("damaged.db");
    let mut bytes = fs::read(&backup).expect("the backup");
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..middle + 4096].fill(0xa5);
    fs::write(&damaged, bytes).expect("a file");
    let text = "no database, but a text";
    fs::write(home.path("text.db"), text.repeat(10)).expect("a file");
    fs::write(home.path("short.db"), text).expect("a file");
    fs::write(home.path("empty.db"), "").expect("a file");
    db::run_script_ok(&home.path("other.db"), "CREATE TABLE cookies (id INTEGER)");
    fs::copy(&backup, home.path("newer.db")).expect("a copy");
    db::run_script_ok(&home.path("newer.db"), "PRAGMA user_version = 4711");
    let files =
        || ["", "-wal"].map(|suffix| fs::read(format!("{}{suffix}", home.database().display())));
    let before = files().map(|file| file.expect("a file"));
    for (name, word) in [
        ("damaged.db", "damaged"),
        ("text.db", "damaged"),
        ("short.db", "too short for a database"),
        ("empty.db", "empty"),
        ("other.db", "another program"),
        ("newer.db", "4711"),
        ("state/jobtrack.db", "the database itself"),
    ] {
        let (code, why) = run_daemon(&home, &["restore", &path_arg(&home.path(name))]);
        assert_eq!(code, Some(65), "{name}: {why}");
        assert!(why.contains(word) && why.contains(name), "{name}: {why}");
    }
    let (code, why) = run_daemon(&home, &["restore", &path_arg(&home.path("missing.db"))]);
    assert_eq!(code, Some(74), "{why}");
    assert!(files().map(|file| file.expect("a file")) == before, "nothing is changed");
    let names = fs::read_dir(home.path("state")).expect("a directory");
    assert!(
        !names
            .into_iter()
            .any(|entry| { path_arg(&entry.expect("an entry").path()).contains("restoring") })
    );
}

#[test]
fn verify_finds_what_is_wrong_with_a_database() {
    let home = DaemonHome::new("http://127.0.0.1:1", "");
    let daemon = home.start();
    add(&home, &["A", "B"]);
    let (code, printed) = run_daemon(&home, &["verify"]);
    assert_eq!(code, Some(0), "while the daemon runs: {printed}");
    assert!(printed.contains("ok, schema version") && printed.contains("2 jobs, 2 transitions"));
    assert!(daemon.stop().success());
    let without_triggers = "DROP TRIGGER transition_is_never_changed;
                            DROP TRIGGER transition_begins_a_span;";
    let step = |from: &str, to: &str, evidence: &str, word: &str| {
        format!(
            "INSERT INTO transition (job_id, from_state, to_state, provider_state, evidence, observed_at)
             VALUES (1, {from}, '{to}', {word}, '{evidence}', '2999-01-01 00:00:00.000');"
        )
    };
    let cases = [
        (
            "PRAGMA foreign_keys = off; DELETE FROM job WHERE id = 2".to_owned(),
            "refers to a row of job",
        ),
        ("DROP INDEX job_active".to_owned(), "schema: index job_active is missing"),
        (without_triggers.to_owned(), "schema: trigger transition_is_never_changed is missing"),
        (
            "DROP VIEW outages; CREATE VIEW outages AS SELECT 1 AS provider".to_owned(),
            "schema: view outages differs",
        ),
        (
            "INSERT INTO job_label (key, value, job_id) VALUES ('team', 'data', 2)".to_owned(),
            "job 2: its rows in job_label are not its labels",
        ),
        (
            "UPDATE job SET furthest_step = 'running' WHERE id = 2".to_owned(),
            "job 2: last_transition_at or furthest_step is wrong",
        ),
        (
            "UPDATE job SET state = 'running' WHERE id = 2".to_owned(),
            "job 2: its state is not that",
        ),
        (
            format!(
                "{without_triggers} UPDATE transition SET to_state = 'running' WHERE job_id = 2"
            ),
            "job 2, transition 2: the first transition leads to running",
        ),
        (
            step("'pending'", "running", "observed", "'RUNNING'"),
            "a transition from pending follows",
        ),
        (step("'registered'", "failed", "local", "NULL"), "has the evidence local"),
        (
            step("'registered'", "failed", "observed", "'FAILED'")
                + &step("'failed'", "running", "observed", "'RUNNING'"),
            "leads out of failed, which is final",
        ),
        (step("'registered'", "asleep", "observed", "'SLEEP'"), "cannot be read"),
        (
            "UPDATE span SET state = 'running' WHERE job_id = 1".to_owned(),
            "job 1: its rows in span",
        ),
        ("DELETE FROM span WHERE job_id = 2".to_owned(), "job 2: its rows in span"),
    ];
    for (script, finding) in cases {
        let copy = home.path("copy.db");
        let _ = fs::remove_file(&copy);
        fs::copy(home.database(), &copy).expect("a copy");
        db::run_script_ok(&copy, &script);
        let (code, printed) = run_daemon(&home, &["verify", &path_arg(&copy)]);
        assert_eq!(code, Some(65), "{script}: {printed}");
        assert!(printed.contains(finding), "{script}: {printed}");
    }
    let copy = home.path("copy.db");
    fs::copy(home.database(), &copy).expect("a copy");
    db::run_script_ok(&copy, "CREATE INDEX operators_own ON job (source)");
    assert_eq!(run_daemon(&home, &["verify", &path_arg(&copy)]).0, Some(0), "an added index");
}
