//! One job of DLI, from the answer to a poll or from a row of the list.
//!
//! Used by the provider and by [`list`](super::list). The older revision of the document has an example
//! that is not valid JSON, which only the tolerant reading of [`answer_json`](crate::provider::answer_json) reads.

use std::time::Duration;

use reqwest::StatusCode;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::config::StatementCapture;
use crate::job::{
    Observation, ObservedState, ProviderError, ProviderErrorKind, ProviderTimes, RemoteId,
    SimilarityKeys, UtcTime,
};
use crate::provider::answer_json::{FieldTable, Fields, malformed, read_kept, read_object};
use crate::provider::http::HttpResponse;
use crate::provider::json_fields::{
    CUT_MARK, MAX_PROVIDER_STATE_BYTES, MAX_TEXT_BYTES, collect_detail, limit_text, non_empty_str,
    parse_duration_ms, parse_epoch_ms, parse_number, parse_run_duration_ms, scalar_only, truncate,
};
use crate::provider::kinds::huawei::error::{rejection_error, rejection_error_from_body};
use crate::provider::state_map::StateMap;

/// The body of a response with status 200, or a row of the list.
pub(super) const STATUS_FIELDS: FieldTable = FieldTable {
    id: Some("job_id"),
    deciding: &["is_success", "job_id", "status"],
    kept: &[
        "message",
        "job_type",
        "job_mode",
        "queue_name",
        "owner",
        "start_time",
        "duration",
        "end_time",
        "input_row_count",
        "bad_row_count",
        "input_size",
        "result_count",
        "database_name",
        "table_name",
        "detail",
        "statement",
        "tags",
        "user_conf",
        "result_path",
        "result_format",
        "execution_details_path",
    ],
};

/// Reads the state of jobs, with the settings of one provider.
#[derive(Debug)]
pub(super) struct StatusParser {
    pub(super) state_map: StateMap,
    pub(super) statement_capture: StatementCapture,
}

impl StatusParser {
    /// The keys whose values are not even received. A statement may have any length.
    pub(super) fn dropped_keys(&self) -> &'static [&'static str] {
        match self.statement_capture {
            StatementCapture::None => &["statement"],
            StatementCapture::Full | StatementCapture::Hash => &[],
        }
    }

    /// Reads the answer to a poll of the job `expected_id`.
    pub(super) fn parse_status(
        &self,
        response: &HttpResponse,
        expected_id: &RemoteId,
    ) -> Result<Observation, ProviderError> {
        if response.status != StatusCode::OK {
            return Err(rejection_error(response));
        }
        let fields = read_object(&response.body, &STATUS_FIELDS)?;
        check_is_success(&fields, &response.body)?;
        let id = fields.deciding_id("job_id")?;
        if id.is_some_and(|id| !expected_id.is_same_id(&id)) {
            return Err(malformed("the answer is about another job"));
        }
        self.parse_observation(&fields)
    }

    /// Reads the job's fields; the caller has checked which job they belong to.
    pub(super) fn parse_observation(
        &self,
        fields: &Fields<'_>,
    ) -> Result<Observation, ProviderError> {
        let provider_state = fields.deciding_text("status", MAX_PROVIDER_STATE_BYTES)?;
        let observed_state =
            self.state_map.lookup(&provider_state).unwrap_or(ObservedState::Unknown);
        let is_terminal = observed_state.to_state().is_terminal();
        let ended_at = if is_terminal { end_time(fields) } else { None };
        let message = fields.kept("message");
        Ok(Observation {
            list_time: parse_epoch_ms(fields.kept("start_time").as_ref()),
            source: name_part(fields, "queue_name"),
            credits: None,
            similarity_keys: similarity_keys(fields, self.statement_capture),
            reported_duration: parse_run_duration_ms(fields.kept("duration").as_ref())
                .filter(|_| is_terminal),
            state: observed_state,
            provider_state,
            times: ProviderTimes { ended_at, ..ProviderTimes::default() },
            message: non_empty_str(message.as_ref()).map(limit_text),
            detail: status_detail(fields, self.statement_capture),
        })
    }
}

/// Jobs of the same queue and type are similar, those with the same statement more so. With
/// [`StatementCapture::None`] the statement is dropped while it is received.
fn similarity_keys(fields: &Fields<'_>, statement_capture: StatementCapture) -> SimilarityKeys {
    let (Some(queue), Some(job_type)) =
        (name_part(fields, "queue_name"), name_part(fields, "job_type"))
    else {
        return SimilarityKeys::Unknown;
    };
    let broad_key = format!("queue {queue}, {job_type}");
    let statement =
        fields.kept("statement").filter(|_| statement_capture != StatementCapture::None);
    let exact_key = non_empty_str(statement.as_ref())
        .map(|sql| format!("{broad_key}, statement {}", sha256_hex_prefix(sql, 6)));
    SimilarityKeys::from_provider(exact_key.into_iter().chain([broad_key]))
}

/// The name of a queue or of a type of jobs.
fn name_part(fields: &Fields<'_>, name: &str) -> Option<String> {
    /// Longer than any name of a queue or a type.
    const MAX_NAME_BYTES: usize = 128;
    non_empty_str(fields.kept(name).as_ref()).map(|text| truncate(text, MAX_NAME_BYTES).to_owned())
}

/// DLI cancels jobs after 12 h by default; a larger number is not a duration.
const MAX_DURATION: Duration = Duration::from_hours(10 * 365 * 24);

/// `end_time`, which list rows have, else `start_time + duration`. The document does not state whether
/// `start_time` is the submission or the start, so it is used as neither and only kept in the detail.
fn end_time(fields: &Fields<'_>) -> Option<UtcTime> {
    let reported = parse_epoch_ms(fields.kept("end_time").as_ref());
    reported.or_else(|| {
        let started_at = parse_epoch_ms(fields.kept("start_time").as_ref())?;
        let duration = parse_duration_ms(fields.kept("duration").as_ref())
            .filter(|took| *took < MAX_DURATION)?;
        Some(started_at.plus(duration))
    })
}

/// Checks the flag of an answer or a row with status 200: if it is false, the request has failed. The
/// `message` may then be the JSON of an error, as text.
pub(super) fn check_is_success(fields: &Fields<'_>, body: &[u8]) -> Result<(), ProviderError> {
    if fields.deciding_flag("is_success")? != Some(false) {
        return Ok(());
    }
    let message = fields.kept("message");
    let message = non_empty_str(message.as_ref());
    let nested_error = message.and_then(|text| serde_json::from_str::<Value>(text).ok());
    let body = nested_error.unwrap_or_else(|| read_kept(body));
    let error = rejection_error_from_body(StatusCode::OK, &body);
    if error.kind != ProviderErrorKind::Malformed {
        return Err(error);
    }
    // Without a known error code only this request has failed, so a retry may succeed.
    let reason = truncate(message.unwrap_or("the answer gives no reason"), 512);
    let message = format!("HTTP 200, but is_success is false: {reason}");
    Err(ProviderError::new(ProviderErrorKind::Transient, message))
}

fn status_detail(fields: &Fields<'_>, statement_capture: StatementCapture) -> Map<String, Value> {
    let scalar = |name| scalar_only(fields.kept(name));
    let number = |name| fields.kept(name).and_then(parse_number);
    let statement = || {
        let sql = fields.kept("statement").filter(Value::is_string)?;
        match statement_capture {
            StatementCapture::Full => Some(sql),
            StatementCapture::Hash => sql.as_str().map(|sql| Value::String(statement_hash(sql))),
            StatementCapture::None => None,
        }
    };
    collect_detail([
        ("job_type", scalar("job_type")),
        ("job_mode", scalar("job_mode")),
        ("queue_name", scalar("queue_name")),
        ("owner", scalar("owner")),
        ("start_time", number("start_time")),
        ("duration", number("duration")),
        ("end_time", number("end_time")),
        ("input_row_count", number("input_row_count")),
        ("bad_row_count", number("bad_row_count")),
        ("input_size", number("input_size")),
        ("result_count", number("result_count")),
        ("database_name", scalar("database_name")),
        ("table_name", scalar("table_name")),
        ("detail", scalar("detail")),
        ("statement", statement()),
        ("tags", fields.kept("tags").filter(Value::is_array)),
        ("user_conf", fields.kept("user_conf")),
        ("result_path", scalar("result_path")),
        ("result_format", scalar("result_format")),
        ("execution_details_path", scalar("execution_details_path")),
    ])
}

/// The first half of the statement's SHA-256; equal for equal statements. Of a statement that was cut while it
/// was received, only the beginning is known: then the hash is marked too.
fn statement_hash(sql: &str) -> String {
    let is_cut = sql.len() > MAX_TEXT_BYTES && sql.ends_with(CUT_MARK);
    let mark = if is_cut { CUT_MARK } else { "" };
    format!("sha256:{}{mark}", sha256_hex_prefix(sql, 16))
}

/// The first bytes of the SHA-256 of a text, in hexadecimal.
fn sha256_hex_prefix(text: &str, bytes: usize) -> String {
    let sha256 = Sha256::digest(text.as_bytes());
    let hex: Vec<_> = sha256.iter().take(bytes).map(|byte| format!("{byte:02x}")).collect();
    hex.concat()
}
