//! Many jobs in one request: `GET {base}/v1.0/{project_id}/jobs`, oldest first, so that jobs that
//! begin meanwhile move no page.
//!
//! A row is read as a single answer is; the one thing that it lacks is `job_mode`. A row that cannot
//! be read is left out: whoever misses its job asks for that alone.

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::config::StatementCapture;
use crate::job::{
    Answer, ListPage, ListWindow, Observation, ProviderError, ProviderErrorKind, RemoteId, UtcTime,
};

use super::super::http::{HttpClient, HttpResponse};
use super::super::huawei::{HuaweiRequest, rejection_error};
use super::super::json_fields::{is_ascii_id, non_empty_str, parse_integer, parse_object};
use super::super::json_filter::JsonKeyFilter;
use super::{DliJobStatus, DliProvider, parse_observation, unsuccessful_response_error};

/// As much as its rows may take one by one: no page fails for a length at which no job does.
const MAX_LIST_BYTES: usize = HttpClient::MAX_BODY_BYTES * ListWindow::PAGE_SIZE as usize;

/// Users' SQL, of any length: what is not to be kept is dropped while it comes in. A hash needs it.
const DROPPED_KEYS: &[&str] = &["statement"];

impl DliProvider {
    pub(super) async fn request_list_page(
        &self,
        window: &ListWindow,
        now: UtcTime,
    ) -> Answer<ListPage> {
        let path = ["v1.0", self.client.project_id.as_str(), "jobs"];
        let (start, end) = (window.from.as_millis().to_string(), window.to.as_millis().to_string());
        let (size, number) = (ListWindow::PAGE_SIZE.to_string(), window.page.to_string());
        let query = [
            ("start", start.as_str()),
            ("end", &end),
            ("page-size", &size),
            ("current-page", &number),
            ("order", "start_time_asc"),
        ];
        let body_filter = (self.statement_capture == StatementCapture::None)
            .then(|| JsonKeyFilter::new(DROPPED_KEYS));
        let request = HuaweiRequest {
            query: &query,
            body_filter,
            max_bytes: MAX_LIST_BYTES,
            ..HuaweiRequest::get(&path)
        };
        match self.client.send(request, now).await {
            Ok(reply) => Answer {
                result: parse_list(&reply, self).map_err(not_found_to_malformed),
                rate_limit: reply.rate_limit,
                server_date: reply.server_date,
            },
            Err(error) => Answer::failed(error),
        }
    }
}

/// A list asks for no job, so none is missing.
fn not_found_to_malformed(error: ProviderError) -> ProviderError {
    match error.kind {
        ProviderErrorKind::NotFound => {
            ProviderError { kind: ProviderErrorKind::Malformed, ..error }
        }
        ProviderErrorKind::Transient
        | ProviderErrorKind::RateLimited
        | ProviderErrorKind::QuotaExceeded
        | ProviderErrorKind::Auth
        | ProviderErrorKind::Misconfigured
        | ProviderErrorKind::Malformed => error,
    }
}

/// The body of a 200. Rows stay text until their turn, so that a bad one spoils no other and only
/// one at a time takes memory twice.
#[derive(Debug, Deserialize)]
struct DliListResponse<'a> {
    is_success: Option<Value>,
    message: Option<Value>,
    job_count: Option<Value>,
    #[serde(borrow)]
    jobs: Option<&'a RawValue>,
}

fn parse_list(reply: &HttpResponse, provider: &DliProvider) -> Result<ListPage, ProviderError> {
    if reply.status != StatusCode::OK {
        return Err(rejection_error(reply));
    }
    let body: DliListResponse<'_> = parse_object(&reply.body)?;
    if body.is_success == Some(Value::Bool(false)) {
        return Err(unsuccessful_response_error(&reply.body, body.message.as_ref()));
    }
    let total = parse_integer(body.job_count.as_ref()).and_then(|count| u64::try_from(count).ok());
    let rows = body.jobs.map(|rows| serde_json::from_str::<Vec<&RawValue>>(rows.get()));
    let (rows, total) = match (rows, total) {
        (Some(Ok(rows)), Some(total)) => (rows, total),
        // A service may leave out what is empty.
        (None, Some(0)) => (Vec::new(), 0),
        // Not with serde's complaint: it repeats a text of any length.
        (_, None) | (None | Some(Err(_)), _) => {
            return Err(ProviderError::new(
                ProviderErrorKind::Malformed,
                "the answer is not a list of jobs",
            ));
        }
    };
    Ok(ListPage {
        jobs: rows.into_iter().filter_map(|row| parse_row(row, provider)).collect(),
        total_count: total,
    })
}

/// The job of a row; none if it cannot be read.
fn parse_row(row: &RawValue, provider: &DliProvider) -> Option<(RemoteId, Observation)> {
    let row = row.get().as_bytes();
    // Alone, it would be too long as well.
    let status: DliJobStatus =
        (row.len() <= HttpClient::MAX_BODY_BYTES).then(|| parse_object(row).ok())??;
    let id = non_empty_str(status.job_id.as_ref()).filter(|id| is_ascii_id(id))?.parse().ok()?;
    Some((id, parse_observation(status, provider).ok()?))
}
