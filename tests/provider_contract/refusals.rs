//! What each status means, in the provider's own words and in anybody else's.

use crate::standin::Fault;
use crate::subject::{Bench, Class, SUBJECTS, class};

#[tokio::test]
async fn fault_33_34_35_the_providers_own_refusals_are_understood() {
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        for refusal in subject.refusals {
            let answer = bench.meet(Fault::status(refusal.status, refusal.body)).await;
            let error = answer.result.expect_err(refusal.body);
            let case = format!("{}: {} {}", subject.kind, refusal.status, refusal.body);
            assert_eq!(class(&error), refusal.class, "{case}: {error}");
            assert!(error.to_string().contains(&refusal.status.to_string()), "{case}: {error}");
        }
    }
}

#[tokio::test]
async fn a_status_means_the_same_whatever_its_body() {
    let cases = [
        (204, Class::Malformed),
        (301, Class::Misconfigured),
        (304, Class::Misconfigured),
        (400, Class::Malformed),
        (401, Class::Auth),
        (402, Class::Quota),
        (403, Class::Auth),
        (404, Class::Misconfigured),
        (405, Class::Misconfigured),
        (408, Class::Transient),
        (409, Class::Transient),
        (410, Class::Misconfigured),
        (418, Class::Malformed),
        (425, Class::Transient),
        (429, Class::RateLimited),
        (500, Class::Transient),
        (502, Class::Transient),
        (503, Class::Transient),
        (504, Class::Transient),
        (599, Class::Transient),
    ];
    let html = "<html><head><title>Error</title></head></html>";
    let bodies = ["", html, "null", "[]", "{", r#"{"error":5}"#, r#"{"error":{"message":"why"}}"#];
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        for (status, expected) in cases {
            for body in bodies {
                // A 204 and a 304 have none.
                let body = if matches!(status, 204 | 304) { "" } else { body };
                let error = bench.meet(Fault::status(status, body)).await.result;
                let error = error.expect_err(body);
                assert_eq!(class(&error), expected, "{status} {body}: {error}");
                assert!(error.to_string().contains(&status.to_string()), "{status}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn a_refusal_tells_why_in_few_words() {
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        let body = (subject.error_body)("maintenance until noon");
        let error = bench.meet(Fault::status(503, &body)).await.result.expect_err("a 503");
        assert!(error.to_string().contains("maintenance until noon"), "{error}");
        let endless = (subject.error_body)(&"\u{e9}".repeat(400_000));
        let error = bench.meet(Fault::status(503, &endless)).await.result.expect_err("a 503");
        assert_eq!(class(&error), Class::Transient);
        assert!(error.to_string().len() < 1000, "{} bytes", error.to_string().len());
    }
}

#[tokio::test]
async fn an_unknown_job_and_a_wrong_key_are_told_apart() {
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        let error = bench.poll().await.result.expect_err("nobody put it in");
        assert_eq!(class(&error), Class::NotFound, "{error}");
        bench.standin.set_key("another");
        let error = bench.poll().await.result.expect_err("another key is needed");
        assert_eq!(class(&error), Class::Auth, "{error}");
    }
}

#[tokio::test]
async fn an_address_with_a_path_is_asked_below_it() {
    for subject in SUBJECTS {
        for path in ["/proxy", "/proxy/"] {
            let standin = crate::standin::StandIn::start().await;
            let base_url = format!("{}{path}", standin.base_url());
            let bench = Bench::at(subject, standin, &base_url);
            bench.poll().await.result.expect_err("nothing is there");
            let asked = bench.standin.requests().pop().expect("a request").target;
            assert!(asked.starts_with("/proxy/") && !asked.contains("//"), "{asked}");
        }
    }
}
