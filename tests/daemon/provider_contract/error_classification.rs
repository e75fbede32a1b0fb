//! Unsuccessful answers are classified by status, error code and message, for every kind.

use jobtrack::provider::classify::Matcher;
use jobtrack::provider::error_rules;
use serde_json::json;

use super::dataarts::DATAARTS;
use super::dli::DLI;
use super::dune::DUNE;
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

/// The published error codes of Huawei's services in the order of the documents: the status that they come
/// with, their class, and the codes.
const HUAWEI_CODES: &[(u16, ProviderErrorKind, &str)] = &[
    (400, ProviderErrorKind::Malformed, "DLI.0001 DLI.0004 DLI.0005 DLI.0006 DLI.0007 DLI.0100"),
    (400, ProviderErrorKind::NotFound, "DLI.0002"),
    (404, ProviderErrorKind::NotFound, "DLI.0023"),
    (400, ProviderErrorKind::Auth, "DLI.0003 DLI.0011 DLI.0015 DLI.0016"),
    (401, ProviderErrorKind::Auth, "DLI.0013 DLI.0014"),
    (400, ProviderErrorKind::Transient, "DLI.0008 DLI.0012 DLI.0018 DLI.0019 DLI.0999 DLI.10001"),
    (400, ProviderErrorKind::QuotaExceeded, "DLI.0009 DLI.1028"),
    (400, ProviderErrorKind::NotFound, "DLF.0137 DLF.6201 DLF.6205 DLF.30137"),
    (400, ProviderErrorKind::QuotaExceeded, "DLF.0101 DLF.6253"),
    (400, ProviderErrorKind::Auth, "DLF.6888"),
    (400, ProviderErrorKind::Misconfigured, "DLF.0819 DLF.20819"),
    (
        400,
        ProviderErrorKind::Malformed,
        "DLF.0100 DLF.1001 DLF.0102 DLF.0136 DLF.0201 DLF.0202 DLF.0203 DLF.0802 DLF.0803 DLF.0810 DLF.0815 \
         DLF.1006 DLF.1242 DLF.3004 DLF.3018 DLF.3025 DLF.3050 DLF.3051 DLF.6241 DLF.6247 \
         DLF.6258 DLF.6259 DLF.6263 DLF.6264 DLF.6265 DLF.6271 DLF.6309 DLF.6322 DLF.6323 \
         DLF.6416 DLF.6418",
    ),
    (404, ProviderErrorKind::Misconfigured, "APIGW.0101"),
    (400, ProviderErrorKind::Misconfigured, "APIGW.0607"),
    (403, ProviderErrorKind::Misconfigured, "APIGW.0310 APIGW.0801"),
    (404, ProviderErrorKind::Transient, "APIGW.0103 APIGW.0108"),
    (400, ProviderErrorKind::Transient, "APIGW.0104 APIGW.0105"),
    (
        500,
        ProviderErrorKind::Transient,
        "APIGW.0107 APIGW.0601 APIGW.0605 APIGW.0606 APIGW.0608 APIGW.0609 APIGW.0611 \
         APIGW.0612 APIGW.0705",
    ),
    (502, ProviderErrorKind::Transient, "APIGW.0202 APIGW.0610"),
    (503, ProviderErrorKind::Transient, "APIGW.0613"),
    (504, ProviderErrorKind::Transient, "APIGW.0201 APIGW.0203"),
    (413, ProviderErrorKind::Transient, "APIGW.0201"),
    (403, ProviderErrorKind::Transient, "APIGW.0404"),
    (400, ProviderErrorKind::Malformed, "APIGW.0106 APIGW.0602"),
    (401, ProviderErrorKind::Auth, "APIGW.0301 APIGW.0303 APIGW.0305 APIGW.0307 APIGW.0311"),
    (
        403,
        ProviderErrorKind::Auth,
        "APIGW.0302 APIGW.0304 APIGW.0306 APIGW.0401 APIGW.0402 APIGW.0802",
    ),
    (429, ProviderErrorKind::RateLimited, "APIGW.0308"),
    (405, ProviderErrorKind::QuotaExceeded, "APIGW.0501 APIGW.0502"),
    (
        401,
        ProviderErrorKind::Auth,
        "IAM.0001 IAM.0061 IAM.0062 IAM.0063 IAM.0064 IAM.0065 IAM.0066 IAM.0067",
    ),
    (403, ProviderErrorKind::Auth, "IAM.0002 IAM.0003 IAM.0080 IAM.0081 IAM.0082 IAM.0083"),
    (400, ProviderErrorKind::Auth, "IAM.1104 IAM.1105 IAM.1106 IAM.1107 IAM.1108"),
    (404, ProviderErrorKind::Misconfigured, "IAM.0004"),
    (409, ProviderErrorKind::Transient, "IAM.0005"),
    (410, ProviderErrorKind::Transient, "IAM.0020"),
    (500, ProviderErrorKind::Transient, "IAM.0006"),
    (429, ProviderErrorKind::RateLimited, "IAM.0012"),
    (
        400,
        ProviderErrorKind::Misconfigured,
        "IAM.0007 IAM.0008 IAM.0009 IAM.0010 IAM.0011 IAM.0072 IAM.0073 IAM.0077 IAM.1000 \
         IAM.1001 IAM.1002 IAM.1003 IAM.1004 IAM.1005 IAM.1006 IAM.1007 IAM.1008 IAM.1009 \
         IAM.1010 IAM.1011 IAM.1012 IAM.1013 IAM.1014 IAM.1015 IAM.1016 IAM.1017 IAM.1018 \
         IAM.1019 IAM.1020 IAM.1021 IAM.1022 IAM.1023 IAM.1024 IAM.1025 IAM.1026 IAM.1027 \
         IAM.1028 IAM.1029 IAM.1030 IAM.1031 IAM.1032 IAM.1033 IAM.1034 IAM.1035 IAM.1036 \
         IAM.1037 IAM.1038 IAM.1039 IAM.1040 IAM.1041 IAM.1042 IAM.1043 IAM.1044 IAM.1045 \
         IAM.1046 IAM.1047 IAM.1048 IAM.1049 IAM.1050 IAM.1051 IAM.1052 IAM.1053 IAM.1054 \
         IAM.1055 IAM.1056 IAM.1057 IAM.1058 IAM.1059 IAM.1060 IAM.1061 IAM.1062 IAM.1101 \
         IAM.1102 IAM.1103 IAM.1109",
    ),
];

/// The codes and messages whose message decides.
const HUAWEI_MESSAGES: [(u16, &str, &str, ProviderErrorKind); 8] = [
    (400, "DLI.0003", "urlTenantId is not equal tokenTenantId", ProviderErrorKind::Misconfigured),
    (400, "DLI.0003", "Permission denied for resource 'jobs.x'", ProviderErrorKind::Auth),
    (400, "DLI.0001", "The job_id x is invalid.", ProviderErrorKind::InvalidId),
    (400, "DLI.0001", "Invalid jobId", ProviderErrorKind::InvalidId),
    (400, "DLI.0001", "Parameter check errors occur.", ProviderErrorKind::Malformed),
    (400, "DLF.3051", "The instance ID is invalid.", ProviderErrorKind::InvalidId),
    (400, "DLI.20001", "An internal error occurred. {0}", ProviderErrorKind::Transient),
    (400, "DLI.20001", "Internal Server Error", ProviderErrorKind::Transient),
];

/// Each code with the status and the class.
fn huawei_codes() -> impl Iterator<Item = (u16, ProviderErrorKind, &'static str)> {
    HUAWEI_CODES.iter().flat_map(|(status, kind, codes)| {
        codes.split_whitespace().map(move |code| (*status, *kind, code))
    })
}

/// The class of each message of Dune, and the status that it comes with.
const DUNE_MESSAGES: [(u16, &str, ProviderErrorKind); 7] = [
    (404, "Object not found", ProviderErrorKind::NotFound),
    (404, "Execution not found", ProviderErrorKind::NotFound),
    (400, "The requested execution ID (ID: 01GB) is invalid.", ProviderErrorKind::InvalidId),
    (404, "invalid API Key", ProviderErrorKind::Auth),
    (404, "not found: Query not found or private", ProviderErrorKind::Auth),
    (401, "invalid API Key", ProviderErrorKind::Auth),
    (400, "invalid parameter", ProviderErrorKind::Malformed),
];

/// The class of a status.
fn kind_for_status(status: u16) -> ProviderErrorKind {
    let row = STATUS_CLASSES.iter().find(|(known, _)| *known == status);
    row.map_or(ProviderErrorKind::Malformed, |(_, class)| *class)
}

#[tokio::test]
async fn each_table_row_is_classified_by_the_kinds_that_use_it() {
    // One fixture a kind: how requests are authenticated does not matter.
    for fixture in [&DUNE, &DLI, &DATAARTS] {
        let harness = Harness::new(fixture).await;
        let is_dune = fixture.kind == "dune";
        let kind_of_response = async |status, body: &serde_json::Value| {
            let error =
                harness.poll_with_fault(Fault::status(status, &body.to_string())).await.result;
            error.expect_err("a rejection").kind
        };
        for (status, huawei_kind, code) in huawei_codes() {
            let body = json!({ "error_code": code, "error_msg": "why" });
            let expected = if is_dune { kind_for_status(status) } else { huawei_kind };
            assert_eq!(kind_of_response(status, &body).await, expected, "{} {code}", fixture.kind);
        }
        // With 418, only the code can give the class. Some gateways print APIG for APIGW.
        for code in ["DLI.0002", "dli.0002", "APIG.0101", "APIGW.0308", "Iam.0001"] {
            let upper_case = code.to_uppercase().replace("APIG.", "APIGW.");
            let row = huawei_codes().find(|(_, _, known)| *known == upper_case).expect(code);
            let body = json!({ "error_code": code });
            let expected = if is_dune { ProviderErrorKind::Malformed } else { row.1 };
            assert_eq!(kind_of_response(418, &body).await, expected, "{} {code}", fixture.kind);
            assert_eq!(
                kind_of_response(500, &body).await,
                ProviderErrorKind::Transient,
                "{code} is not believed"
            );
        }
        for (status, code, message, huawei_kind) in HUAWEI_MESSAGES {
            let body = json!({ "error_code": code, "error_msg": message });
            let expected = if is_dune { kind_for_status(status) } else { huawei_kind };
            assert_eq!(
                kind_of_response(status, &body).await,
                expected,
                "{} {message}",
                fixture.kind
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
    let message_has = |message: &str, texts: &[&str]| {
        let squashed = message.to_lowercase().replace([' ', '_'], "");
        texts.iter().all(|text| squashed.contains(&text.replace(' ', "")))
    };
    for rule in error_rules() {
        let tested = match &rule.matcher {
            Matcher::Status(range) => {
                STATUS_CLASSES.iter().any(|(status, _)| range.contains(status))
            }
            Matcher::Code(service, numbers) => numbers.iter().all(|number| {
                let code = format!("{service}.{number}");
                huawei_codes().any(|(_, kind, known)| known == code && kind == rule.kind)
            }),
            Matcher::CodeAndMessage(service, number, texts) => {
                let code = format!("{service}.{number}");
                HUAWEI_MESSAGES.iter().any(|(_, known, message, kind)| {
                    *known == code && message_has(message, texts) && *kind == rule.kind
                })
            }
            Matcher::Message(status, texts) => {
                let messages = DUNE_MESSAGES
                    .map(|(status, message, _)| (status, message))
                    .into_iter()
                    .chain(HUAWEI_MESSAGES.map(|(status, _, message, _)| (status, message)));
                messages.into_iter().any(|(tested_status, message)| {
                    tested_status == *status && message_has(message, texts)
                })
            }
        };
        assert!(tested, "{rule:?}");
    }
}

#[tokio::test]
async fn advice_names_the_setting_to_check() {
    let cases = [
        ("DLI.0003", "urlTenantId is not equal tokenTenantId", &["project_id", "auth.project"][..]),
        ("APIGW.0307", "The token must be updated.", &["another region"]),
        ("DLF.20819", "The workspace does not exist.", &["workspace_id"]),
    ];
    for fixture in [&DLI, &DATAARTS] {
        let harness = Harness::new(fixture).await;
        for (code, message, words) in cases {
            let body = json!({ "error_code": code, "error_msg": message }).to_string();
            let error = harness.poll_with_fault(Fault::status(400, &body)).await.result;
            let error = error.expect_err(code).to_string();
            assert!(error.contains(message), "{error}");
            assert!(words.iter().all(|word| error.contains(word)), "{error}");
        }
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
async fn a_status_is_classified_the_same_whatever_the_json() {
    let bodies = ["{}", "{", r#"{"error":5}"#, r#"{"error":{"message":"why"}}"#, "\u{feff}{}"];
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        // A 204 and a 304 have no body.
        let statuses = STATUS_CLASSES.iter().filter(|(status, _)| !matches!(status, 204 | 304));
        for (status, expected) in statuses {
            for body in bodies {
                let error = harness.poll_with_fault(Fault::status(*status, body)).await.result;
                let error = error.expect_err(body);
                assert_eq!(error.kind, *expected, "{status} {body}: {error}");
                assert!(error.to_string().contains(&status.to_string()), "{status}: {error}");
            }
        }
    }
}

/// Something between jobtrack and the service answers: a proxy, a firewall, a login page.
#[tokio::test]
async fn fault_33_35_a_body_that_is_not_json_is_no_statement_of_the_service() {
    let bodies = [
        ("text/html", "<!DOCTYPE html><html><head><title>Just a moment...</title></head></html>"),
        ("text/html; charset=utf-8", "<html><body>Object not found</body></html>"),
        ("application/xml", "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>"),
        ("text/plain", "invalid API Key"),
        ("text/plain", "DLI.0002 The object does not exist."),
        ("application/json", ""),
        ("application/json", "null"),
        ("application/json", "[]"),
    ];
    let class_of = |status| match status {
        204 => ProviderErrorKind::Malformed,
        408 | 409 | 425 | 500.. => ProviderErrorKind::Transient,
        429 => ProviderErrorKind::RateLimited,
        _ => ProviderErrorKind::Misconfigured,
    };
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        for (status, _) in STATUS_CLASSES {
            for (content_type, body) in bodies {
                // A 204 and a 304 have no body.
                let body = if matches!(status, 204 | 304) { "" } else { body };
                let headers = vec![("content-type".to_owned(), content_type.to_owned())];
                let fault = Fault::Status { code: status, body: body.to_owned(), headers };
                let error = harness.poll_with_fault(fault).await.result.expect_err(body);
                let case = format!("{}: {status} {body}: {error}", fixture.kind);
                assert_eq!(error.kind, class_of(status), "{case}");
                assert!(error.to_string().contains(&status.to_string()), "{case}");
                if matches!(status, 400..=403) {
                    assert!(error.to_string().contains("not an answer of the service"), "{case}");
                }
            }
        }
        let harness = Harness::new(fixture).await;
        harness.poll_with_fault(Fault::status(401, bodies[0].1)).await.result.expect_err("a 401");
        assert!(harness.server.token_request_count() <= 1, "a foreign 401 renews no token");
        assert_eq!(harness.server.request_count(), 1);
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
