//! `docs/operations.md` lists every message that the daemon logs as an error, a warning or information.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

const PAGE: &str = include_str!("../../docs/operations.md");

/// A level and a message, with `…` for each value.
type Message = (String, String);

fn rust_sources(directory: &Path, text: &mut Vec<String>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_sources(&path, text);
        } else {
            text.push(fs::read_to_string(path).expect("a source"));
        }
    }
}

/// The messages of all calls of `tracing` in a source.
fn logged_messages(source: &str) -> Vec<Message> {
    let calls = source.split("tracing::").skip(1);
    let messages = calls.filter_map(|call| {
        let (level, arguments) = call.split_once("!(")?;
        ["error", "warn", "info"].contains(&level).then(|| {
            let literal = first_literal(arguments);
            (level.to_uppercase(), with_values_replaced(&literal))
        })
    });
    messages.collect()
}

/// The first text literal, without the line breaks that a backslash joins.
fn first_literal(text: &str) -> String {
    let literal = text.split_once('"').expect("a message").1;
    let mut result = String::new();
    let mut chars = literal.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('"', _) => break,
            ('\\', Some('\n')) => while chars.next_if(|c| c.is_whitespace()).is_some() {},
            ('\\', _) => result.extend(chars.next()),
            (c, _) => result.push(c),
        }
    }
    result
}

fn with_values_replaced(literal: &str) -> String {
    let mut parts = literal.split('{');
    let mut message = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        message.push('…');
        message.push_str(part.split_once('}').map_or("", |(_, rest)| rest));
    }
    message
}

/// The rows of the catalogue.
fn listed_messages() -> Vec<Message> {
    let (_, section) = PAGE.split_once("### Messages").expect("the catalogue");
    let section = section.split("\n## ").next().expect("a section");
    let rows = section.lines().filter_map(|line| {
        let (level, rest) = line.strip_prefix("| ")?.split_once(" | `")?;
        Some((level.to_owned(), rest.split_once("` | ")?.0.to_owned()))
    });
    rows.collect()
}

#[test]
fn every_message_of_the_log_is_in_the_catalogue_and_the_catalogue_has_no_other() {
    let mut sources = Vec::new();
    rust_sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut sources);
    // The page describes the messages that are nothing but a value.
    let logged: BTreeSet<Message> = sources
        .iter()
        .flat_map(|source| logged_messages(source))
        .map(|(level, message)| (level, message.replace('`', "")))
        .filter(|(_, message)| message != "…")
        .collect();
    let listed = listed_messages();
    assert!(logged.len() > 40 && listed.len() > 40, "{logged:?} {listed:?}");
    let is_row_of = |row: &Message, message: &Message| {
        row.0 == message.0 && message.1.starts_with(row.1.trim_end_matches(['…', ' ']))
    };
    for message in &logged {
        let row = listed.iter().find(|row| is_row_of(row, message));
        assert!(row.is_some(), "not in docs/operations.md: {message:?}");
    }
    for row in &listed {
        let message = logged.iter().find(|message| is_row_of(row, message));
        assert!(message.is_some(), "docs/operations.md has a message that is not logged: {row:?}");
    }
}
