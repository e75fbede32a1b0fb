//! Duration samples: inserted with the ends of the jobs, read when the daemon starts, deleted on
//! request. Triggers of the schema bound their number.

use std::time::Duration;

use serde::Serialize;
use sqlx::FromRow;
use sqlx::sqlite::SqliteConnection;

use crate::job::{Change, DurationSample, JobId, ProviderName, SimilarityKeys, UtcTime};
use crate::store::{ForgetDurations, ReadError, StoredDurationSample};

use super::reader::Reader;
use super::script::Script;

#[derive(Debug, FromRow)]
struct StoredDurationSampleRow {
    id: i64,
    provider: ProviderName,
    similarity_keys: Option<SimilarityKeys>,
    total_ms: Option<i64>,
    run_ms: Option<i64>,
}

impl StoredDurationSampleRow {
    fn into_stored_sample(self) -> StoredDurationSample {
        let duration = |ms: Option<i64>| Some(Duration::from_millis(u64::try_from(ms?).ok()?));
        let sample = DurationSample {
            similarity_keys: self.similarity_keys.unwrap_or_default(),
            total: duration(self.total_ms),
            run: duration(self.run_ms),
            ..DurationSample::default()
        };
        StoredDurationSample { id: self.id, provider: self.provider, sample }
    }
}

const INSERT_SAMPLES: &str = "
    WITH new AS MATERIALIZED (SELECT key, value FROM jsonb_each(?))
    INSERT INTO duration_sample (provider, similarity_keys, total_ms, run_ms)
    SELECT job.provider, new.value -> 'similarity_keys', new.value ->> 'total_ms',
           new.value ->> 'run_ms'
    FROM new JOIN job ON job.id = new.value ->> 'job' ORDER BY new.key";

/// A sample that has other keys too loses only this key.
const REMOVE_KEY: &str = "
    UPDATE duration_sample
    SET similarity_keys = (SELECT json_group_array(value)
                           FROM json_each(duration_sample.similarity_keys) WHERE value <> ?2)
    WHERE provider = ?1
      AND EXISTS (SELECT 1 FROM json_each(duration_sample.similarity_keys) WHERE value = ?2)
      AND EXISTS (SELECT 1 FROM json_each(duration_sample.similarity_keys) WHERE value <> ?2)";

const DELETE_SAMPLES: &str = "
    DELETE FROM duration_sample
    WHERE provider = ?1
      AND (?2 IS NULL
           OR EXISTS (SELECT 1 FROM json_each(duration_sample.similarity_keys) WHERE value = ?2))";

/// Inserts the samples of these changes.
pub(super) fn push_samples(script: &mut Script, changes: &[&Change]) -> Result<(), sqlx::Error> {
    let samples =
        changes.iter().filter_map(|change| Some((change.job, change.duration_sample.as_ref()?)));
    // The columns must be positive; a run of less than a millisecond still took some time.
    let to_millis =
        |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).max(1);
    let rows = samples.map(|(job, sample)| SampleRow {
        job,
        similarity_keys: Some(&sample.similarity_keys)
            .filter(|keys| **keys != SimilarityKeys::Unknown),
        total_ms: sample.total.map(to_millis),
        run_ms: sample.run.map(to_millis),
    });
    script.push_rows(INSERT_SAMPLES, &rows.collect::<Vec<_>>())
}

#[derive(Serialize)]
struct SampleRow<'a> {
    job: JobId,
    /// Read as JSON, whose null would not be NULL.
    #[serde(skip_serializing_if = "Option::is_none")]
    similarity_keys: Option<&'a SimilarityKeys>,
    total_ms: Option<i64>,
    run_ms: Option<i64>,
}

/// Deletes samples, or their key; returns the number of samples concerned.
pub(super) async fn delete_samples(
    connection: &mut SqliteConnection,
    request: &ForgetDurations,
) -> Result<u64, sqlx::Error> {
    let mut deleted = 0;
    for statement in [REMOVE_KEY, DELETE_SAMPLES] {
        let query =
            sqlx::query(statement).bind(request.provider.as_str()).bind(&request.similarity_key);
        deleted += query.execute(&mut *connection).await?.rows_affected();
    }
    Ok(deleted)
}

/// A job that has ended, under one of its keys: when it and its run began, and how long they took.
#[derive(Debug, FromRow)]
struct EndedRunRow {
    provider: ProviderName,
    similarity_keys: SimilarityKeys,
    total_from: UtcTime,
    total_s: Option<f64>,
    run_from: Option<UtcTime>,
    run_s: Option<f64>,
}

/// A sample does not say of which job it is, but samples and jobs are in the order of the ends. So of the jobs with a
/// key as many are read, from the newest on, as there are samples with this key: none whose samples were deleted.
/// Where the provider did not report the end, the job lasted until about when the end was observed.
const ENDED_RUNS: &str = "
    WITH sample AS (
        SELECT provider, key.value AS key, count(total_ms) AS totals, count(run_ms) AS runs
        FROM (SELECT * FROM duration_sample ORDER BY id DESC LIMIT ?1), json_each(similarity_keys) AS key
        GROUP BY 1, 2
    ), ended AS (
        SELECT id AS job, provider, similarity_keys, terminal_at, started_at AS run_from, run_s, total_s,
               coalesce(submitted_at, registered_at) AS total_from
        FROM job
        WHERE similarity_keys IS NOT NULL
          AND terminal_at >= (SELECT min(coalesce(submitted_at, registered_at)) FROM job WHERE terminal_at IS NULL)
        ORDER BY terminal_at DESC, id DESC LIMIT ?1
    ), numbered AS (
        SELECT ended.*, key.value AS key, count(*) OVER newest AS total_number, count(run_s) OVER newest AS run_number
        FROM ended, json_each(similarity_keys) AS key
        WINDOW newest AS (PARTITION BY provider, key.value ORDER BY terminal_at DESC, job DESC)
    )
    SELECT provider, json_quote(key) AS similarity_keys, total_from, run_from,
           iif(total_number <= totals,
               coalesce(total_s, max(0.0, (julianday(terminal_at) - julianday(total_from)) * 86400)), NULL) AS total_s,
           iif(run_number <= runs, run_s, NULL) AS run_s
    FROM numbered JOIN sample USING (provider, key)
    WHERE total_number <= totals OR run_number <= runs
    ORDER BY terminal_at DESC, job DESC";

impl EndedRunRow {
    fn into_sample(self) -> (ProviderName, DurationSample) {
        let duration = |seconds| Duration::try_from_secs_f64(seconds).ok();
        let sample = DurationSample {
            similarity_keys: self.similarity_keys,
            total: self.total_s.and_then(duration),
            run: self.run_s.and_then(duration),
            total_from: Some(self.total_from),
            run_from: self.run_from,
        };
        (self.provider, sample)
    }
}

impl Reader {
    /// Up to `limit` jobs that have ended since the first unfinished one began and whose duration samples are kept, newest
    /// first, with their starts; each once for each of its keys.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn ended_runs(
        &self,
        limit: u32,
    ) -> Result<Vec<(ProviderName, DurationSample)>, ReadError> {
        let query = sqlx::query_as(ENDED_RUNS).bind(limit);
        let rows: Vec<EndedRunRow> = query.fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(EndedRunRow::into_sample).collect())
    }

    /// Up to `limit` samples in the order in which they were inserted, beginning after the sample
    /// with the id `after`.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn duration_samples(
        &self,
        after: i64,
        limit: u32,
    ) -> Result<Vec<StoredDurationSample>, ReadError> {
        let query = sqlx::query_as(
            "SELECT id, provider, similarity_keys, total_ms, run_ms FROM duration_sample
             WHERE id > ?1 ORDER BY id LIMIT ?2",
        );
        let rows: Vec<StoredDurationSampleRow> =
            query.bind(after).bind(limit).fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(StoredDurationSampleRow::into_stored_sample).collect())
    }
}
