//! Script instances of Huawei's DataArts Studio:
//! `GET {base}/v1/{project_id}/scripts/{script_name}/instances/{instance_id}`.
//!
//! Words and fields are those of "Querying the Execution Result of a Script Instance". An id is
//! `SCRIPT/INSTANCE`. The answer carries the result rows: they are dropped while it comes in. It tells
//! no time of day.

use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::job::{
    Answer, Checkup, Likeness, Observation, ProviderError, RemoteId, Said, Times, Utc,
};

use super::Provider;
use super::checkup::checkup;
use super::fields::{MAX_TEXT, MAX_WORD, cut, kept, number, object, took_s};
use super::http::{Reply, answer};
use super::huawei::{Account, Ask, NOBODY, forbids, refused};
use super::sieve::Sieve;
use super::words::{Known, Words};

/// One workspace's scripts.
#[derive(Debug)]
pub(super) struct DataArts {
    pub(super) account: Account,
    pub(super) workspace: Option<HeaderValue>,
    pub(super) words: Words,
}

pub(super) const WORDS: Known = &[
    ("LAUNCHING", Said::Pending),
    ("RUNNING", Said::Running),
    ("FINISHED", Said::Succeeded),
    ("FAILED", Said::Failed),
];

const NEVER_KEPT: &[&str] = &["rows", "rawResult"];

impl DataArts {
    async fn ask(&self, id: &RemoteId, now: Utc) -> Answer {
        match halves(id) {
            Ok((script, instance)) => {
                let reply = self.look_at(script, instance, now).await;
                answer(reply, |reply| read(reply, script, &self.words))
            }
            Err(error) => Answer::failed(error),
        }
    }

    async fn look_at(
        &self,
        script: &str,
        instance: &str,
        now: Utc,
    ) -> Result<Reply, ProviderError> {
        let project = self.account.project_id.as_str();
        let path = ["v1", project, "scripts", script, "instances", instance];
        let sieve = Some(Sieve::new(NEVER_KEPT));
        let ask = Ask { headers: &self.headers(), sieve, ..Ask::get(&path) };
        self.account.send(ask, now).await
    }

    async fn stop(&self, id: &RemoteId, now: Utc) -> Result<(), ProviderError> {
        let (script, instance) = halves(id)?;
        let project = self.account.project_id.as_str();
        let path = ["v1", project, "scripts", script, "instances", instance, "stop"];
        let ask = Ask { method: Method::POST, headers: &self.headers(), ..Ask::get(&path) };
        let reply = self.account.send(ask, now).await?;
        if !reply.status.is_success() {
            return Err(refused(&reply));
        }
        // No document tells of a body; a page of a proxy's is no success.
        if !reply.body.trim_ascii().is_empty() {
            object::<Map<String, Value>>(&reply.body)?;
        }
        Ok(())
    }

    async fn look(&self, now: Utc) -> Checkup {
        let reply = self.look_at("jobtrack-check", NOBODY, now).await;
        checkup(reply, now, forbids, refused)
    }

    fn headers(&self) -> Vec<(HeaderName, HeaderValue)> {
        let name = HeaderName::from_static("workspace");
        self.workspace.iter().map(|id| (name.clone(), id.clone())).collect()
    }
}

/// Script and instance.
fn halves(id: &RemoteId) -> Result<(&str, &str), ProviderError> {
    let halves = id.as_str().split_once('/');
    halves.ok_or_else(|| ProviderError::NotFound("the id names no instance".into()))
}

impl Provider for DataArts {
    fn check_id(&self, id: &RemoteId) -> Result<(), String> {
        let name = |text: &str| {
            (1..=128).contains(&text.chars().count())
                && text != "."
                && text != ".."
                && text.chars().all(|c| c.is_alphanumeric() || "_.-".contains(c))
        };
        match id.as_str().split_once('/') {
            Some((script, instance)) if name(script) && name(instance) => Ok(()),
            Some(_) | None => {
                Err("a DataArts id is SCRIPT/INSTANCE, each of letters, digits, _, . \
                                   and -, such as dwsscript/a1ad-448a-9d56-4154193d49c5"
                    .into())
            }
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

/// The body of a 200.
#[derive(Debug, Deserialize)]
struct Instance {
    status: String,
    message: Option<Value>,
    results: Option<Value>,
}

fn read(reply: &Reply, script: &str, words: &Words) -> Result<Observation, ProviderError> {
    if reply.status != StatusCode::OK {
        return Err(refused(reply));
    }
    let instance: Instance = object(&reply.body)?;
    if instance.status.is_empty() || instance.status.len() > MAX_WORD {
        return Err(ProviderError::Malformed("the state is empty or too long".into()));
    }
    let said = words.said(&instance.status).unwrap_or(Said::Unknown);
    let results = match instance.results {
        Some(Value::Array(results)) => results,
        Some(_) | None => Vec::new(),
    };
    let told = results.iter().map(|result| result.get("message"));
    let message = [instance.message.as_ref()].into_iter().chain(told).find_map(message);
    Ok(Observation {
        listed_at: None,
        likeness: Likeness::told([format!("script {script}")]),
        took: took(&results).filter(|_| said.state().is_terminal()),
        said,
        word: instance.status,
        times: Times::default(),
        message,
        detail: detail(results),
    })
}

/// The sum of what its statements took, one after the other; none if one does not tell.
fn took(results: &[Value]) -> Option<Duration> {
    let seconds = results.iter().map(|result| match result.get("duration")? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    });
    took_s(seconds.sum::<Option<f64>>()?)
}

/// Text as it is, an object as JSON; nothing if it says nothing.
fn message(value: Option<&Value>) -> Option<String> {
    let told = match value? {
        Value::String(told) => told.clone(),
        Value::Object(map) if !map.is_empty() => value?.to_string(),
        _ => return None,
    };
    (!told.is_empty()).then(|| cut(&told, MAX_TEXT).to_owned())
}

fn detail(results: Vec<Value>) -> Map<String, Value> {
    let kept: Vec<_> = results
        .into_iter()
        .filter_map(|result| match result {
            Value::Object(map) => Some(map),
            _ => None,
        })
        .map(|map| {
            let kept = map.into_iter().filter_map(|(key, value)| {
                let value = match key.as_str() {
                    "rowCount" | "inputRowCount" | "resultCount" | "duration" => number(value),
                    "schema" => Some(kept(value)),
                    _ => None,
                }?;
                Some((key, value))
            });
            kept.collect::<Map<_, _>>()
        })
        .collect();
    if kept.is_empty() { Map::new() } else { Map::from_iter([("results".to_owned(), json!(kept))]) }
}
