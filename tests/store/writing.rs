//! What a batch writes: all of it or nothing, nothing twice, and nothing over a state that it does not
//! expect.

use jobtrack::job::{
    AddedBy, Anomaly, JobId, LocalOutcome, Metadata, NewJob, ObservedState, ProviderTimes, State,
};
use jobtrack::store::{Batch, HistoryFilter, JobFilter, Store};

use crate::support::daemon::DaemonHome;
use crate::support::jobs::{
    add_batch, change_batch, change_from_local_outcome, change_from_observation, cursor, labels,
    new_job, observation, poll_record, register_job, seq, utc, write_batch,
};
use crate::support::{db, jobs};

async fn empty_store() -> (DaemonHome, Store) {
    let home = DaemonHome::without_config();
    let store = jobs::open_store(&home.database()).await;
    (home, store)
}

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
    assert_eq!(found, [(1, false), (2, false), (1, false)]);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_written_completely_and_read_back_unchanged() {
    let (home, mut store) = empty_store().await;
    let job = register_job(&mut store, "A").await;
    let mut observation = observation(ObservedState::Failed, "QUERY_STATE_FAILED");
    observation.times = ProviderTimes {
        submitted_at: Some(utc("2026-11-21 11:59:58.001")),
        started_at: Some(utc("2026-11-21 12:00:01.500")),
        ended_at: Some(utc("2026-11-21 12:04:59.999")),
        expires_at: None,
    };
    observation.message = Some("it's \"broken\"\n\u{1F980}".to_owned());
    let mut change = change_from_observation(&job, &observation, utc(LATER));
    let mut record = poll_record(&job, utc(LATER));
    record.metadata = Some(Metadata {
        similarity_keys: jobtrack::job::SimilarityKeys::Unknown,
        times: observation.times,
        message: observation.message.clone(),
        list_time: None,
        source: None,
        credits: None,
        reported_duration: None,
        detail: r#"{"query_id":980708}"#.to_owned(),
    });
    change.poll_record = Some(record);
    let committed = write_batch(&mut store, &change_batch([change.clone()])).await;
    assert!(committed.conflicting_changes.is_empty());

    let filter = HistoryFilter { job: Some(job.id), limit: 100, ..HistoryFilter::default() };
    let rows = store.reader.history(&filter).await.expect("it is read");
    let written = std::iter::once(jobtrack::job::registration_transition(job.registered_at))
        .chain(change.transitions);
    for (row, expected) in rows.iter().zip(written) {
        let found = jobtrack::job::Transition {
            from: row.from_state,
            to: row.to_state,
            provider_state: row.provider_state.clone().map(Into::into),
            evidence: row.evidence,
            occurred_at: row.occurred_at,
            observed_at: row.observed_at,
            earliest_at: row.earliest_at,
            message: row.message.clone(),
        };
        assert_eq!(found, expected);
    }
    let states: Vec<_> = rows.iter().map(|row| row.to_state.as_str()).collect();
    assert_eq!(states, ["registered", "pending", "running", "failed"]);

    let row = store.reader.job(job.id).await.expect("it is read").expect("it is there");
    assert_eq!((row.state, row.terminal, row.terminal_at), (State::Failed, true, Some(utc(LATER))));
    assert_eq!(row.provider_state.as_deref(), Some("QUERY_STATE_FAILED"));
    assert_eq!(
        (row.submitted_at, row.ended_at),
        (observation.times.submitted_at, observation.times.ended_at)
    );
    assert_eq!((row.polls, row.message), (1, observation.message));
    assert_eq!(row.detail["query_id"], 980_708);
    let stored = store.reader.stored_job(job.id).await.expect("it is read").expect("it is there");
    assert_eq!(stored.current_state.state(), change.new_state.state());
    assert_eq!(stored.current_state.provider_state, change.new_state.provider_state);
    assert_eq!(stored.current_state.furthest_step, change.new_state.furthest_step);
    assert_eq!(stored.current_state.observed_at, change.new_state.observed_at);
    assert_eq!(db::history_violations(&home.database()), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fault_19_an_operators_change_is_not_overwritten() {
    let (home, mut store) = empty_store().await;
    let [a, b] = [register_job(&mut store, "A").await, register_job(&mut store, "B").await];
    db::run_script_ok(&home.database(), "UPDATE job SET state = 'running', polls = 7 WHERE id = 1");
    let newest = seq(&store.writer.subscribe_newest_event().borrow());

    let observation = observation(ObservedState::Succeeded, "DONE");
    let mut batch = change_batch([&a, &b].map(|job| {
        let mut change = change_from_observation(job, &observation, utc(LATER));
        change.poll_record = Some(poll_record(job, utc(LATER)));
        change
    }));
    batch.new_jobs.push(new_job("C"));
    let committed = write_batch(&mut store, &batch).await;
    let [(job, Some(found))] = committed.conflicting_changes.as_slice() else {
        panic!("A alone is refused: {:?}", committed.conflicting_changes);
    };
    assert_eq!((*job, found.current_state.state(), found.polls), (a.id, State::Running, 7));
    let rows = "SELECT remote_id, state, provider_state, polls FROM job ORDER BY id";
    let expected = ["A|running||7", "B|succeeded|DONE|1", "C|registered||0"];
    assert_eq!(db::query_rows(&home.database(), rows), expected, "the rest of the batch is in");
    let of_a = "SELECT count(*) FROM history WHERE remote_id = 'A'";
    assert_eq!(db::query_value(&home.database(), of_a), "1", "nothing was added to its history");
    assert_eq!(seq(&store.writer.subscribe_newest_event().borrow()), newest + 2);

    db::run_script_ok(&home.database(), "PRAGMA foreign_keys = on; DELETE FROM job WHERE id = 2");
    let committed = write_batch(
        &mut store,
        &change_batch([change_from_observation(&b, &observation, utc(LATER))]),
    )
    .await;
    let [(job, None)] = committed.conflicting_changes.as_slice() else {
        panic!("B is gone: {:?}", committed.conflicting_changes);
    };
    assert_eq!(*job, b.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poll_record_updates_the_job_but_not_the_history() {
    let (home, mut store) = empty_store().await;
    let job = register_job(&mut store, "A").await;
    let newest = seq(&store.writer.subscribe_newest_event().borrow());
    let mut first = poll_record(&job, utc("2026-11-21 12:01:00.000"));
    first.next_poll_at = Some(utc("2026-11-21 12:02:00.000"));
    first.last_success_sent_at = Some(utc("2026-11-21 12:00:59.900"));
    first.metadata = Some(Metadata {
        similarity_keys: jobtrack::job::SimilarityKeys::Unknown,
        times: ProviderTimes { submitted_at: Some(utc(NOON)), ..ProviderTimes::default() },
        message: None,
        list_time: Some(utc(NOON)),
        source: None,
        credits: None,
        reported_duration: None,
        detail: r#"{"queue_position":3}"#.to_owned(),
    });
    let mut failed = poll_record(&job, utc("2026-11-21 12:02:00.000"));
    (failed.polls, failed.failed_polls) = (2, 1);
    failed.last_poll_error = Some("HTTP 502".to_owned());
    let poll_columns = "SELECT last_polled_at, next_poll_at, last_success_sent_at, polls,
                        failed_polls, last_poll_error, submitted_at, list_time, detail FROM job";
    let cases = [
        (first, "12:01:00.000|2026-11-21 12:02:00.000|2026-11-21 12:00:59.900|1|0||"),
        (failed, "12:02:00.000||2026-11-21 12:00:59.900|2|1|HTTP 502|"),
    ];
    for (record, expected) in cases {
        write_batch(&mut store, &Batch { poll_records: vec![record], ..Batch::default() }).await;
        let expected = format!("2026-11-21 {expected}{NOON}|{NOON}|{{\"queue_position\":3}}");
        assert_eq!(db::query_rows(&home.database(), poll_columns), [expected]);
    }
    assert_eq!(seq(&store.writer.subscribe_newest_event().borrow()), newest);

    let mut stale = poll_record(&job, utc(LATER));
    (stale.expected_state, stale.polls) = (State::Running, 9);
    write_batch(&mut store, &Batch { poll_records: vec![stale], ..Batch::default() }).await;
    assert_eq!(db::query_value(&home.database(), "SELECT polls FROM job"), "2", "of another state");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anomaly_is_recorded_outside_the_history() {
    let (home, mut store) = empty_store().await;
    let job = register_job(&mut store, "A").await;
    let what = "recorded as failed, now reported as running";
    let anomaly = Anomaly { job: job.id, at: utc(LATER), description: what.to_owned() };
    let of_unknown_job = Anomaly { job: JobId(99), ..anomaly.clone() };
    let batch = Batch { anomalies: vec![anomaly, of_unknown_job], ..Batch::default() };
    write_batch(&mut store, &batch).await;
    let rows = "SELECT kind, provider, job_id, began_at, reason FROM provider_event";
    let expected = format!("anomaly|dune|1|{LATER}|{what}");
    assert_eq!(db::query_rows(&home.database(), rows), [expected]);
    assert_eq!(db::query_value(&home.database(), "SELECT count(*) FROM outages"), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sequence_number_is_published_only_when_its_row_can_be_read() {
    const JOBS: i64 = 100;
    let (home, mut store) = empty_store().await;
    let (mut newest, reader) = (store.writer.subscribe_newest_event(), store.reader.clone());
    assert_eq!(seq(&newest.borrow()), 0);
    let following = tokio::spawn(async move {
        let mut seen = 0;
        while seen < JOBS {
            newest.changed().await.expect("the writer lives");
            let published = seq(&newest.borrow_and_update());
            let filter = HistoryFilter {
                after: Some(cursor(seen)),
                limit: 1000,
                ..HistoryFilter::default()
            };
            let rows = reader.history(&filter).await.expect("it is read");
            let last = rows.last().map_or(seen, |row| seq(&row.cursor));
            assert!(last >= published, "{published} is published, {last} is there");
            seen = last;
        }
    });
    for number in 0..JOBS {
        register_job(&mut store, &format!("job{number}")).await;
    }
    following.await.expect("every number had its row");
    store.reader.close().await;
    store.writer.close().await;
    let store = jobs::open_store(&home.database()).await;
    assert_eq!(
        seq(&store.writer.subscribe_newest_event().borrow()),
        JOBS,
        "it is known after a restart"
    );
}
