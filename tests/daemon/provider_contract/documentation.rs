//! `docs/providers.md` describes how the code reads states and unsuccessful answers.

use jobtrack::job::ProviderErrorKind;
use jobtrack::provider::classify::Matcher;
use jobtrack::provider::error_rules;

use super::harness::FIXTURES;

const PAGE: &str = include_str!("../../../docs/providers.md");

/// The rows of the table below a heading.
fn table_rows(heading: &str) -> Vec<&'static str> {
    let (_, section) = PAGE.split_once(&format!("\n{heading}\n")).expect(heading);
    let section = section.split("\n## ").next().expect("a section");
    section.lines().filter(|line| line.starts_with('|')).skip(2).collect()
}

fn class_name(kind: ProviderErrorKind) -> &'static str {
    match kind {
        ProviderErrorKind::Transient => "transient",
        ProviderErrorKind::Malformed => "malformed",
        ProviderErrorKind::RateLimited => "rate limited",
        ProviderErrorKind::QuotaExceeded => "quota exceeded",
        ProviderErrorKind::Auth => "credentials rejected",
        ProviderErrorKind::Misconfigured => "wrong address",
        ProviderErrorKind::NotFound => "not found",
        ProviderErrorKind::InvalidId => "invalid id",
    }
}

#[test]
fn every_error_rule_is_in_the_row_of_its_class_and_in_no_other() {
    let rows = table_rows("## Answers");
    for (matcher, kind) in error_rules() {
        let (answers, is_message) = match matcher {
            Matcher::Status(range) if range.start() == range.end() => {
                (range.start().to_string(), false)
            }
            Matcher::Status(range) => (format!("{}xx", range.start() / 100), false),
            Matcher::Code(service, number) => (format!("`{service}.{number}`"), false),
            Matcher::Message(status, _) => (format!("{status} with `"), true),
        };
        let documented: Vec<_> = rows
            .iter()
            .map(|row| row.split('|').map(str::trim).collect::<Vec<_>>())
            .filter(|cells| {
                let parts = cells[2].split([',', ';', ' ']);
                if is_message {
                    cells[2].contains(&answers)
                } else {
                    // A status that needs a message is not in the row by itself.
                    let statuses_alone = !cells[2].contains("Dune: ");
                    parts.into_iter().any(|part| part == answers)
                        && (statuses_alone || matches!(matcher, Matcher::Code(..)))
                }
            })
            .map(|cells| cells[1])
            .collect();
        assert_eq!(documented, [class_name(*kind)], "{matcher:?}");
    }
}

#[test]
fn every_known_state_is_in_the_table_of_its_kind() {
    for fixture in FIXTURES {
        let rows = table_rows(&format!("## {}", fixture.kind));
        for (provider_state, state) in fixture.known_states {
            if *state == jobtrack::job::ObservedState::Unknown {
                continue;
            }
            let bare_state = provider_state.trim_start_matches("QUERY_STATE_");
            let is_documented = rows.iter().any(|row| {
                row.contains(&format!("`{bare_state}`"))
                    && row.ends_with(&format!("| `{}` |", state.to_state()))
            });
            assert!(is_documented, "{} {bare_state}: {state:?}", fixture.kind);
        }
    }
}
