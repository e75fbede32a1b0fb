//! Texts that stand where an id should be: the head of a column, or a missing value.
//!
//! Exports of notebooks and spreadsheets contain them. Used by the scheduler when a job is added.

use super::id::RemoteId;

/// Names of columns that hold ids.
const COLUMN_NAMES: [&str; 6] =
    ["id", "execution_id", "job_id", "instance_id", "remote_id", "query_id"];
/// How programs write a missing value.
const MISSING_VALUES: [&str; 6] = ["none", "null", "nan", "nil", "undefined", "nat"];

/// Why a text is no id of any service; `None` if it may be one.
#[must_use]
pub fn placeholder_reason(id: &RemoteId) -> Option<String> {
    // What is before a slash is a name that users choose, of a script for example.
    let text = id.as_str().rsplit('/').next()?;
    let is_one_of = |names: &[&str]| names.iter().any(|name| text.eq_ignore_ascii_case(name));
    if is_one_of(&COLUMN_NAMES) {
        Some(format!("{text:?} is the name of a column, not an id"))
    } else if is_one_of(&MISSING_VALUES) {
        Some(format!("{text:?} stands for a missing value, not for an id"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn column_names_and_missing_values_are_no_ids() {
        for text in ["execution_id", "JOB_ID", "None", "null", "NaN", "nan", "etl/None"] {
            let id: RemoteId = text.parse().expect("well formed");
            assert!(placeholder_reason(&id).is_some(), "{text}");
        }
        for text in ["01GBM4W2N0NMCGPZYW8AYK4YF1", "nano", "id/nullable-1", "17"] {
            let id: RemoteId = text.parse().expect("well formed");
            assert_eq!(placeholder_reason(&id), None, "{text}");
        }
    }
}
