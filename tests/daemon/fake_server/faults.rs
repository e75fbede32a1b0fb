//! Faults and limits: that they meet whom they were told to meet, and spoil what they should.

use std::time::Duration;

use super::{ID, SOON, ask, client, millis};
use crate::support::fake_server::{Fault, KEY, Life, Limit, StandIn, Target, Times, dune};

#[tokio::test]
async fn a_fault_meets_its_target_as_often_as_it_was_told() {
    let (standin, client) = (StandIn::start().await, client());
    for id in ["a", "b"] {
        standin.put(id, Life::new());
    }
    let seen = async |id: &str| {
        let answer = ask(&client, &standin, id).await.expect("an answer");
        answer.status().as_u16()
    };
    standin.fault(Target::job("a"), Fault::status(503, "{}"), Times::N(2));
    standin.fault(Target::All, Fault::RateLimited { retry_after: Some("7".into()) }, Times::Once);
    standin.fault(Target::All, Fault::Redirect("http://127.0.0.1:1/".into()), Times::Always);
    assert_eq!(seen("a").await, 503);
    assert_eq!(seen("b").await, 429);
    assert_eq!(seen("a").await, 503);
    assert_eq!(seen("a").await, 302);
    assert_eq!(seen("b").await, 302);
    standin.clear_faults();
    assert_eq!(seen("a").await, 200);
    let statuses: Vec<_> = standin.requests().iter().filter_map(|request| request.status).collect();
    assert_eq!(statuses, [503, 429, 503, 302, 302, 200]);
}

#[tokio::test]
async fn spoilt_answers_are_spoilt_in_the_way_that_was_asked_for() {
    let (standin, client) = (StandIn::start().await, client());
    standin.put(ID, Life::new());
    let whole = |size| -> Result<usize, bool> { Ok(size) };
    let good = ask(&client, &standin, ID).await.expect("an answer").bytes().await.expect("bytes");
    // The length of the body, or whether the failure is the client's time-out.
    let cases = [
        (Fault::Slow(millis(20)), whole(good.len())),
        (Fault::SlowHeaders(millis(1)), whole(good.len())),
        (Fault::SlowBody(millis(1)), whole(good.len())),
        (Fault::HugeBody(1_000_000), whole(1_000_000)),
        (Fault::GzipBomb(20_000_000), whole(20_000_000)),
        (Fault::Body { content_type: "text/html".into(), bytes: b"<p>".into() }, whole(3)),
        (Fault::Reset, Err(false)),
        (Fault::CutBody, Err(false)),
        (Fault::Hang, Err(true)),
        (Fault::EndlessChunks, Err(true)),
        (Fault::Slow(SOON), Err(true)),
    ];
    let url = format!("{}/api/v1/execution/{ID}/status", standin.base_url());
    for (fault, expected) in cases {
        standin.fault(Target::All, fault.clone(), Times::Once);
        let patience = if expected == Err(true) { millis(200) } else { SOON };
        let request = client.get(&url).header(dune::KEY_HEADER, KEY).timeout(patience);
        let outcome = async { request.send().await?.bytes().await }.await;
        let outcome = outcome.map(|body| body.len()).map_err(|error| error.is_timeout());
        assert_eq!(outcome, expected, "{fault:?}");
    }
    ask(&client, &standin, ID).await.expect("a good answer after all that");
}

#[tokio::test]
async fn the_limit_is_enforced_and_told() {
    let (standin, client) = (StandIn::start().await, client());
    standin.put(ID, Life::new());
    standin.limit(2);
    let tell = async || {
        let answer = ask(&client, &standin, ID).await.expect("an answer");
        let header = |name: &str| {
            let value = answer.headers().get(name)?;
            Some(value.to_str().expect("text").to_owned())
        };
        (answer.status().as_u16(), header("ratelimit"), header("retry-after"))
    };
    assert_eq!(tell().await, (200, Some("\"high\";r=1;t=60".into()), None));
    assert_eq!(tell().await.0, 200);
    assert_eq!(tell().await.0, 429);

    standin.limit(Limit { requests: 1, window: SOON, retry_after: true });
    assert_eq!(tell().await.0, 200);
    assert_eq!(tell().await, (429, Some("\"high\";r=0;t=10".into()), Some("10".into())));
    standin.clear_limit();
    assert_eq!(tell().await, (200, None, None));
    assert_eq!(standin.max_in_window(Duration::from_mins(1)), 6);
    assert_eq!(standin.max_in_window(Duration::from_nanos(1)), 1);
}
