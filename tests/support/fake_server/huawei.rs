//! What the two services of Huawei Cloud have in common: the token or the signature, and the gateway
//! that refuses before a service sees the request.
//!
//! A signature is reckoned anew from the request as it came in, by hand, so that it shares nothing
//! with the client's. The age of its date is not looked at: a test's clock is its own.

use hmac::{Hmac, Mac};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::http::{Answer, Head};
use super::iam::Iam;
use super::rate_limit::Limit;
use super::service::Refusal;

pub const KEY_HEADER: &str = "x-auth-token";
const SIGNATURE_HEADER: &str = "authorization";
/// What must be signed if it comes; the first two must come.
const OURS: [&str; 5] = ["host", "x-sdk-date", "content-type", "x-project-id", "x-security-token"];
const ALGORITHM: &str = "SDK-HMAC-SHA256";

/// The id of the access key that may sign.
pub const AK: &str = "standin-ak";
/// Its secret half, at first.
pub const SK: &str = "standin-sk";
/// What proves that it is a temporary one; it need not come, but must be signed if it does.
pub const SECURITY_TOKEN: &str = "standin-security-token";

/// Why the gateway does not let it pass; none if it does.
pub fn stranger(head: &Head, token: &str, sk: &str, iam: &Iam) -> Option<Refusal<'static>> {
    if head.has(SIGNATURE_HEADER) {
        return (signed(head, sk) != Some(true)).then_some(Refusal::Signature);
    }
    let Some(came) = head.header(KEY_HEADER) else { return Some(Refusal::Key) };
    match iam.knows(came) {
        Some(living) => (!living).then_some(Refusal::Stale),
        None => (came != token).then_some(Refusal::Key),
    }
}

/// The parts of the header: the key's id, the names of the headers that are signed, the signature.
fn signature(head: &Head) -> Option<(&str, &str, &str)> {
    let rest = head.header(SIGNATURE_HEADER)?.strip_prefix(ALGORITHM)?;
    let (ak, rest) = rest.strip_prefix(" Access=")?.split_once(", SignedHeaders=")?;
    let (names, signature) = rest.split_once(", Signature=")?;
    Some((ak, names, signature))
}

/// The id of the key that signed, true or not.
pub fn signer(head: &Head) -> Option<&str> {
    signature(head).map(|(ak, _, _)| ak)
}

/// Whether the signature is ours and covers all that it should; none if it is no signature at all.
fn signed(head: &Head, sk: &str) -> Option<bool> {
    let (ak, names, signature) = signature(head)?;
    let all: Vec<_> = names.split(';').collect();
    let sent = OURS.iter().filter(|name| head.has(name));
    let covered = all.is_sorted() && sent.chain(&OURS[..2]).all(|name| all.contains(name));
    let asked_of = head.path().split('/').nth(2);
    let project = head.header("x-project-id").is_none_or(|id| asked_of == Some(&encoded(id)));
    let temporary = head.header("x-security-token").is_none_or(|token| token == SECURITY_TOKEN);

    let date = head.header("x-sdk-date")?;
    let text = format!("{ALGORITHM}\n{date}\n{:x}", Sha256::digest(canonical(head, &all)?));
    let mac = Hmac::<Sha256>::new_from_slice(sk.as_bytes()).expect("a key of any length will do");
    let expected = format!("{:x}", mac.chain_update(text).finalize().into_bytes());
    Some(covered && project && temporary && ak == AK && signature == expected)
}

/// What is signed; none if one of these headers did not come. No request that is signed has a body.
fn canonical(head: &Head, names: &[&str]) -> Option<String> {
    let path = head.path().split('/').map(strict).collect::<Vec<_>>().join("/");
    let slash = if path.ends_with('/') { "" } else { "/" };
    let pairs = head.query().split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    let mut pairs: Vec<_> =
        pairs.map(|(name, value)| format!("{}={}", strict(name), strict(value))).collect();
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
fn strict(text: &str) -> String {
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
    encoded(decoded)
}

/// All but `A-Za-z0-9-_.~` percent-encoded.
fn encoded(text: impl AsRef<[u8]>) -> String {
    let encode = |byte: &u8| match char::from(*byte) {
        plain if plain.is_ascii_alphanumeric() || "-_.~".contains(plain) => plain.to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.as_ref().iter().map(encode).collect()
}

/// A refusal; `no_job` is the service's own code and text for a job that it does not know, given
/// whether it knows another of the same script.
pub fn refuse(why: &Refusal<'_>, no_job: fn(bool) -> (&'static str, &'static str)) -> Answer {
    match why {
        Refusal::Method | Refusal::Path => error(
            404,
            "APIGW.0101",
            "The API does not exist or has not been published in the environment",
        ),
        Refusal::Key => {
            error(401, "APIGW.0301", "Incorrect IAM authentication information: decrypt token fail")
        }
        Refusal::Stale => error(401, "APIGW.0307", "The token must be updated."),
        Refusal::Signature => error(
            401,
            "APIGW.0301",
            "Incorrect IAM authentication information: verify aksk signature fail",
        ),
        Refusal::Parameter => error(400, "DLI.0001", "Parameter check error."),
        Refusal::NoJob(_, script_known) => {
            let (code, told) = no_job(*script_known);
            error(400, code, told)
        }
        Refusal::TooMany { limit: Limit { requests, window, .. }, .. } => {
            let (number, unit) = match window.as_secs() {
                seconds if seconds % 60 == 0 => (seconds / 60, "minute"),
                seconds => (seconds, "second"),
            };
            let told = format!(
                "The throttling threshold has been reached: policy user over ratelimit,\
                 limit:{requests},time:{number} {unit}"
            );
            error(429, "APIGW.0308", &told)
        }
    }
}

fn error(status: u16, code: &str, told: &str) -> Answer {
    Answer::json(status, &json!({ "error_code": code, "error_msg": told }))
}
