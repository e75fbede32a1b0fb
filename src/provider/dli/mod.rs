//! Jobs of Huawei's Data Lake Insight: `GET {base}/v1.0/{project_id}/jobs/{job_id}/status`, or many
//! of them in one request (`list`).
//!
//! Words and fields are those of "Querying Job Status" (`dli_02_0021`) in both revisions, with and
//! without `job_mode`, `tags` and SCALING. All fields are optional but the state. `is_success` speaks
//! of the request, never of the job.

mod list;

use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::config::Statement;
use crate::job::{
    Answer, Checkup, Likeness, Listing, Observation, Page, ProviderError, RemoteId, Said, Times,
    Utc,
};

use super::Provider;
use super::checkup::checkup;
use super::fields::{
    MAX_TEXT, MAX_WORD, cut, detail, is_plain_id, millis, number, object, plain, text, time_ms,
    took_ms,
};
use super::http::{Reply, answer};
use super::huawei::{Account, Ask, NOBODY, forbids, refused, refused_with};
use super::words::{Known, Words};

/// One project's jobs.
#[derive(Debug)]
pub(super) struct Dli {
    pub(super) account: Account,
    pub(super) statement: Statement,
    pub(super) words: Words,
}

pub(super) const WORDS: Known = &[
    ("LAUNCHING", Said::Pending),
    ("RUNNING", Said::Running),
    ("SCALING", Said::Running),
    ("FINISHED", Said::Succeeded),
    ("FAILED", Said::Failed),
    ("CANCELLED", Said::Cancelled),
    ("CANCELED", Said::Cancelled),
];

impl Dli {
    async fn ask(&self, id: &RemoteId, now: Utc) -> Answer {
        let project = self.account.project_id.as_str();
        let path = ["v1.0", project, "jobs", id.as_str(), "status"];
        let reply = self.account.send(Ask::get(&path), now).await;
        answer(reply, |reply| read(reply, id, self))
    }

    async fn stop(&self, id: &RemoteId, now: Utc) -> Result<(), ProviderError> {
        let project = self.account.project_id.as_str();
        let path = ["v1.0", project, "jobs", id.as_str()];
        let ask = Ask { method: Method::DELETE, ..Ask::get(&path) };
        let reply = self.account.send(ask, now).await?;
        if reply.status != StatusCode::OK {
            return Err(refused(&reply));
        }
        let done: Map<String, Value> = object(&reply.body)?;
        if done.get("is_success") == Some(&Value::Bool(false)) {
            return Err(failed_request(&reply.body, done.get("message")));
        }
        Ok(())
    }

    async fn look(&self, now: Utc) -> Checkup {
        let path = ["v1.0", self.account.project_id.as_str(), "jobs", NOBODY, "status"];
        let reply = self.account.send(Ask::get(&path), now).await;
        checkup(reply, now, forbids, refused)
    }
}

impl Provider for Dli {
    fn check_id(&self, id: &RemoteId) -> Result<(), String> {
        if is_plain_id(id.as_str()) {
            Ok(())
        } else {
            Err("a DLI job id has at most 128 letters, digits, _ and -, such as \
                 208b08d4-0dc2-4dd7-8879-ddd4c020d7aa"
                .into())
        }
    }

    fn poll<'a>(&'a self, id: &'a RemoteId, now: Utc) -> BoxFuture<'a, Answer> {
        Box::pin(self.ask(id, now))
    }

    fn lists(&self) -> bool {
        true
    }

    fn list<'a>(&'a self, page: &'a Page, now: Utc) -> BoxFuture<'a, Listing> {
        Box::pin(self.ask_list(page, now))
    }

    fn cancel<'a>(
        &'a self,
        id: &'a RemoteId,
        now: Utc,
    ) -> BoxFuture<'a, Result<(), ProviderError>> {
        Box::pin(self.stop(id, now))
    }

    fn check(&self, now: Utc) -> BoxFuture<'_, Checkup> {
        Box::pin(self.look(now))
    }
}

/// The body of a 200, or a row of a list; a field that comes twice spoils it.
#[derive(Debug, Deserialize)]
struct Status {
    is_success: Option<Value>,
    message: Option<Value>,
    job_id: Option<Value>,
    job_type: Option<Value>,
    job_mode: Option<Value>,
    queue_name: Option<Value>,
    owner: Option<Value>,
    start_time: Option<Value>,
    duration: Option<Value>,
    end_time: Option<Value>,
    status: Option<Value>,
    input_row_count: Option<Value>,
    bad_row_count: Option<Value>,
    input_size: Option<Value>,
    result_count: Option<Value>,
    database_name: Option<Value>,
    table_name: Option<Value>,
    detail: Option<Value>,
    statement: Option<Value>,
    tags: Option<Value>,
    user_conf: Option<Value>,
    result_path: Option<Value>,
    result_format: Option<Value>,
    execution_details_path: Option<Value>,
}

fn read(reply: &Reply, asked: &RemoteId, dli: &Dli) -> Result<Observation, ProviderError> {
    if reply.status != StatusCode::OK {
        return Err(refused(reply));
    }
    let malformed = |why: String| ProviderError::Malformed(why);
    let status: Status =
        object(&reply.body).or_else(|error| mend_message(&reply.body).ok_or(error))?;
    if status.is_success == Some(Value::Bool(false)) {
        return Err(failed_request(&reply.body, status.message.as_ref()));
    }
    let other = |id: &Value| !id.is_null() && id.as_str() != Some(asked.as_str());
    if status.job_id.as_ref().is_some_and(other) {
        return Err(malformed("an answer for another job".into()));
    }
    observed(status, dli)
}

/// What is told of the job, whichever it is.
fn observed(status: Status, dli: &Dli) -> Result<Observation, ProviderError> {
    let malformed = |why: String| ProviderError::Malformed(why);
    let word = text(status.status.as_ref())
        .filter(|word| word.len() <= MAX_WORD)
        .ok_or_else(|| malformed("the state is missing or too long".into()))?
        .to_owned();
    let said = dli.words.said(&word).unwrap_or(Said::Unknown);
    let message = text(status.message.as_ref()).map(|told| cut(told, MAX_TEXT).to_owned());
    let over = said.state().is_terminal();
    let ended_at = if over { end(&status) } else { None };
    let listed_at = time_ms(status.start_time.as_ref());
    Ok(Observation {
        listed_at,
        likeness: likeness(&status, dli.statement),
        took: took_ms(status.duration.as_ref()).filter(|_| over),
        said,
        word,
        times: Times { ended_at, ..Times::default() },
        message,
        detail: told(status, dli.statement),
    })
}

/// Jobs of one queue and type are alike, and those with the same statement more so. Where no statement
/// is to be kept, none is heeded: a list drops it while it comes in, and tells the same as an answer.
fn likeness(status: &Status, keep: Statement) -> Likeness {
    /// Enough for any name of a queue or a type.
    const MAX_NAME: usize = 128;
    let part =
        |value: &Option<Value>| text(value.as_ref()).map(|text| cut(text, MAX_NAME).to_owned());
    let (Some(queue), Some(job_type)) = (part(&status.queue_name), part(&status.job_type)) else {
        return Likeness::Unknown;
    };
    let wider = format!("queue {queue}, {job_type}");
    let statement = text(status.statement.as_ref()).filter(|_| keep != Statement::None);
    let closest = statement.map(|sql| format!("{wider}, statement {}", hex(sql, 6)));
    Likeness::told(closest.into_iter().chain([wider]))
}

/// Jobs are cancelled after 12 h by default; what is longer than this is no duration.
const LONGEST_RUN: Duration = Duration::from_hours(10 * 365 * 24);

/// `start_time + duration`. Whether `start_time` is the submission or the start is not documented,
/// so it is neither; it stays in the detail.
fn end(status: &Status) -> Option<Utc> {
    let reported = time_ms(status.end_time.as_ref());
    reported.or_else(|| {
        let started = time_ms(status.start_time.as_ref())?;
        let took = millis(status.duration.as_ref()).filter(|took| *took < LONGEST_RUN)?;
        Some(started.plus(took))
    })
}

/// A 200 that says that the request failed; its `message` may be an error's JSON in text.
fn failed_request(body: &[u8], message: Option<&Value>) -> ProviderError {
    let inner = text(message).and_then(|told| serde_json::from_str::<Value>(told).ok());
    let body = inner.unwrap_or_else(|| serde_json::from_slice(body).unwrap_or_default());
    match refused_with(StatusCode::OK, &body) {
        // It came with a 200: nothing is known but that it failed.
        ProviderError::Malformed(_) => ProviderError::Transient(format!(
            "HTTP 200: is_success is false: {}",
            cut(text(message).unwrap_or("no reason is given"), 512)
        )),
        known => known,
    }
}

/// The older document's example has JSON in `message` with its quotes not escaped. An answer broken
/// in just that way is read: the text ends where the next field of the document begins.
fn mend_message(body: &[u8]) -> Option<Status> {
    const KEY: &str = "\"message\"";
    let body = std::str::from_utf8(body).ok()?;
    let after_key = body.find(KEY)? + KEY.len();
    let value = after_key + body[after_key..].find('"')?;
    if body[after_key..value].trim() != ":" {
        return None;
    }
    let inner = value + 1;
    let end =
        inner + body[inner..].find("\"job_id\"").or_else(|| body[inner..].find("\"job_type\""))?;
    let close = inner + body[inner..end].rfind('"')?;
    if body[close + 1..end].trim() != "," || !body[inner..close].starts_with('{') {
        return None;
    }
    let quoted = serde_json::to_string(&body[inner..close]).ok()?;
    serde_json::from_str(&format!("{}{quoted}{}", &body[..value], &body[close + 1..])).ok()
}

fn told(status: Status, keep: Statement) -> Map<String, Value> {
    let number = |value: Option<Value>| value.and_then(number);
    let statement = status.statement.filter(Value::is_string).and_then(|sql| match keep {
        Statement::Full => Some(sql),
        Statement::Hash => sql.as_str().map(|sql| Value::String(hash(sql))),
        Statement::None => None,
    });
    detail([
        ("job_type", plain(status.job_type)),
        ("job_mode", plain(status.job_mode)),
        ("queue_name", plain(status.queue_name)),
        ("owner", plain(status.owner)),
        ("start_time", number(status.start_time)),
        ("duration", number(status.duration)),
        ("end_time", number(status.end_time)),
        ("input_row_count", number(status.input_row_count)),
        ("bad_row_count", number(status.bad_row_count)),
        ("input_size", number(status.input_size)),
        ("result_count", number(status.result_count)),
        ("database_name", plain(status.database_name)),
        ("table_name", plain(status.table_name)),
        ("detail", plain(status.detail)),
        ("statement", statement),
        ("tags", status.tags.filter(Value::is_array)),
        ("user_conf", status.user_conf.filter(|conf| !conf.is_null())),
        ("result_path", plain(status.result_path)),
        ("result_format", plain(status.result_format)),
        ("execution_details_path", plain(status.execution_details_path)),
    ])
}

/// Equal for equal statements: the first half of its SHA-256.
fn hash(sql: &str) -> String {
    format!("sha256:{}", hex(sql, 16))
}

/// The first bytes of a text's SHA-256.
fn hex(text: &str, bytes: usize) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let hex: Vec<_> = digest.iter().take(bytes).map(|byte| format!("{byte:02x}")).collect();
    hex.concat()
}
