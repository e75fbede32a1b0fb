//! What operators do to the database of a running daemon with `sqlite3`, and what a machine does to a
//! migration. Nothing is taken for a replaced file, and nothing is lost.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use jobtrack::job::ObservedState;
use jobtrack::policy::RateLimiterStates;
use jobtrack::store::{SCHEMA_VERSION, WriteError, verify_database};
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::support::daemon::{DaemonHome, utf8};
use crate::support::{db, jobs};

const NOON: &str = "2026-11-21 12:00:00.000";

#[tokio::test(flavor = "multi_thread")]
async fn fault_20_maintenance_by_a_shell_only_delays_writes() {
    let statements = [
        "VACUUM",
        "PRAGMA wal_checkpoint(PASSIVE)",
        "PRAGMA wal_checkpoint(FULL)",
        "PRAGMA wal_checkpoint(RESTART)",
        "PRAGMA wal_checkpoint(TRUNCATE)",
        "REINDEX",
        "ANALYZE",
        "UPDATE job SET labels = '{\"by\":\"shell\"}' WHERE id = 1",
    ];
    let home = DaemonHome::without_config();
    let mut store = jobs::open_store(&home.database()).await;
    jobs::register_job(&mut store, "A").await;
    let (database, stop) = (home.database(), Arc::new(AtomicBool::new(false)));
    let stopped = stop.clone();
    let shell = std::thread::spawn(move || {
        let mut rounds = 0;
        while !stopped.load(Ordering::Relaxed) || rounds < 2 {
            for statement in statements {
                db::run_script_ok(&database, statement);
            }
            rounds += 1;
        }
    });
    let mut acknowledged = 1;
    while acknowledged < 300 {
        let batch = jobs::add_batch([jobs::new_job(&format!("job{acknowledged}"))]);
        match store.writer.write(&batch).await {
            Ok(_) => acknowledged += 1,
            Err(WriteError::Busy) => {}
            Err(error) => panic!("after {acknowledged} jobs: {error}"),
        }
    }
    stop.store(true, Ordering::Relaxed);
    tokio::task::spawn_blocking(|| shell.join().expect("the shell succeeds"))
        .await
        .expect("joined");
    jobs::register_job(&mut store, "last").await;
    store.reader.close().await;
    store.writer.close(RateLimiterStates::new()).await;
    let verified = verify_database(&home.database()).await.expect("it is read");
    assert_eq!((verified.jobs, verified.findings), (acknowledged + 1, Vec::new()));
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_19_a_trigger_that_prevents_a_change_is_named_as_the_cause() {
    let (home, mut store) = jobs::empty_store().await;
    let job = jobs::register_job(&mut store, "A").await;
    let observation = jobs::observation(ObservedState::Succeeded, "DONE");
    let change = jobs::change_from_observation(&job, &observation, jobs::utc(NOON));
    let batch = jobs::change_batch([change]);
    let trigger = "CREATE TRIGGER frozen BEFORE UPDATE ON job BEGIN SELECT RAISE(IGNORE); END";
    db::run_script_ok(&home.database(), trigger);
    let error = store.writer.write(&batch).await.expect_err("no job was updated");
    assert!(matches!(error, WriteError::Rejected(_)), "{error:?}");
    assert!(error.to_string().contains("a trigger that another program added"), "{error}");
    let end = "SELECT count(*) FROM history WHERE to_state = 'succeeded'";
    assert_eq!(db::query_value(&home.database(), end), "0", "the batch is rolled back");

    db::run_script_ok(&home.database(), "DROP TRIGGER frozen");
    jobs::write_batch(&mut store, &batch).await;
    assert_eq!(db::query_value(&home.database(), end), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_19_transitions_that_a_trigger_adds_are_published_with_the_batch() {
    let (home, mut store) = jobs::empty_store().await;
    let trigger =
        "CREATE TRIGGER started AFTER INSERT ON transition WHEN NEW.to_state = 'registered'
         BEGIN
             INSERT INTO transition (job_id, from_state, to_state, evidence, observed_at)
             VALUES (NEW.job_id, 'registered', 'pending', 'local', NEW.observed_at);
         END";
    db::run_script_ok(&home.database(), trigger);
    for (remote_id, transitions) in [("A", 2), ("B", 4)] {
        jobs::register_job(&mut store, remote_id).await;
        let newest = jobs::seq(&store.writer.subscribe_newest_event().borrow());
        let last: i64 = db::query_value(&home.database(), "SELECT max(seq) FROM transition")
            .parse()
            .expect("a number");
        assert_eq!((newest, last), (transitions, transitions));
    }
}

/// A database of the first version with some jobs.
async fn first_version() -> DaemonHome {
    let home = DaemonHome::without_config();
    let migrations = home.path("migrations");
    fs::create_dir(&migrations).expect("a directory");
    fs::create_dir(home.path("state")).expect("a directory");
    let first = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations/0001_init.sql");
    fs::copy(first, migrations.join("0001_init.sql")).expect("a copy");
    let options = SqliteConnectOptions::new().filename(home.database()).create_if_missing(true);
    let mut connection = options.connect().await.expect("a database");
    let migrator = Migrator::new(migrations.as_path()).await.expect("the first migration");
    migrator.run(&mut connection).await.expect("the first version");
    connection.close().await.expect("closed");
    db::run_script_ok(
        &home.database(),
        "INSERT INTO job (provider, kind, remote_id, state, registered_at)
         VALUES ('dune', 'dune', 'A', 'registered', '2026-01-01 00:00:00.000');
         INSERT INTO transition (job_id, to_state, evidence, observed_at)
         VALUES (1, 'registered', 'local', '2026-01-01 00:00:00.000');",
    );
    home.write_config(&format!("[store]\npath = \"{}\"\n", home.database().display()));
    home
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_25_a_migration_without_space_leaves_a_whole_schema() {
    let mut versions = Vec::new();
    // The log and its index are files too: the more they may grow, the further the migrations come.
    for limit_kib in (16..346).step_by(6) {
        let home = first_version().await;
        let mut command = Command::new("prlimit");
        command
            .arg(format!("--fsize={}", limit_kib << 10))
            .arg(env!("CARGO_BIN_EXE_jobtrackd"))
            .arg("--config")
            .arg(home.path("config.toml"));
        let output = command.output().expect("prlimit is installed");
        assert_eq!(output.status.code(), Some(74), "{limit_kib}: {}", utf8(&output.stderr));
        let version = db::query_value(&home.database(), "PRAGMA user_version");
        let verified = verify_database(&home.database()).await.expect("it is read");
        assert_eq!((verified.jobs, verified.findings), (1, Vec::new()), "{limit_kib}, {version}");
        versions.push(version);
        let store = jobs::open_store(&home.database()).await;
        assert_eq!(db::query_value(&home.database(), "SELECT remote_id FROM jobs"), "A");
        drop(store);
    }
    assert!(versions.iter().any(|version| *version == "1"), "{versions:?}");
    assert!(versions.iter().any(|version| *version == SCHEMA_VERSION.to_string()), "{versions:?}");
}
