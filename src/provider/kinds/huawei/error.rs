//! Unsuccessful responses of Huawei's services and of the API gateway in front of them.
//!
//! Used by the client, by both kinds and by the token requests. The error code decides; without a known code
//! the status does. The codes are listed in [`error_codes`].

use reqwest::StatusCode;
use serde_json::Value;

use crate::job::{ProviderError, ProviderErrorKind, ServiceHints};
use crate::provider::answer_json::{FieldTable, read_error_body};
use crate::provider::classify::{self, ErrorResponse, ErrorRule};
use crate::provider::foreign_body::ForeignBody;
use crate::provider::http::HttpResponse;
use crate::provider::json_fields::{non_empty_str, truncate};

use super::error_codes::{self, ERROR_RULES, IAM_RULES, gateway, is_token_error};

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
    classify_response(response, ERROR_RULES)
}

/// The error for an unsuccessful response of IAM to a token request.
pub(super) fn iam_rejection_error(response: &HttpResponse) -> ProviderError {
    classify_response(response, IAM_RULES)
}

/// Whether IAM has locked the user.
pub(super) fn is_user_locked(response: &HttpResponse) -> bool {
    let body = parse_body(response);
    let ErrorText { code, message } = error_text(&body);
    response.status.is_client_error()
        && (code.eq_ignore_ascii_case("IAM.0061") || message.to_lowercase().contains(" locked"))
}

/// The error for an unsuccessful response whose body has been parsed.
pub(super) fn rejection_error_from_body(status: StatusCode, body: &Value) -> ProviderError {
    classify_body(status, body, None, ERROR_RULES)
}

fn classify_response(response: &HttpResponse, rules: &[&'static [ErrorRule]]) -> ProviderError {
    let foreign_body = ForeignBody::detect(&response.body);
    let error = classify_body(response.status, &parse_body(response), foreign_body, rules);
    match &response.rejection_note {
        Some(note) => ProviderError { message: format!("{error}; {note}"), ..error },
        None => error,
    }
}

fn classify_body(
    status: StatusCode,
    body: &Value,
    foreign_body: Option<ForeignBody>,
    rules: &[&'static [ErrorRule]],
) -> ProviderError {
    let ErrorText { code, message } = error_text(body);
    let text = match (code.as_str(), message) {
        ("", message) => message.to_owned(),
        (code, "") => code.to_owned(),
        (code, message) if message.starts_with(code) => message.to_owned(),
        (code, message) => format!("{code} {message}"),
    };
    let code = with_full_gateway_name(&code);
    let response = ErrorResponse { status: status.as_u16(), code: &code, message, foreign_body };
    classify::provider_error(response, rules, truncate(&text, 512))
}

/// Whether the response rejects the token, rather than denying a permission.
pub(super) fn is_token_rejected(response: &HttpResponse) -> bool {
    if !response.status.is_client_error() || ForeignBody::detect(&response.body).is_some() {
        return false;
    }
    response.status == StatusCode::UNAUTHORIZED
        || error_code(response).is_some_and(|(service, number)| is_token_error(&service, &number))
}

/// What a response says about the credential of its request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CredentialVerdict {
    Accepted,
    Refused,
    /// The service did not look at the credential, or the response does not come from the service.
    None,
}

/// A service checks the credential first: who learns that a job does not exist, or that a permission is missing,
/// has been recognized.
pub(super) fn credential_verdict(response: &HttpResponse) -> CredentialVerdict {
    let foreign_body = ForeignBody::detect(&response.body);
    if foreign_body.is_some_and(|body| body != ForeignBody::Empty) {
        return CredentialVerdict::None;
    }
    if response.status.is_success() {
        return CredentialVerdict::Accepted;
    }
    match rejection_error(response).kind {
        ProviderErrorKind::NotFound | ProviderErrorKind::InvalidId => CredentialVerdict::Accepted,
        ProviderErrorKind::Auth if is_permission_error(response) => CredentialVerdict::Accepted,
        ProviderErrorKind::Auth => CredentialVerdict::Refused,
        ProviderErrorKind::Transient
        | ProviderErrorKind::RateLimited
        | ProviderErrorKind::QuotaExceeded
        | ProviderErrorKind::Misconfigured
        | ProviderErrorKind::Malformed => CredentialVerdict::None,
    }
}

/// Whether the response denies a permission, rather than rejecting the credentials.
pub(super) fn is_permission_error(response: &HttpResponse) -> bool {
    error_code(response)
        .and_then(|(service, number)| error_codes::is_permission_error(&service, &number))
        .unwrap_or(response.status == StatusCode::FORBIDDEN)
}

/// The two parts of the error code; the service in upper case.
fn error_code(response: &HttpResponse) -> Option<(String, String)> {
    let code = with_full_gateway_name(&error_text(&parse_body(response)).code);
    let (service, number) = code.split_once('.')?;
    Some((service.to_ascii_uppercase(), number.to_owned()))
}

/// Some gateways print `APIG.` for `APIGW.`; the numbers are the same.
fn with_full_gateway_name(code: &str) -> String {
    match code.split_once('.') {
        Some((name, number)) if name.eq_ignore_ascii_case("APIG") => {
            format!("{}.{number}", gateway::SERVICE)
        }
        Some(_) | None => code.to_owned(),
    }
}

/// The documented fields of an error. The code decides what the error means; [`error_text`] reads the others.
const ERROR_FIELDS: FieldTable = FieldTable {
    id: None,
    deciding: &["error_code", "errorCode", "code"],
    kept: &[
        "error_msg",
        "errorMsg",
        "error_message",
        "errorMessage",
        "message",
        "msg",
        "error",
        "title",
        "errors",
        "request_id",
    ],
};

/// `Null` if the body is no JSON object.
fn parse_body(response: &HttpResponse) -> Value {
    read_error_body(&response.body, &ERROR_FIELDS)
}

/// Code and message of an error. Empty if the body has none.
#[derive(Debug, Default, PartialEq, Eq)]
struct ErrorText<'a> {
    code: String,
    message: &'a str,
}

/// Reads an error in each of the forms that the services use: `{error_code, error_msg}`, `{errorCode,
/// errorMsg}`, `{code, message}`, `{error}`, and any of these in an object `error` or in the first element of a
/// list `errors`. A code may also begin the message, as in `DLI.0003: Permission denied`.
fn error_text(body: &Value) -> ErrorText<'_> {
    let nested = [body.get("error"), body.get("errors").and_then(|list| list.get(0))];
    let body = nested.into_iter().flatten().find(|inner| inner.is_object()).unwrap_or(body);
    let first_text = |names: &[&str]| names.iter().find_map(|name| non_empty_str(body.get(name)));
    let message = first_text(&[
        "error_msg",
        "errorMsg",
        "error_message",
        "errorMessage",
        "message",
        "msg",
        "error",
        "title",
    ]);
    let message = message.unwrap_or_default();
    let code = ERROR_FIELDS.deciding.iter().find_map(|name| match body.get(name)? {
        Value::String(code) => Some(code.trim().to_owned()).filter(|code| !code.is_empty()),
        // IAM repeats the HTTP status as a number, which is not an error code.
        Value::Number(code) => Some(code.to_string()).filter(|code| code.len() > 3),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    });
    let code = code.or_else(|| leading_code(message)).unwrap_or_default();
    ErrorText { code, message }
}

/// A code such as `DLI.0003` at the start of a message.
fn leading_code(message: &str) -> Option<String> {
    let word = message.split([':', ' ', ',', ';']).next()?;
    let (service, number) = word.split_once('.')?;
    let is_code = ["DLI", "DLF", "APIG", "APIGW", "IAM"].contains(&service)
        && number.len() >= 4
        && number.bytes().all(|byte| byte.is_ascii_digit());
    is_code.then(|| word.to_owned())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::job::ProviderErrorKind;

    #[test]
    fn error_bodies_are_parsed_in_every_form() {
        let forms = [
            json!({"error_code": "DLI.0002", "error_msg": "gone"}),
            json!({"error_code": "DLI.0002", "error_msg": "gone", "request_id": "7"}),
            json!({"errorCode": "DLI.0002", "errorMsg": "gone"}),
            json!({"code": "DLI.0002", "message": "gone"}),
            json!({"error": {"code": "DLI.0002", "message": "gone", "title": "t"}}),
            json!({"error": {"error_code": "DLI.0002", "error_msg": "gone"}}),
            json!({"errors": [{"code": "DLI.0002", "message": "gone"}]}),
            json!({"error_code": " DLI.0002 ", "error_msg": "gone"}),
            json!({"error_msg": "DLI.0002 gone"}),
            json!({"error": "DLI.0002 gone"}),
            json!({"error_code": "DLI.0002", "error_msg": "DLI.0002 gone"}),
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

    #[test]
    fn token_requests_are_classified_by_the_codes_of_iam() {
        let cases = [
            (
                401,
                r#"{"error":{"code":401,"message":"The account is locked.","title":"Unauthorized"}}"#,
                ProviderErrorKind::Auth,
                "locked the user",
            ),
            (
                401,
                r#"{"error_code":"IAM.0061","error_msg":"x"}"#,
                ProviderErrorKind::Auth,
                "locked the user",
            ),
            (
                401,
                r#"{"error":{"code":401,"message":"The username or password is wrong.","title":"U"}}"#,
                ProviderErrorKind::Auth,
                "HTTP 401: The username or password is wrong.",
            ),
            (
                400,
                r#"{"error_code":"1101","error_msg":"x"}"#,
                ProviderErrorKind::Misconfigured,
                "1101 x",
            ),
            (400, r#"{"code":1117,"message":"x"}"#, ProviderErrorKind::Misconfigured, "1117 x"),
            (429, r#"{"error_code":"IAM.0012"}"#, ProviderErrorKind::RateLimited, "IAM.0012"),
            (401, "<html></html>", ProviderErrorKind::Misconfigured, "HTML page"),
        ];
        for (status, body, kind, text) in cases {
            let error = iam_rejection_error(&response(status, body));
            assert_eq!(error.kind, kind, "{body}: {error}");
            assert!(error.message.contains(text), "{body}: {error}");
        }
        let blocked =
            response(403, r#"{"error":{"code":403,"message":"request blocked","title":"F"}}"#);
        assert!(!is_user_locked(&blocked));
        assert!(!iam_rejection_error(&blocked).message.contains("locked the user"));
    }

    fn response(status: u16, body: &str) -> HttpResponse {
        HttpResponse {
            status: StatusCode::from_u16(status).expect("a status"),
            rate_limit: crate::job::RateLimitInfo::default(),
            server_date: None,
            clock_ahead_s: None,
            rejection_note: None,
            credential_replaced: false,
            subject_token: None,
            body: body.as_bytes().to_vec(),
        }
    }

    #[test]
    fn fault_73_only_an_answer_of_the_service_about_the_request_accepts_a_credential() {
        use CredentialVerdict::{Accepted, None, Refused};
        let code = |code: &str| format!(r#"{{"error_code":"{code}","error_msg":"x"}}"#);
        let cases = [
            (200, "{}".to_owned(), Accepted),
            (204, String::new(), Accepted),
            (200, "<html>log in</html>".to_owned(), None),
            (400, code("DLI.0002"), Accepted),
            (400, code("DLI.0003"), Accepted),
            (403, code("APIGW.0302"), Accepted),
            (401, code("APIGW.0301"), Refused),
            (401, code("APIG.0301"), Refused),
            (401, "{}".to_owned(), Refused),
            (401, code("APIGW.0303"), Refused),
            (403, code("APIGW.0303"), Refused),
            (400, code("IAM.1104"), Refused),
            (403, code("IAM.1108"), Refused),
            (400, code("DLI.0001"), None),
            (404, "{}".to_owned(), None),
            (302, String::new(), None),
            (403, "<html>blocked</html>".to_owned(), None),
            (401, String::new(), None),
            (429, code("APIGW.0308"), None),
            (429, "{}".to_owned(), None),
            (500, code("APIGW.0301"), None),
            (503, "{}".to_owned(), None),
        ];
        for (status, body, expected) in cases {
            let verdict = credential_verdict(&response(status, &body));
            assert_eq!(verdict, expected, "{status} {body}");
        }
    }
}
