//! The views, which are what users script against: their columns, their sums, their speed.

use jobtrack::store::Store;
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
            "id, provider, kind, remote_id, state, provider_state, terminal, labels, added_by, \
             registered_at, submitted_at, started_at, ended_at, terminal_at, expires_at, message, \
             last_polled_at, next_poll_at, polls, failed_polls, last_poll_error, detail, likeness",
        ),
        (
            "history",
            "seq, job_id, provider, remote_id, from_state, to_state, provider_state, evidence, \
             occurred_at, observed_at, earliest_at, message",
        ),
        (
            "runs",
            "job_id, provider, kind, remote_id, labels, state, registered_at, terminal_at, \
             pending_s, running_s, detection_delay_s, detection_delay_max_s, polls, message",
        ),
        ("outages", "provider, began_at, ended_at, reason, failed_polls"),
    ];
    for (view, columns) in contract {
        let query = format!("SELECT group_concat(name, ', ') FROM pragma_table_info('{view}')");
        assert_eq!(db::query_value(&home.database(), &query), columns, "{view}");
    }
}

/// A job that ended at 12:10:00 by our clock, and what `runs` makes of it.
struct RunCase {
    name: &'static str,
    /// Its registration, at 12:00:00 if none is named.
    registered_at: &'static str,
    submitted_at: Option<&'static str>,
    started_at: Option<&'static str>,
    ended_at: Option<&'static str>,
    earliest_at: Option<&'static str>,
    /// `pending_s`, `running_s`, `detection_delay_s`, `detection_delay_max_s`.
    expected: &'static str,
}

const ALL_TIMES_KNOWN: RunCase = RunCase {
    name: "all is told",
    registered_at: "12:00:00.000",
    submitted_at: Some("11:59:58.000"),
    started_at: Some("12:00:01.500"),
    ended_at: Some("12:09:57.750"),
    earliest_at: Some("12:09:30.100"),
    expected: "3.5|596.25|2.25|29.9",
};

const RUN_CASES: [RunCase; 8] = [
    ALL_TIMES_KNOWN,
    RunCase {
        name: "nothing is told",
        submitted_at: None,
        started_at: None,
        ended_at: None,
        earliest_at: None,
        expected: "|||600.0",
        ..ALL_TIMES_KNOWN
    },
    RunCase {
        name: "no submission",
        submitted_at: None,
        expected: "|596.25|2.25|29.9",
        ..ALL_TIMES_KNOWN
    },
    RunCase { name: "never started", started_at: None, expected: "||2.25|29.9", ..ALL_TIMES_KNOWN },
    RunCase { name: "no end", ended_at: None, expected: "3.5|||29.9", ..ALL_TIMES_KNOWN },
    RunCase {
        name: "over before it was registered",
        registered_at: "12:09:59.000",
        earliest_at: None,
        expected: "3.5|596.25|1.0|1.0",
        ..ALL_TIMES_KNOWN
    },
    RunCase {
        name: "asked before it was registered",
        registered_at: "12:09:45.000",
        expected: "3.5|596.25|2.25|15.0",
        ..ALL_TIMES_KNOWN
    },
    RunCase {
        name: "the provider's clock is ahead",
        ended_at: Some("12:10:05.000"),
        expected: "3.5|603.5|0.0|29.9",
        ..ALL_TIMES_KNOWN
    },
];

fn insert_job_sql(number: usize, run: &RunCase) -> String {
    let time = |text: Option<&str>| match text {
        Some(text) => format!("'2026-11-21 {text}'"),
        None => "NULL".to_owned(),
    };
    let [registered, submitted, started, ended, earliest] =
        [Some(run.registered_at), run.submitted_at, run.started_at, run.ended_at, run.earliest_at]
            .map(time);
    let terminal = time(Some("12:10:00.000"));
    format!(
        "INSERT INTO job (id, provider, kind, remote_id, state, registered_at, submitted_at,
                          started_at, ended_at, terminal_at)
         VALUES ({number}, 'dune', 'dune', 'r{number}', 'succeeded', {registered}, {submitted},
                 {started}, {ended}, {terminal});
         INSERT INTO transition (job_id, from_state, to_state, evidence, occurred_at, observed_at,
                                 earliest_at)
         VALUES ({number}, NULL, 'registered', 'local', NULL, {registered}, NULL),
                ({number}, 'registered', 'succeeded', 'observed', {ended}, {terminal}, {earliest});"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn the_runs_view_computes_durations_bounded_by_registration() {
    let home = DaemonHome::without_config();
    drop(jobs::open_store(&home.database()).await);
    for (number, run) in RUN_CASES.iter().enumerate() {
        db::run_script_ok(&home.database(), &insert_job_sql(number + 1, run));
    }
    for (number, run) in RUN_CASES.iter().enumerate() {
        let query = format!(
            "SELECT pending_s, running_s, detection_delay_s, detection_delay_max_s
             FROM runs WHERE job_id = {}",
            number + 1
        );
        assert_eq!(db::query_rows(&home.database(), &query), [run.expected], "{}", run.name);
    }
    let still_active = "INSERT INTO job (provider, kind, remote_id, state, registered_at)
                        VALUES ('dune', 'dune', 'active', 'running', '2026-11-21 12:00:00.000')";
    db::run_script_ok(&home.database(), still_active);
    let all = RUN_CASES.len().to_string();
    assert_eq!(
        db::query_value(&home.database(), "SELECT count(*) FROM runs"),
        all,
        "only what is over"
    );
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
        ("SELECT * FROM jobs WHERE terminal_at >= '2026-11-20'", "job_terminal_at"),
        ("SELECT * FROM jobs WHERE remote_id = 'X'", "INDEX job_"),
        ("SELECT * FROM jobs WHERE remote_id = 'X' AND provider = 'dune'", "INDEX job_"),
        ("SELECT * FROM jobs WHERE registered_at >= '2026-11-20'", "job_registered_at"),
        // As the reader asks for what is to be tracked: not all jobs that there ever were.
        (
            "SELECT * FROM job WHERE terminal_at IS NULL AND id > 5 ORDER BY id LIMIT 5000",
            "job_active",
        ),
        // As `jobtrack list` asks.
        (
            "SELECT * FROM jobs WHERE terminal_at IS NULL AND state IN ('pending', 'running')
             ORDER BY id DESC LIMIT 100",
            "job_active",
        ),
    ];
    for (query, index) in cases {
        for plan in query_plans(&home, query).await {
            assert!(plan.contains(index), "{query}\n{plan}");
            assert!(!plan.contains("SCAN"), "{query}\n{plan}");
        }
    }
    reader.close().await;
    writer.close().await;
}
