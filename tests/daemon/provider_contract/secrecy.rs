//! The secret goes to the provider, in a header, and nowhere else, even if the provider repeats it.
//!
//! The bench looks for it in whatever any poll brings; here the provider does its worst.

use serde_json::Value;

use super::harness::{Bench, SUBJECTS, Subject};
use crate::support::fake_server::{Fault, Life};

#[tokio::test]
async fn the_secret_is_sent_and_not_in_the_url() {
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        (subject.put)(&bench.standin, Life::new());
        bench.poll().await.result.expect("the stand-in takes only the right key");
        assert_eq!(bench.standin.keys_seen(), [subject.key]);
        assert_eq!(bench.standin.violations(), [""; 0]);
        for request in bench.standin.requests() {
            for secret in subject.secrets {
                assert!(!request.target.contains(secret), "{}", request.target);
            }
        }
    }
}

#[tokio::test]
async fn the_provider_itself_shows_no_secret() {
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        for shown in [format!("{:?}", bench.provider), format!("{:#?}", bench.provider)] {
            for secret in subject.secrets {
                assert!(!shown.contains(secret), "{shown}");
            }
        }
    }
}

#[tokio::test]
async fn fault_56_a_secret_that_is_repeated_in_a_good_answer_is_blotted_out() {
    for (subject, secret) in each_secret() {
        let bench = Bench::new(subject).await;
        let blot = "*".repeat(secret.len());
        let word = format!("DREAMING_OF_{secret}");
        let seen = bench.good("in the word", Value::Object((subject.body)(&word)).to_string());
        assert_eq!(seen.await.word, format!("DREAMING_OF_{blot}"));
        let failure = (subject.failure)(&format!("{secret}{secret} is wrong"));
        let seen = bench.good("in the message", Value::Object(failure).to_string()).await;
        assert_eq!(seen.message, Some(format!("{blot}{blot} is wrong")));
        if let Some(field) = subject.detail_field {
            let seen = bench.good("in a field", bench.with(field, &format!("\"{secret}\""))).await;
            assert_eq!(seen.detail[field], blot);
        }
        // Cut within it, so that only its beginning is left.
        let cut = format!("{}{secret}", "x".repeat((8 << 10) - 5));
        let seen = bench.good("cut", Value::Object((subject.failure)(&cut)).to_string()).await;
        let message = seen.message.expect("a message");
        assert!(message.ends_with("x*****"), "{}", &message[message.len() - 20..]);
    }
}

#[tokio::test]
async fn fault_56_a_secret_that_is_repeated_in_a_refusal_is_blotted_out() {
    for (subject, secret) in each_secret() {
        let bench = Bench::new(subject).await;
        let text = format!("the key {secret} is wrong");
        let html = format!("<html><body>{text}</body></html>");
        let json = (subject.error_body)(&text);
        let word = Value::Object((subject.body)(secret)).to_string();
        // What `poll` brings is searched for the secret by the bench.
        for body in [text.as_str(), &html, &json, &word, &json[..json.len() - 1]] {
            for status in [400, 401, 403, 404, 429, 500] {
                bench.meet(Fault::status(status, body)).await.result.expect_err("a refusal");
            }
        }
        let told = bench.meet(Fault::status(401, &json)).await.result.expect_err("a refusal");
        assert!(told.to_string().contains("the key ***"), "{told}");
        let named = subject.id_field.map(|field| bench.with(field, &format!("\"{secret}\"")));
        for body in [html, format!("\"{secret}\"")].into_iter().chain(named) {
            bench.read(body).await.expect_err("no answer");
        }
        let location = vec![("location".to_owned(), format!("http://127.0.0.1:1/{secret}"))];
        let headers = Fault::Status { code: 302, body: String::new(), headers: location };
        bench.meet(headers).await.result.expect_err("a redirect");
        let after = vec![("retry-after".to_owned(), secret.to_owned())];
        let headers = Fault::Status { code: 429, body: String::new(), headers: after };
        bench.meet(headers).await.result.expect_err("a refusal");
    }
}

fn each_secret() -> impl Iterator<Item = (&'static Subject, &'static str)> {
    SUBJECTS.into_iter().flat_map(|one| one.secrets.iter().map(move |secret| (one, *secret)))
}
