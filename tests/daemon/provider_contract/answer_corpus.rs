//! The answers of `tests/corpus/answers`: each is read with the right state, or refused.
//!
//! An answer that must be read is in a directory `read` and its file name begins with the state. An answer
//! that must be refused is in a directory `refused`. An answer may be damaged in any field.

use std::fs;
use std::path::{Path, PathBuf};

use super::dataarts::DATAARTS;
use super::dli::DLI;
use super::dune::DUNE;
use super::harness::{Harness, ProviderFixture};
use super::job_list::parse_list;
use crate::support::fake_server::Fault;
use jobtrack::job::ProviderErrorKind;

fn answers(kind: &str, outcome: &str) -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus/answers");
    let files = fs::read_dir(root.join(kind).join(outcome)).expect("a directory");
    let mut paths: Vec<PathBuf> = files.map(|file| file.expect("a file").path()).collect();
    paths.sort();
    assert!(paths.len() > 2, "too few answers in {kind}/{outcome}");
    let read = |path: PathBuf| {
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        (name, fs::read(path).expect("an answer"))
    };
    paths.into_iter().map(read).collect()
}

fn expected_state(name: &str) -> &str {
    name.split_once('.').expect("STATE.what_is_damaged").0
}

async fn check_answers(fixture: &'static ProviderFixture) {
    let kind = fixture.kind;
    let harness = Harness::new(fixture).await;
    for (name, body) in answers(kind, "read") {
        let observation = harness.parse_valid_body(&format!("{kind}/{name}"), body).await;
        assert_eq!(observation.provider_state, expected_state(&name), "{kind}/{name}");
    }
    for (name, body) in answers(kind, "refused") {
        if let Ok(observation) = harness.parse_body(body).await {
            panic!("{kind}/{name} is read as {observation:?}");
        }
    }
}

#[tokio::test]
async fn fault_41_45_a_damaged_answer_is_read_with_the_right_state_or_refused() {
    for fixture in [&DUNE, &DLI, &DATAARTS] {
        check_answers(fixture).await;
    }
}

#[tokio::test]
async fn fault_41_45_a_damaged_list_is_read_with_the_right_states_or_refused() {
    let harness = Harness::new(&DLI).await;
    let state_in = async |body: Vec<u8>| {
        let page = parse_list(&harness, body).await.ok()?;
        let mut jobs = page.jobs.into_iter();
        let is_own_job = |id: &str| id.eq_ignore_ascii_case(DLI.remote_id);
        jobs.find(|(id, _)| is_own_job(id.as_str())).map(|(_, job)| job.provider_state)
    };
    for (name, body) in answers("dli_list", "read") {
        assert_eq!(state_in(body).await.as_deref(), Some(expected_state(&name)), "{name}");
    }
    for (name, body) in answers("dli_list", "refused") {
        assert_eq!(state_in(body).await, None, "{name}");
    }
}

#[tokio::test]
async fn fault_41_a_damaged_error_message_does_not_hide_what_failed() {
    let cases: [(&'static ProviderFixture, u16, &str, ProviderErrorKind); 8] = [
        (&DUNE, 404, r#"{"error":"Object not found \ud83d"}"#, ProviderErrorKind::NotFound),
        (&DUNE, 404, r#"{"error":"Object not found: "x""}"#, ProviderErrorKind::NotFound),
        (
            &DLI,
            400,
            r#"{"error_code":"DLI.0002","error_msg":"cut \ud83d"}"#,
            ProviderErrorKind::NotFound,
        ),
        (
            &DLI,
            400,
            "{\"error_msg\":\"a\nb\",\"error_code\":\"DLI.0002\"}",
            ProviderErrorKind::NotFound,
        ),
        (
            &DLI,
            400,
            r#"{"error_msg":"no "a", or "b"","error_code":"DLI.0002"}"#,
            ProviderErrorKind::NotFound,
        ),
        (
            &DATAARTS,
            400,
            r#"{"error_code":"DLF.6205","error_msg":"no "x""}"#,
            ProviderErrorKind::NotFound,
        ),
        // Two places for the code: the job may still exist.
        (
            &DLI,
            400,
            r#"{"error_msg":"was "a","error_code":"DLI.0002","error_msg":"b" c","error_code":"DLI.0999"}"#,
            ProviderErrorKind::Malformed,
        ),
        (&DLI, 400, r#"{"error_code":"DLI.00\x02","error_msg":"x"}"#, ProviderErrorKind::Malformed),
    ];
    for (fixture, status, body, kind) in cases {
        let harness = Harness::new(fixture).await;
        let headers = vec![("content-type".to_owned(), "application/json".to_owned())];
        let fault = Fault::Status { code: status, body: body.to_owned(), headers };
        let error = harness.poll_with_fault(fault).await.result.expect_err(body);
        assert_eq!(error.kind, kind, "{body}: {error}");
    }
}
