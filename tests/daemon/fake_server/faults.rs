//! Faults and limits: that they meet whom they were told to meet, and spoil what they should.

use std::time::Duration;

use super::{DEADLINE, EXECUTION_ID, client, millis, request_status};
use crate::support::fake_server::{
    API_KEY, FakeServer, Fault, FaultRepeat, FaultTarget, JobScript, RateLimit, dune,
};

#[tokio::test]
async fn fault_hits_its_target_the_requested_number_of_times() {
    let (standin, client) = (FakeServer::start().await, client());
    for id in ["a", "b"] {
        standin.add_job(id, JobScript::new());
    }
    let seen = async |id: &str| {
        let answer = request_status(&client, &standin, id).await.expect("an answer");
        answer.status().as_u16()
    };
    standin.inject_fault(FaultTarget::job("a"), Fault::status(503, "{}"), FaultRepeat::Times(2));
    standin.inject_fault(
        FaultTarget::All,
        Fault::RateLimited { retry_after: Some("7".into()) },
        FaultRepeat::Once,
    );
    standin.inject_fault(
        FaultTarget::All,
        Fault::Redirect("http://127.0.0.1:1/".into()),
        FaultRepeat::Always,
    );
    assert_eq!(seen("a").await, 503);
    assert_eq!(seen("b").await, 429);
    assert_eq!(seen("a").await, 503);
    assert_eq!(seen("a").await, 302);
    assert_eq!(seen("b").await, 302);
    standin.clear_faults();
    assert_eq!(seen("a").await, 200);
    let statuses: Vec<_> =
        standin.requests().iter().filter_map(|request| request.response_status).collect();
    assert_eq!(statuses, [503, 429, 503, 302, 302, 200]);
}

#[tokio::test]
async fn each_fault_corrupts_the_response_as_requested() {
    let (standin, client) = (FakeServer::start().await, client());
    standin.add_job(EXECUTION_ID, JobScript::new());
    let whole = |size| -> Result<usize, bool> { Ok(size) };
    let good = request_status(&client, &standin, EXECUTION_ID)
        .await
        .expect("an answer")
        .bytes()
        .await
        .expect("bytes");
    // The length of the body, or whether the failure is the client's time-out.
    let cases = [
        (Fault::Delayed(millis(20)), whole(good.len())),
        (Fault::SlowHeaders(millis(1)), whole(good.len())),
        (Fault::SlowBody(millis(1)), whole(good.len())),
        (Fault::HugeBody(1_000_000), whole(1_000_000)),
        (Fault::GzipBomb(20_000_000), whole(20_000_000)),
        (Fault::Body { content_type: "text/html".into(), bytes: b"<p>".into() }, whole(3)),
        (Fault::Reset, Err(false)),
        (Fault::TruncatedBody, Err(false)),
        (Fault::Hang, Err(true)),
        (Fault::EndlessChunks, Err(true)),
        (Fault::Delayed(DEADLINE), Err(true)),
    ];
    let url = format!("{}/api/v1/execution/{EXECUTION_ID}/status", standin.base_url());
    for (fault, expected) in cases {
        standin.inject_fault(FaultTarget::All, fault.clone(), FaultRepeat::Once);
        let patience = if expected == Err(true) { millis(200) } else { DEADLINE };
        let request = client.get(&url).header(dune::API_KEY_HEADER, API_KEY).timeout(patience);
        let outcome = async { request.send().await?.bytes().await }.await;
        let outcome = outcome.map(|body| body.len()).map_err(|error| error.is_timeout());
        assert_eq!(outcome, expected, "{fault:?}");
    }
    request_status(&client, &standin, EXECUTION_ID).await.expect("a good answer after all that");
}

#[tokio::test]
async fn rate_limit_is_enforced_and_reported() {
    let (standin, client) = (FakeServer::start().await, client());
    standin.add_job(EXECUTION_ID, JobScript::new());
    standin.set_rate_limit(2);
    let tell = async || {
        let answer = request_status(&client, &standin, EXECUTION_ID).await.expect("an answer");
        let header = |name: &str| {
            let value = answer.headers().get(name)?;
            Some(value.to_str().expect("text").to_owned())
        };
        (answer.status().as_u16(), header("ratelimit"), header("retry-after"))
    };
    assert_eq!(tell().await, (200, Some("\"high\";r=1;t=60".into()), None));
    assert_eq!(tell().await.0, 200);
    assert_eq!(tell().await.0, 429);

    standin.set_rate_limit(RateLimit { requests: 1, window: DEADLINE, send_retry_after: true });
    assert_eq!(tell().await.0, 200);
    assert_eq!(tell().await, (429, Some("\"high\";r=0;t=10".into()), Some("10".into())));
    standin.clear_rate_limit();
    assert_eq!(tell().await, (200, None, None));
    assert_eq!(standin.max_requests_in_window(Duration::from_mins(1)), 6);
    assert_eq!(standin.max_requests_in_window(Duration::from_nanos(1)), 1);
}
