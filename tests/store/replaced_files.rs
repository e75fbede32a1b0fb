//! Files of the database that are removed, replaced, overwritten or linked, while it is open and before
//! a start. Nothing is acknowledged then, and nothing that was acknowledged is lost.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use jobtrack::clock::Clock;
use jobtrack::policy::RateLimiterStates;
use jobtrack::store::{OpenError, Store, WriteError};

use crate::support::daemon::DaemonHome;
use crate::support::{db, jobs};

use super::database_faults::SqliteShell;

/// Copies in another process: closing a descriptor of the database would release the locks that SQLite
/// has in this process. The target stays the same file, with other content.
fn overwrite(target: &Path, content: &Path) {
    run(Command::new("cp").arg(content).arg(target));
}

/// Replaces a file as an editor or `mv` does: the path leads to another file.
fn replace(target: &Path, content: &Path) {
    let copy = target.with_extension("new");
    overwrite(&copy, content);
    fs::rename(copy, target).expect("replaced");
}

fn empty(target: &Path) {
    run(Command::new("truncate").args(["-s", "0"]).arg(target));
}

fn run(command: &mut Command) {
    assert!(command.status().expect("the program is installed").success(), "{command:?}");
}

fn beside(database: &Path, suffix: &str) -> std::path::PathBuf {
    format!("{}{suffix}", database.display()).into()
}

/// What the cases find in the directory `old`: the files after the first job.
fn keep_copies(home: &DaemonHome) {
    fs::create_dir(home.path("old")).expect("a directory");
    for suffix in ["", "-wal", "-shm"] {
        let name = format!("old/jobtrack.db{suffix}");
        overwrite(&home.path(&name), &beside(&home.database(), suffix));
    }
    let vacuum = format!("VACUUM INTO '{}'", home.path("old/vacuum.db").display());
    db::run_script_ok(&home.database(), &vacuum);
    let backup = format!(".backup '{}'", home.path("old/backup.db").display());
    run(Command::new("sqlite3").arg(home.database()).arg(backup));
}

/// What is done to the files, and the suffix of the file that is reported.
type ReplacementCase = (&'static str, &'static str, fn(&DaemonHome));

const DATABASE_CASES: [ReplacementCase; 8] = [
    ("removed", "", |home| fs::remove_file(home.database()).expect("removed")),
    ("moved away", "", |home| fs::rename(home.database(), home.path("moved")).expect("moved")),
    ("replaced by a copy", "", |home| replace(&home.database(), &home.path("old/jobtrack.db"))),
    ("linked", "", |home| fs::hard_link(home.database(), home.path("second.db")).expect("linked")),
    ("overwritten by an older copy", "", |home| {
        db::run_script_ok(&home.database(), "PRAGMA wal_checkpoint(PASSIVE)");
        overwrite(&home.database(), &home.path("old/jobtrack.db"));
    }),
    ("overwritten by a backup", "", |home| {
        overwrite(&home.database(), &home.path("old/vacuum.db"));
    }),
    ("emptied", "", |home| empty(&home.database())),
    ("restored by the shell", "", |home| {
        let restore = format!(".restore '{}'", home.path("old/backup.db").display());
        run(Command::new("sqlite3").arg(home.database()).arg(restore));
    }),
];

const SIDECAR_CASES: [ReplacementCase; 6] = [
    ("the log removed", "-wal", |home| {
        fs::remove_file(beside(&home.database(), "-wal")).expect("removed");
    }),
    ("the log replaced", "-wal", |home| {
        replace(&beside(&home.database(), "-wal"), &home.path("old/jobtrack.db-wal"));
    }),
    ("the log overwritten", "-wal", |home| {
        overwrite(&beside(&home.database(), "-wal"), &home.path("old/jobtrack.db-wal"));
    }),
    ("the log emptied", "-wal", |home| {
        empty(&beside(&home.database(), "-wal"));
    }),
    ("the shared memory removed", "-shm", |home| {
        fs::remove_file(beside(&home.database(), "-shm")).expect("removed");
    }),
    ("the shared memory replaced", "-shm", |home| {
        replace(&beside(&home.database(), "-shm"), &home.path("old/jobtrack.db-shm"));
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn fault_21_66_a_file_that_another_program_replaced_is_not_written_to() {
    for (case, suffix, change) in DATABASE_CASES.into_iter().chain(SIDECAR_CASES) {
        let home = DaemonHome::without_config();
        let mut store = jobs::open_store(&home.database()).await;
        jobs::register_job(&mut store, "A").await;
        keep_copies(&home);
        jobs::register_job(&mut store, "B").await;
        let newest = store.writer.subscribe_newest_event();
        change(&home);
        for _ in 0..2 {
            let refused = store.writer.write(&jobs::add_batch([jobs::new_job("C")])).await;
            let error = refused.expect_err(case);
            let expected = beside(&home.database(), suffix);
            let is_named =
                matches!(&error, WriteError::FileReplaced { path, .. } if *path == expected);
            assert!(is_named, "{case}: {error}");
            assert_eq!(jobs::seq(&newest.borrow()), 2, "{case}: nothing is published");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_21_66_what_was_acknowledged_survives_a_removed_log_or_shared_memory() {
    let cases = SIDECAR_CASES.into_iter().filter(|(_, _, change)| {
        // Nothing can save a log whose content is gone; no more is acknowledged.
        *change as usize != SIDECAR_CASES[2].2 as usize
            && *change as usize != SIDECAR_CASES[3].2 as usize
    });
    for (case, suffix, change) in cases {
        let home = DaemonHome::without_config();
        let mut store = jobs::open_store(&home.database()).await;
        jobs::register_job(&mut store, "A").await;
        keep_copies(&home);
        let names: Vec<_> = (0..500).map(|number| format!("job{number}")).collect();
        let batch = jobs::add_batch(names.iter().map(|name| jobs::new_job(name)));
        jobs::write_batch(&mut store, &batch).await;
        change(&home);
        if suffix == "-shm" {
            // A shell makes new shared memory and writes to the same log.
            let label = "UPDATE job SET labels = '{\"by\":\"shell\"}' WHERE id = 1";
            db::run_script_ok(&home.database(), label);
        }
        store.writer.write(&jobs::add_batch([jobs::new_job("C")])).await.expect_err(case);
        store.reader.close().await;
        store.writer.close(RateLimiterStates::new()).await;
        if case == "the log replaced" {
            // The older log beside the complete database is refused, by a process of its own because
            // SQLite shares memory between the connections of one process.
            home.write_config(&format!("[store]\npath = \"{}\"\n", home.database().display()));
            let refused = home.run_daemon_to_exit(&[]);
            assert_eq!(refused.status.code(), Some(65));
            fs::remove_file(beside(&home.database(), "-wal")).expect("removed");
        }
        let store = jobs::open_store(&home.database()).await;
        assert_eq!(db::query_value(&home.database(), "SELECT count(*) FROM job"), "501", "{case}");
        assert_eq!(db::query_value(&home.database(), "PRAGMA integrity_check"), "ok", "{case}");
        let by_shell = "SELECT count(*) FROM job WHERE labels LIKE '%shell%'";
        let expected = if suffix == "-shm" { "1" } else { "0" };
        assert_eq!(db::query_value(&home.database(), by_shell), expected, "{case}");
        drop(store);
    }
}

/// What makes a write fail, and until when.
type FailureCase = (&'static str, fn(&DaemonHome) -> Option<SqliteShell>);

const FAILURES: [FailureCase; 3] = [
    ("another program writes", |home| {
        Some(SqliteShell::after_script(&home.database(), "BEGIN IMMEDIATE;"))
    }),
    ("SQLite rolls back by itself", |home| {
        let trigger = "CREATE TRIGGER refused BEFORE INSERT ON job WHEN new.remote_id = 'C'
                       BEGIN SELECT RAISE(ROLLBACK, 'refused'); END";
        db::run_script_ok(&home.database(), trigger);
        None
    }),
    ("another program reads what was there before", |home| {
        let trigger = "CREATE TRIGGER refused BEFORE INSERT ON job WHEN new.remote_id = 'C'
                       BEGIN SELECT RAISE(ABORT, 'refused'); END";
        db::run_script_ok(&home.database(), trigger);
        None
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn fault_21_66_what_was_acknowledged_survives_a_failed_write_and_then_a_removed_log() {
    for (case, fail) in FAILURES {
        for ends_after_removal in [true, false] {
            let home = DaemonHome::without_config();
            let mut store = jobs::open_store(&home.database()).await;
            jobs::register_job(&mut store, "A").await;
            // This reader prevents that all of the log is moved to the file.
            let reads = case == "another program reads what was there before";
            let reader = reads.then(|| {
                SqliteShell::after_script(&home.database(), "BEGIN; SELECT count(*) FROM job;")
            });
            let batch =
                jobs::add_batch((0..100).map(|number| jobs::new_job(&format!("B{number}"))));
            jobs::write_batch(&mut store, &batch).await;
            let mut shell = fail(&home);
            let failing = jobs::add_batch([jobs::new_job("C")]);
            store.writer.write(&failing).await.expect_err(case);
            fs::remove_file(beside(&home.database(), "-wal")).expect("removed");
            if ends_after_removal {
                drop(shell.take());
            } else {
                // The write finds the removed log while its cause lasts; the daemon then ends.
                let refused = store.writer.write(&failing).await.expect_err(case);
                assert!(matches!(refused, WriteError::FileReplaced { .. }), "{case}: {refused}");
            }
            store.writer.close(RateLimiterStates::new()).await;
            assert!(beside(&home.database(), "-wal").exists(), "{case}: it is written back");
            drop((reader, shell));
            jobs::open_store(&home.database()).await;
            let count = db::query_value(&home.database(), "SELECT count(*) FROM job");
            assert_eq!(count, "101", "{case}, {ends_after_removal}");
            assert_eq!(db::query_value(&home.database(), "PRAGMA integrity_check"), "ok", "{case}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_write_does_not_hinder_the_next_one_or_the_end() {
    for (case, fail) in FAILURES {
        let home = DaemonHome::without_config();
        let mut store = jobs::open_store(&home.database()).await;
        let shell = fail(&home);
        for _ in 0..2 {
            store.writer.write(&jobs::add_batch([jobs::new_job("C")])).await.expect_err(case);
        }
        drop(shell);
        jobs::register_job(&mut store, "D").await;
        store.writer.close(RateLimiterStates::new()).await;
        let clean = "SELECT count(*) FROM last_event WHERE name = 'clean_shutdown'";
        assert_eq!(db::query_value(&home.database(), clean), "1", "{case}");
    }
}

/// Asserts that a start and `--check` refuse the database, and change neither file.
async fn refused_at_start(home: &DaemonHome, case: &str) -> String {
    let files = [home.database(), beside(&home.database(), "-wal")];
    let contents = || files.clone().map(|file| fs::read(file).expect("a file"));
    let before = contents();
    jobs::wait_for_lock_release(&home.database());
    let error = Store::open(&home.database(), &Clock::start()).await.expect_err(case);
    assert!(matches!(error, OpenError::Unusable { .. }), "{case}: {error:?}");
    let checked = db::pending_migrations(&home.database()).await.expect_err(case);
    assert_eq!(checked.to_string(), error.to_string(), "{case}: --check says the same");
    assert!(contents() == before, "{case}: nothing is changed");
    error.to_string()
}

/// A database with the jobs of `rounds`, as a killed daemon leaves it: copied while it was open. After
/// each round but the last the log is moved into the file and emptied.
async fn killed_database(rounds: &[&str]) -> DaemonHome {
    let (live, killed) = (DaemonHome::without_config(), DaemonHome::without_config());
    let mut store = jobs::open_store(&live.database()).await;
    for (number, names) in rounds.iter().enumerate() {
        if number > 0 {
            db::run_script_ok(&live.database(), "PRAGMA wal_checkpoint(TRUNCATE)");
        }
        for name in names.split(' ') {
            jobs::register_job(&mut store, name).await;
        }
        keep_round(&live, &killed, number);
    }
    killed
}

/// Copies the files of a database, under the names `round0.db` and so on, and as the newest ones.
fn keep_round(live: &DaemonHome, killed: &DaemonHome, number: usize) {
    fs::create_dir_all(killed.path("state")).expect("a directory");
    for suffix in ["", "-wal"] {
        let source = beside(&live.database(), suffix);
        overwrite(&killed.path(&format!("round{number}.db{suffix}")), &source);
        overwrite(&beside(&killed.database(), suffix), &source);
    }
    let vacuum = format!("VACUUM INTO '{}'", killed.path(&format!("vacuum{number}.db")).display());
    db::run_script_ok(&live.database(), &vacuum);
}

/// Puts files beside each other that do not belong together.
type MixCase<'a> = (&'static str, Box<dyn Fn(&DaemonHome) + 'a>);

#[tokio::test(flavor = "multi_thread")]
async fn fault_66_a_log_of_another_database_or_of_another_time_is_refused() {
    let other = killed_database(&["X Y Z"]).await;
    let other_wal = beside(&other.database(), "-wal");
    let cases: [MixCase<'_>; 6] = [
        (
            "another database's log beside ours",
            Box::new(|home| overwrite(&beside(&home.database(), "-wal"), &other_wal)),
        ),
        (
            "another database's log beside ours, which is complete",
            Box::new(|home| {
                db::run_script_ok(&home.database(), "PRAGMA wal_checkpoint(TRUNCATE)");
                fs::copy(&other_wal, beside(&home.database(), "-wal")).expect("a copy");
            }),
        ),
        (
            "our database file beside another database's log",
            Box::new(|home| overwrite(&home.database(), &other.database())),
        ),
        (
            "an older log of ours",
            Box::new(|home| {
                overwrite(&beside(&home.database(), "-wal"), &home.path("round0.db-wal"));
            }),
        ),
        (
            "an older copy of the file",
            Box::new(|home| overwrite(&home.database(), &home.path("round0.db"))),
        ),
        (
            "a backup over the file",
            Box::new(|home| overwrite(&home.database(), &home.path("vacuum1.db"))),
        ),
    ];
    for (case, mix) in cases {
        let home = killed_database(&["A B C", "D E", "F"]).await;
        mix(&home);
        let why = refused_at_start(&home, case).await;
        assert!(why.contains("does not belong to the write-ahead log"), "{case}: {why}");
        assert!(
            why.contains("jobtrack.db-wal") && why.contains("jobtrackd restore"),
            "{case}: {why}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_66_the_files_of_a_killed_daemon_belong_together() {
    for rounds in [&["A B C D"][..], &["A", "B C D"], &["A B", "C", "D"]] {
        let home = killed_database(rounds).await;
        let store = jobs::open_store(&home.database()).await;
        assert_eq!(
            db::query_value(&home.database(), "SELECT count(*) FROM job"),
            "4",
            "{rounds:?}"
        );
        drop(store);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_65_a_hard_link_is_refused_at_a_start() {
    let home = DaemonHome::without_config();
    drop(jobs::open_store(&home.database()).await);
    fs::create_dir(home.path("other")).expect("a directory");
    fs::hard_link(home.database(), home.path("other/jobtrack.db")).expect("linked");
    jobs::wait_for_lock_release(&home.database());
    for path in [home.database(), home.path("other/jobtrack.db")] {
        let error = Store::open(&path, &Clock::start()).await.expect_err("two paths");
        assert!(matches!(error, OpenError::Unusable { .. }), "{error:?}");
        assert!(error.to_string().contains("hard links"), "{error}");
    }
    fs::remove_file(home.path("other/jobtrack.db")).expect("removed");
    jobs::open_store(&home.database()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_65_a_hard_link_leads_to_the_same_lock() {
    let home = DaemonHome::without_config();
    let mut store = jobs::open_store(&home.database()).await;
    fs::create_dir(home.path("other")).expect("a directory");
    fs::hard_link(home.database(), home.path("other/jobtrack.db")).expect("linked");
    let second = Store::open(&home.path("other/jobtrack.db"), &Clock::start()).await;
    let error = second.expect_err("the file is in use").to_string();
    assert!(error.contains("another jobtrackd uses this database"), "{error}");
    let refused = store.writer.write(&jobs::add_batch([jobs::new_job("A")])).await;
    assert!(refused.expect_err("two paths").to_string().contains("hard link"));
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_65_a_symbolic_link_is_resolved_once() {
    let home = DaemonHome::without_config();
    fs::create_dir(home.path("real")).expect("a directory");
    symlink(home.path("real/file.db"), home.path("link.db")).expect("a link");
    let mut store = jobs::open_store(&home.path("link.db")).await;
    jobs::register_job(&mut store, "A").await;
    assert!(home.path("real/file.db-wal").exists(), "the log is beside the file");
    fs::remove_file(home.path("link.db")).expect("removed");
    symlink(home.path("elsewhere.db"), home.path("link.db")).expect("a link");
    jobs::register_job(&mut store, "B").await;
    assert_eq!(db::query_value(&home.path("real/file.db"), "SELECT count(*) FROM job"), "2");
}
