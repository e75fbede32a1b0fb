//! The fake DataArts Studio API: path, states and bodies, which contain all result rows.
//!
//! A job id is `SCRIPT/INSTANCE`. The name of a script may be Chinese; clients must percent-encode
//! it once. Schema and row are those of the documented example, repeated for the rows of the
//! script.

use serde_json::{Value, json};

use super::script::{JobEnd, JobPhase, ScriptSnapshot};

/// The documented response for a finished instance, verbatim.
pub const FINISHED_EXAMPLE: &str = include_str!("../data/dataarts-finished.json");
/// The documented response for an unknown script, verbatim.
pub const ERROR_EXAMPLE: &str = include_str!("../data/dataarts-error.json");
/// The message of every failed instance: as text, in an object, or beside the results.
pub const FAILURE_MESSAGE: &str = "SQL compilation error: relation \"trips\" does not exist";
/// Occurs in each result row and nowhere else.
pub const ROW_MARKER: &str = "Harry Bridges Plaza (Ferry Building)";

pub const STATE_PHASES: [(&str, JobPhase); 4] = [
    ("LAUNCHING", JobPhase::Pending),
    ("RUNNING", JobPhase::Running),
    ("FINISHED", JobPhase::Ended(JobEnd::Completed)),
    ("FAILED", JobPhase::Ended(JobEnd::Failed)),
];

/// The job of `/v1/{project_id}/scripts/{script_name}/instances/{instance_id}`, decoded.
pub fn job_id_from_path(path: &str) -> Option<String> {
    match path.split('/').collect::<Vec<_>>()[..] {
        ["", "v1", project, "scripts", script, "instances", instance] if !project.is_empty() => {
            Some(format!("{}/{}", decode_name(script)?, decode_name(instance)?))
        }
        _ => None,
    }
}

/// Decodes a path segment once. `None` unless the result is a name of letters (of any alphabet),
/// digits and `-_.`.
fn decode_name(segment: &str) -> Option<String> {
    let mut parts = segment.split('%');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (code, rest) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        bytes.extend(rest.bytes());
    }
    let name = String::from_utf8(bytes).ok()?;
    let is_valid = segment.is_ascii()
        && !name.is_empty()
        && name.chars().all(|c| c.is_alphanumeric() || "-_.".contains(c));
    is_valid.then_some(name)
}

pub fn script_name(id: &str) -> &str {
    id.split_once('/').map_or(id, |(script, _)| script)
}

pub fn job_not_found_error(script_known: bool) -> (&'static str, &'static str) {
    if script_known {
        ("DLF.6205", "The script instance does not exist.")
    } else {
        ("DLF.6201", "The script does not exist.")
    }
}

/// The body of a successful status response.
pub fn status_body(id: &str, snapshot: &ScriptSnapshot) -> Value {
    let mut body: Value =
        serde_json::from_str(FINISHED_EXAMPLE).expect("the documented example is JSON");
    body["status"] = super::ServiceKind::DataArts.provider_state(&snapshot.phase).into();
    let Some(ended) = snapshot.ended_after else {
        body["results"] = json!([]);
        return body;
    };
    let failed = snapshot.phase == JobPhase::Ended(JobEnd::Failed);
    let rows = if failed { 0 } else { snapshot.result_rows };
    let result = &mut body["results"][0];
    result["duration"] =
        ended.saturating_sub(snapshot.started_after.unwrap_or(ended)).as_secs_f64().into();
    result["rowCount"] = rows.into();
    result["rows"] = vec![result["rows"][0].take(); rows].into();
    if failed {
        result["schema"] = json!([]);
        match id.bytes().map(usize::from).sum::<usize>() % 3 {
            0 => result["message"] = FAILURE_MESSAGE.into(),
            1 => result["message"] = json!({ "error_msg": FAILURE_MESSAGE }),
            _ => body["message"] = FAILURE_MESSAGE.into(),
        }
    }
    body
}
