//! Faults and rate limits apply to the requests that a test chose, and have the chosen effect.

use std::time::Duration;

use super::{DEADLINE, EXECUTION_ID, client, millis, request_status};
use crate::support::fake_server::{
    API_KEY, FakeServer, Fault, FaultRepeat, FaultTarget, JobScript, RateLimit, dune,
};

#[tokio::test]
async fn fault_hits_its_target_the_requested_number_of_times() {
    let (server, client) = (FakeServer::start().await, client());
    for id in ["a", "b"] {
        server.add_job(id, JobScript::new());
    }
    let status_of = async |id: &str| {
        let response = request_status(&client, &server, id).await.expect("a response");
        response.status().as_u16()
    };
    server.inject_fault(FaultTarget::job("a"), Fault::status(503, "{}"), FaultRepeat::Times(2));
    server.inject_fault(
        FaultTarget::All,
        Fault::RateLimited { retry_after: Some("7".into()) },
        FaultRepeat::Once,
    );
    server.inject_fault(
        FaultTarget::All,
        Fault::Redirect("http://127.0.0.1:1/".into()),
        FaultRepeat::Always,
    );
    assert_eq!(status_of("a").await, 503);
    assert_eq!(status_of("b").await, 429);
    assert_eq!(status_of("a").await, 503);
    assert_eq!(status_of("a").await, 302);
    assert_eq!(status_of("b").await, 302);
    server.clear_faults();
    assert_eq!(status_of("a").await, 200);
    let statuses: Vec<_> =
        server.requests().iter().filter_map(|request| request.response_status).collect();
    assert_eq!(statuses, [503, 429, 503, 302, 302, 200]);
}

#[tokio::test]
async fn each_fault_corrupts_the_response_as_requested() {
    let (server, client) = (FakeServer::start().await, client());
    server.add_job(EXECUTION_ID, JobScript::new());
    let complete = |size| -> Result<usize, bool> { Ok(size) };
    let normal_body = request_status(&client, &server, EXECUTION_ID)
        .await
        .expect("a response")
        .bytes()
        .await
        .expect("bytes");
    // The length of the body, or whether the request fails by the client's time-out.
    let cases = [
        (Fault::Delayed(millis(20)), complete(normal_body.len())),
        (Fault::SlowHeaders(millis(1)), complete(normal_body.len())),
        (Fault::SlowBody(millis(1)), complete(normal_body.len())),
        (Fault::HugeBody(1_000_000), complete(1_000_000)),
        (Fault::GzipBomb(20_000_000), complete(20_000_000)),
        (Fault::Body { content_type: "text/html".into(), bytes: b"<p>".into() }, complete(3)),
        (Fault::Reset, Err(false)),
        (Fault::TruncatedBody, Err(false)),
        (Fault::Hang, Err(true)),
        (Fault::EndlessChunks, Err(true)),
        (Fault::Delayed(DEADLINE), Err(true)),
    ];
    let url = format!("{}/api/v1/execution/{EXECUTION_ID}/status", server.base_url());
    for (fault, expected) in cases {
        server.inject_fault(FaultTarget::All, fault.clone(), FaultRepeat::Once);
        let timeout = if expected == Err(true) { millis(200) } else { DEADLINE };
        let request = client.get(&url).header(dune::API_KEY_HEADER, API_KEY).timeout(timeout);
        let outcome = async { request.send().await?.bytes().await }.await;
        let outcome = outcome.map(|body| body.len()).map_err(|error| error.is_timeout());
        assert_eq!(outcome, expected, "{fault:?}");
    }
    request_status(&client, &server, EXECUTION_ID)
        .await
        .expect("a normal response after the last fault");
}

#[tokio::test]
async fn rate_limit_is_enforced_and_reported() {
    let (server, client) = (FakeServer::start().await, client());
    server.add_job(EXECUTION_ID, JobScript::new());
    server.set_rate_limit(2);
    let poll = async || {
        let response = request_status(&client, &server, EXECUTION_ID).await.expect("a response");
        let header = |name: &str| {
            let value = response.headers().get(name)?;
            Some(value.to_str().expect("text").to_owned())
        };
        (response.status().as_u16(), header("ratelimit"), header("retry-after"))
    };
    assert_eq!(poll().await, (200, Some("\"high\";r=1;t=60".into()), None));
    assert_eq!(poll().await.0, 200);
    assert_eq!(poll().await.0, 429);

    server.set_rate_limit(RateLimit { requests: 1, window: DEADLINE, send_retry_after: true });
    assert_eq!(poll().await.0, 200);
    assert_eq!(poll().await, (429, Some("\"high\";r=0;t=10".into()), Some("10".into())));
    server.clear_rate_limit();
    assert_eq!(poll().await, (200, None, None));
    assert_eq!(server.max_requests_in_window(Duration::from_mins(1)), 6);
    assert_eq!(server.max_requests_in_window(Duration::from_nanos(1)), 1);
}
