//! What the two services of Huawei Cloud have in common: the token or the signature, and the gateway
//! that refuses before a service sees the request.
//!
//! A signature is reckoned anew from the request as it came in, by hand, so that it shares nothing
//! with the client's. The age of its date is not looked at: a test's clock is its own.

use hmac::{Hmac, Mac};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::http::{FakeHttpRequest, FakeHttpResponse};
use super::iam::Iam;
use super::rate_limit::RateLimit;
use super::service::ServiceRejection;

pub const TOKEN_HEADER: &str = "x-auth-token";
const SIGNATURE_HEADER: &str = "authorization";
/// What must be signed if it comes; the first two must come.
const HEADERS_TO_SIGN: [&str; 5] =
    ["host", "x-sdk-date", "content-type", "x-project-id", "x-security-token"];
const ALGORITHM: &str = "SDK-HMAC-SHA256";

/// The id of the access key that may sign.
pub const ACCESS_KEY_ID: &str = "fake-access-key";
/// Its secret half, at first.
pub const SECRET_ACCESS_KEY: &str = "fake-secret-key";
/// What proves that it is a temporary one; it need not come, but must be signed if it does.
pub const SECURITY_TOKEN: &str = "fake-security-token";

/// Why the gateway does not let it pass; none if it does.
pub fn authentication_error(
    head: &FakeHttpRequest,
    token: &str,
    secret_key: &str,
    iam: &Iam,
) -> Option<ServiceRejection<'static>> {
    if head.has_header(SIGNATURE_HEADER) {
        return (verify_signature(head, secret_key) != Some(true))
            .then_some(ServiceRejection::InvalidSignature);
    }
    let Some(token_sent) = head.header(TOKEN_HEADER) else {
        return Some(ServiceRejection::InvalidCredential);
    };
    match iam.token_validity(token_sent) {
        Some(is_valid) => (!is_valid).then_some(ServiceRejection::ExpiredToken),
        None => (token_sent != token).then_some(ServiceRejection::InvalidCredential),
    }
}

/// The parts of the header: the key's id, the names of the headers that are signed, the signature.
fn parse_signature(head: &FakeHttpRequest) -> Option<(&str, &str, &str)> {
    let rest = head.header(SIGNATURE_HEADER)?.strip_prefix(ALGORITHM)?;
    let (ak, rest) = rest.strip_prefix(" Access=")?.split_once(", SignedHeaders=")?;
    let (names, signature) = rest.split_once(", Signature=")?;
    Some((ak, names, signature))
}

/// The id of the key that signed, true or not.
pub fn signing_key_id(head: &FakeHttpRequest) -> Option<&str> {
    parse_signature(head).map(|(ak, _, _)| ak)
}

/// Whether the signature is ours and covers all that it should; none if it is no signature at all.
fn verify_signature(head: &FakeHttpRequest, secret_key: &str) -> Option<bool> {
    let (ak, names, signature) = parse_signature(head)?;
    let signed_names: Vec<_> = names.split(';').collect();
    let sent = HEADERS_TO_SIGN.iter().filter(|name| head.has_header(name));
    let covered = signed_names.is_sorted()
        && sent.chain(&HEADERS_TO_SIGN[..2]).all(|name| signed_names.contains(name));
    let path_project = head.path().split('/').nth(2);
    let project =
        head.header("x-project-id").is_none_or(|id| path_project == Some(&percent_encode(id)));
    let temporary = head.header("x-security-token").is_none_or(|token| token == SECURITY_TOKEN);

    let date = head.header("x-sdk-date")?;
    let text = format!(
        "{ALGORITHM}\n{date}\n{:x}",
        Sha256::digest(canonical_request(head, &signed_names)?)
    );
    let mac =
        Hmac::<Sha256>::new_from_slice(secret_key.as_bytes()).expect("a key of any length will do");
    let expected = format!("{:x}", mac.chain_update(text).finalize().into_bytes());
    Some(covered && project && temporary && ak == ACCESS_KEY_ID && signature == expected)
}

/// What is signed; none if one of these headers did not come. No request that is signed has a body.
fn canonical_request(head: &FakeHttpRequest, names: &[&str]) -> Option<String> {
    let path = head.path().split('/').map(normalize_encoding).collect::<Vec<_>>().join("/");
    let slash = if path.ends_with('/') { "" } else { "/" };
    let pairs = head.query().split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut pairs: Vec<_> = pairs
        .map(|(name, value)| format!("{}={}", normalize_encoding(name), normalize_encoding(value)))
        .collect();
    pairs.sort_unstable();
    let line = |name: &&str| head.header(name).map(|value| format!("{name}:{value}\n"));
    let lines: Option<Vec<_>> = names.iter().map(line).collect();
    Some(format!(
        "{}\n{path}{slash}\n{}\n{}\n{}\n{:x}",
        head.method,
        pairs.join("&"),
        lines?.concat(),
        names.join(";"),
        Sha256::digest(b"")
    ))
}

/// Percent-decoded once, and encoded again.
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

/// A refusal; `no_job` is the service's own code and text for a job that it does not know, given
/// whether it knows another of the same script.
pub fn rejection_response(
    rejection: &ServiceRejection<'_>,
    no_job: fn(bool) -> (&'static str, &'static str),
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
            let (code, message) = no_job(*script_known);
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
