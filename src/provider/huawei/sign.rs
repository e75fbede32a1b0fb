//! Huawei Cloud's request signing, `SDK-HMAC-SHA256`: pure, the clock is handed in.
//!
//! Called by `auth` for each request anew. A signature covers the path and the query in their strict
//! form: everything but `A-Za-z0-9-_.~` percent-encoded. What is sent must have that form too, since
//! a gateway may sign what it received in its own way; [`encode`] makes it. Where the documents leave
//! a choice, such as the order of a query, it is that of the official `huaweicloudsdkcore`.

use hmac::{Hmac, Mac};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::job::Utc;

const ALGORITHM: &str = "SDK-HMAC-SHA256";
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The header that tells when a request was signed; it is always signed itself.
pub const DATE_HEADER: &str = "x-sdk-date";

/// What is signed of a request; it may hold a token, so it is not shown.
pub struct Request<'a> {
    /// Such as `GET`.
    pub method: &'a str,
    /// As it is sent.
    pub path: &'a str,
    /// Names and values, not encoded, in any order.
    pub query: &'a [(&'a str, &'a str)],
    /// Without [`DATE_HEADER`], in any order; each once.
    pub headers: &'a [(&'a str, &'a str)],
    /// As it is sent.
    pub body: &'a [u8],
}

/// An access key: who asks, and what he signs with.
#[derive(Debug)]
pub struct Key {
    /// Its id.
    pub ak: SecretString,
    /// Its secret half.
    pub sk: SecretString,
}

/// What a signature adds to a request.
#[derive(Debug)]
pub struct Signed {
    /// The value of [`DATE_HEADER`].
    pub date: String,
    /// The value of `Authorization`.
    pub authorization: SecretString,
}

/// Signs `request` as sent at `now`; a gateway takes it for 15 minutes.
#[must_use]
pub fn sign(request: &Request<'_>, key: &Key, now: Utc) -> Signed {
    let date = now.basic();
    let (canonical, names) = canonical(request, &date);
    let text = format!("{ALGORITHM}\n{date}\n{:x}", Sha256::digest(canonical));
    let signature = hmac(key.sk.expose_secret(), &text);
    let ak = key.ak.expose_secret();
    let authorization =
        format!("{ALGORITHM} Access={ak}, SignedHeaders={names}, Signature={signature}");
    Signed { date, authorization: authorization.into() }
}

/// A part of a path or of a query in the form in which it is signed and sent.
#[must_use]
pub fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// The canonical request, and the names of its signed headers.
fn canonical(request: &Request<'_>, date: &str) -> (String, String) {
    let mut headers: Vec<_> = request
        .headers
        .iter()
        .chain(&[(DATE_HEADER, date)])
        .map(|(name, value)| (name.to_lowercase(), value.trim()))
        .collect();
    headers.sort();
    let lines: Vec<_> = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let names: Vec<_> = headers.into_iter().map(|(name, _)| name).collect();
    let names = names.join(";");
    let parts = [
        request.method.to_uppercase(),
        path(request.path),
        query(request.query),
        lines.concat(),
        names.clone(),
        format!("{:x}", Sha256::digest(request.body)),
    ];
    (parts.join("\n"), names)
}

/// Decoded before it is parted and encoded, as the official signer does it; with a slash at its end.
fn path(sent: &str) -> String {
    let decoded = percent_decode_str(sent).decode_utf8_lossy();
    let segments: Vec<_> = decoded.split('/').map(encode).collect();
    let mut path = segments.join("/");
    if !path.ends_with('/') {
        path.push('/');
    }
    path
}

/// Sorted before it is encoded, by name and then by value.
fn query(pairs: &[(&str, &str)]) -> String {
    let mut pairs = pairs.to_vec();
    pairs.sort_unstable();
    let pairs: Vec<_> =
        pairs.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
    pairs.join("&")
}

/// In hex. A key of any length is taken, so there always is one.
fn hmac(key: &str, text: &str) -> String {
    Hmac::<Sha256>::new_from_slice(key.as_bytes())
        .map(|mac| format!("{:x}", mac.chain_update(text).finalize().into_bytes()))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is signed of a GET, with whose key and when, and the signature that was published.
    struct Published<'a> {
        path: &'a str,
        query: &'a [(&'a str, &'a str)],
        headers: &'a [(&'a str, &'a str)],
        key: (&'a str, &'a str),
        at: &'a str,
        canonical: Option<&'a str>,
        signature: &'a str,
    }

    const PUBLISHED: [Published<'_>; 3] = [
        Published {
            path: "/v1/77b6a44cba5143ab91d13ab9a8ff44fd/vpcs",
            query: &[("marker", "13551d6b-755d-4757-b956-536f674975c0"), ("limit", "2")],
            headers: &[
                ("Host", "service.region.example.com"),
                ("Content-Type", "application/json"),
            ],
            key: ("QTWAOYTTINDUT2QVKYUC", "MFyfvK41ba2giqM7Uio6PznpdUKGpownRZlmVmHc"),
            at: "2019-11-15T03:36:55Z",
            canonical: Some("b25362e603ee30f4f25e7858e8a7160fd36e803bb2dfe206278659d71a9bcd7a"),
            signature: "7be6668032f70418fcc22abc52071e57aff61b84a1d2381bb430d6870f4f6ebe",
        },
        Published {
            path: "/path",
            query: &[("limit", "1")],
            headers: &[],
            key: ("AccessKey", "SecretKey"),
            at: "2006-01-02T15:04:05Z",
            canonical: None,
            signature: "5a2ce64c865e0e6046321c6f3d5a77ba8413eeaf355c3166c03d58d02ac79624",
        },
        Published {
            path: "/v1.0/48cc2c48765f481480c7db940d6409d1/jobs/208b08d4-0dc2-4dd7-8879-ddd4c020d7aa/status",
            query: &[],
            headers: &[
                ("x-project-id", "48cc2c48765f481480c7db940d6409d1"),
                ("host", "dli.cn-north-4.myhuaweicloud.com"),
                ("content-type", "application/json"),
            ],
            key: ("AccessKey", "SecretKey"),
            at: "2006-01-02T15:04:05Z",
            canonical: None,
            signature: "e139a62da9d4247ae0457627408ec8d32eac9e5293057ff368a4e10327d2655a",
        },
    ];

    #[test]
    fn published_signatures_come_out() {
        for Published { path, query, headers, key, at, canonical: hash, signature } in PUBLISHED {
            let request = Request { method: "GET", path, query, headers, body: b"" };
            let key = Key { ak: key.0.into(), sk: key.1.into() };
            let signed = sign(&request, &key, Utc::parse(at).expect("a time"));
            let told = signed.authorization.expose_secret();
            assert!(told.ends_with(&format!(", Signature={signature}")), "{path}: {told}");
            if let Some(hash) = hash {
                let (text, _) = canonical(&request, &signed.date);
                assert_eq!(format!("{:x}", Sha256::digest(&text)), hash, "{text}");
            }
        }
    }

    #[test]
    fn a_signature_shows_no_key() {
        let request = Request { method: "GET", path: "/", query: &[], headers: &[], body: b"" };
        let key = Key { ak: "an-id".into(), sk: "a-secret".into() };
        let shown = format!("{key:?} {:?}", sign(&request, &key, Utc::from_millis(0)));
        assert!(!shown.contains("an-id") && !shown.contains("a-secret"), "{shown}");
    }
}
