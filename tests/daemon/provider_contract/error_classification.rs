//! What each status means, in the provider's own words and in anybody else's.

use jobtrack::provider::meaning::{Sign, TABLE};
use serde_json::json;

use super::harness::{Bench, Class, SUBJECTS, class};
use crate::support::fake_server::Fault;

/// What each status means, whatever its body.
const STATUSES: [(u16, Class); 20] = [
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

/// What each code of Huawei's means, and a status with which it comes.
const CODES: [(&str, u16, Class); 18] = [
    ("DLI.0999", 400, Class::Transient),
    ("DLI.0012", 400, Class::Transient),
    ("DLI.0002", 400, Class::NotFound),
    ("DLI.0023", 404, Class::NotFound),
    ("DLI.0013", 401, Class::Auth),
    ("DLI.0014", 401, Class::Auth),
    ("DLI.0100", 400, Class::Malformed),
    ("DLF.6201", 400, Class::NotFound),
    ("DLF.6205", 400, Class::NotFound),
    ("DLF.30137", 400, Class::NotFound),
    ("DLF.6888", 400, Class::Auth),
    ("APIGW.0101", 404, Class::Misconfigured),
    ("APIGW.0201", 413, Class::Transient),
    ("APIGW.0201", 504, Class::Transient),
    ("APIGW.0301", 401, Class::Auth),
    ("APIGW.0302", 403, Class::Auth),
    ("APIGW.0307", 401, Class::Auth),
    ("APIGW.0308", 429, Class::RateLimited),
];

/// What Dune says in words, and with which status.
const DUNE_WORDS: [(u16, &str, Class); 3] = [
    (404, "Object not found", Class::NotFound),
    (400, "The requested execution ID (ID: 01GB) is invalid.", Class::NotFound),
    (400, "invalid parameter", Class::Malformed),
];

/// What a status means by itself.
fn of_status(status: u16) -> Class {
    let row = STATUSES.iter().find(|(known, _)| *known == status);
    row.map_or(Class::Malformed, |(_, class)| *class)
}

#[tokio::test]
async fn each_row_of_the_table_is_understood_by_the_kinds_that_say_it() {
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        let is_dune = subject.kind == "dune";
        let class_of = async |status, body: &serde_json::Value| {
            let error = bench.meet(Fault::status(status, &body.to_string())).await.result;
            class(&error.expect_err("a refusal"))
        };
        for (code, status, meant) in CODES {
            let body = json!({ "error_code": code, "error_msg": "why" });
            let expected = if is_dune { of_status(status) } else { meant };
            assert_eq!(class_of(status, &body).await, expected, "{} {code}", subject.kind);
            // Some gateways shorten their name; a status alone would often say the same.
            let body = json!({ "error_code": code.replace("APIGW", "APIG") });
            let expected = if is_dune { Class::Malformed } else { meant };
            assert_eq!(class_of(418, &body).await, expected, "{} {code}", subject.kind);
            assert_eq!(class_of(500, &body).await, Class::Transient, "{code} is not believed");
        }
        for (status, words, meant) in DUNE_WORDS {
            let expected = if is_dune { meant } else { of_status(status) };
            let body = json!({ "error": words });
            assert_eq!(class_of(status, &body).await, expected, "{} {words}", subject.kind);
        }
    }
}

#[test]
fn no_row_of_the_table_goes_untried() {
    for (sign, _) in TABLE {
        let tried = match sign {
            Sign::Status(range) => STATUSES.iter().any(|(status, _)| range.contains(status)),
            Sign::Code(service, number) => {
                CODES.iter().any(|(code, ..)| *code == format!("{service}.{number}"))
            }
            Sign::Dune(status, texts) => DUNE_WORDS.iter().any(|(told, words, _)| {
                let words = words.to_lowercase();
                told == status && texts.iter().all(|text| words.contains(text))
            }),
        };
        assert!(tried, "{sign:?}");
    }
}

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
    let html = "<html><head><title>Error</title></head></html>";
    let bodies = ["", html, "null", "[]", "{", r#"{"error":5}"#, r#"{"error":{"message":"why"}}"#];
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        for (status, expected) in STATUSES {
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
            let standin = crate::support::fake_server::StandIn::start().await;
            let base_url = format!("{}{path}", standin.base_url());
            let bench = Bench::at(subject, standin, &base_url);
            bench.poll().await.result.expect_err("nothing is there");
            let asked = bench.standin.requests().pop().expect("a request").target;
            assert!(asked.starts_with("/proxy/") && !asked.contains("//"), "{asked}");
        }
    }
}
