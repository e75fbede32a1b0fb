//! Dune query executions: `GET {base}/api/v1/execution/{id}/status`, header `x-dune-api-key`.
//!
//! Words and fields are those of Dune's "Get execution status" page, of 2022 and of today; both
//! spellings of "cancelled" are in use. Nothing is sure to be in an answer but the id and the state.

use futures_util::future::BoxFuture;
use reqwest::header::HeaderName;
use reqwest::{Method, StatusCode, Url};
use secrecy::SecretString;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::job::{
    Answer, Checkup, Likeness, Observation, ProviderError, RemoteId, Said, Times, Utc,
};

use super::Provider;
use super::checkup::checkup;
use super::fields::{
    MAX_TEXT, MAX_WORD, cut, detail, integer, is_plain_id, object, only, plain, time, took_ms,
};
use super::http::{Call, Http, Reply, answer, secret_header};
use super::meaning::{self, Refusal};
use super::words::{Known, Words};

/// Well formed, and no execution's.
const NOBODY: &str = "00000000000000000000000000";

/// One Dune account.
#[derive(Debug)]
pub(super) struct Dune {
    pub(super) http: Http,
    pub(super) base: Url,
    pub(super) key: SecretString,
    pub(super) words: Words,
}

/// Before every word, since 2022.
pub(super) const PREFIX: &str = "QUERY_STATE_";
pub(super) const WORDS: Known = &[
    ("PENDING", Said::Pending),
    ("EXECUTING", Said::Running),
    ("COMPLETED", Said::Succeeded),
    ("COMPLETED_PARTIAL", Said::Succeeded),
    ("FAILED", Said::Failed),
    ("CANCELLED", Said::Cancelled),
    ("CANCELED", Said::Cancelled),
    ("EXPIRED", Said::Expired),
];

impl Dune {
    fn url(&self, segments: &[&str]) -> Result<Url, ProviderError> {
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| ProviderError::Misconfigured("base_url has no path".into()))?
            .pop_if_empty()
            .extend(segments);
        Ok(url)
    }

    async fn ask(&self, id: &RemoteId, now: Utc) -> Answer {
        let path = ["api", "v1", "execution", id.as_str(), "status"];
        let reply = self.send(Method::GET, &path, now).await;
        answer(reply, |reply| read(reply, id, &self.words))
    }

    async fn stop(&self, id: &RemoteId, now: Utc) -> Result<(), ProviderError> {
        let path = ["api", "v1", "execution", id.as_str(), "cancel"];
        let reply = self.send(Method::POST, &path, now).await?;
        if reply.status != StatusCode::OK {
            return Err(refused(&reply));
        }
        let done: Map<String, Value> = object(&reply.body)?;
        if done.get("success") == Some(&Value::Bool(false)) {
            return Err(ProviderError::Malformed("HTTP 200: success is false".into()));
        }
        Ok(())
    }

    async fn look(&self, now: Utc) -> Checkup {
        let path = ["api", "v1", "execution", NOBODY, "status"];
        let reply = self.send(Method::GET, &path, now).await;
        let forbids = |reply: &Reply| reply.status == StatusCode::FORBIDDEN;
        checkup(reply, now, forbids, refused)
    }

    async fn send(
        &self,
        method: Method,
        segments: &[&str],
        now: Utc,
    ) -> Result<Reply, ProviderError> {
        let url = self.url(segments)?;
        let headers = vec![secret_header(HeaderName::from_static("x-dune-api-key"), &self.key)?];
        let (body, behind) = (Vec::new(), Vec::new());
        let room = Http::MAX_BODY;
        self.http.send(Call { method, url, headers, body, behind, sieve: None, room }, now).await
    }
}

impl Provider for Dune {
    fn check_id(&self, id: &RemoteId) -> Result<(), String> {
        if is_plain_id(id.as_str()) {
            Ok(())
        } else {
            Err("a Dune execution id has at most 128 letters, digits, _ and -, such as \
                 01GBM4W2N0NMCGPZYW8AYK4YF1"
                .into())
        }
    }

    fn poll<'a>(&'a self, id: &'a RemoteId, now: Utc) -> BoxFuture<'a, Answer> {
        Box::pin(self.ask(id, now))
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

/// The body of a 200. A field of another type than expected is dropped, not guessed at; one that
/// comes twice spoils the answer.
#[derive(Debug, Deserialize)]
struct Status {
    execution_id: String,
    state: String,
    is_execution_finished: Option<Value>,
    submitted_at: Option<Value>,
    execution_started_at: Option<Value>,
    execution_ended_at: Option<Value>,
    cancelled_at: Option<Value>,
    expires_at: Option<Value>,
    query_id: Option<Value>,
    queue_position: Option<Value>,
    execution_cost_credits: Option<Value>,
    max_inflight_interactive_executions: Option<Value>,
    max_inflight_interactive_reached: Option<Value>,
    error: Option<Value>,
    result_metadata: Option<Value>,
}

const ERROR_FIELDS: [&str; 3] = ["type", "message", "metadata"];
const RESULT_FIELDS: [&str; 9] = [
    "column_names",
    "column_types",
    "row_count",
    "total_row_count",
    "result_set_bytes",
    "total_result_set_bytes",
    "datapoint_count",
    "pending_time_millis",
    "execution_time_millis",
];

fn read(reply: &Reply, asked: &RemoteId, words: &Words) -> Result<Observation, ProviderError> {
    if reply.status != StatusCode::OK {
        return Err(refused(reply));
    }
    let status: Status = object(&reply.body)?;
    if status.execution_id != asked.as_str() {
        return Err(ProviderError::Malformed("an answer for another execution".into()));
    }
    if status.state.is_empty() || status.state.len() > MAX_WORD {
        return Err(ProviderError::Malformed("the state is empty or too long".into()));
    }
    let finished = status.is_execution_finished.as_ref().and_then(Value::as_bool);
    let unknown = if finished == Some(true) { Said::Indeterminate } else { Said::Unknown };
    let said = words.said(&status.state).unwrap_or(unknown);
    let times = Times {
        submitted_at: time(status.submitted_at.as_ref()),
        started_at: time(status.execution_started_at.as_ref()),
        ended_at: time(status.execution_ended_at.as_ref())
            .or_else(|| time(status.cancelled_at.as_ref())),
        expires_at: time(status.expires_at.as_ref()),
    };
    // Times tell more; in the document's own example the two contradict each other.
    let untimed = times.started_at.is_none() || times.ended_at.is_none();
    let millis = status.result_metadata.as_ref().and_then(|told| told.get("execution_time_millis"));
    Ok(Observation {
        listed_at: None,
        likeness: likeness(status.query_id.as_ref()),
        took: took_ms(millis).filter(|_| untimed && said.state().is_terminal()),
        said,
        times,
        message: message(status.error.as_ref()),
        word: status.state.clone(),
        detail: told(status),
    })
}

/// Runs of one query are alike; SQL that belongs to none has no number.
fn likeness(query_id: Option<&Value>) -> Likeness {
    let query = integer(query_id).filter(|id| *id > 0);
    Likeness::told(query.map(|id| format!("query {id}")))
}

fn message(error: Option<&Value>) -> Option<String> {
    let error = error?;
    let text = error
        .as_str()
        .or_else(|| error.get("message")?.as_str())
        .or_else(|| error.get("type")?.as_str())?;
    Some(cut(text, MAX_TEXT).to_owned())
}

fn told(status: Status) -> Map<String, Value> {
    detail([
        ("query_id", plain(status.query_id)),
        ("is_execution_finished", plain(status.is_execution_finished)),
        ("queue_position", plain(status.queue_position)),
        ("execution_cost_credits", plain(status.execution_cost_credits)),
        ("max_inflight_interactive_executions", plain(status.max_inflight_interactive_executions)),
        ("max_inflight_interactive_reached", plain(status.max_inflight_interactive_reached)),
        ("error", only(&ERROR_FIELDS, status.error)),
        ("result_metadata", only(&RESULT_FIELDS, status.result_metadata)),
    ])
}

/// Dune's errors are `{"error":"<text>"}`; there are no codes.
fn refused(reply: &Reply) -> ProviderError {
    let body: Option<Value> = serde_json::from_slice(&reply.body).ok();
    let told = body.as_ref().and_then(|body| message(body.get("error"))).unwrap_or_default();
    let told = cut(&told, 512);
    meaning::read(Refusal { status: reply.status.as_u16(), code: "", dune: told }, told)
}
