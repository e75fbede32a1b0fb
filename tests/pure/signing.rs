//! Our signatures are those of the official signer: it made `vectors/huawei.json` with
//! `vectors/make.py`.

use std::collections::BTreeMap;

use jobtrack::job::UtcTime;
use jobtrack::provider::sign::{AccessKey, SigningRequest, percent_encode, sign};
use secrecy::ExposeSecret;
use serde::Deserialize;

#[derive(Deserialize)]
struct SigningVector {
    method: String,
    path: String,
    query: Vec<(String, String)>,
    headers: BTreeMap<String, String>,
    body: String,
    #[serde(rename = "ak")]
    access_key_id: String,
    #[serde(rename = "sk")]
    secret_access_key: String,
    #[serde(rename = "at")]
    signed_at: UtcTime,
    /// What is sent.
    #[serde(rename = "uri")]
    expected_uri: String,
    #[serde(rename = "authorization")]
    expected_authorization: String,
}

fn load_vectors() -> Vec<SigningVector> {
    serde_json::from_str(include_str!("../vectors/huawei.json")).expect("the vectors")
}

#[test]
fn each_signature_equals_the_official_sdks() {
    let vectors = load_vectors();
    assert!(vectors.len() >= 200, "{}", vectors.len());
    for vector in vectors {
        let query: Vec<_> =
            vector.query.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let headers: Vec<_> =
            vector.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let request = SigningRequest {
            method: &vector.method,
            path: &vector.path,
            query: &query,
            headers: &headers,
            body: vector.body.as_bytes(),
        };
        let key = AccessKey {
            id: vector.access_key_id.as_str().into(),
            secret: vector.secret_access_key.as_str().into(),
        };
        let signed = sign(&request, &key, vector.signed_at);
        let case = format!("{} {}", vector.method, vector.expected_uri);
        assert_eq!(signed.authorization.expose_secret(), vector.expected_authorization, "{case}");
    }
}

#[test]
fn the_query_is_sent_as_it_was_signed() {
    for vector in load_vectors() {
        let mut query = vector.query;
        query.sort();
        let pairs: Vec<_> = query
            .iter()
            .map(|(name, value)| format!("{}={}", percent_encode(name), percent_encode(value)))
            .collect();
        let mark = if pairs.is_empty() { "" } else { "?" };
        assert_eq!(format!("{}{mark}{}", vector.path, pairs.join("&")), vector.expected_uri);
    }
}
