//! A secret is sent to the provider only, even if the provider repeats it in an answer.
//!
//! The harness searches the result of every poll for the secrets; these tests make the server repeat them.

use serde_json::Value;

use super::harness::{FIXTURES, Harness, ProviderFixture};
use crate::support::fake_server::{Fault, JobScript};

#[tokio::test]
async fn the_secret_is_sent_and_not_in_the_url() {
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        (fixture.add_job)(&harness.server, JobScript::new());
        harness.poll().await.result.expect("the stand-in takes only the right key");
        assert_eq!(harness.server.credentials_seen(), [fixture.expected_credential]);
        assert_eq!(harness.server.client_violations(), [""; 0]);
        for request in harness.server.requests() {
            for secret in fixture.secrets {
                assert!(!request.target.contains(secret), "{}", request.target);
            }
        }
    }
}

#[tokio::test]
async fn the_provider_itself_shows_no_secret() {
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        for debug_text in [format!("{:?}", harness.provider), format!("{:#?}", harness.provider)] {
            for secret in fixture.secrets {
                assert!(!debug_text.contains(secret), "{debug_text}");
            }
        }
    }
}

const CUT_MARK: &str = "\u{2026} [cut]";

#[tokio::test]
async fn fault_56_a_secret_echoed_in_a_successful_response_is_redacted() {
    for (fixture, secret) in fixtures_with_secrets() {
        let harness = Harness::new(fixture).await;
        let redacted = "*".repeat(secret.len());
        let provider_state = format!("DREAMING_OF_{secret}");
        let observation = harness.parse_valid_body(
            "in the word",
            Value::Object((fixture.minimal_body)(&provider_state)).to_string(),
        );
        assert_eq!(observation.await.provider_state, format!("DREAMING_OF_{redacted}"));
        let failure = (fixture.failed_body)(&format!("{secret}{secret} is wrong"));
        let observation =
            harness.parse_valid_body("in the message", Value::Object(failure).to_string()).await;
        assert_eq!(observation.message, Some(format!("{redacted}{redacted} is wrong")));
        if let Some(field) = fixture.detail_field {
            let observation = harness
                .parse_valid_body(
                    "in a field",
                    harness.body_with_field(field, &format!("\"{secret}\"")),
                )
                .await;
            assert_eq!(observation.detail[field], redacted);
        }
        // The limit for messages cuts the secret, so that only its beginning would be left.
        let beginning = "x".repeat((8 << 10) - 5 - CUT_MARK.len());
        let truncated = format!("{beginning}{secret} and a long text behind it");
        let observation = harness
            .parse_valid_body("cut", Value::Object((fixture.failed_body)(&truncated)).to_string())
            .await;
        let message = observation.message.expect("a message");
        assert!(message.ends_with(&format!("x*****{CUT_MARK}")), "{}", message.len());
    }
}

#[tokio::test]
async fn fault_56_a_secret_echoed_in_an_error_response_is_redacted() {
    for (fixture, secret) in fixtures_with_secrets() {
        let harness = Harness::new(fixture).await;
        let text = format!("the key {secret} is wrong");
        let html = format!("<html><body>{text}</body></html>");
        let json = (fixture.error_body)(&text);
        let state_body = Value::Object((fixture.minimal_body)(secret)).to_string();
        // The harness searches the result of `poll` for the secrets.
        for body in [text.as_str(), &html, &json, &state_body, &json[..json.len() - 1]] {
            for status in [400, 401, 403, 404, 429, 500] {
                harness
                    .poll_with_fault(Fault::status(status, body))
                    .await
                    .result
                    .expect_err("a refusal");
            }
        }
        let error =
            harness.poll_with_fault(Fault::status(401, &json)).await.result.expect_err("a refusal");
        assert!(error.to_string().contains("the key ***"), "{error}");
        let id_body =
            fixture.id_field.map(|field| harness.body_with_field(field, &format!("\"{secret}\"")));
        for body in [html, format!("\"{secret}\"")].into_iter().chain(id_body) {
            harness.parse_body(body).await.expect_err("no answer");
        }
        let location = vec![("location".to_owned(), format!("http://127.0.0.1:1/{secret}"))];
        let headers = Fault::Status { code: 302, body: String::new(), headers: location };
        harness.poll_with_fault(headers).await.result.expect_err("a redirect");
        let retry_after = vec![("retry-after".to_owned(), secret.to_owned())];
        let headers = Fault::Status { code: 429, body: String::new(), headers: retry_after };
        harness.poll_with_fault(headers).await.result.expect_err("a refusal");
    }
}

fn fixtures_with_secrets() -> impl Iterator<Item = (&'static ProviderFixture, &'static str)> {
    FIXTURES
        .into_iter()
        .flat_map(|fixture| fixture.secrets.iter().map(move |secret| (fixture, *secret)))
}

/// A sidecar may write a new secret after the old one was refused.
#[tokio::test]
async fn fault_63_a_secret_that_was_replaced_is_read_again_at_a_refusal() {
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        (fixture.add_job)(&harness.server, JobScript::new());
        // Of an access key the service checks the secret, which comes second.
        let secret = fixture.secrets.get(1).unwrap_or(&fixture.secrets[0]);
        let secret_file = harness.dir.path().join(secret);
        harness.poll().await.result.expect("the first secret");
        harness.server.set_credentials("new-secret");
        harness.poll().await.result.expect_err("the old secret");
        let before = harness.server.request_count();
        std::fs::write(&secret_file, "new-secret\n").expect("the new secret");
        harness.poll().await.result.expect("the new secret, before the old one is sent again");
        // An old token is sent once before another one is fetched with the new password.
        let expected_requests = 1 + usize::from(fixture.renews_token);
        assert_eq!(harness.server.request_count() - before, expected_requests, "{}", fixture.kind);
        // Replaced before the refusal: the request is sent once more with the new secret.
        harness.server.set_credentials("newer-secret");
        std::fs::write(&secret_file, "newer-secret\n").expect("the newer secret");
        let before = harness.server.request_count();
        harness.poll().await.result.expect("the newer secret");
        assert_eq!(harness.server.request_count() - before, 2, "{}", fixture.kind);
        assert_eq!(harness.server.client_violations(), [""; 0]);
    }
}
