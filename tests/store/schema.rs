//! The schema: its markers, the migrations, column types, the append-only history.

use std::path::{Path, PathBuf};

use jobtrack::store::{SCHEMA_VERSION, verify_database};
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::support::daemon::{DaemonHome, utf8};
use crate::support::{db, jobs};

/// The migrations' versions and files, in order.
fn migrations() -> Vec<(i64, PathBuf)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entries = std::fs::read_dir(root.join("migrations")).expect("the migrations");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut found: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .map(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
            (name[..4].parse().expect("four digits"), path.clone())
        })
        .collect();
    found.sort();
    found
}

/// The sample rows that a version added to those of earlier versions.
fn sample_sql(version: i64) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = root.join(format!("migrations/samples/{version:04}.sql"));
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// A home with a database of this version, filled with sample rows.
async fn home_with_sample(version: i64) -> DaemonHome {
    let home = DaemonHome::without_config();
    let old = home.path("migrations");
    std::fs::create_dir(&old).expect("a directory");
    std::fs::create_dir(home.path("state")).expect("a directory");
    for (_, file) in migrations().into_iter().filter(|(number, _)| *number <= version) {
        std::fs::copy(&file, old.join(file.file_name().expect("a name"))).expect("a copy");
    }
    let options = SqliteConnectOptions::new().filename(home.database()).create_if_missing(true);
    let mut connection = options.connect().await.expect("a database");
    let migrator = Migrator::new(old.as_path()).await.expect("the old migrations");
    migrator.run(&mut connection).await.expect("the old schema");
    connection.close().await.expect("closed");
    for part in 1..=version {
        db::run_script_ok(&home.database(), &sample_sql(part));
    }
    home
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_database_has_our_application_id_and_the_newest_version() {
    let home = DaemonHome::without_config();
    let newest = migrations().pop().expect("one migration at least").0;
    assert_eq!(SCHEMA_VERSION, newest, "SCHEMA_VERSION is the newest migration's number");
    let all: Vec<_> = (1..=newest).collect();
    assert_eq!(db::pending_migrations(&home.database()).await.expect("no database"), all);
    drop(jobs::open_store(&home.database()).await);
    let header = "SELECT printf('%x', application_id), user_version, auto_vacuum, journal_mode
                  FROM pragma_application_id, pragma_user_version, pragma_auto_vacuum,
                       pragma_journal_mode";
    assert_eq!(db::query_value(&home.database(), header), format!("6a74726b|{newest}|2|wal"));
    assert_eq!(db::pending_migrations(&home.database()).await.expect("ours"), [0; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_first_start_that_was_cut_off_is_begun_again() {
    for left in [
        "PRAGMA auto_vacuum = incremental; PRAGMA journal_mode = wal; VACUUM;",
        "PRAGMA journal_mode = wal;
         CREATE TABLE _sqlx_migrations (
             version BIGINT PRIMARY KEY, description TEXT NOT NULL,
             installed_on TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, success BOOLEAN NOT NULL,
             checksum BLOB NOT NULL, execution_time BIGINT NOT NULL);",
    ] {
        let home = DaemonHome::without_config();
        std::fs::create_dir(home.path("state")).expect("a directory");
        db::run_script_ok(&home.database(), left);
        let mut store = jobs::open_store(&home.database()).await;
        jobs::register_job(&mut store, "A").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_a_wrong_type_are_rejected_without_strict_tables() {
    let home = DaemonHome::without_config();
    drop(jobs::open_store(&home.database()).await);
    db::run_script_ok(&home.database(), &sample_sql(1));
    let strict = "SELECT count(*) FROM pragma_table_list WHERE schema = 'main' AND strict";
    assert_eq!(db::query_value(&home.database(), strict), "0", "sqlite3 3.26 to 3.36 read them");
    for statement in [
        "UPDATE job SET provider = x'00'",
        "UPDATE job SET registered_at = x'00'",
        "UPDATE job SET source = x'00'",
        "UPDATE job SET added_by_uid = 'alice'",
        "UPDATE job SET polls = 'many'",
        "UPDATE job SET run_s = 'long'",
        "UPDATE job SET run_s = -1",
        "UPDATE job SET detection_delay_s = -0.001",
        "UPDATE job SET credits = 'free'",
        "UPDATE job SET labels = 'none'",
        "UPDATE job SET state = 'asleep'",
        "UPDATE job SET price = x'00'",
        "UPDATE job SET pinned = 2",
        "UPDATE provider_event SET failed_polls = 'many'",
        "UPDATE last_event SET happened_at = x'00'",
        "INSERT INTO rate_limiter_state VALUES ('dune', -1, '[]', 0)",
        "INSERT INTO rate_limiter_state VALUES ('dune', 1, '{}', 0)",
        "UPDATE duration_sample SET total_ms = 0",
        "UPDATE duration_sample SET run_ms = 1.5",
        "UPDATE span SET seconds = -1",
        "INSERT INTO transition (job_id, to_state, evidence, observed_at)
         VALUES (1, 'lost', 'local', x'00')",
    ] {
        let output = db::run_script(&home.database(), statement);
        assert!(!output.status.success(), "{statement}");
        assert!(utf8(&output.stderr).contains("CHECK constraint"), "{statement}: {output:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_versions_sample_is_migrated_to_the_newest_version() {
    // Opening the database adds an outage of jobtrackd, which has no provider.
    let counts = "SELECT (SELECT count(*) FROM job), (SELECT count(*) FROM transition),
                         (SELECT count(*) FROM provider_event WHERE provider IS NOT NULL)";
    let views = "SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM history),
                        (SELECT count(*) FROM provider_event WHERE provider IS NOT NULL)";
    for (version, _) in migrations() {
        let home = home_with_sample(version).await;
        let counts_before = db::query_value(&home.database(), counts);
        assert!(
            !counts_before.split('|').any(|count| count == "0"),
            "sample {version} fills all: {counts_before}"
        );

        let store = jobs::open_store(&home.database()).await;
        assert_eq!(
            db::query_value(&home.database(), views),
            counts_before,
            "after version {version}"
        );
        for view in ["jobs", "job_labels", "history", "runs", "spans", "outages"] {
            let rows = db::query_rows(&home.database(), &format!("SELECT * FROM {view}"));
            assert!(!rows.is_empty(), "{view} answers after version {version}");
        }
        assert_eq!(db::history_violations(&home.database()), [""; 0], "sample {version}");
        let active =
            store.reader.unfinished_jobs(jobtrack::job::JobId(0), 10).await.expect("it is read");
        assert!(!active.is_empty(), "sample {version} has an active job");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn views_and_triggers_of_an_operator_do_not_prevent_a_migration() {
    for (version, _) in migrations() {
        let home = home_with_sample(version).await;
        let own = "SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')
                   AND name NOT LIKE 'sqlite%' AND name NOT LIKE '!_%' ESCAPE '!'";
        let names = db::query_rows(&home.database(), own);
        assert!(names.len() > 5, "{names:?}");
        for name in &names {
            let view = format!("CREATE VIEW my_{name} AS SELECT * FROM {name} LIMIT 3");
            db::run_script_ok(&home.database(), &view);
        }
        let others = "CREATE VIEW dangling AS SELECT * FROM dropped_long_ago;
                      CREATE VIEW dangling_column AS SELECT no_such_column FROM job;
                      CREATE VIEW of_a_view AS SELECT * FROM my_jobs JOIN dangling;
                      CREATE TRIGGER my_trigger AFTER DELETE ON provider_event
                      BEGIN DELETE FROM dropped_long_ago; END;";
        db::run_script_ok(&home.database(), others);
        let mut store = jobs::open_store(&home.database()).await;
        jobs::register_job(&mut store, "A").await;
        for name in names {
            let rows = format!("SELECT count(*) > 0 FROM my_{name}");
            let is_filled = format!("SELECT count(*) > 0 FROM {name}");
            assert_eq!(
                db::query_value(&home.database(), &rows),
                db::query_value(&home.database(), &is_filled),
                "{name} of version {version}"
            );
        }
        let kept = "SELECT count(*) FROM sqlite_schema WHERE name IN
                    ('dangling', 'dangling_column', 'of_a_view', 'my_trigger')";
        assert_eq!(db::query_value(&home.database(), kept), "4", "version {version}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_a_checkout_with_other_line_ends_is_opened_and_migrated() {
    for (case, newest) in [("the first version", 1), ("the newest version", SCHEMA_VERSION)] {
        let home = DaemonHome::without_config();
        let directory = home.path("migrations");
        std::fs::create_dir(&directory).expect("a directory");
        std::fs::create_dir(home.path("state")).expect("a directory");
        for (_, file) in migrations().into_iter().filter(|(number, _)| *number <= newest) {
            let text = std::fs::read_to_string(&file).expect("a migration");
            assert!(!text.contains('\r'), "the repository has line feeds only");
            let copy = directory.join(file.file_name().expect("a name"));
            std::fs::write(copy, text.replace('\n', "\r\n")).expect("a copy");
        }
        let options = SqliteConnectOptions::new().filename(home.database()).create_if_missing(true);
        let mut connection = options.connect().await.expect("a database");
        let migrator = Migrator::new(directory.as_path()).await.expect("the migrations");
        migrator.run(&mut connection).await.expect("the schema");
        connection.close().await.expect("closed");
        let pending: Vec<_> = (newest + 1..=SCHEMA_VERSION).collect();
        assert_eq!(db::pending_migrations(&home.database()).await.expect(case), pending);
        let mut store = jobs::open_store(&home.database()).await;
        jobs::register_job(&mut store, "A").await;
        drop(store);
        jobs::open_store(&home.database()).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_19_the_history_is_append_only_even_for_the_sqlite_shell() {
    let home = DaemonHome::without_config();
    let mut store = jobs::open_store(&home.database()).await;
    jobs::register_job(&mut store, "A").await;
    jobs::register_job(&mut store, "B").await;
    for statement in [
        "UPDATE transition SET to_state = 'succeeded'",
        "UPDATE transition SET message = 'x' WHERE job_id = 1",
        "DELETE FROM transition",
        "DELETE FROM transition WHERE seq = 2",
        "REPLACE INTO transition (seq, job_id, to_state, evidence, observed_at)
         VALUES (2, 1, 'lost', 'local', '2026-01-01 00:00:00.000')",
    ] {
        let output = db::run_script(&home.database(), statement);
        assert!(!output.status.success(), "{statement}");
        assert!(utf8(&output.stderr).contains("append-only"), "{statement}: {output:?}");
    }
    db::run_script_ok(&home.database(), "PRAGMA foreign_keys = on; DELETE FROM job WHERE id = 1");
    assert_eq!(db::query_rows(&home.database(), "SELECT job_id FROM transition"), ["2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_table_of_labels_follows_the_column_whoever_changes_it() {
    let home = home_with_sample(1).await;
    let mut store = jobs::open_store(&home.database()).await;
    let rows = |job: i64| {
        let query = format!("SELECT key, value FROM job_labels WHERE job_id = {job} ORDER BY key");
        db::query_rows(&home.database(), &query)
    };
    assert_eq!(rows(1), ["team|data"], "of a job of an earlier version");
    let labelled = jobtrack::job::NewJob {
        labels: jobs::labels([("env", "test"), ("team", "data")]),
        ..jobs::new_job("A")
    };
    let report = jobs::write_batch(&mut store, &jobs::add_batch([labelled])).await;
    let added = report.registered[0].job.id.0;
    assert_eq!(rows(added), ["env|test", "team|data"]);
    for (labels, expected) in [
        (r#"{"env":"live","team":"data"}"#, &["env|live", "team|data"][..]),
        (r#"{"a":"1","a":"1","b":7,"c":null,"d":["x"],"e":""}"#, &["a|1", "e|"]),
        (r#"["x"]"#, &[]),
        (r#""abc""#, &[]),
        (r#"{"0":"x"}"#, &["0|x"]),
        ("7", &[]),
        (r#"{"k":"it''s \u00e9"}"#, &["k|it's é"]),
    ] {
        let update = format!("UPDATE job SET labels = '{labels}' WHERE id = {added}");
        db::run_script_ok(&home.database(), &update);
        assert_eq!(rows(added), expected, "{labels}");
    }
    // Without foreign keys, as in the shell.
    db::run_script_ok(&home.database(), &format!("DELETE FROM job WHERE id IN (1, {added})"));
    let left = "SELECT job_id, key, value FROM job_labels";
    assert_eq!(db::query_rows(&home.database(), left), ["4|team|data"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_whose_labels_another_program_wrote_is_migrated() {
    let home = home_with_sample(5).await;
    for labels in
        [r#""abc""#, r#"["x"]"#, "null", r#"{"a":"1","a":"1","b":7}"#, r#"{"team":"data"}"#]
    {
        let insert = format!(
            "INSERT INTO job (provider, kind, remote_id, state, labels, registered_at, terminal_at)
             VALUES ('dune', 'dune', '{}', 'lost', '{labels}', '2026-11-20 00:00:00.000',
                     '2026-11-20 00:00:00.000')",
            labels.len(),
        );
        db::run_script_ok(&home.database(), &insert);
    }
    let before = db::query_value(&home.database(), "SELECT max(id) FROM job");
    drop(jobs::open_store(&home.database()).await);
    let last: i64 = before.parse().expect("an id");
    let labels = format!(
        "SELECT job_id - {last}, key, value FROM job_labels WHERE job_id > {last} - 5 ORDER BY job_id"
    );
    assert_eq!(db::query_rows(&home.database(), &labels), ["-1|a|1", "0|team|data"]);
    let verified = verify_database(&home.database()).await.expect("verified");
    let of_labels = |finding: &&String| finding.contains("job_label");
    assert_eq!(verified.findings.iter().find(of_labels), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_job_is_pinned_by_the_migration_to_version_9_and_the_audit_is_kept() {
    let home = home_with_sample(8).await;
    let audit = "SELECT id, requested_at, origin, uid, user_name, pid, command, provider, job_id, remote_id,
                        outcome, detail, count FROM audit ORDER BY id";
    let audit_before = db::query_rows(&home.database(), audit);
    assert!(audit_before.iter().any(|row| row.ends_with("|217")), "{audit_before:?}");
    let sequence = "SELECT seq FROM sqlite_sequence WHERE name = 'audit_event'";
    let sequence_before = db::query_value(&home.database(), sequence);
    drop(jobs::open_store(&home.database()).await);
    let pinned = "SELECT count(*) > 0, sum(pinned) FROM jobs";
    assert_eq!(db::query_value(&home.database(), pinned), "1|0");
    assert_eq!(db::query_rows(&home.database(), audit), audit_before);
    assert_eq!(db::query_value(&home.database(), sequence), sequence_before);
}
