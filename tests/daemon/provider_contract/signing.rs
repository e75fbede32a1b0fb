//! Requests that are signed: what goes out is what was signed, whatever letters are in its path.
//!
//! The stand-in reckons each signature anew from the path as it came in.

use std::path::Path;

use super::dli::{PROJECT, SIGNED_DLI};
use super::harness::{Bench, Class, Subject, class};
use crate::support::fake_server::Life;

/// Projects of other ids, which are a part of the path.
const OTHERS: [(&str, &Subject); 6] = [
    ("a%20b%2Bc", &Subject { config: |url, secrets| of("a b+c", url, secrets), ..SIGNED_DLI }),
    ("~a_b-c.d", &Subject { config: |url, secrets| of("~a_b-c.d", url, secrets), ..SIGNED_DLI }),
    ("%2A%27%28%29", &Subject { config: |url, secrets| of("*'()", url, secrets), ..SIGNED_DLI }),
    ("a%3Fb%23c", &Subject { config: |url, secrets| of("a?b#c", url, secrets), ..SIGNED_DLI }),
    ("%E9%A1%B9", &Subject { config: |url, secrets| of("\u{9879}", url, secrets), ..SIGNED_DLI }),
    ("...", &Subject { config: |url, secrets| of("...", url, secrets), ..SIGNED_DLI }),
];
const DOTS: Subject = Subject { config: |url, secrets| of("..", url, secrets), ..SIGNED_DLI };

fn of(project: &str, base_url: &str, secrets: &Path) -> String {
    (SIGNED_DLI.config)(base_url, secrets).replace(PROJECT, project)
}

#[tokio::test]
async fn what_goes_out_is_what_was_signed() {
    for (sent, subject) in OTHERS {
        let bench = Bench::new(subject).await;
        (subject.put)(&bench.standin, Life::new());
        bench.poll().await.result.unwrap_or_else(|error| panic!("{sent}: {error}"));
        let path = bench.standin.requests().pop().expect("a request").path;
        assert_eq!(path, format!("/v1.0/{sent}/jobs/{}/status", subject.id));
    }
}

#[tokio::test]
async fn a_path_that_would_not_go_out_as_it_is_is_not_asked_for() {
    let bench = Bench::new(&DOTS).await;
    let error = bench.poll().await.result.expect_err("no path");
    assert_eq!(class(&error), Class::Misconfigured, "{error}");
    assert_eq!(bench.standin.count(), 0);
}
