//! Unsuccessful responses of Huawei's services and of the API gateway in front of them.
//!
//! Used by the client and by both kinds. The error code decides; without a known code the status does.
//! Codes: the services' API references and the gateway's list of error codes.

use reqwest::StatusCode;
use serde_json::Value;

use crate::job::{ProviderError, ProviderErrorKind, ServiceHints};
use crate::provider::classify::{self, ErrorResponse, ErrorRule, Matcher};
use crate::provider::http::HttpResponse;
use crate::provider::json_fields::{non_empty_str, truncate};

/// The rules for the error codes.
pub(super) const ERROR_RULES: &[ErrorRule] = &[
    // Server errors, although they come with status 400.
    code("DLI", "0999", ProviderErrorKind::Transient),
    code("DLI", "0012", ProviderErrorKind::Transient),
    code("DLI", "0002", ProviderErrorKind::NotFound),
    code("DLI", "0023", ProviderErrorKind::NotFound),
    code("DLI", "0013", ProviderErrorKind::Auth),
    code("DLI", "0014", ProviderErrorKind::Auth),
    // The result has expired, which does not show how the job ended.
    code("DLI", "0100", ProviderErrorKind::Malformed),
    code("DLF", "6201", ProviderErrorKind::NotFound),
    code("DLF", "6205", ProviderErrorKind::NotFound),
    code("DLF", "30137", ProviderErrorKind::NotFound),
    code("DLF", "6888", ProviderErrorKind::Auth),
    code(GATEWAY, "0101", ProviderErrorKind::Misconfigured),
    code(GATEWAY, "0201", ProviderErrorKind::Transient),
    code(GATEWAY, INVALID_TOKEN, ProviderErrorKind::Auth),
    code(GATEWAY, NO_PERMISSION, ProviderErrorKind::Auth),
    code(GATEWAY, OUTDATED_TOKEN, ProviderErrorKind::Auth),
    code(GATEWAY, "0308", ProviderErrorKind::RateLimited),
];

const GATEWAY: &str = "APIGW";
const INVALID_TOKEN: &str = "0301";
const NO_PERMISSION: &str = "0302";
const OUTDATED_TOKEN: &str = "0307";

const fn code(service: &'static str, number: &'static str, kind: ProviderErrorKind) -> ErrorRule {
    (Matcher::Code(service, number), kind)
}

pub(super) const HINTS: ServiceHints = ServiceHints {
    address: "base_url or region",
    credential: "store a valid one where auth points; a token expires after a day and is valid in one \
                 region only, and an access key that was rejected several times in a row is locked for \
                 five minutes",
    permission: "give the user the right to read jobs, and check project_id and, for DataArts, \
                 workspace_id",
    clock_skew: "times in the history are wrong by as much, and beyond 15 minutes requests signed with \
                 an access key (auth.ak, auth.sk) are rejected",
};

/// The error for an unsuccessful response.
pub(super) fn rejection_error(response: &HttpResponse) -> ProviderError {
    rejection_error_from_body(response.status, &parse_body(response))
}

/// The error for an unsuccessful response whose body has been parsed.
pub(super) fn rejection_error_from_body(status: StatusCode, body: &Value) -> ProviderError {
    let (code, message) = error_code_and_message(body);
    let text = match (code, message) {
        ("", message) => message.to_owned(),
        (code, "") => code.to_owned(),
        (code, message) => format!("{code} {message}"),
    };
    let code = with_full_gateway_name(code);
    let error_response = ErrorResponse { status: status.as_u16(), code: &code, message: "" };
    classify::provider_error(error_response, ERROR_RULES, truncate(&text, 512))
}

/// Whether the response rejects the token, rather than denying a permission.
pub(super) fn is_token_rejected(response: &HttpResponse) -> bool {
    response.status == StatusCode::UNAUTHORIZED
        || (response.status.is_client_error() && has_token_error_code(&parse_body(response)))
}

fn has_token_error_code(body: &Value) -> bool {
    let code = with_full_gateway_name(error_code_and_message(body).0);
    matches!(code.split_once('.'), Some((GATEWAY, INVALID_TOKEN | OUTDATED_TOKEN)))
}

/// Whether the response denies a permission, rather than rejecting the credentials.
pub(super) fn is_permission_error(response: &HttpResponse) -> bool {
    let body = parse_body(response);
    let code = with_full_gateway_name(error_code_and_message(&body).0);
    match code.split_once('.') {
        Some(("DLI", "0013" | "0014") | ("DLF", "6888") | (GATEWAY, NO_PERMISSION)) => true,
        Some((GATEWAY, INVALID_TOKEN | OUTDATED_TOKEN)) => false,
        _ => response.status == StatusCode::FORBIDDEN,
    }
}

/// Some gateways print `APIG.` for `APIGW.`; the numbers are the same.
fn with_full_gateway_name(code: &str) -> String {
    match code.split_once('.') {
        Some(("APIG", number)) => format!("{GATEWAY}.{number}"),
        Some(_) | None => code.to_owned(),
    }
}

/// `Null` if the body is not JSON.
fn parse_body(response: &HttpResponse) -> Value {
    serde_json::from_slice(&response.body).unwrap_or_default()
}

/// Code and message of an error, in each of the forms that the services use: `{error_code, error_msg}`,
/// `{errorCode, errorMsg}`, `{code, message}`, `{error}` and `{error: {code, message, title}}`.
pub(super) fn error_code_and_message(body: &Value) -> (&str, &str) {
    let first_present =
        |names: &[&str]| names.iter().find_map(|name| non_empty_str(body.get(name)));
    if let Some(nested) = body.get("error").filter(|inner| inner.is_object()) {
        let message =
            non_empty_str(nested.get("message")).or_else(|| non_empty_str(nested.get("title")));
        return (
            non_empty_str(nested.get("code")).unwrap_or_default(),
            message.unwrap_or_default(),
        );
    }
    let code = first_present(&["error_code", "errorCode", "code"]).unwrap_or_default();
    let message = first_present(&["error_msg", "errorMsg", "message", "error"]).unwrap_or_default();
    (code, message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn error_bodies_are_parsed_in_every_form() {
        let forms = [
            json!({"error_code": "DLI.0002", "error_msg": "gone"}),
            json!({"error_code": "DLI.0002", "error_msg": "gone", "request_id": "7"}),
            json!({"errorCode": "DLI.0002", "errorMsg": "gone"}),
            json!({"code": "DLI.0002", "message": "gone"}),
            json!({"error": {"code": "DLI.0002", "message": "gone", "title": "t"}}),
        ];
        for form in forms {
            let error = rejection_error_from_body(StatusCode::BAD_REQUEST, &form);
            let expected =
                ProviderError::new(ProviderErrorKind::NotFound, "HTTP 400: DLI.0002 gone");
            assert_eq!(error, expected, "{form}");
        }
        let none = rejection_error_from_body(StatusCode::BAD_REQUEST, &Value::Null);
        assert_eq!(none, ProviderError::new(ProviderErrorKind::Malformed, "HTTP 400"));
    }

    #[test]
    fn a_5xx_status_overrides_the_error_code() {
        let body = json!({"error_code": "DLI.0002", "error_msg": "no such job"});
        let error = rejection_error_from_body(StatusCode::INTERNAL_SERVER_ERROR, &body);
        assert!(error.kind == ProviderErrorKind::Transient, "{error:?}");
    }
}
