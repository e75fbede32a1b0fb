//! How much each user may have in the database.

use jobtrack::job::{AddedBy, NewJob, ObservedState};
use jobtrack::store::UserLimits;

use crate::support::daemon::DaemonHome;
use crate::support::jobs::{
    self, add_batch, change_batch, change_from_observation, labels, new_job, observation, utc,
    write_batch,
};

#[tokio::test(flavor = "multi_thread")]
async fn fault_51_labels_on_the_job_of_another_user_count_for_that_user() {
    let home = DaemonHome::without_config();
    let mut store = jobs::open_store(&home.database()).await;
    store.writer.set_user_limits(UserLimits { max_jobs: None, max_label_bytes: Some(60) });
    let added_by = |uid, job| NewJob { added_by: Some(AddedBy { uid, user: None }), ..job };
    let value = "v".repeat(40);
    let labelled =
        |uid, id| added_by(uid, NewJob { labels: labels([("key", &value)]), ..new_job(id) });
    let jobs_of_7 = ["one", "two"].map(|id| added_by(7, new_job(id)));
    write_batch(&mut store, &add_batch(jobs_of_7)).await;
    let together = add_batch(["one", "two"].map(|id| labelled(8, id)));
    for batch in [together, add_batch([labelled(8, "two")])] {
        let rejected = write_batch(&mut store, &batch).await.jobs_over_limit;
        let reasons: Vec<_> = rejected.values().collect();
        assert_eq!(reasons.len(), 1, "{reasons:?}");
        assert!(reasons[0].contains("uid 7 "), "{reasons:?}");
    }
    // User 8 still has nothing.
    let own = write_batch(&mut store, &add_batch([labelled(8, "three")])).await;
    assert!(own.jobs_over_limit.is_empty(), "{:?}", own.jobs_over_limit);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_run_counts_for_its_user() {
    let home = DaemonHome::without_config();
    let mut store = jobs::open_store(&home.database()).await;
    let added_by_7 = |job| NewJob { added_by: Some(AddedBy { uid: 7, user: None }), ..job };
    let ended = write_batch(&mut store, &add_batch([added_by_7(new_job("A"))])).await;
    let end = change_from_observation(
        &ended.registered[0].job,
        &observation(ObservedState::Succeeded, "QUERY_STATE_COMPLETED"),
        utc("2026-11-22 10:00:00.000"),
    );
    write_batch(&mut store, &change_batch([end])).await;
    store.writer.set_user_limits(UserLimits { max_jobs: Some(0), max_label_bytes: None });
    let new_run = NewJob { is_new_run: true, ..new_job("A") };
    let both = add_batch([added_by_7(new_job("A")), added_by_7(new_run)]);
    let rejected = write_batch(&mut store, &both).await.jobs_over_limit;
    assert_eq!(rejected.keys().collect::<Vec<_>>(), [&1], "{rejected:?}");
}
