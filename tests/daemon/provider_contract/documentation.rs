//! `docs/providers.md` describes how the code reads states and unsuccessful answers.

use jobtrack::job::ProviderErrorKind;
use jobtrack::provider::classify::Matcher;
use jobtrack::provider::error_rules;

use super::harness::FIXTURES;

const PAGE: &str = include_str!("../../../docs/providers.md");

/// The rows of the table below a heading.
fn table_rows(heading: &str) -> Vec<&'static str> {
    let (_, section) = PAGE.split_once(&format!("\n{heading}\n")).expect(heading);
    let section = section.split("\n#").next().expect("a section");
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

/// The codes of a list such as `` `DLI.0001`, `IAM.1000` to `IAM.1062` ``.
fn listed_codes(cell: &str) -> Vec<String> {
    let codes = |part: &str| -> Vec<String> {
        part.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    };
    cell.split(',')
        .flat_map(|part| match codes(part).as_slice() {
            [first, last] if part.contains(" to ") => {
                let (service, first) = first.split_once('.').expect("a code");
                let first: u32 = first.parse().expect("a number");
                let last: u32 = last.split_once('.').expect("a code").1.parse().expect("a number");
                (first..=last).map(|number| format!("{service}.{number:04}")).collect()
            }
            codes => codes.to_vec(),
        })
        .collect()
}

#[test]
fn every_error_code_is_documented_in_the_row_of_its_class_and_in_no_other() {
    let documented: Vec<(String, String)> = table_rows("### Error codes")
        .iter()
        .flat_map(|row| {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            listed_codes(cells[2]).into_iter().map(move |code| (code, cells[1].to_owned()))
        })
        .collect();
    let mut rule_count = 0;
    for rule in error_rules() {
        let Matcher::Code(service, numbers) = &rule.matcher else { continue };
        for number in *numbers {
            let code = format!("{service}.{number}");
            let classes: Vec<_> = documented
                .iter()
                .filter(|(known, _)| *known == code)
                .map(|(_, class)| class)
                .collect();
            assert_eq!(classes, [class_name(rule.kind)], "{code}");
            rule_count += 1;
        }
    }
    // Each kind of Huawei has all rules.
    assert_eq!(documented.len() * 2, rule_count, "a code is documented that has no rule");
}

#[test]
fn every_status_and_message_is_in_the_row_of_its_class() {
    let rows = table_rows("## Answers");
    for rule in error_rules() {
        let (answers, is_message) = match &rule.matcher {
            Matcher::Status(range) if range.start() == range.end() => {
                (range.start().to_string(), false)
            }
            Matcher::Status(range) => (format!("{}xx", range.start() / 100), false),
            Matcher::Code(..) => continue,
            Matcher::CodeAndMessage(service, number, _) => {
                (format!("`{service}.{number}` with `"), true)
            }
            Matcher::Message(status, _) => (format!("{status} with `"), true),
        };
        let documented: Vec<_> = rows
            .iter()
            .map(|row| row.split('|').map(str::trim).collect::<Vec<_>>())
            .filter(|cells| {
                // A status that needs a message is not in the row by itself.
                let mut parts = cells[2].split([',', ';']).map(str::trim);
                if is_message {
                    cells[2].contains(&answers)
                } else {
                    parts.any(|part| part == answers)
                }
            })
            .map(|cells| cells[1])
            .collect();
        if is_message {
            assert!(documented.contains(&class_name(rule.kind)), "{rule:?}: {documented:?}");
        } else {
            assert_eq!(documented, [class_name(rule.kind)], "{rule:?}");
        }
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
