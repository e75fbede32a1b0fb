//! The views that users query: their columns, the durations and spans in them, their query plans.

use std::time::Duration;

use jobtrack::job::{
    LocalOutcome, Metadata, NewJob, Observation, ObservedState, PollRecord, ProviderTimes,
    SimilarityKeys, StoredJob,
};
use jobtrack::policy::RateLimiterStates;
use jobtrack::store::{JobFilter, Store};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions};

use crate::support::daemon::DaemonHome;
use crate::support::{db, jobs};

#[tokio::test(flavor = "multi_thread")]
async fn each_view_has_its_documented_columns() {
    let home = DaemonHome::without_config();
    drop(jobs::open_store(&home.database()).await);
    let contract = [
        (
            "jobs",
            "id, provider, kind, remote_id, source, state, provider_state, terminal, labels, \
             similarity_keys, added_by_uid, added_by_user, registered_at, submitted_at, started_at, \
             ended_at, terminal_at, expires_at, deadline_at, message, last_polled_at, next_poll_at, \
             polls, failed_polls, last_poll_error, queue_s, run_s, total_s, detection_delay_s, \
             detection_delay_max_s, credits, detail, price, pinned",
        ),
        ("job_labels", "job_id, key, value"),
        (
            "history",
            "seq, job_id, provider, remote_id, from_state, to_state, provider_state, evidence, \
             occurred_at, observed_at, earliest_at, message",
        ),
        (
            "runs",
            "job_id, provider, kind, remote_id, source, labels, state, registered_at, submitted_at, \
             started_at, ended_at, terminal_at, queue_s, run_s, total_s, detection_delay_s, \
             detection_delay_max_s, credits, polls, message",
        ),
        (
            "spans",
            "job_id, provider, kind, remote_id, state, from_at, to_at, seconds, from_earliest_at, \
             from_latest_at, to_earliest_at, to_latest_at",
        ),
        ("outages", "provider, began_at, ended_at, reason, failed_polls"),
        (
            "audit",
            "id, requested_at, origin, uid, user_name, pid, command, provider, job_id, remote_id, \
             outcome, detail, count",
        ),
    ];
    for (view, columns) in contract {
        let query = format!("SELECT group_concat(name, ', ') FROM pragma_table_info('{view}')");
        assert_eq!(db::query_value(&home.database(), &query), columns, "{view}");
    }
}

const NOON: &str = "2026-11-21 12:00:00.000";

/// Registers `remote_id` at noon, and ends the job with this observation at 12:10.
async fn finish_job(store: &mut Store, remote_id: &str, observation: &Observation) -> StoredJob {
    let job = jobs::register_job(store, remote_id).await;
    let answered_at = jobs::utc("2026-11-21 12:10:00.000");
    let mut change = jobs::change_from_observation(&job, observation, answered_at);
    change.poll_record = Some(PollRecord {
        metadata: Some(Metadata {
            times: observation.times,
            message: observation.message.clone(),
            list_time: observation.list_time,
            similarity_keys: observation.similarity_keys.clone(),
            source: observation.source.clone(),
            credits: observation.credits,
            reported_duration: observation.reported_duration,
            detail: "{}".to_owned(),
        }),
        ..jobs::poll_record(&job, answered_at)
    });
    let report = jobs::write_batch(store, &jobs::change_batch([change])).await;
    assert!(report.conflicting_changes.is_empty());
    job
}

#[tokio::test(flavor = "multi_thread")]
async fn durations_are_stored_in_the_transaction_that_ends_the_job() {
    let home = DaemonHome::without_config();
    let mut store = jobs::open_store(&home.database()).await;
    let at = |time: &str| Some(jobs::utc(&format!("2026-11-21 {time}")));
    let with_times = Observation {
        times: ProviderTimes {
            submitted_at: at("11:59:58.000"),
            started_at: at("12:00:01.500"),
            ended_at: at("12:09:57.750"),
            expires_at: None,
        },
        source: Some("980708".to_owned()),
        credits: Some(1.25),
        ..jobs::observation(ObservedState::Succeeded, "QUERY_STATE_COMPLETED")
    };
    let with_duration = Observation {
        times: ProviderTimes { ended_at: at("12:09:50.000"), ..ProviderTimes::default() },
        reported_duration: Some(Duration::from_millis(2523)),
        ..jobs::observation(ObservedState::Failed, "FAILED")
    };
    let without_times = jobs::observation(ObservedState::Succeeded, "FINISHED");
    finish_job(&mut store, "times", &with_times).await;
    finish_job(&mut store, "duration", &with_duration).await;
    finish_job(&mut store, "nothing", &without_times).await;
    let untracked = jobs::register_job(&mut store, "untracked").await;
    let change = jobs::change_from_local_outcome(
        &untracked,
        LocalOutcome::Untracked,
        jobs::utc("2026-11-21 12:10:00.000"),
    );
    jobs::write_batch(&mut store, &jobs::change_batch([change])).await;
    jobs::register_job(&mut store, "active").await;

    let runs = "SELECT remote_id, source, queue_s, run_s, total_s, detection_delay_s,
                       detection_delay_max_s, credits FROM runs ORDER BY job_id";
    let expected = [
        "times|980708|3.5|596.25|599.75|2.25|600.0|1.25",
        "duration|||2.523||10.0|600.0|",
        "nothing||||||600.0|",
        "untracked|||||||",
    ];
    assert_eq!(db::query_rows(&home.database(), runs), expected);
    let row = store.reader.jobs(&JobFilter { limit: 10, ..JobFilter::default() }).await;
    let row = row.expect("jobs").pop().expect("the first job");
    assert_eq!((row.queue_s, row.run_s, row.total_s), (Some(3.5), Some(596.25), Some(599.75)));
    assert_eq!((row.source.as_deref(), row.credits), (Some("980708"), Some(1.25)));
}

#[tokio::test(flavor = "multi_thread")]
async fn times_of_earlier_answers_count_for_the_durations() {
    let home = DaemonHome::without_config();
    let mut store = jobs::open_store(&home.database()).await;
    let job = jobs::register_job(&mut store, "A").await;
    let set = "UPDATE job SET submitted_at = '2026-11-21 12:00:01.000',
                              started_at = '2026-11-21 12:00:03.000'";
    db::run_script_ok(&home.database(), set);
    let mut end = jobs::observation(ObservedState::Succeeded, "DONE");
    end.times.ended_at = Some(jobs::utc("2026-11-21 12:01:03.500"));
    let answered_at = jobs::utc("2026-11-21 12:10:00.000");
    let mut change = jobs::change_from_observation(&job, &end, answered_at);
    change.poll_record = Some(PollRecord {
        metadata: Some(Metadata {
            times: end.times,
            message: None,
            list_time: None,
            similarity_keys: SimilarityKeys::Unknown,
            source: None,
            credits: None,
            reported_duration: None,
            detail: "{}".to_owned(),
        }),
        ..jobs::poll_record(&job, answered_at)
    });
    jobs::write_batch(&mut store, &jobs::change_batch([change])).await;
    let durations = "SELECT queue_s, run_s, total_s FROM runs";
    assert_eq!(db::query_value(&home.database(), durations), "2.0|60.5|62.5");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jobs_own_limit_is_its_deadline() {
    let home = DaemonHome::without_config();
    let mut store = jobs::open_store(&home.database()).await;
    let limited =
        NewJob { give_up_after: Some(Duration::from_secs(90)), ..jobs::new_job("limited") };
    let batch = jobs::add_batch([limited, jobs::new_job("unlimited")]);
    let registered = jobs::write_batch(&mut store, &batch).await.registered;
    let limits: Vec<_> = registered.iter().map(|one| one.job.give_up_after).collect();
    assert_eq!(limits, [Some(Duration::from_secs(90)), None]);
    let deadlines = "SELECT remote_id, deadline_at FROM jobs ORDER BY id";
    let expected = ["limited|2026-11-21 12:01:30.000", "unlimited|"];
    assert_eq!(db::query_rows(&home.database(), deadlines), expected);
}

/// Transitions of one job, and the spans that they make: state, from, to, seconds.
struct SpanCase {
    name: &'static str,
    /// from, to, occurred, observed, earliest.
    transitions: &'static [[&'static str; 5]],
    expected: &'static [&'static str],
}

const SPAN_CASES: [SpanCase; 5] = [
    SpanCase {
        name: "the provider reports all times",
        transitions: &[
            ["", "registered", "", "12:00:00.000", ""],
            ["registered", "pending", "12:00:01.000", "12:00:05.000", "12:00:00.500"],
            ["pending", "running", "12:00:03.500", "12:00:05.000", "12:00:00.500"],
            ["running", "succeeded", "12:01:00.250", "12:01:07.000", "12:00:57.000"],
        ],
        expected: &[
            "registered|12:00:00.000|12:00:01.000|1.0||12:00:00.000|12:00:00.500|12:00:05.000",
            "pending|12:00:01.000|12:00:03.500|2.5|12:00:00.500|12:00:05.000|12:00:00.500|12:00:05.000",
            "running|12:00:03.500|12:01:00.250|56.75|12:00:00.500|12:00:05.000|12:00:57.000|12:01:07.000",
            "succeeded|12:01:00.250|||12:00:57.000|12:01:07.000||",
        ],
    },
    SpanCase {
        name: "the provider reports no times",
        transitions: &[
            ["", "registered", "", "12:00:00.000", ""],
            ["registered", "running", "", "12:00:05.000", ""],
            ["running", "failed", "", "12:00:15.000", "12:00:10.000"],
        ],
        expected: &[
            "registered|12:00:00.000|12:00:05.000|5.0||12:00:00.000||12:00:05.000",
            "running|12:00:05.000|12:00:15.000|10.0||12:00:05.000|12:00:10.000|12:00:15.000",
            "failed|12:00:15.000|||12:00:10.000|12:00:15.000||",
        ],
    },
    SpanCase {
        name: "a job was submitted before it was registered",
        transitions: &[
            ["", "registered", "", "12:00:00.000", ""],
            ["registered", "pending", "11:59:00.000", "12:00:01.000", ""],
        ],
        expected: &[
            "registered|12:00:00.000|12:00:00.000|0.0||12:00:00.000||12:00:01.000",
            "pending|11:59:00.000||||12:00:01.000||",
        ],
    },
    SpanCase {
        name: "the provider's clock is behind ours",
        transitions: &[
            ["", "registered", "", "12:00:00.000", ""],
            ["registered", "running", "", "12:00:05.000", ""],
            ["running", "succeeded", "12:00:02.000", "12:00:15.000", "12:00:10.000"],
        ],
        expected: &[
            "registered|12:00:00.000|12:00:05.000|5.0||12:00:00.000||12:00:05.000",
            "running|12:00:05.000|12:00:05.000|0.0||12:00:05.000|12:00:10.000|12:00:15.000",
            "succeeded|12:00:02.000|||12:00:10.000|12:00:15.000||",
        ],
    },
    SpanCase {
        name: "a job leaves a state and returns, and changes its provider state only",
        transitions: &[
            ["", "registered", "", "12:00:00.000", ""],
            ["registered", "running", "", "12:00:01.000", ""],
            ["running", "running", "", "12:00:02.000", "12:00:01.000"],
            ["running", "unknown", "", "12:00:03.000", "12:00:02.000"],
            ["unknown", "running", "", "12:00:04.000", "12:00:03.000"],
        ],
        expected: &[
            "registered|12:00:00.000|12:00:01.000|1.0||12:00:00.000||12:00:01.000",
            "running|12:00:01.000|12:00:03.000|2.0||12:00:01.000|12:00:02.000|12:00:03.000",
            "unknown|12:00:03.000|12:00:04.000|1.0|12:00:02.000|12:00:03.000|12:00:03.000|12:00:04.000",
            "running|12:00:04.000|||12:00:03.000|12:00:04.000||",
        ],
    },
];

#[tokio::test(flavor = "multi_thread")]
async fn each_stay_in_a_state_is_a_span() {
    let home = DaemonHome::without_config();
    drop(jobs::open_store(&home.database()).await);
    let time = |text: &str| match text {
        "" => "NULL".to_owned(),
        text => format!("'2026-11-21 {text}'"),
    };
    let state = |text: &str| if text.is_empty() { "NULL".to_owned() } else { format!("'{text}'") };
    for (number, case) in SPAN_CASES.iter().enumerate() {
        let rows: Vec<_> = case
            .transitions
            .iter()
            .map(|[from, to, occurred, observed, earliest]| {
                format!(
                    "({}, {}, {}, 'observed', {}, {}, {})",
                    number + 1,
                    state(from),
                    state(to),
                    time(occurred),
                    time(observed),
                    time(earliest)
                )
            })
            .collect();
        let script = format!(
            "INSERT INTO job (provider, kind, remote_id, state, registered_at)
             VALUES ('dune', 'dune', 'r{number}', 'registered', '{NOON}');
             INSERT INTO transition (job_id, from_state, to_state, evidence, occurred_at,
                                     observed_at, earliest_at)
             VALUES {};",
            rows.join(", ")
        );
        db::run_script_ok(&home.database(), &script);
        let spans = format!(
            "SELECT state, substr(from_at, 12), substr(to_at, 12), seconds,
                    substr(from_earliest_at, 12), substr(from_latest_at, 12),
                    substr(to_earliest_at, 12), substr(to_latest_at, 12)
             FROM spans WHERE job_id = {} ORDER BY from_latest_at, to_at IS NULL, to_at",
            number + 1
        );
        assert_eq!(db::query_rows(&home.database(), &spans), case.expected, "{}", case.name);
    }
    let negative = "SELECT count(*) FROM spans WHERE seconds < 0 OR to_at < from_at";
    assert_eq!(db::query_value(&home.database(), negative), "0");
    db::run_script_ok(&home.database(), "PRAGMA foreign_keys = on; DELETE FROM job");
    assert_eq!(db::query_value(&home.database(), "SELECT count(*) FROM span"), "0");
}

/// The plan of a query, by the library that the daemon links and by the operator's shell.
async fn query_plans(home: &DaemonHome, query: &str) -> [String; 2] {
    let explain = format!("EXPLAIN QUERY PLAN {query}");
    let options = SqliteConnectOptions::new().filename(home.database()).read_only(true);
    let mut connection = options.connect().await.expect("the database");
    let rows: Vec<(i64, i64, i64, String)> = sqlx::query_as(AssertSqlSafe(explain.clone()))
        .fetch_all(&mut connection)
        .await
        .unwrap_or_else(|error| panic!("{query}: {error}"));
    let linked_library: Vec<_> = rows.into_iter().map(|(_, _, _, detail)| detail).collect();
    [linked_library.join("\n"), db::query_rows(&home.database(), &explain).join("\n")]
}

#[tokio::test(flavor = "multi_thread")]
async fn common_queries_use_an_index() {
    let home = DaemonHome::without_config();
    let Store { writer, reader, .. } = jobs::open_store(&home.database()).await;
    // The query, and what its plan must name.
    let cases = [
        ("SELECT * FROM history WHERE observed_at >= '2026-11-20'", "transition_observed_at"),
        ("SELECT * FROM history WHERE remote_id = 'X'", "INDEX job_"),
        ("SELECT * FROM history WHERE seq > 5 ORDER BY seq LIMIT 100", "PRIMARY KEY"),
        ("SELECT * FROM history WHERE job_id = 5 ORDER BY seq", "transition_job"),
        ("SELECT * FROM spans WHERE job_id = 5", "PRIMARY KEY"),
        ("SELECT * FROM runs WHERE terminal_at >= '2026-11-20'", "job_terminal_at"),
        ("SELECT * FROM jobs WHERE terminal_at >= '2026-11-20'", "job_terminal_at"),
        ("SELECT * FROM jobs WHERE remote_id = 'X'", "INDEX job_"),
        ("SELECT * FROM jobs WHERE remote_id = 'X' AND provider = 'dune'", "INDEX job_"),
        ("SELECT * FROM jobs WHERE registered_at >= '2026-11-20'", "job_registered_at"),
        ("SELECT job_id FROM job_labels WHERE key = 'team' AND value = 'data'", "PRIMARY KEY"),
        (
            "SELECT id, remote_id, state FROM jobs
             WHERE id IN (SELECT job_id FROM job_labels WHERE key = 'team' AND value = 'data')
             ORDER BY id",
            "PRIMARY KEY (key=? AND value=?)",
        ),
        ("SELECT * FROM jobs WHERE state = 'failed' ORDER BY id DESC LIMIT 100", "job_state"),
        // As the reader asks for what is to be tracked: not all jobs that there ever were.
        (
            "SELECT * FROM job WHERE terminal_at IS NULL AND id > 5 ORDER BY id LIMIT 5000",
            "job_active",
        ),
    ];
    for (query, index) in cases {
        for plan in query_plans(&home, query).await {
            assert!(plan.contains(index), "{query}\n{plan}");
            assert!(!plan.contains("SCAN"), "{query}\n{plan}");
        }
    }
    // As old jobs are deleted.
    let old = "SELECT job.id FROM job JOIN json_each('[\"failed\"]') AS state ON value = +job.state
               WHERE job.terminal_at < '2026-11-20' ORDER BY job.terminal_at LIMIT 500";
    for plan in query_plans(&home, old).await {
        assert!(plan.contains("job_terminal_at (terminal_at<?)"), "{plan}");
    }
    reader.close().await;
    writer.close(RateLimiterStates::new()).await;
}
