//! Signatures: the stand-in takes those of its key, and nothing else for one.

use jobtrack::job::UtcTime;
use jobtrack::provider::sign::{AccessKey, SigningRequest, sign};
use secrecy::ExposeSecret;

use super::client;
use crate::support::fake_server::{
    ACCESS_KEY_ID, API_KEY, FakeServer, JobScript, SECRET_ACCESS_KEY, SECURITY_TOKEN, ServiceKind,
};

const STATUS_PATH: &str = "/v1.0/4f1/jobs/208b08d4-0dc2-4dd7-8879-ddd4c020d7aa/status";
const JOB_ID: &str = "208b08d4-0dc2-4dd7-8879-ddd4c020d7aa";
const PROJECT_HEADER: (&str, &str) = ("x-project-id", "4f1");

/// The headers of a GET of this path, signed.
fn signed_headers(
    standin: &FakeServer,
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
async fn request_status(
    standin: &FakeServer,
    target: &str,
    headers: &[(String, String)],
) -> (u16, String) {
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
async fn only_a_signature_matching_the_request_is_accepted() {
    let standin = FakeServer::start().await;
    standin.add_job_of(ServiceKind::Dli, JOB_ID, JobScript::new());
    let own = (ACCESS_KEY_ID, SECRET_ACCESS_KEY);
    let good = signed_headers(&standin, STATUS_PATH, &[], &[PROJECT_HEADER], own);
    assert_eq!(request_status(&standin, STATUS_PATH, &good).await.0, 200);
    let query = [("b", "\u{503c} +"), ("a", "")];
    let with_query = signed_headers(&standin, STATUS_PATH, &query, &[PROJECT_HEADER], own);
    assert_eq!(
        request_status(&standin, &format!("{STATUS_PATH}?b=%E5%80%BC%20%2B&a="), &with_query)
            .await
            .0,
        200
    );
    let token = ("x-security-token", SECURITY_TOKEN);
    let temporary = signed_headers(&standin, STATUS_PATH, &[], &[PROJECT_HEADER, token], own);
    assert_eq!(request_status(&standin, STATUS_PATH, &temporary).await.0, 200);

    let changed = |name: &str, value: &str| {
        let mut headers = good.clone();
        headers.retain(|(known, _)| known != name);
        headers.push((name.to_owned(), value.to_owned()));
        headers
    };
    let cases = [
        (
            "another key",
            signed_headers(
                &standin,
                STATUS_PATH,
                &[],
                &[PROJECT_HEADER],
                ("other", SECRET_ACCESS_KEY),
            ),
        ),
        (
            "another secret",
            signed_headers(&standin, STATUS_PATH, &[], &[PROJECT_HEADER], (ACCESS_KEY_ID, "other")),
        ),
        ("another path", signed_headers(&standin, "/v1.0/4f1/jobs", &[], &[PROJECT_HEADER], own)),
        ("a query", with_query),
        (
            "another project",
            signed_headers(&standin, STATUS_PATH, &[], &[("x-project-id", "4f2")], own),
        ),
        (
            "a project not signed",
            signed_headers(&standin, STATUS_PATH, &[], &[], own)
                .into_iter()
                .chain([("x-project-id".to_owned(), "4f1".to_owned())])
                .collect(),
        ),
        (
            "another token",
            signed_headers(&standin, STATUS_PATH, &[], &[("x-security-token", "other")], own),
        ),
        ("a token not signed", changed(token.0, token.1)),
        ("another date", changed("x-sdk-date", "19700101T000001Z")),
        ("nonsense", changed("authorization", "SDK-HMAC-SHA256 Access=fake-access-key")),
        (
            "nonsense beside a token",
            changed("authorization", "x")
                .into_iter()
                .chain([("x-auth-token".to_owned(), API_KEY.to_owned())])
                .collect(),
        ),
    ];
    for (case, headers) in cases {
        let (status, why) = request_status(&standin, STATUS_PATH, &headers).await;
        let expected = "verify aksk signature fail";
        assert!(
            status == 401 && why.contains("APIGW.0301") && why.contains(expected),
            "{case}: {why}"
        );
    }
    standin.set_credentials("new");
    assert_eq!(request_status(&standin, STATUS_PATH, &good).await.0, 401);
    let renewed =
        signed_headers(&standin, STATUS_PATH, &[], &[PROJECT_HEADER], (ACCESS_KEY_ID, "new"));
    assert_eq!(request_status(&standin, STATUS_PATH, &renewed).await.0, 200);
}
