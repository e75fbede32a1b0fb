//! The audit: written with the change that a command causes, never changed, deleted with the retention.

use std::path::Path;
use std::time::Duration;

use jobtrack::job::{
    AuditEntry, AuditTarget, AuditedCommand, LocalOutcome, Requester, State, StoredJob,
};
use jobtrack::store::{Batch, BatchTimes, ForgetDurations, MaintenanceTask, StoreCommand};
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::support::daemon::DaemonHome;
use crate::support::db;
use crate::support::jobs::{
    add_batch, change_batch, change_from_local_outcome, labels, new_job, open_store, register_job,
    utc, write_batch,
};

const ROWS: &str =
    "SELECT command, uid, user_name, pid, job_id, remote_id, outcome, detail FROM audit";

fn entry(command: AuditedCommand, target: AuditTarget) -> AuditEntry {
    AuditEntry::new(
        utc("2026-11-21 12:00:00.000"),
        Requester::Client { uid: Some(1000), user: Some("alice".into()), pid: Some(42) },
        command,
        target,
    )
}

fn untrack_batch(job: &StoredJob) -> Batch {
    let now = utc("2026-11-21 12:00:01.000");
    let mut change = change_from_local_outcome(job, LocalOutcome::Untracked, now);
    change.audit.push(entry(AuditedCommand::Untrack, job.into()));
    change_batch([change])
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_of_a_change_is_written_if_and_only_if_the_change_is() {
    let home = DaemonHome::without_config();
    let mut store = open_store(&home.database()).await;
    let job = register_job(&mut store, "01AUDITED").await;
    write_batch(&mut store, &untrack_batch(&job)).await;
    assert_eq!(db::query_rows(&home.database(), ROWS), ["untrack|1000|alice|42|1|01AUDITED|done|"]);
    // The job is not in the expected state any more.
    let repeated = write_batch(&mut store, &untrack_batch(&job)).await;
    assert_eq!(repeated.conflicting_changes.len(), 1);
    assert_eq!(db::query_rows(&home.database(), ROWS).len(), 1);

    // The change is rejected by a constraint, and with it the whole transaction.
    let job = register_job(&mut store, "01REJECTED").await;
    db::run_script_ok(
        &home.database(),
        "CREATE TRIGGER reject BEFORE UPDATE ON job BEGIN SELECT raise(ABORT, 'rejected'); END;",
    );
    store.writer.write(&untrack_batch(&job)).await.expect_err("the trigger rejects it");
    assert_eq!(db::query_rows(&home.database(), ROWS).len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn forgotten_durations_and_changed_labels_are_recorded() {
    let home = DaemonHome::without_config();
    let mut store = open_store(&home.database()).await;
    let provider = "dune".parse().expect("a name");
    let forget = ForgetDurations {
        provider,
        similarity_key: Some("nightly".to_owned()),
        audit: Some(entry(AuditedCommand::Forget, AuditTarget::Daemon)),
    };
    let batch = Batch { commands: vec![StoreCommand::ForgetDurations(forget)], ..Batch::default() };
    write_batch(&mut store, &batch).await;
    let job = |pairs| {
        let mut job = new_job("01LABELLED");
        job.labels = pairs;
        add_batch([job])
    };
    write_batch(&mut store, &job(labels([("team", "data")]))).await;
    // The same labels change nothing.
    write_batch(&mut store, &job(labels([("team", "data")]))).await;
    write_batch(&mut store, &job(labels([("batch", "7")]))).await;
    assert_eq!(
        db::query_rows(&home.database(), ROWS),
        [
            "forget|1000|alice|42|||done|0 durations of \"nightly\"",
            "label|1000|alice||1|01LABELLED|done|{\"batch\":\"7\"}",
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_is_append_only_and_is_kept_as_long_as_any_finished_job() {
    let home = DaemonHome::without_config();
    let mut store = open_store(&home.database()).await;
    let job = register_job(&mut store, "01AUDITED").await;
    write_batch(&mut store, &untrack_batch(&job)).await;
    for statement in
        ["UPDATE audit_event SET uid = 0", "REPLACE INTO audit_event SELECT * FROM audit_event"]
    {
        assert!(!db::run_script(&home.database(), statement).status.success(), "{statement}");
    }
    let day = Duration::from_hours(24);
    let terminal_states = || State::ALL.into_iter().filter(|state| state.is_terminal());
    let prune = |retention: Vec<(State, Duration)>| Batch {
        maintenance: Some(MaintenanceTask::Prune(retention)),
        times: Some(BatchTimes {
            written_at: utc("2026-11-23 13:00:00.000"),
            certain_at: Some(utc("2026-11-23 13:00:00.000")),
            confirmed_at: None,
            contradicting: None,
        }),
        ..Batch::default()
    };
    // Some finished jobs are kept forever.
    write_batch(&mut store, &prune(vec![(State::Untracked, day)])).await;
    assert_eq!(db::query_value(&home.database(), "SELECT count(*) FROM jobs"), "0");
    // Others are kept for three days.
    let mixed =
        terminal_states().map(|state| (state, if state == State::Failed { day * 3 } else { day }));
    write_batch(&mut store, &prune(mixed.collect())).await;
    assert_eq!(db::query_rows(&home.database(), ROWS).len(), 1);
    write_batch(&mut store, &prune(terminal_states().map(|state| (state, day)).collect())).await;
    assert_eq!(db::query_rows(&home.database(), ROWS), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_audit_of_an_older_version_is_kept_with_its_ids() {
    let home = DaemonHome::without_config();
    std::fs::create_dir(home.path("state")).expect("a directory");
    let options = SqliteConnectOptions::new().filename(home.database()).create_if_missing(true);
    let mut connection = options.connect().await.expect("a database");
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let migrator = Migrator::new(directory).await.expect("the migrations");
    migrator.run_to(4, &mut connection).await.expect("version 4");
    connection.close().await.expect("closed");
    let insert = |ids: &[u32]| {
        let row =
            |id: &u32| format!("({id}, '2026-11-21 12:00:00.000', 'signal', 'reload', 'done')");
        let rows: Vec<_> = ids.iter().map(row).collect();
        format!(
            "INSERT INTO audit_event (id, requested_at, origin, command, outcome) VALUES {};",
            rows.join(", ")
        )
    };
    let script = format!("{} DELETE FROM audit_event WHERE id = 9;", insert(&[5, 7, 9]));
    db::run_script_ok(&home.database(), &script);
    let mut store = open_store(&home.database()).await;
    let job = register_job(&mut store, "01AUDITED").await;
    write_batch(&mut store, &untrack_batch(&job)).await;
    // The id of a deleted row is not used again.
    assert_eq!(
        db::query_rows(&home.database(), "SELECT id, command, count FROM audit ORDER BY id"),
        ["5|reload|1", "7|reload|1", "10|untrack|1"]
    );
}
