//! A signed request is sent exactly as it was signed, whatever characters its path contains.
//!
//! The fake server computes each signature from the path that it receives.

use std::path::Path;

use super::dli::{PROJECT, SIGNED_DLI};
use super::harness::{Harness, ProviderFixture};
use crate::support::fake_server::JobScript;
use jobtrack::job::ProviderErrorKind;

/// Project ids, which are part of the path.
const UNUSUAL_PROJECTS: [(&str, &ProviderFixture); 6] = [
    (
        "a%20b%2Bc",
        &ProviderFixture {
            config: |url, secrets| config_for_project("a b+c", url, secrets),
            ..SIGNED_DLI
        },
    ),
    (
        "~a_b-c.d",
        &ProviderFixture {
            config: |url, secrets| config_for_project("~a_b-c.d", url, secrets),
            ..SIGNED_DLI
        },
    ),
    (
        "%2A%27%28%29",
        &ProviderFixture {
            config: |url, secrets| config_for_project("*'()", url, secrets),
            ..SIGNED_DLI
        },
    ),
    (
        "a%3Fb%23c",
        &ProviderFixture {
            config: |url, secrets| config_for_project("a?b#c", url, secrets),
            ..SIGNED_DLI
        },
    ),
    (
        "%E9%A1%B9",
        &ProviderFixture {
            config: |url, secrets| config_for_project("\u{9879}", url, secrets),
            ..SIGNED_DLI
        },
    ),
    (
        "...",
        &ProviderFixture {
            config: |url, secrets| config_for_project("...", url, secrets),
            ..SIGNED_DLI
        },
    ),
];
const DOT_SEGMENT_PROJECT: ProviderFixture =
    ProviderFixture { config: |url, secrets| config_for_project("..", url, secrets), ..SIGNED_DLI };

fn config_for_project(project: &str, base_url: &str, secrets: &Path) -> String {
    (SIGNED_DLI.config)(base_url, secrets).replace(PROJECT, project)
}

#[tokio::test]
async fn the_sent_path_is_the_signed_path() {
    for (encoded_project, subject) in UNUSUAL_PROJECTS {
        let harness = Harness::new(subject).await;
        (subject.add_job)(&harness.server, JobScript::new());
        harness.poll().await.result.unwrap_or_else(|error| panic!("{encoded_project}: {error}"));
        let path = harness.server.requests().pop().expect("a request").path;
        assert_eq!(path, format!("/v1.0/{encoded_project}/jobs/{}/status", subject.remote_id));
    }
}

#[tokio::test]
async fn a_path_that_url_parsing_would_change_is_not_requested() {
    let harness = Harness::new(&DOT_SEGMENT_PROJECT).await;
    let error = harness.poll().await.result.expect_err("no path");
    assert_eq!(error.kind, ProviderErrorKind::Misconfigured, "{error}");
    assert_eq!(harness.server.request_count(), 0);
}
