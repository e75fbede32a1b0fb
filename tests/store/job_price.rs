//! The price of a job in the database.

use std::time::Duration;

use jobtrack::job::{
    Change, JobId, JobPrice, LocalOutcome, NewJob, ObservedState, PollPrice, PollRecord, StoredJob,
};
use jobtrack::store::Batch;

use crate::support::db;
use crate::support::jobs::{
    add_batch, change_batch, change_from_local_outcome, change_from_observation, empty_store,
    new_job, observation, open_store, poll_record, register_job, utc, write_batch,
};

const ONE_SECOND: PollPrice = PollPrice::Fixed(Duration::from_secs(1));
const NINETY_SECONDS: PollPrice = PollPrice::Fixed(Duration::from_secs(90));

fn with_price(remote_id: &str, price: Option<JobPrice>) -> NewJob {
    NewJob { price, ..new_job(remote_id) }
}

fn prices(jobs: &[StoredJob]) -> Vec<Option<PollPrice>> {
    jobs.iter().map(|job| job.price).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_price_is_kept_and_shown_by_the_view() {
    let (home, mut store) = empty_store().await;
    let jobs = [("A", None), ("B", Some(PollPrice::Auto)), ("C", Some(NINETY_SECONDS))];
    let batch = add_batch(jobs.map(|(id, price)| with_price(id, price.map(JobPrice::Own))));
    let registered = write_batch(&mut store, &batch).await.registered;
    let registered: Vec<_> = registered.into_iter().map(|registered| registered.job).collect();
    let expected = jobs.map(|(_, price)| price);
    assert_eq!(prices(&registered), expected);
    drop(store);
    let store = open_store(&home.database()).await;
    let stored = store.reader.unfinished_jobs(JobId(0), 10).await.expect("they are read");
    assert_eq!(prices(&stored), expected);
    let row = store.reader.job(JobId(3)).await.expect("it is read").expect("a job");
    assert_eq!(row.price, Some(NINETY_SECONDS));
    let view = "SELECT coalesce(price, 'NULL') FROM jobs ORDER BY id";
    assert_eq!(db::query_rows(&home.database(), view), ["NULL", "auto", "1m 30s"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn adding_a_job_again_changes_its_price_if_it_has_one() {
    let (home, mut store) = empty_store().await;
    let own = |price| Some(JobPrice::Own(price));
    write_batch(&mut store, &add_batch([with_price("A", own(ONE_SECOND))])).await;
    let plan = "UPDATE job SET next_poll_at = '2026-11-21 13:00:00.000'";
    for (again, stored, is_planned_anew) in [
        (vec![None], Some(ONE_SECOND), false),
        (vec![own(ONE_SECOND)], Some(ONE_SECOND), false),
        (vec![own(PollPrice::Auto)], Some(PollPrice::Auto), true),
        (vec![own(ONE_SECOND), own(NINETY_SECONDS), None], Some(NINETY_SECONDS), true),
        (vec![Some(JobPrice::Default)], None, true),
        (vec![None, Some(JobPrice::Default)], None, false),
        (vec![own(ONE_SECOND)], Some(ONE_SECOND), true),
    ] {
        db::run_script_ok(&home.database(), plan);
        let batch = add_batch(again.iter().map(|price| with_price("A", *price)));
        let registered = write_batch(&mut store, &batch).await.registered;
        let all_have_it = registered.iter().all(|one| !one.is_new && one.job.price == stored);
        assert!(all_have_it, "{again:?}: {registered:?}");
        let row = "SELECT coalesce(price, 'none'), next_poll_at IS NULL FROM job";
        let shown = stored.map_or("none".to_owned(), |price| price.to_string());
        let expected = format!("{shown}|{}", u8::from(is_planned_anew));
        assert_eq!(db::query_rows(&home.database(), row), [expected], "{again:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_planned_time_is_written_after_that_of_an_answer_and_not_for_a_job_that_ends() {
    let (home, mut store) = empty_store().await;
    let job = register_job(&mut store, "A").await;
    let (answered, planned) = (utc("2026-11-21 13:00:00.000"), utc("2026-11-21 13:05:00.000"));
    let record = PollRecord { next_poll_at: Some(answered), ..poll_record(&job, answered) };
    let running = Change {
        poll_record: Some(record),
        ..change_from_observation(&job, &observation(ObservedState::Running, "RUNNING"), answered)
    };
    let job_after = StoredJob { current_state: running.new_state.clone(), ..job.clone() };
    let end = change_from_local_outcome(&job_after, LocalOutcome::Untracked, planned);
    for (change, expected) in [(running, "running|2026-11-21 13:05:00.000"), (end, "untracked|")] {
        let next_polls = vec![(job.id, planned)];
        write_batch(&mut store, &Batch { next_polls, ..change_batch([change]) }).await;
        let row = "SELECT state, next_poll_at FROM job";
        assert_eq!(db::query_rows(&home.database(), row), [expected]);
    }
}
