//! Where a list of rows since a time begins: a number that no such row is below. Called by the reader.
//!
//! Numbers and times grow together, but not strictly, because clocks are set and rows are imported. The number
//! is therefore read from all rows since the time, except if next to all rows are: then the list skips the few
//! older ones.

use sqlx::sqlite::SqliteExecutor;

use crate::job::UtcTime;

/// How many older rows a list skips at most.
pub(super) const MAX_SKIPPED_ROWS: u32 = 10_000;

/// Which rows, and their number and time.
#[derive(Debug, Clone, Copy)]
pub(super) enum NumberedRows {
    /// By `id` and `registered_at`.
    Jobs,
    /// By `id` and `terminal_at`; only jobs that have ended.
    EndedJobs,
    /// By `seq` and `observed_at`.
    Transitions,
}

impl NumberedRows {
    /// `?1` is the time, `?2` how many older rows may be skipped.
    const fn query(self) -> &'static str {
        match self {
            Self::Jobs => {
                "SELECT CASE WHEN (SELECT id FROM job WHERE registered_at < ?1 LIMIT 1 OFFSET ?2) IS NULL
                             THEN 0 ELSE (SELECT min(+id) FROM job WHERE registered_at >= ?1) END"
            }
            Self::EndedJobs => {
                "SELECT CASE WHEN (SELECT id FROM job WHERE terminal_at < ?1 LIMIT 1 OFFSET ?2) IS NULL
                             THEN 0 ELSE (SELECT min(+id) FROM job WHERE terminal_at >= ?1) END"
            }
            Self::Transitions => {
                "SELECT CASE WHEN (SELECT seq FROM transition WHERE observed_at < ?1 LIMIT 1 OFFSET ?2) IS NULL
                             THEN 0 ELSE (SELECT min(+seq) FROM transition WHERE observed_at >= ?1) END"
            }
        }
    }
}

/// No row since this time has a lower number. `None`: there are only older rows.
pub(super) async fn lower_bound(
    database: impl SqliteExecutor<'_>,
    rows: NumberedRows,
    since: UtcTime,
    max_skipped: u32,
) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar(rows.query()).bind(since).bind(max_skipped).fetch_one(database).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::SCHEMA_VERSION;
    use crate::store::sqlite::schema::database_with_schema;

    #[tokio::test]
    async fn few_older_rows_are_skipped_and_many_are_passed_by_an_index() {
        let mut connection = database_with_schema(SCHEMA_VERSION).await.expect("a database");
        // The clock was set back before the third.
        for (number, minute) in [(1, 10), (2, 30), (3, 20), (4, 40)] {
            let time = format!("2026-11-21 12:{minute}:00.000");
            let insert = format!(
                "INSERT INTO job (id, provider, kind, remote_id, state, registered_at, terminal_at)
                 VALUES ({number}, 'dune', 'dune', '{number}', 'succeeded', '{time}', '{time}');
                 INSERT INTO transition (seq, job_id, to_state, evidence, observed_at)
                 VALUES ({number}, {number}, 'running', 'local', '{time}')"
            );
            sqlx::raw_sql(sqlx::AssertSqlSafe(insert))
                .execute(&mut connection)
                .await
                .expect("a row");
        }
        for rows in [NumberedRows::Jobs, NumberedRows::EndedJobs, NumberedRows::Transitions] {
            for (minute, max_skipped, expected) in [
                (5, 0, Some(0)),
                (10, 0, Some(0)),
                (15, 0, Some(2)),
                (15, 1, Some(0)),
                (25, 1, Some(2)),
                (25, 2, Some(0)),
                (35, 2, Some(4)),
                (45, 3, None),
                (45, 4, Some(0)),
            ] {
                let since = format!("2026-11-21T12:{minute:02}:00Z");
                let since = UtcTime::parse_rfc3339(&since).expect("a time");
                let bound = lower_bound(&mut connection, rows, since, max_skipped).await;
                let context = format!("{rows:?} since 12:{minute}, {max_skipped} skipped");
                assert_eq!(bound.expect("read"), expected, "{context}");
            }
            let explain = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {}", rows.query()));
            let plan: Vec<(i64, i64, i64, String)> =
                sqlx::query_as(explain).fetch_all(&mut connection).await.expect("a plan");
            let reads: Vec<_> = plan.iter().filter(|step| step.3.contains(" USING ")).collect();
            let by_index = |time: &str| {
                reads.iter().any(|step| step.3.contains("COVERING INDEX") && step.3.contains(time))
            };
            assert!(reads.len() == 2 && by_index("_at<?") && by_index("_at>?"), "{plan:?}");
        }
    }
}
