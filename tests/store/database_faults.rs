//! Faults of the database: an unusable file is rejected at the start with an error that helps, and during
//! a fault nothing is acknowledged.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use jobtrack::clock::Clock;
use jobtrack::job::{ObservedState, State};
use jobtrack::policy::RateLimiterStates;
use jobtrack::store::{OpenError, Store, WriteError};

use crate::support::daemon::{DaemonHome, utf8};
use crate::support::{db, jobs};

/// The files of a directory with their content.
fn directory_contents(directory: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut files: Vec<_> = entries
        .map(|entry| entry.expect("an entry").path())
        .map(|path| (path.clone(), fs::read(path).expect("a file")))
        .collect();
    files.sort();
    files
}

/// The error of opening this database, which must fail.
async fn open_error(database: &Path, case: &str) -> String {
    jobs::wait_for_lock_release(database);
    match Store::open(database, &Clock::start()).await {
        Err(error @ (OpenError::Unusable { .. } | OpenError::Damaged { .. })) => {
            let why = error.to_string();
            assert!(why.contains(&database.display().to_string()), "{case}: {why}");
            why
        }
        other => panic!("{case}: {other:?}"),
    }
}

/// A closed database with one job.
async fn home_with_closed_database() -> DaemonHome {
    let home = DaemonHome::without_config();
    let mut store = jobs::open_store(&home.database()).await;
    jobs::register_job(&mut store, "A").await;
    store.reader.close().await;
    store.writer.close(RateLimiterStates::new()).await;
    home
}

fn path_with_suffix(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// A `sqlite3` shell that has run a script and keeps its connection open.
pub(super) struct SqliteShell(Child);

impl SqliteShell {
    pub(super) fn after_script(database: &Path, script: &str) -> Self {
        let mut command = Command::new("sqlite3");
        command.arg("-batch").arg(database).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("sqlite3 is installed");
        let stdin = child.stdin.as_mut().expect("a pipe");
        writeln!(stdin, "{script}\n.print done").expect("it listens");
        let stdout = child.stdout.as_mut().expect("a pipe");
        let done = BufReader::new(stdout).lines().map_while(Result::ok).any(|line| line == "done");
        assert!(done, "the shell ran {script}");
        Self(child)
    }
}

impl Drop for SqliteShell {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn fault_52_65_a_second_daemon_of_the_same_database_is_refused() {
    let home = DaemonHome::without_config();
    let mut store = jobs::open_store(&home.database()).await;
    let (file_link, directory_link) = (home.path("link.db"), home.path("link"));
    symlink(home.database(), &file_link).expect("a link");
    symlink(home.path("state"), &directory_link).expect("a link");
    for second in [home.database(), file_link, directory_link.join("jobtrack.db")] {
        let error = Store::open(&second, &Clock::start()).await.expect_err("the database is taken");
        assert!(matches!(error, OpenError::Io { .. }), "{error:?}");
        let why = error.to_string();
        let database = home.database().display().to_string();
        assert!(why.contains("another jobtrackd") && why.contains(&database), "{why}");
        assert!(why.contains("store.path"), "it says what to do: {why}");
    }
    jobs::register_job(&mut store, "A").await;
    jobs::open_store(&home.path("state/another.db")).await;
    drop(store);
    jobs::open_store(&home.database()).await;
}

#[test]
fn fault_52_a_second_process_ends_with_the_same_words() {
    let home = DaemonHome::new("http://127.0.0.1:1", "");
    let _first = home.start();
    let second = home.run_daemon_to_exit(&[]);
    assert_eq!(second.status.code(), Some(74));
    let why = utf8(&second.stderr);
    assert!(why.contains("another jobtrackd uses this database"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_24_a_newer_schema_is_refused_and_not_written_to() {
    let home = home_with_closed_database().await;
    db::run_script_ok(&home.database(), "PRAGMA user_version = 4711");
    let before = directory_contents(&home.path("state"));
    let why = open_error(&home.database(), "newer").await;
    let ours = jobtrack::store::SCHEMA_VERSION.to_string();
    assert!(why.contains("4711") && why.contains(&ours), "both versions: {why}");
    let told = db::pending_migrations(&home.database()).await.expect_err("--check says the same");
    assert_eq!(told.to_string(), why);
    let after = without_sidecars(directory_contents(&home.path("state")));
    assert!(after == without_sidecars(before), "not a byte is another");
}

/// The database file alone; SQLite may delete and create the other files.
fn without_sidecars(files: Vec<(PathBuf, Vec<u8>)>) -> Vec<(PathBuf, Vec<u8>)> {
    let is_main = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "db");
    files.into_iter().filter(|(path, _)| is_main(path)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_23_another_programs_database_is_refused_and_untouched() {
    let table = "CREATE TABLE cookies (id INTEGER); INSERT INTO cookies VALUES (1);";
    let cases = [
        ("with a mark", format!("PRAGMA application_id = 252006673; {table}")),
        ("without a mark", table.to_owned()),
        ("marked and empty", "PRAGMA application_id = 252006673; VACUUM;".to_owned()),
        ("of the same version", format!("PRAGMA user_version = 1; {table}")),
        ("with a WAL", format!("PRAGMA journal_mode = wal; {table}")),
        ("with our mark", format!("{OUR_MARK} {table}")),
    ];
    for (case, script) in cases {
        let home = DaemonHome::without_config();
        fs::create_dir(home.path("state")).expect("a directory");
        db::run_script_ok(&home.database(), &script);
        let before = directory_contents(&home.path("state"));
        let why = open_error(&home.database(), case).await;
        assert!(why.contains("another program") && why.contains("store.path"), "{case}: {why}");
        db::pending_migrations(&home.database()).await.expect_err("--check says the same");
        let after = without_sidecars(directory_contents(&home.path("state")));
        assert!(after == before, "{case}: not a byte is another");
    }
}

/// The statement that sets jobtrackd's application id.
const OUR_MARK: &str = "PRAGMA application_id = 0x6A74726B;";

#[tokio::test(flavor = "multi_thread")]
async fn fault_23_our_mark_on_another_schema_is_refused_and_untouched() {
    let cases = [
        ("other tables", "PRAGMA user_version = 1; CREATE TABLE cookies (id INTEGER);"),
        ("a table of our name", "PRAGMA user_version = 2; CREATE TABLE job (id INTEGER);"),
        ("no tables", "PRAGMA user_version = 2;"),
        (
            "of another tool",
            "PRAGMA user_version = 1; CREATE TABLE job (id); CREATE TABLE _sqlx_migrations (version BIGINT, checksum BLOB, success BOOLEAN);",
        ),
    ];
    for (case, script) in cases {
        let home = DaemonHome::without_config();
        fs::create_dir(home.path("state")).expect("a directory");
        db::run_script_ok(&home.database(), &format!("{OUR_MARK} {script}"));
        let before = without_sidecars(directory_contents(&home.path("state")));
        let why = open_error(&home.database(), case).await;
        assert!(why.contains("another schema") && why.contains("store.path"), "{case}: {why}");
        let told =
            db::pending_migrations(&home.database()).await.expect_err("--check says the same");
        assert_eq!(told.to_string(), why, "{case}");
        let after = without_sidecars(directory_contents(&home.path("state")));
        assert!(after == before, "{case}: not a byte is another");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_23_a_database_that_lost_a_table_or_column_is_refused() {
    for damage in [
        "DROP TABLE last_event",
        "DROP VIEW outages; ALTER TABLE provider_event DROP COLUMN failed_polls",
        "DELETE FROM _sqlx_migrations WHERE version = 1",
        "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1",
        "UPDATE _sqlx_migrations SET success = 0 WHERE version = 1",
    ] {
        let home = home_with_closed_database().await;
        db::run_script_ok(&home.database(), damage);
        let why = open_error(&home.database(), damage).await;
        assert!(why.contains("another schema"), "{damage}: {why}");
    }
    let home = home_with_closed_database().await;
    db::run_script_ok(
        &home.database(),
        "ALTER TABLE job ADD COLUMN note TEXT; CREATE INDEX i ON job (kind)",
    );
    jobs::open_store(&home.database()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_23_a_foreign_database_in_use_is_untouched() {
    let home = DaemonHome::without_config();
    fs::create_dir(home.path("state")).expect("a directory");
    let script = "PRAGMA journal_mode = wal; CREATE TABLE cookies (id INTEGER);";
    // A killed process leaves its WAL.
    drop(SqliteShell::after_script(&home.database(), script));
    let before = without_sidecars(directory_contents(&home.path("state")));
    assert!(path_with_suffix(&home.database(), "-wal").exists(), "it left its WAL");
    open_error(&home.database(), "a WAL that was left").await;
    // A separate process, so that every file of it is closed.
    let config = format!("[store]\npath = \"{}\"\n", home.database().display());
    home.write_config(&config);
    assert_eq!(home.run_daemon_to_exit(&[]).status.code(), Some(65));
    let after = without_sidecars(directory_contents(&home.path("state")));
    assert!(after == before, "not a byte is another");
    assert_eq!(db::query_value(&home.database(), "SELECT count(*) FROM cookies"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_23_an_empty_file_beside_a_wal_is_refused() {
    let home = home_with_closed_database().await;
    let mut store = jobs::open_store(&home.database()).await;
    jobs::register_job(&mut store, "B").await;
    let wal = fs::read(path_with_suffix(&home.database(), "-wal")).expect("the WAL");
    store.reader.close().await;
    store.writer.close(RateLimiterStates::new()).await;
    fs::write(home.database(), "").expect("emptied");
    fs::write(path_with_suffix(&home.database(), "-wal"), &wal).expect("the WAL is there");
    let why = open_error(&home.database(), "empty").await;
    assert!(why.contains("-wal") && why.contains("restore"), "{why}");
    assert_eq!(fs::read(home.database()).expect("a file"), b"", "no silent new database");
    assert_eq!(fs::read(path_with_suffix(&home.database(), "-wal")).expect("the WAL"), wal);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_23_a_file_too_short_for_a_database_is_refused_and_its_log_kept() {
    let home = home_with_closed_database().await;
    let mut store = jobs::open_store(&home.database()).await;
    jobs::register_job(&mut store, "B").await;
    let wal = path_with_suffix(&home.database(), "-wal");
    let log = fs::read(&wal).expect("the WAL");
    store.reader.close().await;
    store.writer.close(RateLimiterStates::new()).await;
    let content = fs::read(home.database()).expect("the database");
    home.write_config(&format!("[store]\npath = \"{}\"\n", home.database().display()));
    for length in [1, 19, 20, 99, 100, 511, 4095] {
        fs::write(home.database(), &content[..length]).expect("cut");
        fs::write(&wal, &log).expect("the log");
        // SQLite reads a file with a whole header.
        let (expected, remedy) =
            if length < 100 { ("was cut", "restore BACKUP") } else { ("damaged", ".recover") };
        let why = open_error(&home.database(), &length.to_string()).await;
        assert!(why.contains(expected) && why.contains(remedy), "{length}: {why}");
        let output = home.run_daemon_to_exit(&[]);
        assert_eq!(output.status.code(), Some(65), "{length}: {}", utf8(&output.stderr));
        assert!(utf8(&output.stderr).contains(expected), "{length}");
        assert_eq!(fs::read(home.database()).expect("it"), content[..length], "{length}");
        assert_eq!(fs::read(&wal).expect("it"), log, "{length}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_22_damage_is_found_at_startup_and_nothing_is_created() {
    /// Offset and content of the damage.
    type DamageCase = (&'static str, fn(&mut Vec<u8>));
    let cases: [DamageCase; 6] = [
        ("no database at all", |bytes| *bytes = b"not a database, but a letter".repeat(100)),
        ("the header's first bytes", |bytes| bytes[..16].fill(0)),
        ("the page size", |bytes| bytes[16..18].fill(0xff)),
        ("the schema's page", |bytes| bytes[100..4096].fill(0xa5)),
        ("a page in the middle", |bytes| {
            let middle = bytes.len() / 2 / 4096 * 4096;
            bytes[middle..middle + 4096].fill(0xa5);
        }),
        ("its end cut off", |bytes| bytes.truncate(bytes.len() / 2)),
    ];
    for (case, spoil) in cases {
        let home = home_with_closed_database().await;
        let mut bytes = fs::read(home.database()).expect("the database");
        spoil(&mut bytes);
        fs::write(home.database(), &bytes).expect("spoilt");
        let why = open_error(&home.database(), case).await;
        assert!(why.contains("damaged") && why.contains(".recover"), "{case}: {why}");
        assert_eq!(fs::read(home.database()).expect("it is there"), bytes, "{case}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_22_the_daemon_ends_with_65_and_says_what_to_do() {
    let home = DaemonHome::new("http://127.0.0.1:1", "");
    home.start().stop();
    let file = fs::File::options().write(true).open(home.database()).expect("the database");
    file.write_all_at(&[0; 16], 0).expect("spoilt");
    let output = home.run_daemon_to_exit(&[]);
    assert_eq!(output.status.code(), Some(65));
    let why = utf8(&output.stderr);
    assert!(why.contains("damaged") && why.contains(".recover"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_17_a_blocked_writer_reports_busy_and_recovers() {
    let home = DaemonHome::without_config();
    let mut store = jobs::open_store(&home.database()).await;
    let job = jobs::register_job(&mut store, "A").await;
    let newest = store.writer.subscribe_newest_event();
    let done = jobs::observation(ObservedState::Succeeded, "DONE");
    let mut batch = jobs::change_batch([jobs::change_from_observation(
        &job,
        &done,
        jobs::utc("2026-11-21 12:01:00.000"),
    )]);
    batch.new_jobs.push(jobs::new_job("B"));

    let shell = SqliteShell::after_script(&home.database(), "BEGIN IMMEDIATE;");
    for _ in 0..2 {
        let refused = store.writer.write(&batch).await;
        assert!(matches!(refused, Err(WriteError::Busy)), "{refused:?}");
        assert_eq!(jobs::seq(&newest.borrow()), 1, "nothing is published");
        let row = store.reader.job(job.id).await.expect("it is read").expect("it is there");
        assert_eq!(row.state, State::Registered, "reading goes on");
    }
    drop(shell);
    let committed = jobs::write_batch(&mut store, &batch).await;
    assert!(committed.registered[0].is_new && committed.conflicting_changes.is_empty());
    assert_eq!(jobs::seq(&newest.borrow()), 3);
    assert_eq!(db::history_violations(&home.database()), [""; 0]);
}

#[tokio::test]
async fn an_impossible_database_path_is_an_io_error() {
    let home = DaemonHome::without_config();
    fs::write(home.path("file"), "").expect("a file");
    fs::create_dir_all(home.path("directory/jobtrack.db")).expect("a directory");
    for place in ["file/jobtrack.db", "file/below/jobtrack.db", "directory/jobtrack.db"] {
        let error = Store::open(&home.path(place), &Clock::start()).await.expect_err(place);
        let is_io = matches!(error, OpenError::CreateDirectory { .. } | OpenError::Io { .. });
        assert!(is_io, "{place}: {error:?}");
        assert!(error.to_string().contains(&*home.path("").to_string_lossy()), "{place}: {error}");
    }
}
