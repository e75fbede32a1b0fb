//! Parses the lines of standard input that name jobs.
//!
//! Pure functions, used by `add`, `cancel` and `wait`.

use std::collections::BTreeMap;

use crate::job::{InvalidText, JobRef, RemoteId, parse_label};

/// Provider, remote ID and labels of a line; none if the line is blank or a comment.
pub type JobLine<'a> = Option<(&'a str, &'a str, BTreeMap<String, String>)>;

/// Parses `ID [K=V]…` if the provider is given, else `PROVIDER/ID [K=V]…`.
///
/// # Errors
/// A description of what is wrong with the line.
pub fn parse_add_line<'a>(
    line: &'a [u8],
    provider: Option<&'a str>,
) -> Result<JobLine<'a>, String> {
    let line = std::str::from_utf8(line).map_err(|_| "the line is not UTF-8")?;
    // Some editors write a byte order mark at the beginning of a file.
    let line = line.trim_start_matches('\u{feff}');
    let mut words = line.split_whitespace();
    let Some(name) = words.next().filter(|word| !word.starts_with('#')) else {
        return Ok(None);
    };
    let (provider, id) = match provider {
        Some(provider) => (provider, name),
        None => name.split_once('/').ok_or_else(|| format!("{name:?} is not PROVIDER/ID"))?,
    };
    // The daemon checks the ID too; here, a very long line cannot make a whole request too large.
    id.parse::<RemoteId>().map_err(|error| error.to_string())?;
    let labels: Result<_, _> = words.map(parse_label).collect();
    Ok(Some((provider, id, labels.map_err(|error| error.to_string())?)))
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
        ];
        for (line, given, provider, id, labels) in cases {
            let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            assert_eq!(
                parse_add_line(line.as_bytes(), given),
                Ok(Some((provider, id, labels))),
                "{line}"
            );
        }
        for line in ["", "  \t", "# a comment", "  #x"] {
            assert_eq!(parse_add_line(line.as_bytes(), None), Ok(None), "{line}");
        }
        for line in [&b"no-slash"[..], b"dune/x label", b"\xff\xfe/x"] {
            assert!(parse_add_line(line, None).is_err(), "{line:?}");
        }
    }

    #[test]
    fn lines_name_jobs_by_their_first_word() {
        let names = parse_job_refs("17 dune/x added\n\n# all\n  scripts/a/b\nrubbish\n");
        let names: Vec<_> =
            names.iter().map(|name| name.as_ref().map(ToString::to_string)).collect();
        assert_eq!(names.len(), 3);
        assert_eq!(names[0].as_deref(), Ok("17"));
        assert_eq!(names[1].as_deref(), Ok("scripts/a/b"));
        assert!(names[2].is_err());
    }
}
