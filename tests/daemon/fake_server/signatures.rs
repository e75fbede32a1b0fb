//! Signatures: the stand-in takes those of its key, and nothing else for one.

use jobtrack::job::UtcTime;
use jobtrack::provider::sign::{AccessKey, SigningRequest, sign};
use secrecy::ExposeSecret;

use super::client;
use crate::support::fake_server::{AK, KEY, Kind, Life, SECURITY_TOKEN, SK, StandIn};

const PATH: &str = "/v1.0/4f1/jobs/208b08d4-0dc2-4dd7-8879-ddd4c020d7aa/status";
const ID: &str = "208b08d4-0dc2-4dd7-8879-ddd4c020d7aa";
const PROJECT: (&str, &str) = ("x-project-id", "4f1");

/// The headers of a GET of this path, signed.
fn signed(
    standin: &StandIn,
    path: &str,
    query: &[(&str, &str)],
    more: &[(&str, &str)],
    (ak, sk): (&str, &str),
) -> Vec<(String, String)> {
    let host = standin.addr().to_string();
    let headers = [&[("host", host.as_str())], more].concat();
    let request = SigningRequest { method: "GET", path, query, headers: &headers, body: b"" };
    let key = AccessKey { id: ak.into(), secret: sk.into() };
    let made = sign(&request, &key, UtcTime::from_millis(0));
    let proof =
        [("x-sdk-date", made.date.as_str()), ("authorization", made.authorization.expose_secret())];
    let all = headers.iter().chain(&proof);
    all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The status of a GET with these headers, and the reason of a refusal.
async fn ask(standin: &StandIn, target: &str, headers: &[(String, String)]) -> (u16, String) {
    let mut request = client().get(format!("{}{target}", standin.base_url()));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let answer = request.send().await.expect("an answer");
    let status = answer.status().as_u16();
    let body: serde_json::Value = answer.json().await.expect("JSON");
    (status, format!("{} {}", body["error_code"], body["error_msg"]))
}

#[tokio::test]
async fn a_signature_is_taken_if_it_is_that_of_the_request() {
    let standin = StandIn::start().await;
    standin.put_for(Kind::Dli, ID, Life::new());
    let own = (AK, SK);
    let good = signed(&standin, PATH, &[], &[PROJECT], own);
    assert_eq!(ask(&standin, PATH, &good).await.0, 200);
    let query = [("b", "\u{503c} +"), ("a", "")];
    let with_query = signed(&standin, PATH, &query, &[PROJECT], own);
    assert_eq!(ask(&standin, &format!("{PATH}?b=%E5%80%BC%20%2B&a="), &with_query).await.0, 200);
    let token = ("x-security-token", SECURITY_TOKEN);
    let temporary = signed(&standin, PATH, &[], &[PROJECT, token], own);
    assert_eq!(ask(&standin, PATH, &temporary).await.0, 200);

    let changed = |name: &str, value: &str| {
        let mut headers = good.clone();
        headers.retain(|(known, _)| known != name);
        headers.push((name.to_owned(), value.to_owned()));
        headers
    };
    let cases = [
        ("another key", signed(&standin, PATH, &[], &[PROJECT], ("other", SK))),
        ("another secret", signed(&standin, PATH, &[], &[PROJECT], (AK, "other"))),
        ("another path", signed(&standin, "/v1.0/4f1/jobs", &[], &[PROJECT], own)),
        ("a query", with_query),
        ("another project", signed(&standin, PATH, &[], &[("x-project-id", "4f2")], own)),
        (
            "a project not signed",
            signed(&standin, PATH, &[], &[], own)
                .into_iter()
                .chain([("x-project-id".to_owned(), "4f1".to_owned())])
                .collect(),
        ),
        ("another token", signed(&standin, PATH, &[], &[("x-security-token", "other")], own)),
        ("a token not signed", changed(token.0, token.1)),
        ("another date", changed("x-sdk-date", "19700101T000001Z")),
        ("nonsense", changed("authorization", "SDK-HMAC-SHA256 Access=standin-ak")),
        (
            "nonsense beside a token",
            changed("authorization", "x")
                .into_iter()
                .chain([("x-auth-token".to_owned(), KEY.to_owned())])
                .collect(),
        ),
    ];
    for (case, headers) in cases {
        let (status, why) = ask(&standin, PATH, &headers).await;
        let expected = "verify aksk signature fail";
        assert!(
            status == 401 && why.contains("APIGW.0301") && why.contains(expected),
            "{case}: {why}"
        );
    }
    standin.set_key("new");
    assert_eq!(ask(&standin, PATH, &good).await.0, 401);
    let renewed = signed(&standin, PATH, &[], &[PROJECT], (AK, "new"));
    assert_eq!(ask(&standin, PATH, &renewed).await.0, 200);
}
