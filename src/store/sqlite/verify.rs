//! `jobtrackd verify`: whether a database is intact, has the schema of the migrations, and whether each
//! history in it is possible. Changes nothing; a daemon may be using the database.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnection;
use sqlx::{ConnectOptions, Connection, FromRow, Row};

use crate::job::{Evidence, JobId, State, Transition, UtcTime, history_violation};
use crate::store::OpenError;

use super::copy::read_options;
use super::database_path::DatabasePath;
use super::schema::database_with_schema;
use super::start_checks::{DamageCheck, check_file, has_wal};

/// What [`verify_database`] found.
#[derive(Debug)]
pub struct VerifiedDatabase {
    pub path: PathBuf,
    pub version: i64,
    pub jobs: u64,
    pub transitions: u64,
    /// What is wrong, at most [`Self::MAX_FINDINGS`]; nothing if the database is as it should be.
    pub findings: Vec<String>,
}

impl VerifiedDatabase {
    pub const MAX_FINDINGS: usize = 100;

    fn add(&mut self, finding: String) {
        if self.findings.len() < Self::MAX_FINDINGS {
            self.findings.push(finding);
        }
    }
}

/// Transitions read at once.
const PAGE_ROWS: i64 = 5_000;

/// Verifies the database at `path`.
///
/// # Errors
/// If it is not a database of jobtrackd, is damaged so that it cannot be read, or cannot be opened.
pub async fn verify_database(path: &Path) -> Result<VerifiedDatabase, OpenError> {
    let path = DatabasePath::resolve(path)?;
    let version = check_file(&path, DamageCheck::Skip).await?;
    if version == 0 {
        return Err(path.unusable("is an empty database".into()));
    }
    let mut report = VerifiedDatabase {
        path: path.file().to_owned(),
        version,
        jobs: 0,
        transitions: 0,
        findings: Vec::new(),
    };
    // Without a log nobody is writing, and the directory need not be writable.
    let options = read_options(path.file()).immutable(!has_wal(&path) && !path.lock().exists());
    let mut connection = options.connect().await.map_err(|error| path.sqlite(&error))?;
    verify_content(&mut connection, version, &mut report)
        .await
        .map_err(|error| path.sqlite(&error))?;
    Ok(report)
}

async fn verify_content(
    connection: &mut SqliteConnection,
    version: i64,
    report: &mut VerifiedDatabase,
) -> Result<(), sqlx::Error> {
    // One transaction: all that is compared is of one moment.
    let mut transaction = connection.begin().await?;
    let found: Vec<String> =
        sqlx::query_scalar("PRAGMA integrity_check").fetch_all(&mut *transaction).await?;
    for line in found.into_iter().filter(|line| line != "ok") {
        report.add(format!("damage: {line}"));
    }
    let orphans = sqlx::query("PRAGMA foreign_key_check").fetch_all(&mut *transaction).await?;
    for row in orphans.iter().take(VerifiedDatabase::MAX_FINDINGS) {
        let (table, target): (String, String) = (row.try_get(0)?, row.try_get(2)?);
        report.add(format!("a row of {table} refers to a row of {target} that is not there"));
    }
    compare_schema(&mut transaction, version, report).await?;
    verify_histories(&mut transaction, report).await?;
    for (statement, finding) in [
        (JOBS_WITH_ANOTHER_STATE, "its state is not that of its last transition"),
        (JOBS_WITH_OTHER_SPANS, "its rows in span do not follow from its transitions"),
    ]
    .into_iter()
    .chain((version >= 6).then_some(CHECKS_OF_VERSION_6).into_iter().flatten())
    {
        let jobs: Vec<i64> = sqlx::query_scalar(statement).fetch_all(&mut *transaction).await?;
        for job in jobs {
            report.add(format!("job {job}: {finding}"));
        }
    }
    let jobs: i64 =
        sqlx::query_scalar("SELECT count(*) FROM job").fetch_one(&mut *transaction).await?;
    report.jobs = u64::try_from(jobs).unwrap_or_default();
    transaction.rollback().await
}

const JOBS_WITH_ANOTHER_STATE: &str = "
    SELECT id FROM job WHERE state IS NOT
        (SELECT to_state FROM transition WHERE job_id = job.id ORDER BY seq DESC LIMIT 1)
    LIMIT 100";

/// A span begins with each transition that changes the state, and ends with the next one.
const JOBS_WITH_OTHER_SPANS: &str = "
    WITH change AS (
        SELECT job_id, seq, to_state, observed_at, earliest_at, lead(seq) OVER job AS next_seq,
               lead(observed_at) OVER job AS next_observed_at
        FROM transition WHERE from_state IS NOT to_state
        WINDOW job AS (PARTITION BY job_id ORDER BY seq))
    SELECT job_id FROM change LEFT JOIN span USING (job_id, seq)
    WHERE span.state IS NOT change.to_state OR span.from_latest_at IS NOT change.observed_at
       OR span.from_earliest_at IS NOT change.earliest_at
       OR span.to_latest_at IS NOT change.next_observed_at
       OR (span.to_at IS NULL) <> (change.next_seq IS NULL)
       OR (span.seconds IS NULL) <> (change.next_seq IS NULL)
       OR span.to_at < span.from_at
    UNION
    SELECT job_id FROM span WHERE NOT EXISTS (
        SELECT 1 FROM transition AS t
        WHERE t.job_id = span.job_id AND t.seq = span.seq AND t.from_state IS NOT t.to_state)
    LIMIT 100";

const CHECKS_OF_VERSION_6: [(&str, &str); 2] = [
    (JOBS_WITH_OTHER_LABELS, "its rows in job_label are not its labels"),
    (JOBS_WITH_ANOTHER_LAST_TRANSITION, "last_transition_at or furthest_step is wrong"),
];

const JOBS_WITH_OTHER_LABELS: &str = "
    WITH label AS (
        SELECT DISTINCT label.key, label.value, job.id AS job_id
        FROM job, json_each(job.labels) AS label
        WHERE json_type(job.labels) = 'object' AND label.type = 'text')
    SELECT job_id FROM (SELECT key, value, job_id FROM label EXCEPT SELECT * FROM job_label)
    UNION
    SELECT job_id FROM (SELECT key, value, job_id FROM job_label EXCEPT SELECT * FROM label)
    LIMIT 100";

/// NULL is not wrong: the last transition was written before version 6.
const JOBS_WITH_ANOTHER_LAST_TRANSITION: &str = "
    SELECT id FROM job WHERE last_transition_at <>
        (SELECT observed_at FROM transition WHERE job_id = job.id ORDER BY seq DESC LIMIT 1)
    UNION
    SELECT id FROM job WHERE furthest_step <>
        (SELECT CASE max(CASE to_state WHEN 'running' THEN 2 WHEN 'pending' THEN 1 ELSE 0 END)
                WHEN 2 THEN 'running' WHEN 1 THEN 'pending' ELSE 'registered' END
         FROM transition WHERE job_id = job.id)
    LIMIT 100";

/// Compares tables, indexes, triggers and views with those that the migrations create. Objects that an
/// operator added are accepted.
async fn compare_schema(
    connection: &mut SqliteConnection,
    version: i64,
    report: &mut VerifiedDatabase,
) -> Result<(), sqlx::Error> {
    let expected = schema_objects(&mut database_with_schema(version).await?).await?;
    let found = schema_objects(connection).await?;
    for (name, sql) in expected {
        match found.get(&name) {
            Some(other) if *other == sql => {}
            Some(_) => report.add(format!("schema: {name} differs from the one of the migrations")),
            None => report.add(format!("schema: {name} is missing")),
        }
    }
    Ok(())
}

/// The SQL of each object of a schema, by its type and name.
async fn schema_objects(
    connection: &mut SqliteConnection,
) -> Result<BTreeMap<String, String>, sqlx::Error> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT type || ' ' || name, coalesce(sql, '') FROM sqlite_schema
         WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
    )
    .fetch_all(connection)
    .await?;
    Ok(rows.into_iter().map(|(name, sql)| (name, sql.replace("\r\n", "\n"))).collect())
}

/// A row of the table `transition`.
#[derive(Debug, FromRow)]
struct HistoryRow {
    job_id: JobId,
    seq: i64,
    from_state: Option<State>,
    to_state: State,
    provider_state: Option<String>,
    evidence: Evidence,
    occurred_at: Option<UtcTime>,
    observed_at: UtcTime,
    earliest_at: Option<UtcTime>,
}

impl HistoryRow {
    fn into_transition(self) -> Transition {
        Transition {
            from: self.from_state,
            to: self.to_state,
            provider_state: self.provider_state.map(Into::into),
            evidence: self.evidence,
            occurred_at: self.occurred_at,
            observed_at: self.observed_at,
            earliest_at: self.earliest_at,
            message: None,
        }
    }
}

/// Reads all histories, in pages, and checks each step.
async fn verify_histories(
    connection: &mut SqliteConnection,
    report: &mut VerifiedDatabase,
) -> Result<(), sqlx::Error> {
    let mut position = (i64::MIN, i64::MIN);
    let mut previous: Option<(JobId, Transition)> = None;
    loop {
        let rows = sqlx::query(
            "SELECT job_id, seq, from_state, to_state, provider_state, evidence, occurred_at, observed_at,
                    earliest_at
             FROM transition WHERE (job_id, seq) > (?1, ?2) ORDER BY job_id, seq LIMIT ?3",
        )
        .bind(position.0)
        .bind(position.1)
        .bind(PAGE_ROWS)
        .fetch_all(&mut *connection)
        .await?;
        let Some(last) = rows.last() else { return Ok(()) };
        position = (last.try_get("job_id")?, last.try_get("seq")?);
        for row in &rows {
            report.transitions += 1;
            let row = match HistoryRow::from_row(row) {
                Ok(row) => row,
                Err(error) => {
                    let seq: i64 = row.try_get("seq")?;
                    report.add(format!("transition {seq} cannot be read: {error}"));
                    continue;
                }
            };
            let (job, seq, transition) = (row.job_id, row.seq, row.into_transition());
            let before = previous.as_ref().filter(|(of, _)| *of == job).map(|(_, before)| before);
            if let Some(violation) = history_violation(before, &transition) {
                report.add(format!("job {job}, transition {seq}: {violation}"));
            }
            previous = Some((job, transition));
        }
    }
}
