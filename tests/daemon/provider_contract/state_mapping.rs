//! What an answer says: the provider's words, its whole bodies, a job's life from step to step.

use std::time::Duration;

use jobtrack::job::Said;
use serde_json::Value;

use super::harness::{Bench, SUBJECTS};
use crate::support::fake_server::{End, Life};

#[tokio::test]
async fn each_word_means_what_it_should_and_is_kept() {
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        for (word, said) in subject.words {
            let seen = bench.good(word, Value::Object((subject.body)(word)).to_string()).await;
            assert_eq!((seen.said, seen.word.as_str()), (*said, *word), "{}", subject.kind);
        }
    }
}

#[tokio::test]
async fn fault_44_another_word_is_unknown_unless_the_provider_says_that_it_is_over() {
    let words =
        ["DREAMING", "Completed", "completed", "QUERY_STATE_", " FAILED", "\u{5b8c}\u{6210}"];
    // What the flag says, as JSON, and what that means.
    let flags = [
        (None, Said::Unknown),
        (Some("false"), Said::Unknown),
        (Some("null"), Said::Unknown),
        (Some("true"), Said::Indeterminate),
    ];
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        for word in words {
            for (flag, said) in flags {
                let mut body = (subject.body)(word);
                if let Some(flag) = flag {
                    let Some(field) = subject.over_field else { continue };
                    body.insert(field.into(), flag.parse().expect("JSON"));
                }
                let seen = bench.good(word, Value::Object(body).to_string()).await;
                assert_eq!((seen.said, seen.word.as_str()), (said, word), "{flag:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_known_word_means_the_same_whatever_the_flag_says() {
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        let Some(field) = subject.over_field else { continue };
        for (word, said) in subject.words {
            for flag in [true, false] {
                let mut body = (subject.body)(word);
                body.insert(field.into(), flag.into());
                let seen = bench.good(word, Value::Object(body).to_string()).await;
                assert_eq!(seen.said, *said, "{word} with {field} {flag}");
            }
        }
    }
}

#[tokio::test]
async fn whole_bodies_are_read_to_the_last_field() {
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        for example in (subject.examples)() {
            let seen = bench.good(example.name, example.body).await;
            assert_eq!(seen, example.expected, "{}: {}", subject.kind, example.name);
        }
    }
}

#[tokio::test]
async fn a_life_is_told_as_it_is_lived() {
    let hour = Duration::from_hours(1);
    let played =
        |pending: Duration, running: Duration| Life::new().pending(pending).running(running);
    let cases = [
        (played(hour, hour), Said::Pending),
        (played(Duration::ZERO, hour), Said::Running),
        (played(Duration::ZERO, Duration::ZERO).then(End::Completed), Said::Succeeded),
        (played(Duration::ZERO, Duration::ZERO).then(End::Failed), Said::Failed),
    ];
    for subject in SUBJECTS {
        let bench = Bench::new(subject).await;
        for (life, said) in cases.clone() {
            (subject.put)(&bench.standin, life);
            let seen =
                bench.poll().await.result.unwrap_or_else(|error| panic!("{said:?}: {error}"));
            assert_eq!(seen.said, said);
            assert_eq!(seen.message.is_some(), said == Said::Failed, "why it failed: {seen:?}");
        }
        assert_eq!(bench.standin.violations(), [""; 0], "{}", subject.kind);
    }
}

#[tokio::test]
async fn a_word_that_the_user_explains_means_that_and_is_kept() {
    let states = "states = { DAYDREAMING = \"running\", \"\u{5b8c}\u{6210}\" = \"succeeded\" }";
    let words = [
        ("DAYDREAMING", Said::Running),
        ("\u{5b8c}\u{6210}", Said::Succeeded),
        ("daydreaming", Said::Unknown),
        ("DREAMING", Said::Unknown),
    ];
    for subject in SUBJECTS {
        let bench = Bench::with_lines(subject, states).await;
        for (word, said) in words.iter().chain(subject.words) {
            let seen = bench.good(word, Value::Object((subject.body)(word)).to_string()).await;
            assert_eq!((seen.said, seen.word.as_str()), (*said, *word), "{}", subject.kind);
        }
    }
}

#[tokio::test]
async fn a_word_that_is_known_cannot_be_explained_otherwise() {
    for subject in SUBJECTS {
        for (word, said) in subject.words {
            let states = format!("states = {{ {word} = \"succeeded\" }}");
            if *said == Said::Unknown {
                Bench::with_lines(subject, &states).await;
                continue;
            }
            let why = Bench::refused_with(subject, &states).await;
            let told =
                format!("states: {word} cannot be set, it is known already: {}", said.state());
            assert!(why.contains(&told), "{why}");
        }
    }
}
