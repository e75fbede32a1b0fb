//! Many jobs in one request: `GET {base}/v1.0/{project_id}/jobs`.
//!
//! Source: DLI API reference, "Querying All Jobs". The oldest job comes first, so that jobs that start
//! meanwhile move no page. A row has the fields of the answer to a poll except `job_mode`. A row that
//! cannot be read is left out: the scheduler polls a job that is missing from the list individually.

use std::collections::HashMap;

use reqwest::StatusCode;

use crate::job::{
    Answer, ListPage, ListPageQuery, Observation, ProviderError, ProviderErrorKind, RemoteId,
    UtcTime,
};
use crate::provider::answer_json::{FieldTable, malformed, read_array, read_object};
use crate::provider::http::{HttpClient, HttpResponse};
use crate::provider::json_fields::{is_ascii_id, parse_integer};
use crate::provider::kinds::huawei::client::{HuaweiClient, HuaweiRequest};
use crate::provider::kinds::huawei::error::rejection_error;

use super::status::{STATUS_FIELDS, StatusParser, check_is_success};

/// The limit for a page, whose long texts are cut while it is received.
const MAX_LIST_BYTES: usize = 32 << 20;

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
    let request = HuaweiRequest {
        query: &query,
        dropped_keys: parser.dropped_keys(),
        max_bytes: MAX_LIST_BYTES,
        ..HuaweiRequest::get(&path)
    };
    match client.send(request, now).await {
        Ok(response) => Answer {
            result: parse_list(&response, parser).map_err(not_found_to_malformed),
            rate_limit: response.rate_limit,
            server_date: response.server_date,
            credential_replaced: response.credential_replaced,
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

/// The body of a response with status 200. The list decides with its rows.
const LIST_FIELDS: FieldTable =
    FieldTable { id: None, deciding: &["is_success", "job_count", "jobs"], kept: &["message"] };

/// The rows are parsed one by one, so that a bad row affects no other and only one row at a time is in memory
/// twice.
fn parse_list(response: &HttpResponse, parser: &StatusParser) -> Result<ListPage, ProviderError> {
    if response.status != StatusCode::OK {
        return Err(rejection_error(response));
    }
    let fields = read_object(&response.body, &LIST_FIELDS)?;
    check_is_success(&fields, &response.body)?;
    let total = parse_integer(fields.deciding("job_count")?.as_ref())
        .and_then(|count| u64::try_from(count).ok());
    let rows = fields.raw("jobs").filter(|rows| *rows != b"null").map(read_array);
    let (rows, total) = match (rows, total) {
        (Some(Some(rows)), Some(total)) => (rows, total),
        // The service may leave out an empty list.
        (None, Some(0)) => (Vec::new(), 0),
        (_, None) | (None | Some(None), _) => {
            return Err(malformed("the answer is not a list of jobs"));
        }
    };
    let jobs: Vec<_> = rows.into_iter().filter_map(|row| parse_row(row, parser)).collect();
    let mut rows_per_job: HashMap<_, u32> = HashMap::new();
    for (id, _) in &jobs {
        *rows_per_job.entry(id.canonical_form().into_owned()).or_default() += 1;
    }
    // Two rows of one job can contradict each other.
    let is_unique = |id: &RemoteId| rows_per_job.get(&*id.canonical_form()) == Some(&1);
    let jobs = jobs.into_iter().filter(|(id, _)| is_unique(id)).collect();
    Ok(ListPage { jobs, total_count: total })
}

/// The job of a row; `None` if the row cannot be read.
fn parse_row(row: &[u8], parser: &StatusParser) -> Option<(RemoteId, Observation)> {
    // A row has the same limit as the response to a poll.
    if row.len() > HttpClient::MAX_BODY_BYTES {
        return None;
    }
    let fields = read_object(row, &STATUS_FIELDS).ok()?;
    check_is_success(&fields, row).ok()?;
    let id = fields.deciding_id("job_id").ok()??;
    let id = Some(id).filter(|id| is_ascii_id(id))?.parse().ok()?;
    Some((id, parser.parse_observation(&fields).ok()?))
}
