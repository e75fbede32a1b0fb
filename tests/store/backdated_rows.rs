//! What a clock that was behind recorded is not deleted as old once the clock is set.

use std::time::Duration;

use jobtrack::job::{NewJob, ObservedState, State};
use jobtrack::store::{Batch, BatchTimes, MaintenanceTask, Store};

use crate::support::daemon::DaemonHome;
use crate::support::jobs::{
    add_batch, change_batch, change_from_observation, new_job, observation, open_store,
    register_job, utc, write_batch,
};

const DAY: Duration = Duration::from_hours(24);
/// When the jobs end, by a clock that is right.
const ENDED: &str = "2026-11-21 12:00:00.000";

fn times(written_at: &str) -> BatchTimes {
    BatchTimes {
        written_at: utc(written_at),
        certain_at: Some(utc(written_at)),
        confirmed_at: None,
        contradicting: None,
    }
}

/// Deletes jobs that succeeded more than a day ago; returns how many jobs are left.
async fn prune(store: &mut Store, times: BatchTimes) -> usize {
    let task = MaintenanceTask::Prune(vec![(State::Succeeded, DAY)]);
    let batch = Batch { maintenance: Some(task), times: Some(times), ..Batch::default() };
    write_batch(store, &batch).await;
    let all = jobtrack::store::JobFilter { limit: 10, ..Default::default() };
    store.reader.jobs(&all).await.expect("jobs are read").len()
}

#[tokio::test]
async fn fault_30_what_a_clock_that_was_behind_recorded_is_kept_as_if_it_had_ended_when_it_was_set()
{
    let contradicted =
        |written_at| BatchTimes { contradicting: Some(utc(ENDED)), ..times(written_at) };
    let never_set = BatchTimes { certain_at: None, ..times("1970-01-01 00:09:00.000") };
    // (the recorded end, the times of its batch, whether the end looks older than it is)
    let cases = [
        ("1970-01-01 00:09:00.000", never_set, true),
        ("2026-10-01 12:00:00.000", contradicted("2026-10-01 12:00:00.000"), true),
        // The clock was set before the commit.
        ("2026-10-01 12:00:00.000", times(ENDED), true),
        (ENDED, times(ENDED), false),
        (ENDED, contradicted(ENDED), false),
    ];
    for (recorded, end_times, is_backdated) in cases {
        let home = DaemonHome::without_config();
        let mut store = open_store(&home.database()).await;
        let registered_at = utc("1970-01-01 00:00:01.000");
        let add = add_batch([NewJob { registered_at, ..new_job("01ENDS") }]);
        let job = write_batch(&mut store, &add).await.registered.remove(0).job;
        let end = observation(ObservedState::Succeeded, "COMPLETED");
        let mut batch = change_batch([change_from_observation(&job, &end, utc(recorded))]);
        batch.times = Some(end_times);
        write_batch(&mut store, &batch).await;
        let kept = [
            ("2026-11-21 12:30:00.000", 1),
            // A day after the end, and not yet a day after the clock was set.
            ("2026-11-22 12:10:00.000", usize::from(is_backdated)),
            ("2026-11-22 12:40:00.000", 0),
        ];
        for (now, jobs) in kept {
            let left = prune(&mut store, times(now)).await;
            assert_eq!(left, jobs, "recorded {recorded}, {end_times:?}, {now}");
        }
    }
}

#[tokio::test]
async fn a_clock_that_stays_behind_deletes_by_its_own_time() {
    let home = DaemonHome::without_config();
    let mut store = open_store(&home.database()).await;
    let job = register_job(&mut store, "01ENDS").await;
    let end = observation(ObservedState::Succeeded, "COMPLETED");
    let behind = |written_at, right: &str| BatchTimes {
        contradicting: Some(utc(right)),
        ..times(written_at)
    };
    let recorded = utc("2026-11-21 13:00:00.000");
    let mut batch = change_batch([change_from_observation(&job, &end, recorded)]);
    batch.times = Some(behind("2026-11-21 13:00:00.000", "2026-11-30 13:00:00.000"));
    write_batch(&mut store, &batch).await;
    let next_day = behind("2026-11-22 12:00:00.000", "2026-12-01 12:00:00.000");
    assert_eq!(prune(&mut store, next_day).await, 1);
    let later = behind("2026-11-22 14:00:00.000", "2026-12-01 14:00:00.000");
    assert_eq!(prune(&mut store, later).await, 0);
}
