//! The connection check distinguishes the causes for which a provider does not work.

use jobtrack::job::{ConnectionCheck, Finding, FindingKind};

use super::harness::{FIXTURES, Harness};
use crate::support::fake_server::{ACCESS_KEY_ID, FakeServer, Fault, FaultRepeat, FaultTarget};

async fn check_with_fault(harness: &Harness, fault: Fault) -> Finding {
    // Always, since a rejected token is fetched anew and the request repeated.
    harness.server.inject_fault(FaultTarget::All, fault, FaultRepeat::Always);
    let finding = harness.check(0).await.finding;
    harness.server.clear_faults();
    finding
}

#[tokio::test]
async fn every_kind_distinguishes_the_causes_of_failure() {
    let html = "<html><title>Sign in</title></html>";
    let cases = [
        (Fault::status(401, "{}"), FindingKind::InvalidCredentials),
        (Fault::status(403, "{}"), FindingKind::PermissionDenied),
        (Fault::status(402, "{}"), FindingKind::QuotaExceeded),
        (Fault::status(429, "{}"), FindingKind::RateLimited),
        (Fault::RateLimited { retry_after: None }, FindingKind::RateLimited),
        (Fault::status(503, "{}"), FindingKind::ServiceError),
        (Fault::status(404, html), FindingKind::WrongEndpoint),
        (Fault::status(200, html), FindingKind::WrongEndpoint),
        (Fault::status(400, html), FindingKind::WrongEndpoint),
        (Fault::Redirect("http://login.example/".into()), FindingKind::WrongEndpoint),
        (Fault::status(200, "{}"), FindingKind::UnrecognizedAnswer),
        (Fault::status(418, "{}"), FindingKind::UnrecognizedAnswer),
        (Fault::Reset, FindingKind::Unreachable),
        (Fault::Hang, FindingKind::Unreachable),
    ];
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        let healthy = harness.check(0).await;
        assert_eq!((healthy.is_ok(), healthy.finding), (true, Finding::ok()), "{}", fixture.kind);
        for (fault, expected) in cases.clone() {
            // A credential that was refused is not sent again at once.
            let harness = Harness::new(fixture).await;
            let case = format!("{}: {fault:?}", fixture.kind);
            assert_eq!(check_with_fault(&harness, fault).await.kind, expected, "{case}");
        }
        harness.server.set_credentials("another");
        assert_eq!(
            harness.check(0).await.finding.kind,
            FindingKind::InvalidCredentials,
            "{}",
            fixture.kind
        );
        let harness = Harness::new(fixture).await;
        harness.server.pause().await;
        assert_eq!(
            harness.check(0).await.finding.kind,
            FindingKind::Unreachable,
            "{}",
            fixture.kind
        );
        assert_eq!(harness.server.client_violations(), [""; 0]);
    }
}

#[tokio::test]
async fn error_codes_distinguish_credentials_from_permission() {
    let cases = [
        (400, "DLI.0013", FindingKind::PermissionDenied),
        (400, "DLF.6888", FindingKind::PermissionDenied),
        (403, "APIGW.0302", FindingKind::PermissionDenied),
        (403, "APIG.0301", FindingKind::InvalidCredentials),
        (401, "APIGW.0307", FindingKind::InvalidCredentials),
        (404, "APIGW.0101", FindingKind::WrongEndpoint),
        (400, "DLI.0002", FindingKind::Ok),
        (400, "DLF.6201", FindingKind::Ok),
    ];
    for fixture in FIXTURES.iter().filter(|fixture| fixture.kind != "dune") {
        for (status, code, expected) in cases {
            let harness = Harness::new(fixture).await;
            let body = format!(r#"{{"error_code":"{code}","error_msg":"why"}}"#);
            let finding = check_with_fault(&harness, Fault::status(status, &body)).await;
            assert_eq!(finding.kind, expected, "{}: {code}", fixture.kind);
        }
    }
}

#[tokio::test]
async fn fault_32_clock_skew_is_measured_from_successes_and_errors() {
    for fixture in FIXTURES {
        for skew_s in [1200, -1200] {
            let harness = Harness::new(fixture).await;
            let check: ConnectionCheck = harness.check(skew_s).await;
            assert_eq!((check.is_ok(), &check.finding), (false, &Finding::ok()));
            let measured_s = check.clock_ahead_s.expect("the service told its time");
            assert!((measured_s - skew_s).abs() < 5, "{measured_s} for {skew_s}");
            harness.server.inject_fault(
                FaultTarget::All,
                Fault::status(401, "{}"),
                FaultRepeat::Once,
            );
            let check = harness.check(skew_s).await;
            assert!(check.clock_ahead_s.is_some());
            if fixture.expected_credential == ACCESS_KEY_ID {
                let side = if skew_s > 0 { " minutes ahead of" } else { " minutes behind" };
                assert!(check.finding.detail.contains(side), "{check:?}");
            }
        }
    }
}

#[tokio::test]
async fn an_unresolvable_host_is_named_as_such() {
    for fixture in FIXTURES {
        let server = FakeServer::start().await;
        let harness = Harness::with_base_url(fixture, server, "https://nobody.invalid");
        assert_eq!(
            harness.check(0).await.finding.kind,
            FindingKind::NameNotResolved,
            "{}",
            fixture.kind
        );
    }
}
