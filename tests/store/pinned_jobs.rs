//! Pinned jobs: the maintenance deletes every job whose retention has passed but them.

use std::time::Duration;

use jobtrack::job::{
    AuditEntry, AuditTarget, AuditedCommand, JobId, LocalOutcome, Requester, State,
};
use jobtrack::store::{
    Batch, BatchTimes, MaintenanceTask, PrunableRow, SetPinned, Store, StoreCommand,
};

use crate::support::daemon::DaemonHome;
use crate::support::db;
use crate::support::jobs::{
    change_batch, change_from_local_outcome, open_store, register_job, utc, write_batch,
};

fn set_pinned(job: JobId, pinned: bool) -> StoreCommand {
    let command = if pinned { AuditedCommand::Pin } else { AuditedCommand::Unpin };
    let requester =
        Requester::Client { uid: Some(1000), user: Some("alice".into()), pid: Some(42) };
    let target = AuditTarget::Job {
        id: job,
        provider: "dune".parse().expect("a name"),
        remote_id: "01PINNED".parse().expect("an id"),
    };
    let entry = AuditEntry::new(utc("2026-11-21 13:00:00.000"), requester, command, target);
    StoreCommand::SetPinned(SetPinned { job, pinned, audit: Some(entry) })
}

async fn execute(store: &mut Store, commands: Vec<StoreCommand>) -> Vec<u64> {
    write_batch(store, &Batch { commands, ..Batch::default() }).await.command_results
}

/// Deletes what was untracked more than a day ago, years later.
async fn prune(store: &mut Store) {
    let now = utc("2031-01-01 00:00:00.000");
    let times = BatchTimes {
        written_at: now,
        certain_at: Some(now),
        confirmed_at: None,
        contradicting: None,
    };
    let task = MaintenanceTask::Prune(vec![(State::Untracked, Duration::from_hours(24))]);
    let batch = Batch { maintenance: Some(task), times: Some(times), ..Batch::default() };
    write_batch(store, &batch).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_job_is_kept_with_its_history_until_it_is_unpinned() {
    let home = DaemonHome::without_config();
    let mut store = open_store(&home.database()).await;
    let end = utc("2026-11-21 12:10:00.000");
    // Pinned before its end: the change of its state does not unpin it.
    let pinned = register_job(&mut store, "01PINNED").await;
    assert_eq!(execute(&mut store, vec![set_pinned(pinned.id, true)]).await, [1]);
    let other = register_job(&mut store, "01OTHER").await;
    let changes =
        [&pinned, &other].map(|job| change_from_local_outcome(job, LocalOutcome::Untracked, end));
    write_batch(&mut store, &change_batch(changes)).await;

    let day = [(State::Untracked, Duration::from_hours(24))];
    let prunable = store.reader.prunable_jobs(&day, utc("2031-01-01 00:00:00.000")).await;
    let counted = PrunableRow {
        state: State::Untracked,
        jobs: 1,
        oldest_terminal_at: end,
        newest_terminal_at: end,
    };
    assert_eq!(prunable.expect("they are counted"), [counted]);
    let too_early = store.reader.prunable_jobs(&day, utc("2026-11-22 12:10:00.000")).await;
    assert_eq!(too_early.expect("they are counted"), []);

    prune(&mut store).await;
    let left = "SELECT remote_id, state, pinned, (SELECT count(*) FROM history WHERE job_id = jobs.id) FROM jobs";
    assert_eq!(db::query_rows(&home.database(), left), ["01PINNED|untracked|1|2"]);
    let orphans = "SELECT count(*) FROM transition WHERE job_id NOT IN (SELECT id FROM job)";
    assert_eq!(db::query_value(&home.database(), orphans), "0");

    assert_eq!(execute(&mut store, vec![set_pinned(pinned.id, false)]).await, [1]);
    prune(&mut store).await;
    assert_eq!(db::query_rows(&home.database(), left), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_changes_nothing_is_recorded_as_unchanged() {
    let home = DaemonHome::without_config();
    let mut store = open_store(&home.database()).await;
    let job = register_job(&mut store, "01PINNED").await.id;
    let commands = [(job, true), (job, true), (job, false), (JobId(999), true)];
    let commands = commands.map(|(job, pinned)| set_pinned(job, pinned));
    assert_eq!(execute(&mut store, commands.to_vec()).await, [1, 0, 1, 0]);
    let audit = "SELECT command, user_name, job_id, outcome FROM audit ORDER BY id";
    assert_eq!(
        db::query_rows(&home.database(), audit),
        [
            "pin|alice|1|done",
            "pin|alice|1|unchanged",
            "unpin|alice|1|done",
            "pin|alice|999|unchanged",
        ]
    );
}
