//! What was learned of durations: written with the ends that teach it, read at the start, forgotten on
//! request. How much is kept, the schema's triggers see to.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::FromRow;
use sqlx::sqlite::SqliteConnection;

use crate::job::{Change, DurationSample, NewJob, ProviderName, SimilarityKeys};

use super::reader::{ReadError, Reader};

/// What is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForgetDurations {
    /// Of which provider, configured or not.
    pub provider: ProviderName,
    /// Only what was learned under this name.
    pub similarity_key: Option<String>,
}

/// A lesson of an earlier life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDurationSample {
    /// Its number, in the order in which they were learned.
    pub id: i64,
    /// Whose job taught it.
    pub provider: ProviderName,
    /// What.
    pub sample: DurationSample,
}

#[derive(Debug, FromRow)]
struct DurationSampleRow {
    id: i64,
    provider: ProviderName,
    likeness: Option<SimilarityKeys>,
    whole_ms: Option<i64>,
    running_ms: Option<i64>,
}

impl DurationSampleRow {
    fn into_stored_sample(self) -> StoredDurationSample {
        let duration = |ms: Option<i64>| Some(Duration::from_millis(u64::try_from(ms?).ok()?));
        let sample = DurationSample {
            similarity_keys: self.likeness.unwrap_or_default(),
            total: duration(self.whole_ms),
            run: duration(self.running_ms),
        };
        StoredDurationSample { id: self.id, provider: self.provider, sample }
    }
}

const INSERT_SAMPLES: &str = "
    INSERT INTO lesson (provider, likeness, whole_ms, running_ms)
    SELECT job.provider, new.value ->> 'likeness', new.value ->> 'whole_ms', new.value ->> 'running_ms'
    FROM json_each(?1) AS new JOIN job ON job.id = new.value ->> 'job' ORDER BY new.key";

/// What goes by another name as well stays under that.
const REMOVE_KEY: &str = "
    UPDATE lesson
    SET likeness = (SELECT json_group_array(value) FROM json_each(lesson.likeness) WHERE value <> ?2)
    WHERE provider = ?1 AND EXISTS (SELECT 1 FROM json_each(lesson.likeness) WHERE value = ?2)
      AND EXISTS (SELECT 1 FROM json_each(lesson.likeness) WHERE value <> ?2)";

const DELETE_SAMPLES: &str = "
    DELETE FROM lesson
    WHERE provider = ?1
      AND (?2 IS NULL OR EXISTS (SELECT 1 FROM json_each(lesson.likeness) WHERE value = ?2))";

/// Of a job that comes twice in one batch the last word counts: next to `max` stand the columns of
/// its row.
const UPDATE_SIMILARITY_KEYS: &str = "
    UPDATE job SET likeness = new.likeness
    FROM (SELECT value ->> 'provider' AS provider, value ->> 'remote_id' AS remote_id,
                 value ->> 'likeness' AS likeness, max(key)
          FROM json_each(?1) WHERE value ->> 'likeness' IS NOT NULL GROUP BY 1, 2) AS new
    WHERE job.remote_id = new.remote_id AND job.provider = new.provider
      AND job.state NOT IN ('untracked', 'lost')";

/// As it stands in the database; none if nothing is known.
pub(super) fn similarity_keys_json(similarity_keys: &SimilarityKeys) -> Option<String> {
    (*similarity_keys != SimilarityKeys::Unknown).then(|| json!(similarity_keys).to_string())
}

/// What these changes teach; those that were not written are not to be among them.
pub(super) async fn insert_samples(
    connection: &mut SqliteConnection,
    changes: impl Iterator<Item = &Change>,
) -> Result<(), sqlx::Error> {
    // What took less than a millisecond took some time all the same.
    let to_millis =
        |duration: Duration| i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).max(1);
    let rows: Vec<Value> = changes
        .filter_map(|change| Some((change.job, change.duration_sample.as_ref()?)))
        .map(|(job, sample)| {
            json!({
                "job": job.0,
                "likeness": similarity_keys_json(&sample.similarity_keys),
                "whole_ms": sample.total.map(to_millis),
                "running_ms": sample.run.map(to_millis),
            })
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(INSERT_SAMPLES)
        .bind(Value::Array(rows).to_string())
        .execute(connection)
        .await
        .map(drop)
}

/// Forgets; says how many runs.
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

/// What the users of these jobs, which are there, say they are like; `rows` are those of `adds`.
pub(super) async fn update_similarity_keys(
    connection: &mut SqliteConnection,
    new_jobs: &[NewJob],
    rows: &str,
) -> Result<(), sqlx::Error> {
    if new_jobs.iter().all(|job| job.similarity_keys == SimilarityKeys::Unknown) {
        return Ok(());
    }
    sqlx::query(UPDATE_SIMILARITY_KEYS).bind(rows).execute(connection).await.map(drop)
}

impl Reader {
    /// Up to `limit` lessons in the order in which they were learned, beginning after `after`.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn duration_samples(
        &self,
        after: i64,
        limit: u32,
    ) -> Result<Vec<StoredDurationSample>, ReadError> {
        let query = sqlx::query_as(
            "SELECT id, provider, likeness, whole_ms, running_ms FROM lesson
             WHERE id > ?1 ORDER BY id LIMIT ?2",
        );
        let rows: Vec<DurationSampleRow> =
            query.bind(after).bind(limit).fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(DurationSampleRow::into_stored_sample).collect())
    }
}
