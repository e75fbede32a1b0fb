//! `cancel` sends one request, as the service documents it, and nothing else sends one.

use std::time::Duration;

use jobtrack::job::ObservedState;

use super::harness::{FIXTURES, Harness};
use crate::support::fake_server::{Fault, FaultRepeat, FaultTarget, JobScript};
use jobtrack::job::ProviderErrorKind;

fn long_running() -> JobScript {
    JobScript::new().running(Duration::from_hours(1))
}

#[tokio::test]
async fn a_cancel_is_one_request_and_the_next_poll_sees_the_end() {
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        (fixture.add_job)(&harness.server, long_running());
        assert_eq!(harness.poll().await.result.expect("an answer").state, ObservedState::Running);
        harness.cancel().await.unwrap_or_else(|error| panic!("{}: {error}", fixture.kind));
        let observed_state = harness.poll().await.result.expect("an answer").state;
        let (method, path_suffix) = fixture.cancel_request;
        let expected =
            if path_suffix == "/stop" { ObservedState::Failed } else { ObservedState::Cancelled };
        assert_eq!(observed_state, expected, "{}", fixture.kind);

        let requests = harness.server.requests();
        let methods: Vec<_> = requests.iter().map(|request| request.method.as_str()).collect();
        assert_eq!(methods, ["GET", method, "GET"], "{}", fixture.kind);
        assert!(requests[1].path.ends_with(path_suffix), "{}", requests[1].path);
        assert_eq!(requests[1].workspace, requests[0].workspace, "{}", fixture.kind);
        assert_eq!(harness.server.client_violations(), [""; 0]);
    }
}

#[tokio::test]
async fn polls_and_checks_never_cancel_a_job() {
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        (fixture.add_job)(&harness.server, long_running());
        for status in [200, 302, 307, 308, 404, 405, 429, 500] {
            harness
                .poll_with_fault(Fault::status(status, "{}"))
                .await
                .result
                .expect_err("no state is in it");
            harness.server.inject_fault(
                FaultTarget::All,
                Fault::status(status, "{}"),
                FaultRepeat::Once,
            );
            harness.check(0).await;
        }
        assert_eq!(harness.poll().await.result.expect("an answer").state, ObservedState::Running);
        let requests = harness.server.requests();
        assert!(requests.len() >= 17 && requests.iter().all(|request| request.method == "GET"));
    }
}

#[tokio::test]
async fn cancel_errors_are_classified_like_poll_errors_and_not_retried() {
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        let unknown = harness.cancel().await.expect_err("nobody put it in");
        assert_eq!(unknown.kind, ProviderErrorKind::NotFound, "{unknown}");

        (fixture.add_job)(&harness.server, long_running());
        let html = "<html>Welcome</html>";
        let rejected = fixture.cancel_rejection_body;
        let rejected = rejected.map(|body| (Fault::status(200, body), "200"));
        let cases = [
            (Fault::status(409, ""), "409"),
            (Fault::status(500, ""), "500"),
            (Fault::status(200, html), "not a JSON object"),
            (Fault::Redirect("http://elsewhere.example/".into()), "302"),
            (Fault::Hang, "timed out"),
        ];
        for (fault, expected_message) in cases.into_iter().chain(rejected) {
            let before = harness.server.request_count();
            harness.server.inject_fault(FaultTarget::All, fault, FaultRepeat::Once);
            let error = harness.cancel().await.expect_err(expected_message);
            assert!(error.to_string().contains(expected_message), "{}: {error}", fixture.kind);
            assert_eq!(
                harness.server.request_count(),
                before + 1,
                "{}: {expected_message}",
                fixture.kind
            );
        }
        assert_eq!(harness.poll().await.result.expect("an answer").state, ObservedState::Running);

        harness.server.set_credentials("another");
        let auth_error = harness.cancel().await.expect_err("another key is needed");
        assert_eq!(auth_error.kind, ProviderErrorKind::Auth, "{auth_error}");
    }
}
