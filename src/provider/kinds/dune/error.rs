//! Unsuccessful responses of Dune.
//!
//! Used by the provider and by [`status`](super::status). Dune has no error codes, so the status decides,
//! and for "not found" the message.

use reqwest::StatusCode;
use serde_json::Value;

use crate::job::{ProviderError, ProviderErrorKind};
use crate::provider::answer_json::{FieldTable, read_error_body};
use crate::provider::classify::{self, ErrorResponse, ErrorRule, Matcher};
use crate::provider::foreign_body::ForeignBody;
use crate::provider::http::HttpResponse;
use crate::provider::json_fields::{limit_text, truncate};

/// The rules for the messages. The documentation names the statuses only ("Troubleshooting" in Dune's API
/// reference); the messages are those that Dune's own clients and their tests show.
pub(super) const ERROR_RULES: &[&[ErrorRule]] = &[&[
    ErrorRule::new(Matcher::Message(404, &["object not found"]), ProviderErrorKind::NotFound),
    ErrorRule::new(Matcher::Message(404, &["execution not found"]), ProviderErrorKind::NotFound),
    ErrorRule::new(
        Matcher::Message(400, &["execution id", "invalid"]),
        ProviderErrorKind::InvalidId,
    ),
    // For an execution of a private query that the key may not read.
    ErrorRule::new(Matcher::Message(404, &["invalid api key"]), ProviderErrorKind::Auth)
        .with_advice("the key may not read this query; use a key of the query's owner"),
    ErrorRule::new(Matcher::Message(404, &["query not found or private"]), ProviderErrorKind::Auth)
        .with_advice("the key may not read this query; use a key of the query's owner"),
]];

/// The body of an unsuccessful response.
const ERROR_FIELDS: FieldTable = FieldTable { id: None, deciding: &[], kept: &["error"] };

/// The error for an unsuccessful response, whose body is `{"error": "<message>"}`.
pub(super) fn rejection_error(response: &HttpResponse) -> ProviderError {
    let body = read_error_body(&response.body, &ERROR_FIELDS);
    let message = error_message(body.get("error")).unwrap_or_default();
    let message = truncate(&message, 512);
    let error_response = ErrorResponse {
        status: response.status.as_u16(),
        code: "",
        message,
        foreign_body: ForeignBody::detect(&response.body),
    };
    classify::provider_error(error_response, ERROR_RULES, message)
}

/// Whether the response shows that the service accepted the key. Who learns that an execution does not exist has
/// been recognized.
pub(super) fn is_key_accepted(response: &HttpResponse) -> bool {
    let is_unknown_id = || {
        matches!(
            rejection_error(response).kind,
            ProviderErrorKind::NotFound | ProviderErrorKind::InvalidId
        )
    };
    ForeignBody::detect(&response.body).is_none()
        && (response.status.is_success() || is_unknown_id())
}

/// Whether the response rejects the key.
pub(super) fn is_key_rejected(response: &HttpResponse) -> bool {
    response.status == StatusCode::UNAUTHORIZED && ForeignBody::detect(&response.body).is_none()
}

/// The message of an error, which is text or an object.
pub(super) fn error_message(error: Option<&Value>) -> Option<String> {
    let error = error?;
    let text = error
        .as_str()
        .or_else(|| error.get("message")?.as_str())
        .or_else(|| error.get("type")?.as_str())?;
    Some(limit_text(text))
}
