//! Shared by the two services of Huawei Cloud: authentication by token or signature, and the
//! rejections of the API gateway, which come before those of the service.
//!
//! Signatures are verified against the request as received, with code that shares nothing with the
//! client's. The age of the signature's date is not checked, because tests set their own clock.

use hmac::{Hmac, Mac};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::http::{FakeHttpRequest, FakeHttpResponse};
use super::iam::Iam;
use super::rate_limit::RateLimit;
use super::service::ServiceRejection;

pub const TOKEN_HEADER: &str = "x-auth-token";
const SIGNATURE_HEADER: &str = "authorization";
/// Headers that must be signed if they are sent; the first two must be sent.
const HEADERS_TO_SIGN: [&str; 5] =
    ["host", "x-sdk-date", "content-type", "x-project-id", "x-security-token"];
const ALGORITHM: &str = "SDK-HMAC-SHA256";

/// The only access key id that is accepted.
pub const ACCESS_KEY_ID: &str = "fake-access-key";
/// Its secret, until [`set_credentials`](super::FakeServer::set_credentials) changes it.
pub const SECRET_ACCESS_KEY: &str = "fake-secret-key";
/// The security token of a temporary access key; optional, but it must be signed if it is sent.
pub const SECURITY_TOKEN: &str = "fake-security-token";

/// Why the gateway rejects the credentials of a request; `None` if they are valid.
pub fn authentication_error(
    request: &FakeHttpRequest,
    token: &str,
    secret_key: &str,
    iam: &Iam,
) -> Option<ServiceRejection<'static>> {
    if request.has_header(SIGNATURE_HEADER) {
        return (verify_signature(request, secret_key) != Some(true))
            .then_some(ServiceRejection::InvalidSignature);
    }
    let Some(token_sent) = request.header(TOKEN_HEADER) else {
        return Some(ServiceRejection::InvalidCredential);
    };
    match iam.token_validity(token_sent) {
        Some(is_valid) => (!is_valid).then_some(ServiceRejection::ExpiredToken),
        None => (token_sent != token).then_some(ServiceRejection::InvalidCredential),
    }
}

/// The parts of the `authorization` header: key id, names of the signed headers, signature.
fn parse_signature(request: &FakeHttpRequest) -> Option<(&str, &str, &str)> {
    let rest = request.header(SIGNATURE_HEADER)?.strip_prefix(ALGORITHM)?;
    let (ak, rest) = rest.strip_prefix(" Access=")?.split_once(", SignedHeaders=")?;
    let (names, signature) = rest.split_once(", Signature=")?;
    Some((ak, names, signature))
}

/// The key id of the signature, valid or not.
pub fn signing_key_id(request: &FakeHttpRequest) -> Option<&str> {
    parse_signature(request).map(|(ak, _, _)| ak)
}

/// Whether the signature is correct and covers all required headers; `None` if it cannot be parsed.
fn verify_signature(request: &FakeHttpRequest, secret_key: &str) -> Option<bool> {
    let (ak, names, signature) = parse_signature(request)?;
    let signed_names: Vec<_> = names.split(';').collect();
    let sent_headers = HEADERS_TO_SIGN.iter().filter(|name| request.has_header(name));
    let all_signed = signed_names.is_sorted()
        && sent_headers.chain(&HEADERS_TO_SIGN[..2]).all(|name| signed_names.contains(name));
    let path_project = request.path().split('/').nth(2);
    let project_matches =
        request.header("x-project-id").is_none_or(|id| path_project == Some(&percent_encode(id)));
    let security_token_matches =
        request.header("x-security-token").is_none_or(|token| token == SECURITY_TOKEN);

    let date = request.header("x-sdk-date")?;
    let string_to_sign = format!(
        "{ALGORITHM}\n{date}\n{:x}",
        Sha256::digest(canonical_request(request, &signed_names)?)
    );
    let mac = Hmac::<Sha256>::new_from_slice(secret_key.as_bytes())
        .expect("HMAC accepts keys of any length");
    let expected = format!("{:x}", mac.chain_update(string_to_sign).finalize().into_bytes());
    Some(
        all_signed
            && project_matches
            && security_token_matches
            && ak == ACCESS_KEY_ID
            && signature == expected,
    )
}

/// The canonical request; `None` if one of the named headers was not sent. Signed requests have no
/// body here.
fn canonical_request(request: &FakeHttpRequest, names: &[&str]) -> Option<String> {
    let path = request.path().split('/').map(normalize_encoding).collect::<Vec<_>>().join("/");
    let trailing_slash = if path.ends_with('/') { "" } else { "/" };
    let pairs = request.query().split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut pairs: Vec<_> = pairs
        .map(|(name, value)| format!("{}={}", normalize_encoding(name), normalize_encoding(value)))
        .collect();
    pairs.sort_unstable();
    let line = |name: &&str| request.header(name).map(|value| format!("{name}:{value}\n"));
    let lines: Option<Vec<_>> = names.iter().map(line).collect();
    Some(format!(
        "{}\n{path}{trailing_slash}\n{}\n{}\n{}\n{:x}",
        request.method,
        pairs.join("&"),
        lines?.concat(),
        names.join(";"),
        Sha256::digest(b"")
    ))
}

/// Decodes `text` once and encodes it again, so that equivalent encodings become equal.
fn normalize_encoding(text: &str) -> String {
    let mut rest = text.as_bytes();
    let mut decoded = Vec::new();
    while let Some((&first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        let code = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        match code {
            Some(byte) if first == b'%' => {
                decoded.push(byte);
                rest = &after[2..];
            }
            Some(_) | None => {
                decoded.push(first);
                rest = after;
            }
        }
    }
    percent_encode(decoded)
}

/// All but `A-Za-z0-9-_.~` percent-encoded.
fn percent_encode(text: impl AsRef<[u8]>) -> String {
    let encode = |byte: &u8| match char::from(*byte) {
        plain if plain.is_ascii_alphanumeric() || "-_.~".contains(plain) => plain.to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.as_ref().iter().map(encode).collect()
}

/// The response to a rejected request. `job_not_found_error` returns the code and the message of
/// the service for an unknown job, given whether another job of the same script exists.
pub fn rejection_response(
    rejection: &ServiceRejection<'_>,
    job_not_found_error: fn(bool) -> (&'static str, &'static str),
) -> FakeHttpResponse {
    match rejection {
        ServiceRejection::WrongMethod | ServiceRejection::UnknownPath => error_response(
            404,
            "APIGW.0101",
            "The API does not exist or has not been published in the environment",
        ),
        ServiceRejection::InvalidCredential => error_response(
            401,
            "APIGW.0301",
            "Incorrect IAM authentication information: decrypt token fail",
        ),
        ServiceRejection::ExpiredToken => {
            error_response(401, "APIGW.0307", "The token must be updated.")
        }
        ServiceRejection::InvalidSignature => error_response(
            401,
            "APIGW.0301",
            "Incorrect IAM authentication information: verify aksk signature fail",
        ),
        ServiceRejection::InvalidParameter => {
            error_response(400, "DLI.0001", "Parameter check error.")
        }
        ServiceRejection::JobNotFound(_, script_known) => {
            let (code, message) = job_not_found_error(*script_known);
            error_response(400, code, message)
        }
        ServiceRejection::RateLimited { limit: RateLimit { requests, window, .. }, .. } => {
            let (number, unit) = match window.as_secs() {
                seconds if seconds % 60 == 0 => (seconds / 60, "minute"),
                seconds => (seconds, "second"),
            };
            let message = format!(
                "The throttling threshold has been reached: policy user over ratelimit,\
                 limit:{requests},time:{number} {unit}"
            );
            error_response(429, "APIGW.0308", &message)
        }
    }
}

fn error_response(status: u16, code: &str, message: &str) -> FakeHttpResponse {
    FakeHttpResponse::json(status, &json!({ "error_code": code, "error_msg": message }))
}
