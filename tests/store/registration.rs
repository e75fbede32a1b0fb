//! What adding jobs writes: each job once, in whatever spelling and however often it is added.

use jobtrack::job::{AddedBy, JobId, LocalOutcome, NewJob, ObservedState, State};
use jobtrack::store::JobFilter;

use crate::support::db;
use crate::support::jobs::{
    add_batch, change_batch, change_from_local_outcome, change_from_observation, empty_store,
    labels, new_job, observation, register_job, seq, utc, write_batch,
};

const NOON: &str = "2026-11-21 12:00:00.000";
const LATER: &str = "2026-11-21 12:05:00.250";

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_registered_once_however_often_it_is_added() {
    let (home, mut store) = empty_store().await;
    register_job(&mut store, "known").await;
    let batch = add_batch(["new", "known", "new", "00123", "123"].map(new_job));
    let registered = write_batch(&mut store, &batch).await.registered;
    let found: Vec<_> = registered
        .iter()
        .map(|one| (one.job.id.0, one.job.remote_id.as_str(), one.is_new))
        .collect();
    let [new, text, number] = [found[0].0, found[3].0, found[4].0];
    let expected = [
        (new, "new", true),
        (1, "known", false),
        (new, "new", false),
        (text, "00123", true),
        (number, "123", true),
    ];
    assert_eq!(found, expected, "in the order of the batch; ids are text");
    let rows = "SELECT remote_id, from_state IS NULL, to_state, evidence, observed_at FROM history
                ORDER BY seq";
    let first_row = |id: &str| format!("{id}|1|registered|local|{NOON}");
    assert_eq!(
        db::query_rows(&home.database(), rows),
        ["known", "new", "00123", "123"].map(first_row),
        "a first row each, and only one"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_45_a_ulid_or_uuid_in_another_spelling_is_the_same_job() {
    let (home, mut store) = empty_store().await;
    let ulids =
        ["01gbm4w2n0nmcgpzyw8ayk4yf1", "01GBM4W2N0NMCGPZYW8AYK4YF1", "01gBM4W2N0nmcgpzyw8AYK4YF1"];
    let hex_ids = [
        "208B08D4-0dc2-4dd7-8879-ddd4c020d7aa",
        "208b08d4-0dc2-4dd7-8879-DDD4C020D7AA",
        "208b08d40dc24dd78879ddd4c020d7aA",
    ];
    let others = ["script/A1", "script/a1", "ABC", "abc"];
    let all: Vec<_> = ulids.into_iter().chain(hex_ids).chain(others).collect();
    // In one batch, and again in another.
    let registered = write_batch(&mut store, &add_batch(all.iter().map(|id| new_job(id)))).await;
    let added: Vec<_> =
        registered.registered.iter().map(|one| (one.job.id.0, one.is_new)).collect();
    let ids: Vec<_> = added.iter().map(|(id, _)| *id).collect();
    assert!(
        ids[..3].iter().all(|id| *id == ids[0]) && ids[3..6].iter().all(|id| *id == ids[3]),
        "{added:?}"
    );
    let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
    assert_eq!((distinct.len(), added.iter().filter(|(_, is_new)| *is_new).count()), (6, 6));
    let again = write_batch(&mut store, &add_batch(all.iter().rev().map(|id| new_job(id)))).await;
    assert!(again.registered.iter().all(|one| !one.is_new));
    // The ids stay as they were first added, and are found in any spelling.
    let stored = db::query_rows(&home.database(), "SELECT remote_id FROM job ORDER BY id");
    assert_eq!(stored, [&[ulids[0], hex_ids[0]], &others[..]].concat());
    for (text, count) in
        [(ulids[2], 1), (hex_ids[1], 1), (hex_ids[2], 1), ("ABC", 1), ("Abc", 0), ("script/a1", 1)]
    {
        let filter = JobFilter {
            remote_id: Some(text.parse().expect("an id")),
            limit: 9,
            ..JobFilter::default()
        };
        assert_eq!(store.reader.jobs(&filter).await.expect("jobs").len(), count, "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_that_was_once_added_in_both_cases_is_found_as_it_was_added() {
    let (home, mut store) = empty_store().await;
    let (small, capital) = ("01gbm4w2n0nmcgpzyw8ayk4yf1", "01GBM4W2N0NMCGPZYW8AYK4YF1");
    register_job(&mut store, small).await;
    let copy = format!(
        "INSERT INTO job (provider, kind, remote_id, state, registered_at)
         SELECT provider, kind, '{capital}', state, registered_at FROM job"
    );
    db::run_script_ok(&home.database(), &copy);
    let batch = add_batch([small, capital, "01Gbm4w2n0nmcgpzyw8ayk4yf1"].map(new_job));
    let registered = write_batch(&mut store, &batch).await.registered;
    let found: Vec<_> = registered.iter().map(|one| (one.job.id.0, one.is_new)).collect();
    assert_eq!(found, [(1, false), (2, false), (2, false)], "else the newest");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_id_at_two_providers_is_two_jobs() {
    let (_home, mut store) = empty_store().await;
    let other = NewJob { provider: "other".parse().expect("a name"), ..new_job("A") };
    let registered = write_batch(&mut store, &add_batch([new_job("A"), other])).await.registered;
    assert!(registered.iter().all(|one| one.is_new));
}

#[tokio::test(flavor = "multi_thread")]
async fn adding_a_job_again_only_merges_labels() {
    let (home, mut store) = empty_store().await;
    let with = |pairs| NewJob { labels: pairs, ..new_job("A") };
    write_batch(&mut store, &add_batch([with(labels([("team", "data"), ("env", "test")]))])).await;
    let readded = NewJob {
        give_up_after: Some(std::time::Duration::from_secs(1)),
        added_by: Some(AddedBy { uid: 7, user: None }),
        registered_at: utc(LATER),
        ..with(labels([("env", "live")]))
    };
    write_batch(&mut store, &add_batch([readded])).await;
    let labels_now = "SELECT key, value FROM job, json_each(labels) ORDER BY key";
    assert_eq!(db::query_rows(&home.database(), labels_now), ["env|live", "team|data"]);
    let row = "SELECT added_by_uid, added_by_user, registered_at, deadline_at IS NULL FROM job";
    assert_eq!(db::query_rows(&home.database(), row), [format!("1000|alice|{NOON}|1")]);

    let several = [labels([("a", "1")]), labels([("b", "2")]), labels([("a", "3")])];
    write_batch(&mut store, &add_batch(several.map(with))).await;
    let all = ["a|3", "b|2", "env|live", "team|data"];
    assert_eq!(db::query_rows(&home.database(), labels_now), all, "none of one batch is lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn merged_labels_do_not_exceed_the_limit() {
    let (_home, mut store) = empty_store().await;
    let numbered = |from: usize, to: usize| {
        let pairs = (from..to).map(|number| (format!("k{number}"), "v".to_owned()));
        let labels =
            jobtrack::job::Labels::try_from(pairs.collect::<std::collections::BTreeMap<_, _>>());
        NewJob { labels: labels.expect("labels"), ..new_job("A") }
    };
    write_batch(&mut store, &add_batch([numbered(0, 32)])).await;
    write_batch(&mut store, &add_batch([numbered(32, 40)])).await;
    let job = store.reader.job(JobId(1)).await.expect("it is read").expect("it is there");
    assert_eq!(job.labels.iter().count(), 32, "no more than are allowed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_run_of_a_job_that_has_ended_is_a_new_job() {
    let (_home, mut store) = empty_store().await;
    let id = "01GBM4W2N0NMCGPZYW8AYK4YF1";
    let new_run = |id: &str| NewJob { is_new_run: true, ..new_job(id) };
    let first = register_job(&mut store, id).await;
    let add = async |store: &mut jobtrack::store::Store, job| {
        let registered = write_batch(store, &add_batch([job])).await.registered.remove(0);
        (registered.is_new, registered.job.id.0)
    };
    assert_eq!(add(&mut store, new_run(id)).await, (false, 1), "the job has not ended");
    let end = change_from_observation(
        &first,
        &observation(ObservedState::Succeeded, "QUERY_STATE_COMPLETED"),
        utc(LATER),
    );
    write_batch(&mut store, &change_batch([end])).await;
    assert_eq!(add(&mut store, new_job(id)).await, (false, 1));
    assert_eq!(add(&mut store, new_run(&id.to_lowercase())).await, (true, 2));
    assert_eq!(add(&mut store, new_run(id)).await, (false, 2), "the new run has not ended");
    assert_eq!(add(&mut store, new_job(id)).await, (false, 2), "the newest");
    let second = write_batch(&mut store, &add_batch([new_job(id)])).await.registered.remove(0);
    let lost = change_from_local_outcome(&second.job, LocalOutcome::Lost, utc(LATER));
    write_batch(&mut store, &change_batch([lost])).await;
    assert_eq!(add(&mut store, new_job(id)).await, (true, 3), "not the first, which has ended");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_untracked_or_lost_job_is_registered_as_a_new_job() {
    let (home, mut store) = empty_store().await;
    for outcome in [LocalOutcome::Untracked, LocalOutcome::Lost] {
        let job = register_job(&mut store, "A").await;
        write_batch(
            &mut store,
            &change_batch([change_from_local_outcome(&job, outcome, utc(LATER))]),
        )
        .await;
        let registered = write_batch(&mut store, &add_batch([new_job("A")])).await.registered;
        assert!(registered[0].is_new && registered[0].job.id > job.id, "after {outcome:?}");
        let registered_again = write_batch(&mut store, &add_batch([new_job("A")])).await.registered;
        assert_eq!(
            (registered_again[0].is_new, registered_again[0].job.id),
            (false, registered[0].job.id)
        );
        write_batch(
            &mut store,
            &change_batch([change_from_local_outcome(
                &registered_again[0].job,
                outcome,
                utc(LATER),
            )]),
        )
        .await;
    }
    let states = "SELECT group_concat(state, ' ') FROM (SELECT state FROM jobs ORDER BY id)";
    assert_eq!(db::query_value(&home.database(), states), "untracked untracked lost lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_job_is_not_registered_again() {
    let (_home, mut store) = empty_store().await;
    let job = register_job(&mut store, "A").await;
    let observation = observation(ObservedState::Succeeded, "QUERY_STATE_COMPLETED");
    write_batch(
        &mut store,
        &change_batch([change_from_observation(&job, &observation, utc(LATER))]),
    )
    .await;
    let registered = write_batch(&mut store, &add_batch([new_job("A")])).await.registered;
    assert_eq!((registered[0].is_new, registered[0].job.id), (false, job.id));
    assert_eq!(registered[0].job.current_state.state(), State::Succeeded);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_and_sequence_numbers_are_never_reused() {
    let (home, mut store) = empty_store().await;
    register_job(&mut store, "A").await;
    let last = register_job(&mut store, "B").await;
    let newest = seq(&store.writer.subscribe_newest_event().borrow());
    let delete = "PRAGMA foreign_keys = on; DELETE FROM job";
    db::run_script_ok(&home.database(), delete);
    assert_eq!(db::query_value(&home.database(), "SELECT count(*) FROM transition"), "0");
    let next = register_job(&mut store, "C").await;
    assert!(next.id > last.id, "{} after {}", next.id, last.id);
    assert!(seq(&store.writer.subscribe_newest_event().borrow()) > newest, "the sequence goes on");
}
