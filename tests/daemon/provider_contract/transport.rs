//! Transport faults: every poll ends in time, with an error that names the fault.

use std::time::{Duration, Instant};

use super::harness::{FIXTURES, Harness, REQUEST_TIMEOUT};
use crate::support::fake_server::{FakeServer, Fault, FaultRepeat, FaultTarget, JobScript};
use jobtrack::job::ProviderErrorKind;

/// A poll that takes longer does not end by itself.
const MAX_POLL_DURATION: Duration = Duration::from_secs(8);

#[tokio::test]
async fn fault_36_42_every_poll_ends_within_the_timeout() {
    let pause = Duration::from_millis(100);
    let cases = [
        ("no answer", Fault::Hang, ProviderErrorKind::Transient),
        ("a late answer", Fault::Delayed(MAX_POLL_DURATION), ProviderErrorKind::Transient),
        ("a slow head", Fault::SlowHeaders(pause), ProviderErrorKind::Transient),
        ("a slow body", Fault::SlowBody(pause), ProviderErrorKind::Transient),
        ("a reset", Fault::Reset, ProviderErrorKind::Transient),
        ("a body that is cut off", Fault::TruncatedBody, ProviderErrorKind::Transient),
        ("2 MB", Fault::HugeBody(2_000_000), ProviderErrorKind::Malformed),
        ("64 MB", Fault::HugeBody(64_000_000), ProviderErrorKind::Malformed),
        ("a bomb", Fault::GzipBomb(200_000_000), ProviderErrorKind::Malformed),
    ];
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        (fixture.add_job)(&harness.server, JobScript::new());
        for (name, fault, expected) in cases.clone() {
            let (answer, elapsed) = timed_poll(&harness, fault).await;
            let error = answer.expect_err(name);
            assert_eq!(error.kind, expected, "{name}: {error}");
            assert!(elapsed < MAX_POLL_DURATION, "{name}: {elapsed:?}");
        }
        harness.poll().await.result.expect("a good answer after all that");
    }
}

#[tokio::test]
async fn fault_42_endless_chunks_are_stopped_by_time_or_size() {
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        let (answer, elapsed) = timed_poll(&harness, Fault::EndlessChunks).await;
        let error = answer.expect_err("no body");
        assert!(
            matches!(error.kind, ProviderErrorKind::Transient | ProviderErrorKind::Malformed),
            "{error}"
        );
        assert!(elapsed < MAX_POLL_DURATION, "{elapsed:?}");
    }
}

#[tokio::test]
async fn the_configured_timeout_applies() {
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        (fixture.add_job)(&harness.server, JobScript::new());
        let (answer, elapsed) = timed_poll(&harness, Fault::Hang).await;
        answer.expect_err("no answer");
        assert!((REQUEST_TIMEOUT..MAX_POLL_DURATION).contains(&elapsed), "{elapsed:?}");
        let (answer, _) = timed_poll(&harness, Fault::Delayed(REQUEST_TIMEOUT / 4)).await;
        answer.expect("in time");
    }
}

async fn timed_poll(
    harness: &Harness,
    fault: Fault,
) -> (Result<jobtrack::job::Observation, jobtrack::job::ProviderError>, Duration) {
    #[allow(clippy::disallowed_methods, reason = "a test measures real time")]
    let now = Instant::now;
    let start = now();
    let answer = harness.poll_with_fault(fault).await;
    (answer.result, now().duration_since(start))
}

#[tokio::test]
async fn fault_36_a_refused_connection_is_transient_and_recovers() {
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        (fixture.add_job)(&harness.server, JobScript::new());
        harness.poll().await.result.expect("an answer");
        harness.server.pause().await;
        let error = harness.poll().await.result.expect_err("nobody listens");
        assert_eq!(error.kind, ProviderErrorKind::Transient, "{error}");
        assert!(error.to_string().contains("refused"), "it says why: {error}");
        harness.server.resume().await;
        harness.poll().await.result.expect("an answer again");
    }
}

#[tokio::test]
async fn fault_36_requests_are_not_retried() {
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        (fixture.add_job)(&harness.server, JobScript::new());
        harness.poll().await.result.expect("a connection to be used again");
        for fault in
            [Fault::Reset, Fault::TruncatedBody, Fault::status(503, ""), Fault::status(401, "{}")]
        {
            let before = harness.server.request_count();
            harness.server.inject_fault(FaultTarget::All, fault.clone(), FaultRepeat::Always);
            harness.poll().await.result.expect_err("a fault");
            // With a new token the request is sent again.
            let token_renewed =
                fixture.renews_token && matches!(fault, Fault::Status { code: 401, .. });
            let expected_requests = 1 + usize::from(token_renewed);
            assert_eq!(harness.server.request_count(), before + expected_requests, "{fault:?}");
            harness.server.clear_faults();
        }
    }
}

#[tokio::test]
async fn fault_43_redirects_are_not_followed() {
    for fixture in FIXTURES {
        let (harness, other_server) = (Harness::new(fixture).await, FakeServer::start().await);
        (fixture.add_job)(&other_server, JobScript::new());
        let same_server_url = format!("{}/elsewhere", harness.server.base_url());
        for location in [
            format!("{}/x", other_server.base_url()),
            same_server_url,
            "/x".to_owned(),
            String::new(),
        ] {
            for code in [301, 302, 303, 307, 308] {
                let headers = vec![("location".to_owned(), location.clone())];
                let fault = Fault::Status { code, body: String::new(), headers };
                let error = harness.poll_with_fault(fault).await.result.expect_err("a redirect");
                assert_eq!(
                    error.kind,
                    ProviderErrorKind::Misconfigured,
                    "{code} to {location}: {error}"
                );
            }
        }
        assert_eq!(
            (other_server.request_count(), other_server.connection_count()),
            (0, 0),
            "never asked"
        );
        let requests = harness.server.requests();
        assert!(requests.iter().all(|request| request.job_id.is_some()), "only for the job");
    }
}

#[tokio::test]
async fn one_connection_is_reused_across_polls() {
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        (fixture.add_job)(&harness.server, JobScript::new());
        for _ in 0..20 {
            harness.poll().await.result.expect("an answer");
        }
        assert_eq!((harness.server.request_count(), harness.server.connection_count()), (20, 1));
    }
}

#[tokio::test]
async fn requests_carry_the_user_agent_and_are_not_answered_by_a_cache() {
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        harness.poll().await.result.expect_err("nobody put it in");
        let request = harness.server.requests().pop().expect("a request");
        let expected = concat!("jobtrack/", env!("CARGO_PKG_VERSION"));
        assert_eq!(request.user_agent.as_deref(), Some(expected));
        assert_eq!(request.cache_control.as_deref(), Some("no-cache"));
    }
}
