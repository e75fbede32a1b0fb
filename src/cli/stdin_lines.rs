//! Parses the lines of standard input that name jobs.
//!
//! Pure functions, used by `add`, `cancel` and `wait`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;

use crate::api::AddRequestEntry;
use crate::job::{InvalidText, JobRef, RemoteId, parse_label};

/// A line that is a JSON object.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JsonLine {
    provider: Option<String>,
    remote_id: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    give_up_after: Option<String>,
    price: Option<String>,
    similar_to: Option<String>,
    #[serde(default)]
    again: bool,
}

/// Parses `ID [K=V]…` if the provider is given, else `PROVIDER/ID [K=V]…`, with quotes as in a shell; or a JSON
/// object with the fields of an add request. None if the line is blank or a comment.
///
/// # Errors
/// A description of what is wrong with the line.
pub fn parse_add_line(
    line: &[u8],
    provider: Option<&str>,
) -> Result<Option<AddRequestEntry>, String> {
    let line = std::str::from_utf8(line).map_err(|_| "the line is not UTF-8")?;
    // Some editors write a byte order mark at the beginning of a file.
    let line = line.trim_start_matches('\u{feff}').trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(None);
    }
    let entry = if line.starts_with('{') {
        parse_json_line(line, provider)?
    } else {
        parse_words(line, provider)?
    };
    // The daemon checks the ID too; here, a very long line cannot make a whole request too large.
    entry.remote_id.parse::<RemoteId>().map_err(|error| error.to_string())?;
    Ok(Some(entry))
}

fn parse_words(line: &str, provider: Option<&str>) -> Result<AddRequestEntry, String> {
    let words = split_words(line)?;
    let Some((name, labels)) = words.split_first() else {
        return Err("the line has only a comment".to_owned());
    };
    let (provider, id) = match provider {
        Some(provider) => (provider, name.as_ref()),
        None => name.split_once('/').ok_or_else(|| format!("{name:?} is not PROVIDER/ID"))?,
    };
    let labels: Result<_, _> = labels.iter().map(|label| parse_label(label)).collect();
    Ok(AddRequestEntry {
        labels: labels.map_err(|error| error.to_string())?,
        ..AddRequestEntry::new(provider.to_owned(), id.to_owned())
    })
}

/// The words of a line. Only quotes and backslashes make a difference to a split at white space.
fn split_words(line: &str) -> Result<Vec<Cow<'_, str>>, String> {
    if !line.contains(['"', '\'', '\\']) {
        return Ok(line.split_whitespace().map(Cow::Borrowed).collect());
    }
    let words = shlex::split(line).ok_or("a quote is not closed, or the line ends with \\")?;
    Ok(words.into_iter().map(Cow::Owned).collect())
}

fn parse_json_line(line: &str, provider: Option<&str>) -> Result<AddRequestEntry, String> {
    let line: JsonLine = serde_json::from_str(line).map_err(|error| format!("JSON: {error}"))?;
    let provider = match (line.provider, provider) {
        (Some(own), Some(given)) if own != given => {
            return Err(format!("the line is for provider {own:?}, the command for {given:?}"));
        }
        (Some(own), _) => own,
        (None, Some(given)) => given.to_owned(),
        (None, None) => return Err("the line has no field provider".to_owned()),
    };
    Ok(AddRequestEntry {
        provider,
        remote_id: line.remote_id,
        labels: line.labels,
        give_up_after: line.give_up_after,
        price: line.price,
        similar_to: line.similar_to,
        again: line.again,
    })
}

/// Parses the first word of each line, so that the output of `add` can be used as input.
pub fn parse_job_refs(text: &str) -> Vec<Result<JobRef, InvalidText>> {
    let words = text.lines().filter_map(|line| line.split_whitespace().next());
    let words = words.filter(|word| !word.starts_with('#'));
    words.map(str::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_name_jobs_and_their_labels() {
        let none: &[(&str, &str)] = &[];
        let cases = [
            ("01GB", Some("dune"), "dune", "01GB", none),
            ("  a/b\tx=1  y==\r", Some("scripts"), "scripts", "a/b", &[("x", "1"), ("y", "=")]),
            ("lake/a1 n=", None, "lake", "a1", &[("n", "")]),
            ("scripts/etl/7", None, "scripts", "etl/7", none),
            ("01A note=\"hello world\"", Some("dune"), "dune", "01A", &[("note", "hello world")]),
            (
                "01A 'note=it is' b=c\\ d",
                Some("dune"),
                "dune",
                "01A",
                &[("note", "it is"), ("b", "c d")],
            ),
            (r#"{"remote_id": "01A"}"#, Some("dune"), "dune", "01A", none),
            (
                r#"{"provider": "lake", "remote_id": "a1", "labels": {"note": "hello world"}}"#,
                None,
                "lake",
                "a1",
                &[("note", "hello world")],
            ),
        ];
        for (line, given, provider, id, labels) in cases {
            let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let entry = parse_add_line(line.as_bytes(), given).expect(line).expect(line);
            assert_eq!(
                (entry.provider.as_str(), entry.remote_id.as_str()),
                (provider, id),
                "{line}"
            );
            assert_eq!(entry.labels, labels, "{line}");
        }
        for line in ["", "  \t", "# a comment", "  #x", "# it's a comment"] {
            assert!(
                parse_add_line(line.as_bytes(), None).is_ok_and(|entry| entry.is_none()),
                "{line}"
            );
        }
        let bad = [
            &b"no-slash"[..],
            b"dune/x label",
            b"\xff\xfe/x",
            b"dune/x a=\"b",
            br#"{"remote_id": "x"}"#,
            br#"{"provider": "dune", "remote_id": "x", "lables": {}}"#,
            br#"{"provider": "dune"}"#,
            b"{dune/x",
        ];
        for line in bad {
            assert!(parse_add_line(line, None).is_err(), "{line:?}");
        }
        assert!(
            parse_add_line(br#"{"provider": "lake", "remote_id": "x"}"#, Some("dune")).is_err()
        );
    }

    #[test]
    fn lines_name_jobs_by_their_first_word() {
        let names = parse_job_refs("17 dune/x added\n\n# all\n  scripts/a/b\ndune/\n");
        let names: Vec<_> =
            names.iter().map(|name| name.as_ref().map(ToString::to_string)).collect();
        assert_eq!(names.len(), 3);
        assert_eq!(names[0].as_deref(), Ok("17"));
        assert_eq!(names[1].as_deref(), Ok("scripts/a/b"));
        assert!(names[2].is_err());
    }
}
