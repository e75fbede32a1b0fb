//! The check-up: what a provider that is set up wrongly is told apart by.

use jobtrack::job::{ConnectionCheck, Finding};

use super::harness::{FIXTURES, Harness};
use crate::support::fake_server::{FakeServer, Fault, FaultRepeat, FaultTarget};

async fn check_with_fault(harness: &Harness, fault: Fault) -> Finding {
    // For as long as it tries: a token that is refused is fetched anew.
    harness.server.inject_fault(FaultTarget::All, fault, FaultRepeat::Always);
    let finding = harness.check(0).await.finding;
    harness.server.clear_faults();
    finding
}

fn finding_name(finding: &Finding) -> &'static str {
    match finding {
        Finding::Ok => "ok",
        Finding::InvalidCredentials(_) => "credentials",
        Finding::PermissionDenied(_) => "permission",
        Finding::WrongEndpoint(_) => "endpoint",
        Finding::Unreachable(_) => "unreachable",
        Finding::RateLimited(_) => "rate limit",
        Finding::QuotaExceeded(_) => "quota",
        Finding::ServiceError(_) => "trouble",
        Finding::UnrecognizedAnswer(_) => "unclear",
    }
}

#[tokio::test]
async fn every_kind_distinguishes_the_causes_of_failure() {
    let html = "<html><title>Sign in</title></html>";
    let cases = [
        (Fault::status(401, "{}"), "credentials"),
        (Fault::status(403, "{}"), "permission"),
        (Fault::status(402, "{}"), "quota"),
        (Fault::status(429, "{}"), "rate limit"),
        (Fault::RateLimited { retry_after: None }, "rate limit"),
        (Fault::status(503, "{}"), "trouble"),
        (Fault::status(404, html), "endpoint"),
        (Fault::status(200, html), "endpoint"),
        (Fault::status(400, html), "endpoint"),
        (Fault::Redirect("http://login.example/".into()), "endpoint"),
        (Fault::status(200, "{}"), "unclear"),
        (Fault::status(418, "{}"), "unclear"),
        (Fault::Reset, "unreachable"),
        (Fault::Hang, "unreachable"),
    ];
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        let healthy = harness.check(0).await;
        assert_eq!((healthy.is_ok(), healthy.finding), (true, Finding::Ok), "{}", fixture.kind);
        for (fault, expected) in cases.clone() {
            let case = format!("{}: {fault:?}", fixture.kind);
            assert_eq!(finding_name(&check_with_fault(&harness, fault).await), expected, "{case}");
        }
        harness.server.set_credentials("another");
        assert_eq!(
            finding_name(&harness.check(0).await.finding),
            "credentials",
            "{}",
            fixture.kind
        );
        harness.server.pause().await;
        assert_eq!(
            finding_name(&harness.check(0).await.finding),
            "unreachable",
            "{}",
            fixture.kind
        );
        assert_eq!(harness.server.client_violations(), [""; 0]);
    }
}

#[tokio::test]
async fn error_codes_distinguish_credentials_from_permission() {
    let cases = [
        (400, "DLI.0013", "permission"),
        (400, "DLF.6888", "permission"),
        (403, "APIGW.0302", "permission"),
        (403, "APIG.0301", "credentials"),
        (401, "APIGW.0307", "credentials"),
        (404, "APIGW.0101", "endpoint"),
        (400, "DLI.0002", "ok"),
        (400, "DLF.6201", "ok"),
    ];
    for fixture in FIXTURES.iter().filter(|fixture| fixture.kind != "dune") {
        let harness = Harness::new(fixture).await;
        for (status, code, expected) in cases {
            let body = format!(r#"{{"error_code":"{code}","error_msg":"why"}}"#);
            let finding = check_with_fault(&harness, Fault::status(status, &body)).await;
            assert_eq!(finding_name(&finding), expected, "{}: {code}", fixture.kind);
        }
    }
}

#[tokio::test]
async fn clock_skew_is_measured_from_successes_and_errors() {
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        for skew_s in [1200, -1200] {
            let check: ConnectionCheck = harness.check(skew_s).await;
            assert_eq!((check.is_ok(), &check.finding), (false, &Finding::Ok));
            let measured_s = check.clock_ahead_s.expect("the service told its time");
            assert!((measured_s - skew_s).abs() < 5, "{measured_s} for {skew_s}");
            harness.server.inject_fault(
                FaultTarget::All,
                Fault::status(401, "{}"),
                FaultRepeat::Once,
            );
            assert!(harness.check(skew_s).await.clock_ahead_s.is_some());
        }
    }
}

#[tokio::test]
async fn an_unresolvable_host_is_unreachable() {
    for fixture in FIXTURES {
        let server = FakeServer::start().await;
        let harness = Harness::with_base_url(fixture, server, "https://nobody.invalid");
        assert_eq!(
            finding_name(&harness.check(0).await.finding),
            "unreachable",
            "{}",
            fixture.kind
        );
    }
}
