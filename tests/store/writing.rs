//! What a batch writes: all of it or nothing, nothing twice, and nothing over a state that it does not
//! expect.

use jobtrack::job::{Anomaly, JobId, Metadata, ObservedState, ProviderTimes, State};
use jobtrack::policy::RateLimiterStates;
use jobtrack::store::{Batch, HistoryFilter};

use crate::support::jobs::{
    change_batch, change_from_observation, cursor, empty_store, new_job, observation, poll_record,
    register_job, seq, utc, write_batch,
};
use crate::support::{db, jobs};

const NOON: &str = "2026-11-21 12:00:00.000";
const LATER: &str = "2026-11-21 12:05:00.250";

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
    store.writer.close(RateLimiterStates::new()).await;
    let store = jobs::open_store(&home.database()).await;
    assert_eq!(
        seq(&store.writer.subscribe_newest_event().borrow()),
        JOBS,
        "it is known after a restart"
    );
}
