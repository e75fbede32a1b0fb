//! The check-up: what a provider that is set up wrongly is told apart by.

use jobtrack::job::{Checkup, Finding};

use super::harness::{Bench, SUBJECTS};
use crate::support::fake_server::{Fault, StandIn, Target, Times};

async fn meets(bench: &Bench, fault: Fault) -> Finding {
    // For as long as it tries: a token that is refused is fetched anew.
    bench.standin.fault(Target::All, fault, Times::Always);
    let finding = bench.check(0).await.finding;
    bench.standin.clear_faults();
    finding
}

fn name(finding: &Finding) -> &'static str {
    match finding {
        Finding::Well => "well",
        Finding::Credentials(_) => "credentials",
        Finding::Permission(_) => "permission",
        Finding::Endpoint(_) => "endpoint",
        Finding::Unreachable(_) => "unreachable",
        Finding::RateLimited(_) => "rate limit",
        Finding::Quota(_) => "quota",
        Finding::Trouble(_) => "trouble",
        Finding::Unclear(_) => "unclear",
    }
}

#[tokio::test]
async fn what_is_wrong_is_told_apart_at_every_service() {
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
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        let well = bench.check(0).await;
        assert_eq!((well.is_well(), well.finding), (true, Finding::Well), "{}", subject.kind);
        for (fault, expected) in cases.clone() {
            let case = format!("{}: {fault:?}", subject.kind);
            assert_eq!(name(&meets(&bench, fault).await), expected, "{case}");
        }
        bench.standin.set_key("another");
        assert_eq!(name(&bench.check(0).await.finding), "credentials", "{}", subject.kind);
        bench.standin.pause().await;
        assert_eq!(name(&bench.check(0).await.finding), "unreachable", "{}", subject.kind);
        assert_eq!(bench.standin.violations(), [""; 0]);
    }
}

#[tokio::test]
async fn a_code_of_the_services_decides_between_key_and_right() {
    let cases = [
        (400, "DLI.0013", "permission"),
        (400, "DLF.6888", "permission"),
        (403, "APIGW.0302", "permission"),
        (403, "APIG.0301", "credentials"),
        (401, "APIGW.0307", "credentials"),
        (404, "APIGW.0101", "endpoint"),
        (400, "DLI.0002", "well"),
        (400, "DLF.6201", "well"),
    ];
    for subject in SUBJECTS.iter().filter(|subject| subject.kind != "dune") {
        let bench = Bench::new(subject).await;
        for (status, code, expected) in cases {
            let body = format!(r#"{{"error_code":"{code}","error_msg":"why"}}"#);
            let finding = meets(&bench, Fault::status(status, &body)).await;
            assert_eq!(name(&finding), expected, "{}: {code}", subject.kind);
        }
    }
}

#[tokio::test]
async fn a_wrong_clock_is_seen_in_a_good_answer_and_in_a_refusal() {
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        for ahead in [1200, -1200] {
            let well: Checkup = bench.check(ahead).await;
            assert_eq!((well.is_well(), &well.finding), (false, &Finding::Well));
            let off = well.clock_ahead_s.expect("the service told its time");
            assert!((off - ahead).abs() < 5, "{off} for {ahead}");
            bench.standin.fault(Target::All, Fault::status(401, "{}"), Times::Once);
            assert!(bench.check(ahead).await.clock_ahead_s.is_some());
        }
    }
}

#[tokio::test]
async fn a_host_that_is_nobodys_is_unreachable() {
    for subject in SUBJECTS {
        let standin = StandIn::start().await;
        let bench = Bench::at(subject, standin, "https://nobody.invalid");
        assert_eq!(name(&bench.check(0).await.finding), "unreachable", "{}", subject.kind);
    }
}
