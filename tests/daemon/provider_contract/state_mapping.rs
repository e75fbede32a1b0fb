//! Provider states and complete bodies are read as each kind's document describes them.

use std::time::Duration;

use jobtrack::job::ObservedState;
use serde_json::Value;

use super::harness::{FIXTURES, Harness};
use crate::support::fake_server::{JobEnd, JobScript};

#[tokio::test]
async fn each_known_state_is_mapped_and_kept_verbatim() {
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        for (provider_state, expected_state) in fixture.known_states {
            let observation = harness
                .parse_valid_body(
                    provider_state,
                    Value::Object((fixture.minimal_body)(provider_state)).to_string(),
                )
                .await;
            assert_eq!(
                (observation.state, observation.provider_state.as_str()),
                (*expected_state, *provider_state),
                "{}",
                fixture.kind
            );
        }
    }
}

#[tokio::test]
async fn fault_44_an_unmapped_state_is_unknown_unless_marked_finished() {
    let unmapped_states =
        ["DREAMING", "Completed", "completed", "QUERY_STATE_", " FAILED", "\u{5b8c}\u{6210}"];
    // The flag as JSON, and the expected state.
    let flags = [
        (None, ObservedState::Unknown),
        (Some("false"), ObservedState::Unknown),
        (Some("null"), ObservedState::Unknown),
        (Some("true"), ObservedState::Indeterminate),
    ];
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        for provider_state in unmapped_states {
            for (flag, expected_state) in flags {
                let mut body = (fixture.minimal_body)(provider_state);
                if let Some(flag) = flag {
                    let Some(field) = fixture.finished_field else { continue };
                    body.insert(field.into(), flag.parse().expect("JSON"));
                }
                let observation =
                    harness.parse_valid_body(provider_state, Value::Object(body).to_string()).await;
                assert_eq!(
                    (observation.state, observation.provider_state.as_str()),
                    (expected_state, provider_state),
                    "{flag:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_known_state_ignores_the_finished_flag() {
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        let Some(field) = fixture.finished_field else { continue };
        for (provider_state, expected_state) in fixture.known_states {
            for flag in [true, false] {
                let mut body = (fixture.minimal_body)(provider_state);
                body.insert(field.into(), flag.into());
                let observation =
                    harness.parse_valid_body(provider_state, Value::Object(body).to_string()).await;
                assert_eq!(
                    observation.state, *expected_state,
                    "{provider_state} with {field} {flag}"
                );
            }
        }
    }
}

#[tokio::test]
async fn complete_bodies_are_parsed_in_full() {
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        for example in (fixture.examples)() {
            let observation = harness.parse_valid_body(example.name, example.body).await;
            assert_eq!(observation, example.expected, "{}: {}", fixture.kind, example.name);
        }
    }
}

#[tokio::test]
async fn each_stage_of_a_job_is_observed() {
    let hour = Duration::from_hours(1);
    let job_with =
        |pending: Duration, running: Duration| JobScript::new().pending(pending).running(running);
    let cases = [
        (job_with(hour, hour), ObservedState::Pending),
        (job_with(Duration::ZERO, hour), ObservedState::Running),
        (
            job_with(Duration::ZERO, Duration::ZERO).ending_with(JobEnd::Completed),
            ObservedState::Succeeded,
        ),
        (
            job_with(Duration::ZERO, Duration::ZERO).ending_with(JobEnd::Failed),
            ObservedState::Failed,
        ),
    ];
    for fixture in FIXTURES {
        let harness = Harness::new(fixture).await;
        for (life, expected_state) in cases.clone() {
            (fixture.add_job)(&harness.server, life);
            let observation = harness
                .poll()
                .await
                .result
                .unwrap_or_else(|error| panic!("{expected_state:?}: {error}"));
            assert_eq!(observation.state, expected_state);
            assert_eq!(
                observation.message.is_some(),
                expected_state == ObservedState::Failed,
                "why it failed: {observation:?}"
            );
        }
        assert_eq!(harness.server.client_violations(), [""; 0], "{}", fixture.kind);
    }
}

#[tokio::test]
async fn a_user_mapped_state_is_mapped_and_kept_verbatim() {
    let states = "state_map = { DAYDREAMING = \"running\", \"\u{5b8c}\u{6210}\" = \"succeeded\" }";
    let cases = [
        ("DAYDREAMING", ObservedState::Running),
        ("\u{5b8c}\u{6210}", ObservedState::Succeeded),
        ("daydreaming", ObservedState::Unknown),
        ("DREAMING", ObservedState::Unknown),
    ];
    for fixture in FIXTURES {
        let harness = Harness::with_config(fixture, states).await;
        for (provider_state, expected_state) in cases.iter().chain(fixture.known_states) {
            let observation = harness
                .parse_valid_body(
                    provider_state,
                    Value::Object((fixture.minimal_body)(provider_state)).to_string(),
                )
                .await;
            assert_eq!(
                (observation.state, observation.provider_state.as_str()),
                (*expected_state, *provider_state),
                "{}",
                fixture.kind
            );
        }
    }
}

#[tokio::test]
async fn a_known_state_cannot_be_remapped() {
    for fixture in FIXTURES {
        for (provider_state, expected_state) in fixture.known_states {
            let states = format!("state_map = {{ {provider_state} = \"succeeded\" }}");
            if *expected_state == ObservedState::Unknown {
                Harness::with_config(fixture, &states).await;
                continue;
            }
            let error = Harness::config_error(fixture, &states).await;
            let expected_error = format!(
                "state_map: {provider_state} is built in as {} and cannot be mapped; remove it",
                expected_state.to_state()
            );
            assert!(error.contains(&expected_error), "{error}");
        }
    }
}
