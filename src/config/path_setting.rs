//! A path as it is written in the configuration: which file it names, or why it cannot be used.
//!
//! Used by [`load()`](super::load()) and by `secret_ref`. No shell reads these paths, so `~` is expanded here,
//! and what only a shell would expand is refused rather than taken as a name.

use std::path::{Path, PathBuf};

/// The absolute path of a file. A relative path is one of the current directory.
///
/// # Errors
/// What the path must be; the message does not repeat it.
pub(super) fn resolve_file_path(path: &Path, home: Option<&Path>) -> Result<PathBuf, String> {
    let text = path.to_string_lossy();
    if text.is_empty() {
        return Err("must be a path".to_owned());
    }
    if text.contains(char::is_control) {
        return Err("must be a path without control characters".to_owned());
    }
    if text.starts_with('$') || text.contains("${") {
        return Err("must be a path; variables are not expanded, except ~".to_owned());
    }
    let expanded = match (text.strip_prefix('~'), home) {
        (None, _) => path.to_owned(),
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
            home.join(rest.trim_start_matches('/'))
        }
        (Some(rest), None) if rest.is_empty() || rest.starts_with('/') => {
            return Err(
                "begins with ~, but there is no home directory; write the whole path".into()
            );
        }
        (Some(_), _) => {
            return Err("begins with ~ and the name of a user; write the whole path".to_owned());
        }
    };
    let names_directory = matches!(&*text, "~" | "." | "..")
        || ["/", "/.", "/.."].iter().any(|end| text.ends_with(end));
    if names_directory {
        return Err("must be the path of a file, not of a directory".to_owned());
    }
    std::path::absolute(expanded).map_err(|error| {
        format!("is relative to a current directory that does not exist ({error})")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<PathBuf, String> {
        resolve_file_path(Path::new(text), Some(Path::new("/home/u")))
    }

    #[test]
    fn the_home_directory_is_expanded_and_a_relative_path_becomes_absolute() {
        let current = std::env::current_dir().expect("a directory");
        let cases = [
            ("/var/lib/jobtrack.db", PathBuf::from("/var/lib/jobtrack.db")),
            ("~/jobtrack.db", "/home/u/jobtrack.db".into()),
            ("~//a b/~x", "/home/u/a b/~x".into()),
            ("/data/~/x$y", "/data/~/x$y".into()),
            ("jobtrack.db", current.join("jobtrack.db")),
            ("./dir/jobtrack.db", current.join("dir/jobtrack.db")),
        ];
        for (text, expected) in cases {
            assert_eq!(resolve(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_names_no_file_is_refused() {
        let cases = [
            ("", "must be a path"),
            ("a\0b", "control characters"),
            ("/a\nb", "control characters"),
            ("$HOME/jobtrack.db", "variables are not expanded"),
            ("${STATE_DIRECTORY}/jobtrack.db", "variables are not expanded"),
            ("/home/${USER}/jobtrack.db", "variables are not expanded"),
            ("~other/jobtrack.db", "name of a user"),
            ("~", "not of a directory"),
            ("~/", "not of a directory"),
            (".", "not of a directory"),
            ("..", "not of a directory"),
            ("/var/lib/", "not of a directory"),
            ("/var/lib/.", "not of a directory"),
            ("/", "not of a directory"),
        ];
        for (text, problem) in cases {
            let error = resolve(text).expect_err(text);
            assert!(error.contains(problem), "{text:?}: {error}");
        }
        let homeless = resolve_file_path(Path::new("~/x"), None).expect_err("no home");
        assert!(homeless.contains("no home directory"), "{homeless}");
    }
}
