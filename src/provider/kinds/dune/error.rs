//! Unsuccessful responses of Dune.
//!
//! Used by the provider and by [`status`](super::status). Dune has no error codes, so the status decides,
//! and for "not found" the message.

use serde_json::Value;

use crate::job::{ProviderError, ProviderErrorKind};
use crate::provider::classify::{self, ErrorResponse, ErrorRule, Matcher};
use crate::provider::http::HttpResponse;
use crate::provider::json_fields::{MAX_TEXT_BYTES, truncate};

/// The rules for the messages.
pub(super) const ERROR_RULES: &[ErrorRule] = &[
    (Matcher::Message(404, &["object not found"]), ProviderErrorKind::NotFound),
    (Matcher::Message(400, &["execution id", "invalid"]), ProviderErrorKind::InvalidId),
];

/// The error for an unsuccessful response, whose body is `{"error": "<message>"}`.
pub(super) fn rejection_error(response: &HttpResponse) -> ProviderError {
    let body: Option<Value> = serde_json::from_slice(&response.body).ok();
    let message =
        body.as_ref().and_then(|body| error_message(body.get("error"))).unwrap_or_default();
    let message = truncate(&message, 512);
    let error_response = ErrorResponse { status: response.status.as_u16(), code: "", message };
    classify::provider_error(error_response, ERROR_RULES, message)
}

/// The message of an error, which is text or an object.
pub(super) fn error_message(error: Option<&Value>) -> Option<String> {
    let error = error?;
    let text = error
        .as_str()
        .or_else(|| error.get("message")?.as_str())
        .or_else(|| error.get("type")?.as_str())?;
    Some(truncate(text, MAX_TEXT_BYTES).to_owned())
}
