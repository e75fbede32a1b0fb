//! The fake server accepts the signatures of its access key and rejects all others.

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

/// The headers of a GET of this path, with the signature.
fn signed_headers(
    server: &FakeServer,
    path: &str,
    query: &[(&str, &str)],
    extra_headers: &[(&str, &str)],
    (ak, sk): (&str, &str),
) -> Vec<(String, String)> {
    let host = server.addr().to_string();
    let headers = [&[("host", host.as_str())], extra_headers].concat();
    let request = SigningRequest { method: "GET", path, query, headers: &headers, body: b"" };
    let key = AccessKey { id: ak.into(), secret: sk.into() };
    let signature = sign(&request, &key, UtcTime::from_millis(0));
    let signature_headers = [
        ("x-sdk-date", signature.date.as_str()),
        ("authorization", signature.authorization.expose_secret()),
    ];
    let all = headers.iter().chain(&signature_headers);
    all.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// The status of a GET with these headers, and the error code and message.
async fn request_status(
    server: &FakeServer,
    target: &str,
    headers: &[(String, String)],
) -> (u16, String) {
    let mut request = client().get(format!("{}{target}", server.base_url()));
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let response = request.send().await.expect("a response");
    let status = response.status().as_u16();
    let body: serde_json::Value = response.json().await.expect("JSON");
    (status, format!("{} {}", body["error_code"], body["error_msg"]))
}

#[tokio::test]
async fn only_a_signature_matching_the_request_is_accepted() {
    let server = FakeServer::start().await;
    server.add_job_of(ServiceKind::Dli, JOB_ID, JobScript::new());
    let valid_key = (ACCESS_KEY_ID, SECRET_ACCESS_KEY);
    let valid = signed_headers(&server, STATUS_PATH, &[], &[PROJECT_HEADER], valid_key);
    assert_eq!(request_status(&server, STATUS_PATH, &valid).await.0, 200);
    let query = [("b", "\u{503c} +"), ("a", "")];
    let with_query = signed_headers(&server, STATUS_PATH, &query, &[PROJECT_HEADER], valid_key);
    assert_eq!(
        request_status(&server, &format!("{STATUS_PATH}?b=%E5%80%BC%20%2B&a="), &with_query)
            .await
            .0,
        200
    );
    let token = ("x-security-token", SECURITY_TOKEN);
    let temporary = signed_headers(&server, STATUS_PATH, &[], &[PROJECT_HEADER, token], valid_key);
    assert_eq!(request_status(&server, STATUS_PATH, &temporary).await.0, 200);

    let changed = |name: &str, value: &str| {
        let mut headers = valid.clone();
        headers.retain(|(header, _)| header != name);
        headers.push((name.to_owned(), value.to_owned()));
        headers
    };
    let cases = [
        (
            "another key",
            signed_headers(
                &server,
                STATUS_PATH,
                &[],
                &[PROJECT_HEADER],
                ("other", SECRET_ACCESS_KEY),
            ),
        ),
        (
            "another secret",
            signed_headers(&server, STATUS_PATH, &[], &[PROJECT_HEADER], (ACCESS_KEY_ID, "other")),
        ),
        (
            "another path",
            signed_headers(&server, "/v1.0/4f1/jobs", &[], &[PROJECT_HEADER], valid_key),
        ),
        ("a query", with_query),
        (
            "another project",
            signed_headers(&server, STATUS_PATH, &[], &[("x-project-id", "4f2")], valid_key),
        ),
        (
            "an unsigned project",
            signed_headers(&server, STATUS_PATH, &[], &[], valid_key)
                .into_iter()
                .chain([("x-project-id".to_owned(), "4f1".to_owned())])
                .collect(),
        ),
        (
            "another token",
            signed_headers(&server, STATUS_PATH, &[], &[("x-security-token", "other")], valid_key),
        ),
        ("an unsigned token", changed(token.0, token.1)),
        ("another date", changed("x-sdk-date", "19700101T000001Z")),
        (
            "an incomplete signature",
            changed("authorization", "SDK-HMAC-SHA256 Access=fake-access-key"),
        ),
        (
            "an invalid signature with a valid token",
            changed("authorization", "x")
                .into_iter()
                .chain([("x-auth-token".to_owned(), API_KEY.to_owned())])
                .collect(),
        ),
    ];
    for (case, headers) in cases {
        let (status, error) = request_status(&server, STATUS_PATH, &headers).await;
        let expected = "verify aksk signature fail";
        assert!(
            status == 401 && error.contains("APIGW.0301") && error.contains(expected),
            "{case}: {error}"
        );
    }
    server.set_credentials("new");
    assert_eq!(request_status(&server, STATUS_PATH, &valid).await.0, 401);
    let renewed =
        signed_headers(&server, STATUS_PATH, &[], &[PROJECT_HEADER], (ACCESS_KEY_ID, "new"));
    assert_eq!(request_status(&server, STATUS_PATH, &renewed).await.0, 200);
}
