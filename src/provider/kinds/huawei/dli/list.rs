//! Many jobs in one request: `GET {base}/v1.0/{project_id}/jobs`.
//!
//! Source: DLI API reference, "Querying All Jobs". The oldest job comes first, so that jobs that start
//! meanwhile move no page. A row has the fields of the answer to a poll except `job_mode`. A row that
//! cannot be read is left out: the scheduler polls a job that is missing from the list individually.

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::config::StatementCapture;
use crate::job::{
    Answer, ListPage, ListPageQuery, Observation, ProviderError, ProviderErrorKind, RemoteId,
    UtcTime,
};
use crate::provider::http::{HttpClient, HttpResponse};
use crate::provider::json_fields::{is_ascii_id, non_empty_str, parse_integer, parse_object};
use crate::provider::json_value_stripper::JsonValueStripper;
use crate::provider::kinds::huawei::client::{HuaweiClient, HuaweiRequest};
use crate::provider::kinds::huawei::error::rejection_error;

use super::status::{DliJobStatus, StatusParser, unsuccessful_response_error};

/// The sum of the limits of a page's rows: a page is never rejected if each of its rows could be polled.
const MAX_LIST_BYTES: usize = HttpClient::MAX_BODY_BYTES * ListPageQuery::PAGE_SIZE as usize;

/// SQL text of any length. Dropped while it is received, unless the text or its hash is stored.
const DROPPED_KEYS: &[&str] = &["statement"];

/// Requests one page of the list.
pub(super) async fn request_list_page(
    client: &HuaweiClient,
    parser: &StatusParser,
    window: &ListPageQuery,
    now: UtcTime,
) -> Answer<ListPage> {
    let path = ["v1.0", client.project_id.as_str(), "jobs"];
    let (start, end) = (window.from.as_millis().to_string(), window.to.as_millis().to_string());
    let (size, number) = (ListPageQuery::PAGE_SIZE.to_string(), window.page.to_string());
    let query = [
        ("start", start.as_str()),
        ("end", &end),
        ("page-size", &size),
        ("current-page", &number),
        ("order", "start_time_asc"),
    ];
    let body_filter = (parser.statement_capture == StatementCapture::None)
        .then(|| JsonValueStripper::new(DROPPED_KEYS));
    let request = HuaweiRequest {
        query: &query,
        body_filter,
        max_bytes: MAX_LIST_BYTES,
        ..HuaweiRequest::get(&path)
    };
    match client.send(request, now).await {
        Ok(response) => Answer {
            result: parse_list(&response, parser).map_err(not_found_to_malformed),
            rate_limit: response.rate_limit,
            server_date: response.server_date,
        },
        Err(error) => Answer::failed(error),
    }
}

/// A list request names no job: "not found" would be read as evidence about one.
fn not_found_to_malformed(error: ProviderError) -> ProviderError {
    match error.kind {
        ProviderErrorKind::NotFound | ProviderErrorKind::InvalidId => {
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

/// The body of a response with status 200. The rows are parsed one by one, so that a bad row affects no other and only one
/// row at a time is in memory twice.
#[derive(Debug, Deserialize)]
struct DliListResponse<'a> {
    is_success: Option<Value>,
    message: Option<Value>,
    job_count: Option<Value>,
    #[serde(borrow)]
    jobs: Option<&'a RawValue>,
}

fn parse_list(response: &HttpResponse, parser: &StatusParser) -> Result<ListPage, ProviderError> {
    if response.status != StatusCode::OK {
        return Err(rejection_error(response));
    }
    let body: DliListResponse<'_> = parse_object(&response.body)?;
    if body.is_success == Some(Value::Bool(false)) {
        return Err(unsuccessful_response_error(&response.body, body.message.as_ref()));
    }
    let total = parse_integer(body.job_count.as_ref()).and_then(|count| u64::try_from(count).ok());
    let rows = body.jobs.map(|rows| serde_json::from_str::<Vec<&RawValue>>(rows.get()));
    let (rows, total) = match (rows, total) {
        (Some(Ok(rows)), Some(total)) => (rows, total),
        // The service may leave out an empty list.
        (None, Some(0)) => (Vec::new(), 0),
        // Without the message of serde, which may repeat a value of any length.
        (_, None) | (None | Some(Err(_)), _) => {
            return Err(ProviderError::new(
                ProviderErrorKind::Malformed,
                "the answer is not a list of jobs",
            ));
        }
    };
    Ok(ListPage {
        jobs: rows.into_iter().filter_map(|row| parse_row(row, parser)).collect(),
        total_count: total,
    })
}

/// The job of a row; `None` if the row cannot be read.
fn parse_row(row: &RawValue, parser: &StatusParser) -> Option<(RemoteId, Observation)> {
    let row = row.get().as_bytes();
    // A row has the same limit as the response to a poll.
    let status: DliJobStatus =
        (row.len() <= HttpClient::MAX_BODY_BYTES).then(|| parse_object(row).ok())??;
    let id = non_empty_str(status.job_id.as_ref()).filter(|id| is_ascii_id(id))?.parse().ok()?;
    Some((id, parser.parse_observation(status).ok()?))
}
