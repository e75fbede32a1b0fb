//! The views and the queries of docs/sql.md give the same results in SQLite 3.26.0, in the SQLite that
//! jobtrackd contains, and in DuckDB.
//!
//! The first use builds the package `sqlite-3.26` and installs DuckDB from PyPI, both below cargo's
//! target directory. A machine without python3 fails these tests.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::{Value, json};
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{AssertSqlSafe, Column, ConnectOptions, Row, TypeInfo, ValueRef};

use jobtrack::policy::RateLimiterStates;

use crate::support::daemon::{DaemonHome, utf8};
use crate::support::{db, jobs};

/// The version whose wheel PyPI has for the Python versions of Debian 12 and later.
const DUCKDB: &str = "duckdb==2.0.1";
const VIEWS: [&str; 7] = ["jobs", "job_labels", "history", "runs", "spans", "outages", "audit"];

fn repository_path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", utf8(&output.stderr));
}

/// The program of the package `sqlite-3.26`.
fn sqlite_3_26() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sqlite-3.26");
        let manifest = repository_path("tests/store/sqlite-3.26/Cargo.toml");
        run(Command::new(env!("CARGO"))
            .args(["build", "--locked", "--quiet", "--manifest-path"])
            .arg(manifest)
            .arg("--target-dir")
            .arg(&target));
        target.join("debug/sqlite-3-26")
    })
}

/// A Python with DuckDB.
fn python_with_duckdb() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let environment = Path::new(env!("CARGO_TARGET_TMPDIR")).join(DUCKDB);
        let python = environment.join("bin/python");
        let has_duckdb = || {
            let import = Command::new(&python).args(["-c", "import duckdb"]).output();
            import.is_ok_and(|output| output.status.success())
        };
        if !has_duckdb() {
            run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment));
            run(Command::new(&python).args(["-m", "pip", "install", "--quiet", DUCKDB]));
        }
        python
    })
}

/// What a program prints that reads queries as JSON and prints their rows as JSON.
fn run_queries(command: &mut Command, queries: &[String]) -> Vec<Value> {
    let input = json!(queries).to_string();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    std::io::Write::write_all(&mut child.stdin.take().expect("a pipe"), input.as_bytes())
        .expect("the queries are read");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{command:?}: {}", utf8(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// The rows of each query, by the SQLite that jobtrackd contains.
async fn run_in_bundled_sqlite(database: &Path, queries: &[String]) -> Vec<Value> {
    let options = SqliteConnectOptions::new().filename(database).read_only(true);
    let mut connection = options.connect().await.expect("the database");
    let mut results = Vec::new();
    for query in queries {
        let rows = sqlx::query(AssertSqlSafe(query.clone()))
            .fetch_all(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{query}: {error}"));
        results.push(rows.iter().map(row_to_json).collect());
    }
    results
}

fn row_to_json(row: &SqliteRow) -> Value {
    let values = row.columns().iter().map(|column| {
        let index = column.ordinal();
        let raw = row.try_get_raw(index).expect("a value");
        if raw.is_null() {
            return Value::Null;
        }
        match raw.type_info().name() {
            "INTEGER" => json!(row.get_unchecked::<i64, _>(index)),
            "REAL" => json!(row.get_unchecked::<f64, _>(index)),
            "TEXT" => json!(row.get_unchecked::<String, _>(index)),
            other => panic!("{}: {other}", column.name()),
        }
    });
    values.collect()
}

/// All numbers as floating-point numbers: DuckDB and SQLite differ in the type of some sums.
fn normalized(value: &Value) -> Value {
    match value {
        Value::Array(values) => values.iter().map(normalized).collect(),
        Value::Number(number) => json!(number.as_f64()),
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Object(_) => value.clone(),
    }
}

/// A database with the rows of the migrations' sample.
async fn sample_database() -> DaemonHome {
    let home = DaemonHome::without_config();
    let store = jobs::open_store(&home.database()).await;
    store.reader.close().await;
    store.writer.close(RateLimiterStates::new()).await;
    db::run_script_ok(&home.database(), include_str!("../../migrations/samples/0001.sql"));
    db::run_script_ok(&home.database(), include_str!("../../migrations/samples/0003.sql"));
    db::run_script_ok(&home.database(), include_str!("../../migrations/samples/0005.sql"));
    home
}

async fn assert_equal_results(queries: &[String]) {
    let home = sample_database().await;
    let database = home.database();
    let bundled = run_in_bundled_sqlite(&database, queries).await;
    let oldest = run_queries(Command::new(sqlite_3_26()).arg(&database), queries);
    let script = repository_path("tests/store/duckdb_queries.py");
    let mut duckdb = Command::new(python_with_duckdb());
    let duckdb = run_queries(duckdb.arg(script).arg(&database), queries);
    for (index, query) in queries.iter().enumerate() {
        let expected = normalized(&bundled[index]);
        assert!(expected.as_array().is_some_and(|rows| !rows.is_empty()), "no rows: {query}");
        assert_eq!(normalized(&oldest[index]), expected, "SQLite 3.26: {query}");
        assert_eq!(normalized(&duckdb[index]), expected, "DuckDB: {query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn documented_queries_give_equal_results_in_every_engine() {
    let document = std::fs::read_to_string(repository_path("docs/sql.md")).expect("docs/sql.md");
    let queries: Vec<String> = document
        .split("```sql\n")
        .skip(1)
        .map(|block| block.split("```").next().expect("a block").to_owned())
        .collect();
    assert!(queries.len() >= 12, "{} queries", queries.len());
    assert_equal_results(&queries).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_column_of_every_view_is_equal_in_every_engine() {
    // Columns without NULL: NULLs sort first in SQLite and last in DuckDB.
    let queries = [
        ("jobs", "id"),
        ("job_labels", "job_id, key"),
        ("history", "seq"),
        ("runs", "job_id"),
        ("spans", "job_id, from_latest_at, from_at"),
        ("outages", "began_at"),
        ("audit", "id"),
    ];
    let queries = queries.map(|(view, order)| format!("SELECT * FROM {view} ORDER BY {order}"));
    assert_equal_results(&queries).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_3_26_considers_the_database_intact() {
    let home = sample_database().await;
    let checks = ["PRAGMA quick_check".to_owned(), "PRAGMA foreign_key_check".to_owned()];
    let results = run_queries(Command::new(sqlite_3_26()).arg(home.database()), &checks);
    assert_eq!(results, [json!([["ok"]]), json!([])]);
}

#[tokio::test(flavor = "multi_thread")]
async fn docs_sql_md_documents_every_column() {
    let home = sample_database().await;
    let document = std::fs::read_to_string(repository_path("docs/sql.md")).expect("docs/sql.md");
    for view in VIEWS {
        let section = document.split(&format!("\n## {view}\n")).nth(1).expect(view);
        let section = section.split("\n## ").next().expect("a section");
        let columns = format!("SELECT name FROM pragma_table_info('{view}')");
        for column in db::query_rows(&home.database(), &columns) {
            assert!(section.contains(&format!("`{column}`")), "{view}.{column}");
        }
    }
}
