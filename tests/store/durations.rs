//! Duration samples: inserted with the change that ends a job and not otherwise, bounded in number,
//! deleted on request; and the similarity keys of jobs.

use std::time::Duration;

use jobtrack::job::{
    Change, DurationSample, JobId, Metadata, NewJob, ObservedState, PollRecord, ProviderTimes,
    SimilarityKeys, StoredJob,
};
use jobtrack::store::{Batch, BatchTimes, ForgetDurations, Store, StoreCommand};

use crate::support::daemon::DaemonHome;
use crate::support::db;
use crate::support::jobs::{
    add_batch, change_batch, change_from_observation, empty_store, new_job, observation,
    poll_record, register_job, utc, write_batch,
};

const LATER: &str = "2026-11-21 12:05:00.250";
const SAMPLE_ROWS: &str =
    "SELECT provider, similarity_keys, total_ms, run_ms FROM duration_sample ORDER BY id";

fn user_key(name: &str) -> SimilarityKeys {
    SimilarityKeys::UserProvided(name.into())
}

fn provider_keys(names: &[&str]) -> SimilarityKeys {
    SimilarityKeys::from_provider(names.iter().map(|name| (*name).to_owned()))
}

fn duration_sample(
    keys: SimilarityKeys,
    total_ms: Option<u64>,
    run_ms: Option<u64>,
) -> DurationSample {
    let from_millis = |ms: Option<u64>| ms.map(Duration::from_millis);
    DurationSample {
        similarity_keys: keys,
        total: from_millis(total_ms),
        run: from_millis(run_ms),
        ..DurationSample::default()
    }
}

/// A change that ends the job and has this sample.
fn finish_with_sample(job: &StoredJob, sample: DurationSample) -> Change {
    let observation = observation(ObservedState::Succeeded, "QUERY_STATE_COMPLETED");
    Change {
        duration_sample: Some(sample),
        ..change_from_observation(job, &observation, utc(LATER))
    }
}

/// A poll record with these similarity keys.
fn poll_record_with_keys(job: &StoredJob, keys: SimilarityKeys) -> PollRecord {
    let metadata = Metadata {
        times: ProviderTimes {
            submitted_at: Some(utc("2026-11-21 11:59:00.000")),
            ..ProviderTimes::default()
        },
        message: None,
        list_time: None,
        source: None,
        credits: None,
        reported_duration: None,
        similarity_keys: keys,
        detail: "{}".to_owned(),
    };
    PollRecord { metadata: Some(metadata), ..poll_record(job, utc(LATER)) }
}

fn forget(provider: &str, similarity_key: Option<&str>) -> StoreCommand {
    StoreCommand::ForgetDurations(ForgetDurations {
        audit: None,
        provider: provider.parse().expect("a name"),
        similarity_key: similarity_key.map(str::to_owned),
    })
}

async fn stored_similarity_keys(store: &Store, job: JobId) -> SimilarityKeys {
    store.reader.stored_job(job).await.expect("it is read").expect("it is there").similarity_keys
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finished_job_adds_one_sample_which_is_read_back_unchanged() {
    let (home, mut store) = empty_store().await;
    let samples = [
        duration_sample(provider_keys(&["query 7"]), Some(5000), Some(4000)),
        duration_sample(user_key("nightly"), Some(60_000), None),
        duration_sample(provider_keys(&["closest, \"quoted\"", "wider"]), None, Some(1)),
        duration_sample(SimilarityKeys::Unknown, Some(9), Some(8)),
    ];
    let mut finishes = Vec::new();
    for (number, sample) in samples.iter().enumerate() {
        let job = register_job(&mut store, &format!("J{number}")).await;
        finishes.push(finish_with_sample(&job, sample.clone()));
    }
    let committed = write_batch(&mut store, &change_batch(finishes.clone())).await;
    assert!(committed.conflicting_changes.is_empty());
    let expected = [
        "dune|[\"query 7\"]|5000|4000",
        "dune|\"nightly\"|60000|",
        "dune|[\"closest, \\\"quoted\\\"\",\"wider\"]||1",
        "dune||9|8",
    ];
    assert_eq!(db::query_rows(&home.database(), SAMPLE_ROWS), expected);

    // A change whose commit was not acknowledged is written again, and rejected.
    let repeated = write_batch(&mut store, &change_batch(finishes)).await;
    assert_eq!(repeated.conflicting_changes.len(), samples.len());
    assert_eq!(
        db::query_rows(&home.database(), SAMPLE_ROWS),
        expected,
        "a refused change teaches nothing"
    );

    let mut read = Vec::new();
    let mut after = 0;
    loop {
        let page = store.reader.duration_samples(after, 3).await.expect("a page");
        let Some(last) = page.last() else { break };
        after = last.id;
        assert!(page.len() <= 3 && page.iter().all(|one| one.provider.as_str() == "dune"));
        read.extend(page.into_iter().map(|one| one.sample));
    }
    assert_eq!(read, samples);
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_ended_beside_unfinished_ones_are_read_with_their_starts() {
    let (home, mut store) = empty_store().await;
    let mut finishes = Vec::new();
    for remote_id in ["before", "estimated", "reported", "keyless", "unfinished"] {
        let similarity_keys = match remote_id {
            "keyless" => SimilarityKeys::Unknown,
            _ => user_key("q"),
        };
        let new = NewJob { similarity_keys, ..new_job(remote_id) };
        let committed = write_batch(&mut store, &add_batch([new])).await;
        let job = &committed.registered[0].job;
        if remote_id != "unfinished" {
            finishes
                .push(finish_with_sample(job, duration_sample(user_key("q"), Some(5), Some(4))));
        }
    }
    write_batch(&mut store, &change_batch(finishes)).await;
    db::run_script_ok(
        &home.database(),
        "UPDATE job SET terminal_at = '2026-11-21 11:59:59.000' WHERE remote_id = 'before';
         UPDATE job SET submitted_at = '2026-11-21 12:01:00.000', total_s = 240.0,
                        started_at = '2026-11-21 12:02:00.000', run_s = 180.0
         WHERE remote_id = 'reported'",
    );
    let reported = DurationSample {
        total_from: Some(utc("2026-11-21 12:01:00.000")),
        run_from: Some(utc("2026-11-21 12:02:00.000")),
        ..duration_sample(user_key("q"), Some(240_000), Some(180_000))
    };
    let runs = store.reader.ended_runs(10).await.expect("they are read");
    let [(provider, newest), (_, estimated)] = &runs[..] else { panic!("two runs: {runs:?}") };
    assert_eq!((provider.as_str(), newest), ("dune", &reported));
    // From the registration to when the end was observed.
    assert_eq!(estimated.total_from, Some(utc("2026-11-21 12:00:00.000")));
    let seconds = estimated.total.expect("a duration").as_secs_f64();
    assert!((seconds - 300.25).abs() < 0.01, "{seconds}");
    assert_eq!((estimated.run, estimated.run_from), (None, None));
    assert_eq!(store.reader.ended_runs(1).await.expect("it is read").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_starts_of_forgotten_runs_are_not_read() {
    let (home, mut store) = empty_store().await;
    let keys = provider_keys(&["closest", "wider"]);
    let mut jobs = Vec::new();
    for remote_id in ["unfinished", "1", "2", "3", "4"] {
        let new = NewJob { similarity_keys: keys.clone(), ..new_job(remote_id) };
        jobs.push(write_batch(&mut store, &add_batch([new])).await.registered.remove(0).job);
    }
    let both = duration_sample(keys.clone(), Some(10), Some(1));
    let total_only = duration_sample(keys.clone(), Some(10), None);

    let old =
        [finish_with_sample(&jobs[1], both.clone()), finish_with_sample(&jobs[2], both.clone())];
    write_batch(&mut store, &change_batch(old)).await;
    let all = ["closest 30000 3000", "wider 30000 3000", "closest 20000 2000", "wider 20000 2000"];
    assert_eq!(ended_runs(&home, &store).await, all);

    let commands = vec![forget("dune", Some("wider")), forget("other", None)];
    write_batch(&mut store, &Batch { commands, ..Batch::default() }).await;
    assert_eq!(ended_runs(&home, &store).await, [all[0], all[2]], "the other key is kept");

    write_batch(&mut store, &change_batch([finish_with_sample(&jobs[3], total_only)])).await;
    let expected = ["closest 40000 4000", "wider 40000 0", "closest 30000 3000", "closest 20000 0"];
    assert_eq!(ended_runs(&home, &store).await, expected, "one sample has no run");

    let commands = vec![forget("dune", None)];
    let last = Batch { commands, ..change_batch([finish_with_sample(&jobs[4], both)]) };
    write_batch(&mut store, &last).await;
    assert_eq!(ended_runs(&home, &store).await, ["closest 50000 5000", "wider 50000 5000"]);
}

/// The runs that are read if each ended job lasted ten times its id in seconds and its run as many seconds as its id:
/// their key, total and run in milliseconds.
async fn ended_runs(home: &DaemonHome, store: &Store) -> Vec<String> {
    db::run_script_ok(
        &home.database(),
        "UPDATE job SET started_at = registered_at, run_s = id, total_s = 10 * id WHERE terminal_at IS NOT NULL",
    );
    let runs = store.reader.ended_runs(100).await.expect("they are read");
    let millis = |duration: Option<Duration>| duration.unwrap_or_default().as_millis();
    let text = |run: &DurationSample| {
        format!("{} {} {}", run.similarity_keys.keys()[0], millis(run.total), millis(run.run))
    };
    runs.iter().map(|(_, run)| text(run)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_duration_below_one_millisecond_is_stored_as_one() {
    let (home, mut store) = empty_store().await;
    let job = register_job(&mut store, "A").await;
    let short = DurationSample {
        run: Some(Duration::from_nanos(5)),
        ..duration_sample(provider_keys(&["q"]), Some(1), None)
    };
    write_batch(&mut store, &change_batch([finish_with_sample(&job, short)])).await;
    assert_eq!(db::query_rows(&home.database(), SAMPLE_ROWS), ["dune|[\"q\"]|1|1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_batch_adds_no_samples() {
    let (home, mut store) = empty_store().await;
    let job = register_job(&mut store, "A").await;
    let mut batch = change_batch([finish_with_sample(
        &job,
        duration_sample(provider_keys(&["q"]), Some(5), None),
    )]);
    // Makes the last statement of the batch fail.
    db::run_script_ok(
        &home.database(),
        "CREATE TRIGGER no BEFORE INSERT ON last_event BEGIN SELECT raise(ABORT, 'no'); END",
    );
    batch.times = Some(BatchTimes {
        written_at: utc(LATER),
        certain_at: None,
        confirmed_at: None,
        contradicting: None,
    });
    store.writer.write(&batch).await.expect_err("the last statement fails");
    let both = "SELECT (SELECT count(*) FROM duration_sample), (SELECT state FROM job)";
    assert_eq!(db::query_value(&home.database(), both), "0|registered");
    db::run_script_ok(&home.database(), "DROP TRIGGER no");
    write_batch(&mut store, &batch).await;
    assert_eq!(db::query_value(&home.database(), both), "1|succeeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_64_samples_of_each_key_and_200_000_of_all_are_kept() {
    let (home, mut store) = empty_store().await;
    let runs = |count: u64| {
        (1..=count).map(|ms| duration_sample(provider_keys(&["often"]), Some(ms), None))
    };
    let rare = [provider_keys(&["rare"]), SimilarityKeys::Unknown, user_key("often")];
    let rare = rare.map(|keys| duration_sample(keys, Some(1), None));
    let mut finishes = Vec::new();
    for (number, sample) in rare.into_iter().chain(runs(70)).enumerate() {
        let job = register_job(&mut store, &format!("J{number}")).await;
        finishes.push(finish_with_sample(&job, sample));
    }
    write_batch(&mut store, &change_batch(finishes)).await;
    let kept = "SELECT similarity_keys, count(*), min(total_ms), max(total_ms)
                FROM duration_sample GROUP BY similarity_keys ORDER BY similarity_keys";
    let expected = ["|1|1|1", "\"often\"|1|1|1", "[\"often\"]|64|7|70", "[\"rare\"]|1|1|1"];
    assert_eq!(db::query_rows(&home.database(), kept), expected, "one by another name is another");

    let many = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 202500)
                INSERT INTO duration_sample (provider, similarity_keys, total_ms)
                SELECT 'dune', json_array('query ' || i), i FROM n";
    db::run_script_ok(&home.database(), many);
    let all = "SELECT count(*) BETWEEN 200000 AND 201000, max(total_ms) FROM duration_sample";
    assert_eq!(db::query_value(&home.database(), all), "1|202500", "the newest");
    let oldest = "SELECT count(*) FROM duration_sample WHERE similarity_keys = '[\"rare\"]'";
    assert_eq!(db::query_value(&home.database(), oldest), "0");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_samples_of_a_key_or_a_provider_are_deleted() {
    let (home, mut store) = empty_store().await;
    let cases = [
        ("dune", provider_keys(&["closest", "wider"])),
        ("dune", provider_keys(&["wider"])),
        ("dune", user_key("wider")),
        ("dune", provider_keys(&["wider still"])),
        ("dune", SimilarityKeys::Unknown),
        ("other", provider_keys(&["wider"])),
    ];
    let mut finishes = Vec::new();
    for (number, (provider, keys)) in cases.into_iter().enumerate() {
        let provider = provider.parse().expect("a name");
        let job = NewJob { provider, ..new_job(&format!("J{number}")) };
        let registered = write_batch(&mut store, &add_batch([job])).await.registered.remove(0);
        finishes.push(finish_with_sample(&registered.job, duration_sample(keys, Some(5), None)));
    }
    write_batch(&mut store, &change_batch(finishes)).await;
    let batch = |commands: Vec<StoreCommand>| Batch { commands, ..Batch::default() };
    let remaining =
        || db::query_rows(&home.database(), "SELECT id FROM duration_sample ORDER BY id").join(" ");

    let first = batch(vec![forget("dune", Some("wider")), forget("nobody", None)]);
    assert_eq!(write_batch(&mut store, &first).await.command_results, [3, 0]);
    assert_eq!(remaining(), "1 4 5 6");
    let kept = db::query_value(
        &home.database(),
        "SELECT similarity_keys FROM duration_sample WHERE id = 1",
    );
    assert_eq!(kept, r#"["closest"]"#, "it goes by another name as well");
    let second = batch(vec![forget("dune", None), forget("dune", Some("wider still"))]);
    assert_eq!(write_batch(&mut store, &second).await.command_results, [3, 0]);
    assert_eq!(remaining(), "6", "the other provider's");

    // Samples of the same batch are inserted after the deletion.
    let job = register_job(&mut store, "last").await;
    let both = Batch {
        commands: vec![forget("dune", None)],
        ..change_batch([finish_with_sample(
            &job,
            duration_sample(provider_keys(&["wider"]), Some(5), None),
        )])
    };
    assert_eq!(write_batch(&mut store, &both).await.command_results, [0]);
    assert_eq!(remaining(), "6 7");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_users_similarity_key_takes_precedence_over_the_providers() {
    let (home, mut store) = empty_store().await;
    let job = register_job(&mut store, "A").await;
    assert_eq!(job.similarity_keys, SimilarityKeys::Unknown);
    let batch_of = |note: PollRecord| Batch { poll_records: vec![note], ..Batch::default() };
    write_batch(&mut store, &batch_of(poll_record_with_keys(&job, provider_keys(&["query 7"]))))
        .await;
    assert_eq!(stored_similarity_keys(&store, job.id).await, provider_keys(&["query 7"]));
    write_batch(&mut store, &batch_of(poll_record_with_keys(&job, SimilarityKeys::Unknown))).await;
    assert_eq!(
        stored_similarity_keys(&store, job.id).await,
        provider_keys(&["query 7"]),
        "silence is no news"
    );
    write_batch(&mut store, &batch_of(poll_record_with_keys(&job, provider_keys(&["query 8"]))))
        .await;
    assert_eq!(stored_similarity_keys(&store, job.id).await, provider_keys(&["query 8"]));

    let with_user_key = |name: &str| NewJob { similarity_keys: user_key(name), ..new_job("A") };
    let report = write_batch(
        &mut store,
        &add_batch([with_user_key("weekly"), with_user_key("nightly"), new_job("A")]),
    )
    .await;
    let stored: Vec<_> =
        report.registered.iter().map(|one| one.job.similarity_keys.clone()).collect();
    assert_eq!(
        stored,
        [user_key("nightly"), user_key("nightly"), user_key("nightly")],
        "the last word"
    );
    let change = Change {
        poll_record: Some(poll_record_with_keys(&job, provider_keys(&["query 9"]))),
        ..observed_running(&job)
    };
    write_batch(&mut store, &change_batch([change])).await;
    assert_eq!(
        stored_similarity_keys(&store, job.id).await,
        user_key("nightly"),
        "its user knows better"
    );
    let view = "SELECT similarity_keys FROM jobs";
    assert_eq!(db::query_value(&home.database(), view), "\"nightly\"");

    let new = NewJob { similarity_keys: user_key("other"), ..new_job("B") };
    let registered = write_batch(&mut store, &add_batch([new])).await.registered.remove(0);
    assert_eq!((registered.is_new, registered.job.similarity_keys), (true, user_key("other")));
    let others = "SELECT similarity_keys FROM jobs ORDER BY id";
    assert_eq!(db::query_rows(&home.database(), others), ["\"nightly\"", "\"other\""]);
}

fn observed_running(job: &StoredJob) -> Change {
    change_from_observation(
        job,
        &observation(ObservedState::Running, "QUERY_STATE_EXECUTING"),
        utc(LATER),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_loaded_with_its_similarity_keys_and_provider_times() {
    let (_home, mut store) = empty_store().await;
    let job = register_job(&mut store, "A").await;
    assert_eq!(job.times, ProviderTimes::default());
    let mut record = poll_record_with_keys(&job, provider_keys(&["query 7"]));
    let times = ProviderTimes {
        submitted_at: Some(utc("2026-11-21 11:59:00.000")),
        started_at: Some(utc("2026-11-21 11:59:30.125")),
        ended_at: Some(utc("2026-11-21 12:01:00.000")),
        expires_at: Some(utc("2027-02-19 12:01:00.000")),
    };
    record.metadata.as_mut().expect("something is told").times = times;
    write_batch(&mut store, &Batch { poll_records: vec![record], ..Batch::default() }).await;
    let active = store.reader.unfinished_jobs(JobId(0), 10).await.expect("it is read");
    let [loaded] = &active[..] else { panic!("one job: {active:?}") };
    assert_eq!((loaded.times, &loaded.similarity_keys), (times, &provider_keys(&["query 7"])));
}
