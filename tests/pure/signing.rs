//! Our signatures are those of the official signer: it made `vectors/huawei.json` with
//! `vectors/make.py`.

use std::collections::BTreeMap;

use jobtrack::job::UtcTime;
use jobtrack::provider::sign::{AccessKey, SigningRequest, percent_encode, sign};
use secrecy::ExposeSecret;
use serde::Deserialize;

#[derive(Deserialize)]
struct Vector {
    method: String,
    path: String,
    query: Vec<(String, String)>,
    headers: BTreeMap<String, String>,
    body: String,
    ak: String,
    sk: String,
    at: UtcTime,
    /// What is sent.
    uri: String,
    authorization: String,
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("../vectors/huawei.json")).expect("the vectors")
}

#[test]
fn each_signature_is_the_official_signers() {
    let vectors = vectors();
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
        let key = AccessKey { id: vector.ak.as_str().into(), secret: vector.sk.as_str().into() };
        let signed = sign(&request, &key, vector.at);
        let case = format!("{} {}", vector.method, vector.uri);
        assert_eq!(signed.authorization.expose_secret(), vector.authorization, "{case}");
    }
}

#[test]
fn what_is_sent_of_a_query_is_encoded_alike() {
    for vector in vectors() {
        let mut query = vector.query;
        query.sort();
        let pairs: Vec<_> = query
            .iter()
            .map(|(name, value)| format!("{}={}", percent_encode(name), percent_encode(value)))
            .collect();
        let mark = if pairs.is_empty() { "" } else { "?" };
        assert_eq!(format!("{}{mark}{}", vector.path, pairs.join("&")), vector.uri);
    }
}
