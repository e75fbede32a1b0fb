//! The databases with many jobs: made by SQL in one transaction, and kept for the next run.

use std::fs;
use std::path::{Path, PathBuf};

use jobtrack::store::SCHEMA_VERSION;
use rusqlite::Connection;

use super::daemon::target_directory;
use super::support::jobs::open_store;

/// 2026-06-01, when the first job was registered.
const EPOCH: &str = "1780272000";

/// A database with so many unfinished jobs and so many transitions a job.
pub async fn filled(active: u64, transitions: u64) -> PathBuf {
    let directory = target_directory().join("scale");
    fs::create_dir_all(&directory).expect("a directory");
    let name = format!("jobs-{active}-{transitions}-v{SCHEMA_VERSION}.db");
    let path = directory.join(name);
    if !path.exists() {
        eprintln!("making {}", path.display());
        let unfinished = path.with_extension("unfinished");
        let _ = fs::remove_file(&unfinished);
        create(&unfinished).await;
        fill(&unfinished, active, transitions);
        fs::rename(&unfinished, &path).expect("a new name");
    }
    path
}

/// An empty database with the newest schema.
pub async fn create(path: &Path) {
    let store = open_store(path).await;
    store.reader.close().await;
    store.writer.close(jobtrack::policy::RateLimiterStates::new()).await;
}

pub fn megabytes(path: &Path) -> String {
    let bytes = fs::metadata(path).expect("the database").len();
    format!("{:.1}", bytes as f64 / 1e6)
}

fn fill(path: &Path, active: u64, transitions: u64) {
    let connection = Connection::open(path).expect("the database");
    let run =
        |sql: &str| connection.execute_batch(sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
    run("PRAGMA journal_mode = off; PRAGMA synchronous = off; PRAGMA cache_size = -300000; BEGIN");
    let objects: Vec<(String, String, String)> = connection
        .prepare(
            "SELECT type, name, sql FROM sqlite_schema
             WHERE type IN ('index', 'trigger') AND sql IS NOT NULL ORDER BY type",
        )
        .expect("a statement")
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .expect("rows")
        .collect::<Result<_, _>>()
        .expect("rows");
    for (kind, name, _) in &objects {
        run(&format!("DROP {kind} {name}"));
    }
    let script = include_str!("fill.sql")
        .replace("{active}", &active.to_string())
        .replace("{finished}", &(active / 10).to_string())
        .replace("{rounds}", &transitions.to_string())
        .replace("{epoch}", EPOCH);
    run(&script);
    for (_, _, sql) in &objects {
        run(sql);
    }
    run("COMMIT; PRAGMA journal_mode = wal");
}
