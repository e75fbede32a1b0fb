//! Unsuccessful answers are classified by status, error code and message, for every kind.

use jobtrack::provider::classify::Matcher;
use jobtrack::provider::error_rules;
use serde_json::json;

use super::harness::{FIXTURES, Harness};
use crate::support::fake_server::Fault;
use jobtrack::job::ProviderErrorKind;

/// The class of each status, without a known code or message.
const STATUS_CLASSES: [(u16, ProviderErrorKind); 20] = [
    (204, ProviderErrorKind::Malformed),
    (301, ProviderErrorKind::Misconfigured),
    (304, ProviderErrorKind::Misconfigured),
    (400, ProviderErrorKind::Malformed),
    (401, ProviderErrorKind::Auth),
    (402, ProviderErrorKind::QuotaExceeded),
    (403, ProviderErrorKind::Auth),
    (404, ProviderErrorKind::Misconfigured),
    (405, ProviderErrorKind::Misconfigured),
    (408, ProviderErrorKind::Transient),
    (409, ProviderErrorKind::Transient),
    (410, ProviderErrorKind::Misconfigured),
    (418, ProviderErrorKind::Malformed),
    (425, ProviderErrorKind::Transient),
    (429, ProviderErrorKind::RateLimited),
    (500, ProviderErrorKind::Transient),
    (502, ProviderErrorKind::Transient),
    (503, ProviderErrorKind::Transient),
    (504, ProviderErrorKind::Transient),
    (599, ProviderErrorKind::Transient),
];

/// The class of each error code of Huawei, and a status that it comes with.
const HUAWEI_CODES: [(&str, u16, ProviderErrorKind); 18] = [
    ("DLI.0999", 400, ProviderErrorKind::Transient),
    ("DLI.0012", 400, ProviderErrorKind::Transient),
    ("DLI.0002", 400, ProviderErrorKind::NotFound),
    ("DLI.0023", 404, ProviderErrorKind::NotFound),
    ("DLI.0013", 401, ProviderErrorKind::Auth),
    ("DLI.0014", 401, ProviderErrorKind::Auth),
    ("DLI.0100", 400, ProviderErrorKind::Malformed),
    ("DLF.6201", 400, ProviderErrorKind::NotFound),
    ("DLF.6205", 400, ProviderErrorKind::NotFound),
    ("DLF.30137", 400, ProviderErrorKind::NotFound),
    ("DLF.6888", 400, ProviderErrorKind::Auth),
    ("APIGW.0101", 404, ProviderErrorKind::Misconfigured),
    ("APIGW.0201", 413, ProviderErrorKind::Transient),
    ("APIGW.0201", 504, ProviderErrorKind::Transient),
    ("APIGW.0301", 401, ProviderErrorKind::Auth),
    ("APIGW.0302", 403, ProviderErrorKind::Auth),
    ("APIGW.0307", 401, ProviderErrorKind::Auth),
    ("APIGW.0308", 429, ProviderErrorKind::RateLimited),
];

/// The class of each message of Dune, and the status that it comes with.
const DUNE_MESSAGES: [(u16, &str, ProviderErrorKind); 3] = [
    (404, "Object not found", ProviderErrorKind::NotFound),
    (400, "The requested execution ID (ID: 01GB) is invalid.", ProviderErrorKind::InvalidId),
    (400, "invalid parameter", ProviderErrorKind::Malformed),
];

/// The class of a status.
fn kind_for_status(status: u16) -> ProviderErrorKind {
    let row = STATUS_CLASSES.iter().find(|(known, _)| *known == status);
    row.map_or(ProviderErrorKind::Malformed, |(_, class)| *class)
}

#[tokio::test]
async fn each_table_row_is_classified_by_the_kinds_that_use_it() {
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        let is_dune = fixture.kind == "dune";
        let kind_of_response = async |status, body: &serde_json::Value| {
            let error =
                harness.poll_with_fault(Fault::status(status, &body.to_string())).await.result;
            error.expect_err("a rejection").kind
        };
        for (code, status, huawei_kind) in HUAWEI_CODES {
            let body = json!({ "error_code": code, "error_msg": "why" });
            let expected = if is_dune { kind_for_status(status) } else { huawei_kind };
            assert_eq!(kind_of_response(status, &body).await, expected, "{} {code}", fixture.kind);
            // Some gateways print APIG for APIGW. With 418, only the code can give the class.
            let body = json!({ "error_code": code.replace("APIGW", "APIG") });
            let expected = if is_dune { ProviderErrorKind::Malformed } else { huawei_kind };
            assert_eq!(kind_of_response(418, &body).await, expected, "{} {code}", fixture.kind);
            assert_eq!(
                kind_of_response(500, &body).await,
                ProviderErrorKind::Transient,
                "{code} is not believed"
            );
        }
        for (status, message, dune_kind) in DUNE_MESSAGES {
            let expected = if is_dune { dune_kind } else { kind_for_status(status) };
            let body = json!({ "error": message });
            assert_eq!(
                kind_of_response(status, &body).await,
                expected,
                "{} {message}",
                fixture.kind
            );
        }
    }
}

#[test]
fn every_table_row_is_tested() {
    for (matcher, _) in error_rules() {
        let tested = match matcher {
            Matcher::Status(range) => {
                STATUS_CLASSES.iter().any(|(status, _)| range.contains(status))
            }
            Matcher::Code(service, number) => {
                HUAWEI_CODES.iter().any(|(code, ..)| *code == format!("{service}.{number}"))
            }
            Matcher::Message(status, texts) => {
                DUNE_MESSAGES.iter().any(|(tested_status, message, _)| {
                    let message = message.to_lowercase();
                    tested_status == status && texts.iter().all(|text| message.contains(text))
                })
            }
        };
        assert!(tested, "{matcher:?}");
    }
}

#[tokio::test]
async fn fault_33_34_35_provider_specific_errors_are_classified() {
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        for refusal in fixture.rejections {
            let answer = harness.poll_with_fault(Fault::status(refusal.status, refusal.body)).await;
            let error = answer.result.expect_err(refusal.body);
            let case = format!("{}: {} {}", fixture.kind, refusal.status, refusal.body);
            assert_eq!(error.kind, refusal.error_kind, "{case}: {error}");
            assert!(error.to_string().contains(&refusal.status.to_string()), "{case}: {error}");
        }
    }
}

#[tokio::test]
async fn a_status_is_classified_the_same_whatever_its_body() {
    let html = "<html><head><title>Error</title></head></html>";
    let bodies = ["", html, "null", "[]", "{", r#"{"error":5}"#, r#"{"error":{"message":"why"}}"#];
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        for (status, expected) in STATUS_CLASSES {
            for body in bodies {
                // A 204 and a 304 have no body.
                let body = if matches!(status, 204 | 304) { "" } else { body };
                let error = harness.poll_with_fault(Fault::status(status, body)).await.result;
                let error = error.expect_err(body);
                assert_eq!(error.kind, expected, "{status} {body}: {error}");
                assert!(error.to_string().contains(&status.to_string()), "{status}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn an_error_message_is_kept_and_bounded() {
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        let body = (fixture.error_body)("maintenance until noon");
        let error =
            harness.poll_with_fault(Fault::status(503, &body)).await.result.expect_err("a 503");
        assert!(error.to_string().contains("maintenance until noon"), "{error}");
        let oversized = (fixture.error_body)(&"\u{e9}".repeat(400_000));
        let error = harness
            .poll_with_fault(Fault::status(503, &oversized))
            .await
            .result
            .expect_err("a 503");
        assert_eq!(error.kind, ProviderErrorKind::Transient);
        assert!(error.to_string().len() < 1000, "{} bytes", error.to_string().len());
    }
}

#[tokio::test]
async fn an_unknown_job_and_a_wrong_key_are_distinguished() {
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        let error = harness.poll().await.result.expect_err("nobody put it in");
        assert_eq!(error.kind, ProviderErrorKind::NotFound, "{error}");
        harness.server.set_credentials("another");
        let error = harness.poll().await.result.expect_err("another key is needed");
        assert_eq!(error.kind, ProviderErrorKind::Auth, "{error}");
    }
}

#[tokio::test]
async fn a_base_url_path_is_kept() {
    for fixture in FIXTURES {
        for path in ["/proxy", "/proxy/"] {
            let server = crate::support::fake_server::FakeServer::start().await;
            let base_url = format!("{}{path}", server.base_url());
            let harness = Harness::with_base_url(fixture, server, &base_url);
            harness.poll().await.result.expect_err("nothing is there");
            let target = harness.server.requests().pop().expect("a request").target;
            assert!(target.starts_with("/proxy/") && !target.contains("//"), "{target}");
        }
    }
}
