//! Many jobs in one request: `GET {base}/v1.0/{project_id}/jobs`, oldest first, so that jobs that
//! begin meanwhile move no page.
//!
//! A row is read as a single answer is; the one thing that it lacks is `job_mode`. A row that cannot
//! be read is left out: whoever misses its job asks for that alone.

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::config::Statement;
use crate::job::{Listed, Listing, Observation, Page, ProviderError, RemoteId, Utc};

use super::super::fields::{integer, is_plain_id, object, text};
use super::super::http::{Http, Reply};
use super::super::huawei::{Ask, refused};
use super::super::sieve::Sieve;
use super::{Dli, Status, failed_request, observed};

/// As much as its rows may take one by one: no page fails for a length at which no job does.
const ROOM: usize = Http::MAX_BODY * Page::SIZE as usize;

/// Users' SQL, of any length: what is not to be kept is dropped while it comes in. A hash needs it.
const NEVER_KEPT: &[&str] = &["statement"];

impl Dli {
    pub(super) async fn ask_list(&self, page: &Page, now: Utc) -> Listing {
        let path = ["v1.0", self.account.project_id.as_str(), "jobs"];
        let (start, end) = (page.from.as_millis().to_string(), page.to.as_millis().to_string());
        let (size, number) = (Page::SIZE.to_string(), page.number.to_string());
        let query = [
            ("start", start.as_str()),
            ("end", &end),
            ("page-size", &size),
            ("current-page", &number),
            ("order", "start_time_asc"),
        ];
        let sieve = (self.statement == Statement::None).then(|| Sieve::new(NEVER_KEPT));
        let ask = Ask { query: &query, sieve, room: ROOM, ..Ask::get(&path) };
        match self.account.send(ask, now).await {
            Ok(reply) => Listing {
                result: read(&reply, self).map_err(of_no_job),
                pace: reply.pace,
                server_date: reply.server_date,
            },
            Err(error) => Listing::failed(error),
        }
    }
}

/// A list asks for no job, so none is missing.
fn of_no_job(error: ProviderError) -> ProviderError {
    match error {
        ProviderError::NotFound(told) => ProviderError::Malformed(told),
        other => other,
    }
}

/// The body of a 200. Rows stay text until their turn, so that a bad one spoils no other and only
/// one at a time takes memory twice.
#[derive(Debug, Deserialize)]
struct Body<'a> {
    is_success: Option<Value>,
    message: Option<Value>,
    job_count: Option<Value>,
    #[serde(borrow)]
    jobs: Option<&'a RawValue>,
}

fn read(reply: &Reply, dli: &Dli) -> Result<Listed, ProviderError> {
    if reply.status != StatusCode::OK {
        return Err(refused(reply));
    }
    let body: Body<'_> = object(&reply.body)?;
    if body.is_success == Some(Value::Bool(false)) {
        return Err(failed_request(&reply.body, body.message.as_ref()));
    }
    let total = integer(body.job_count.as_ref()).and_then(|count| u64::try_from(count).ok());
    let rows = body.jobs.map(|rows| serde_json::from_str::<Vec<&RawValue>>(rows.get()));
    let (rows, total) = match (rows, total) {
        (Some(Ok(rows)), Some(total)) => (rows, total),
        // A service may leave out what is empty.
        (None, Some(0)) => (Vec::new(), 0),
        // Not with serde's complaint: it repeats a text of any length.
        (_, None) | (None | Some(Err(_)), _) => {
            return Err(ProviderError::Malformed("the answer is not a list of jobs".into()));
        }
    };
    Ok(Listed { jobs: rows.into_iter().filter_map(|row| job(row, dli)).collect(), total })
}

/// The job of a row; none if it cannot be read.
fn job(row: &RawValue, dli: &Dli) -> Option<(RemoteId, Observation)> {
    let row = row.get().as_bytes();
    // Alone, it would be too long as well.
    let status: Status = (row.len() <= Http::MAX_BODY).then(|| object(row).ok())??;
    let id = text(status.job_id.as_ref()).filter(|id| is_plain_id(id))?.parse().ok()?;
    Some((id, observed(status, dli).ok()?))
}
