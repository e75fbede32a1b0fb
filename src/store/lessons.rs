//! What was learned of durations: written with the ends that teach it, read at the start, forgotten on
//! request. How much is kept, the schema's triggers see to.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::FromRow;
use sqlx::sqlite::SqliteConnection;

use crate::job::{Change, Lesson, Likeness, NewJob, ProviderName};

use super::reader::{ReadError, Reader};

/// What is to be forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forget {
    /// Of which provider, configured or not.
    pub provider: ProviderName,
    /// Only what was learned under this name.
    pub name: Option<String>,
}

/// A lesson of an earlier life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learned {
    /// Its number, in the order in which they were learned.
    pub id: i64,
    /// Whose job taught it.
    pub provider: ProviderName,
    /// What.
    pub lesson: Lesson,
}

#[derive(Debug, FromRow)]
struct LessonRow {
    id: i64,
    provider: ProviderName,
    likeness: Option<Likeness>,
    whole_ms: Option<i64>,
    running_ms: Option<i64>,
}

impl LessonRow {
    fn into_learned(self) -> Learned {
        let took = |ms: Option<i64>| Some(Duration::from_millis(u64::try_from(ms?).ok()?));
        let lesson = Lesson {
            likeness: self.likeness.unwrap_or_default(),
            whole: took(self.whole_ms),
            running: took(self.running_ms),
        };
        Learned { id: self.id, provider: self.provider, lesson }
    }
}

const LEARN: &str = "
    INSERT INTO lesson (provider, likeness, whole_ms, running_ms)
    SELECT job.provider, new.value ->> 'likeness', new.value ->> 'whole_ms', new.value ->> 'running_ms'
    FROM json_each(?1) AS new JOIN job ON job.id = new.value ->> 'job' ORDER BY new.key";

/// What goes by another name as well stays under that.
const TAKE_NAME: &str = "
    UPDATE lesson
    SET likeness = (SELECT json_group_array(value) FROM json_each(lesson.likeness) WHERE value <> ?2)
    WHERE provider = ?1 AND EXISTS (SELECT 1 FROM json_each(lesson.likeness) WHERE value = ?2)
      AND EXISTS (SELECT 1 FROM json_each(lesson.likeness) WHERE value <> ?2)";

const FORGET: &str = "
    DELETE FROM lesson
    WHERE provider = ?1
      AND (?2 IS NULL OR EXISTS (SELECT 1 FROM json_each(lesson.likeness) WHERE value = ?2))";

/// Of a job that comes twice in one batch the last word counts: next to `max` stand the columns of
/// its row.
const SAY: &str = "
    UPDATE job SET likeness = new.likeness
    FROM (SELECT value ->> 'provider' AS provider, value ->> 'remote_id' AS remote_id,
                 value ->> 'likeness' AS likeness, max(key)
          FROM json_each(?1) WHERE value ->> 'likeness' IS NOT NULL GROUP BY 1, 2) AS new
    WHERE job.remote_id = new.remote_id AND job.provider = new.provider
      AND job.state NOT IN ('untracked', 'lost')";

/// As it stands in the database; none if nothing is known.
pub(super) fn column(likeness: &Likeness) -> Option<String> {
    (*likeness != Likeness::Unknown).then(|| json!(likeness).to_string())
}

/// What these changes teach; those that were not written are not to be among them.
pub(super) async fn learn(
    connection: &mut SqliteConnection,
    changes: impl Iterator<Item = &Change>,
) -> Result<(), sqlx::Error> {
    // What took less than a millisecond took some time all the same.
    let ms = |took: Duration| i64::try_from(took.as_millis()).unwrap_or(i64::MAX).max(1);
    let rows: Vec<Value> = changes
        .filter_map(|change| Some((change.job, change.lesson.as_ref()?)))
        .map(|(job, lesson)| {
            json!({
                "job": job.0,
                "likeness": column(&lesson.likeness),
                "whole_ms": lesson.whole.map(ms),
                "running_ms": lesson.running.map(ms),
            })
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    sqlx::query(LEARN).bind(Value::Array(rows).to_string()).execute(connection).await.map(drop)
}

/// Forgets; says how many runs.
pub(super) async fn forget(
    connection: &mut SqliteConnection,
    what: &Forget,
) -> Result<u64, sqlx::Error> {
    let mut forgotten = 0;
    for statement in [TAKE_NAME, FORGET] {
        let query = sqlx::query(statement).bind(what.provider.as_str()).bind(&what.name);
        forgotten += query.execute(&mut *connection).await?.rows_affected();
    }
    Ok(forgotten)
}

/// What the users of these jobs, which are there, say they are like; `rows` are those of `adds`.
pub(super) async fn say(
    connection: &mut SqliteConnection,
    adds: &[NewJob],
    rows: &str,
) -> Result<(), sqlx::Error> {
    if adds.iter().all(|add| add.likeness == Likeness::Unknown) {
        return Ok(());
    }
    sqlx::query(SAY).bind(rows).execute(connection).await.map(drop)
}

impl Reader {
    /// Up to `limit` lessons in the order in which they were learned, beginning after `after`.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub async fn lessons(&self, after: i64, limit: u32) -> Result<Vec<Learned>, ReadError> {
        let query = sqlx::query_as(
            "SELECT id, provider, likeness, whole_ms, running_ms FROM lesson
             WHERE id > ?1 ORDER BY id LIMIT ?2",
        );
        let rows: Vec<LessonRow> = query.bind(after).bind(limit).fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(LessonRow::into_learned).collect())
    }
}
