//! Huawei Cloud's request signing, `SDK-HMAC-SHA256`. Pure: the time is an argument.
//!
//! Called by `auth` for each request. Path and query are signed with everything but `A-Za-z0-9-_.~`
//! percent-encoded, and must be sent in that form too ([`percent_encode`]), since the gateway signs what
//! it receives. Source: "API Request Signing Guide" of Huawei Cloud; where it leaves a choice, such as
//! the order of a query, this follows the official Python package `huaweicloudsdkcore`.

use hmac::{Hmac, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::job::UtcTime;

const ALGORITHM: &str = "SDK-HMAC-SHA256";
const PERCENT_ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The header with the time of signing. This header is always signed, too.
pub const DATE_HEADER: &str = "x-sdk-date";

/// The signed parts of a request. No `Debug`, since a header may be a token.
pub struct SigningRequest<'a> {
    pub method: &'a str,
    /// The path, percent-encoded as it is sent.
    pub path: &'a str,
    /// Names and values, not encoded, in any order.
    pub query: &'a [(&'a str, &'a str)],
    /// The headers in any order, each name once, without [`DATE_HEADER`].
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a [u8],
}

#[derive(Debug)]
pub struct AccessKey {
    pub id: SecretString,
    pub secret: SecretString,
}

/// The headers that a signature adds to a request.
#[derive(Debug)]
pub struct SignatureHeaders {
    /// The value of [`DATE_HEADER`].
    pub date: String,
    /// The value of `Authorization`.
    pub authorization: SecretString,
}

/// Signs `request`. The gateway accepts a signature whose time differs from its clock by 15 minutes at most.
#[must_use]
pub fn sign(request: &SigningRequest<'_>, key: &AccessKey, now: UtcTime) -> SignatureHeaders {
    let date = now.to_iso8601_basic();
    let (canonical_text, signed_headers) = canonical_request(request, &date);
    let string_to_sign = format!("{ALGORITHM}\n{date}\n{:x}", Sha256::digest(canonical_text));
    let signature = hmac_hex(key.secret.expose_secret(), &string_to_sign);
    let access_key_id = key.id.expose_secret();
    let authorization = format!(
        "{ALGORITHM} Access={access_key_id}, SignedHeaders={signed_headers}, Signature={signature}"
    );
    SignatureHeaders { date, authorization: authorization.into() }
}

/// Encodes a segment of a path, or a name or value of a query, as it is signed and sent.
#[must_use]
pub fn percent_encode(text: &str) -> String {
    utf8_percent_encode(text, PERCENT_ENCODED).to_string()
}

/// The canonical request, and the list of its signed headers.
fn canonical_request(request: &SigningRequest<'_>, date: &str) -> (String, String) {
    let mut headers: Vec<_> = request
        .headers
        .iter()
        .chain(&[(DATE_HEADER, date)])
        .map(|(name, value)| (name.to_lowercase(), value.trim()))
        .collect();
    headers.sort();
    let lines: Vec<_> = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let signed_headers: Vec<_> = headers.into_iter().map(|(name, _)| name).collect();
    let signed_headers = signed_headers.join(";");
    let parts = [
        request.method.to_uppercase(),
        canonical_path(request.path),
        canonical_query(request.query),
        lines.concat(),
        signed_headers.clone(),
        format!("{:x}", Sha256::digest(request.body)),
    ];
    (parts.join("\n"), signed_headers)
}

/// Decodes the whole path, then splits and encodes it, as the official package does. Ends with a slash.
fn canonical_path(raw_path: &str) -> String {
    let decoded = percent_decode_str(raw_path).decode_utf8_lossy();
    let segments: Vec<_> = decoded.split('/').map(percent_encode).collect();
    let mut path = segments.join("/");
    if !path.ends_with('/') {
        path.push('/');
    }
    path
}

/// Sorts the pairs by name and value before encoding them, as the official package does.
fn canonical_query(pairs: &[(&str, &str)]) -> String {
    let mut pairs = pairs.to_vec();
    pairs.sort_unstable();
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{}={}", percent_encode(name), percent_encode(value)))
        .collect();
    pairs.join("&")
}

/// The HMAC-SHA256 in hexadecimal. HMAC accepts a key of any length, so the fallback is never used.
fn hmac_hex(key: &str, text: &str) -> String {
    Hmac::<Sha256>::new_from_slice(key.as_bytes())
        .map(|mac| format!("{:x}", mac.chain_update(text).finalize().into_bytes()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A signed GET request with its published signature.
    struct PublishedSignature<'a> {
        path: &'a str,
        query: &'a [(&'a str, &'a str)],
        headers: &'a [(&'a str, &'a str)],
        key: (&'a str, &'a str),
        signed_at: &'a str,
        canonical_hash: Option<&'a str>,
        signature: &'a str,
    }

    const PUBLISHED_SIGNATURES: [PublishedSignature<'_>; 3] = [
        PublishedSignature {
            path: "/v1/77b6a44cba5143ab91d13ab9a8ff44fd/vpcs",
            query: &[("marker", "13551d6b-755d-4757-b956-536f674975c0"), ("limit", "2")],
            headers: &[
                ("Host", "service.region.example.com"),
                ("Content-Type", "application/json"),
            ],
            key: ("QTWAOYTTINDUT2QVKYUC", "MFyfvK41ba2giqM7Uio6PznpdUKGpownRZlmVmHc"),
            signed_at: "2019-11-15T03:36:55Z",
            canonical_hash: Some(
                "b25362e603ee30f4f25e7858e8a7160fd36e803bb2dfe206278659d71a9bcd7a",
            ),
            signature: "7be6668032f70418fcc22abc52071e57aff61b84a1d2381bb430d6870f4f6ebe",
        },
        PublishedSignature {
            path: "/path",
            query: &[("limit", "1")],
            headers: &[],
            key: ("AccessKey", "SecretKey"),
            signed_at: "2006-01-02T15:04:05Z",
            canonical_hash: None,
            signature: "5a2ce64c865e0e6046321c6f3d5a77ba8413eeaf355c3166c03d58d02ac79624",
        },
        PublishedSignature {
            path: "/v1.0/48cc2c48765f481480c7db940d6409d1/jobs/208b08d4-0dc2-4dd7-8879-ddd4c020d7aa/status",
            query: &[],
            headers: &[
                ("x-project-id", "48cc2c48765f481480c7db940d6409d1"),
                ("host", "dli.cn-north-4.myhuaweicloud.com"),
                ("content-type", "application/json"),
            ],
            key: ("AccessKey", "SecretKey"),
            signed_at: "2006-01-02T15:04:05Z",
            canonical_hash: None,
            signature: "e139a62da9d4247ae0457627408ec8d32eac9e5293057ff368a4e10327d2655a",
        },
    ];

    #[test]
    fn published_signatures_are_reproduced() {
        for PublishedSignature {
            path,
            query,
            headers,
            key,
            signed_at: at,
            canonical_hash: hash,
            signature,
        } in PUBLISHED_SIGNATURES
        {
            let request = SigningRequest { method: "GET", path, query, headers, body: b"" };
            let key = AccessKey { id: key.0.into(), secret: key.1.into() };
            let signed = sign(&request, &key, UtcTime::parse_rfc3339(at).expect("a time"));
            let authorization = signed.authorization.expose_secret();
            assert!(
                authorization.ends_with(&format!(", Signature={signature}")),
                "{path}: {authorization}"
            );
            if let Some(hash) = hash {
                let (text, _) = canonical_request(&request, &signed.date);
                assert_eq!(format!("{:x}", Sha256::digest(&text)), hash, "{text}");
            }
        }
    }

    #[test]
    fn debug_output_shows_no_key() {
        let request =
            SigningRequest { method: "GET", path: "/", query: &[], headers: &[], body: b"" };
        let key = AccessKey { id: "an-id".into(), secret: "a-secret".into() };
        let debug_text = format!("{key:?} {:?}", sign(&request, &key, UtcTime::from_millis(0)));
        assert!(!debug_text.contains("an-id") && !debug_text.contains("a-secret"), "{debug_text}");
    }
}
