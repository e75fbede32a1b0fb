//! The fake Data Lake Insight API: paths, states, bodies and the job list.
//!
//! A body is the documented example with the values of another job, in one of two revisions. Some
//! jobs have their numbers as text, as in real lists.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::script::{JobEnd, JobPhase, ScriptSnapshot, add_duration};

/// The response for a finished job in the newer documentation, verbatim.
pub const FINISHED_EXAMPLE: &str = include_str!("../data/dli-finished-new.json");
/// The response for a finished job in the older documentation, verbatim: it is not valid JSON.
pub const OLDER_FINISHED_EXAMPLE: &str = include_str!("../data/dli-finished-old.json");
/// The message of every failed job; in the older revision it is JSON in a string.
pub const FAILURE_MESSAGE: &str = "Table or view not found: dbtest.tbtest; line 1 pos 14";
/// The state of a job that runs while its queue is scaled out; for
/// [`JobScript::from_states`](super::JobScript::from_states).
pub const SCALING: &str = "SCALING";

pub const STATE_PHASES: [(&str, JobPhase); 6] = [
    ("LAUNCHING", JobPhase::Pending),
    ("RUNNING", JobPhase::Running),
    ("FINISHED", JobPhase::Ended(JobEnd::Completed)),
    ("FAILED", JobPhase::Ended(JobEnd::Failed)),
    ("CANCELLED", JobPhase::Ended(JobEnd::Cancelled)),
    ("CANCELED", JobPhase::Ended(JobEnd::Canceled)),
];
const NUMERIC_FIELDS: [&str; 4] = ["start_time", "duration", "input_size", "result_count"];

#[derive(Clone, Copy, Debug)]
pub struct ResponseVariant {
    /// The older revision has no `job_mode`, and its `start_time` is the submission; in the newer
    /// one `start_time` is the start. The documentation does not say which of the two it is.
    pub older_revision: bool,
    pub numbers_as_text: bool,
}

impl ResponseVariant {
    /// Depends on the id alone, so that a job always has the same variant; all four occur.
    pub fn for_job(id: &str) -> Self {
        let sum: usize = id.bytes().map(usize::from).sum();
        Self { older_revision: sum.is_multiple_of(2), numbers_as_text: sum.is_multiple_of(3) }
    }
}

/// The job of `/v1.0/{project_id}/jobs/{job_id}/status`.
pub fn job_id_from_path(path: &str) -> Option<String> {
    match path.split('/').collect::<Vec<_>>()[..] {
        ["", "v1.0", project, "jobs", id, "status"] if !project.is_empty() && !id.is_empty() => {
            Some(id.to_owned())
        }
        _ => None,
    }
}

/// Whether the path is `/v1.0/{project_id}/jobs`.
pub fn is_list_path(path: &str) -> bool {
    matches!(path.split('/').collect::<Vec<_>>()[..], ["", "v1.0", project, "jobs"] if !project.is_empty())
}

/// The query parameters of a list request.
#[derive(Clone, Copy, Debug)]
pub struct ListQuery {
    start_ms: i64,
    end_ms: i64,
    page_size: usize,
    page_number: usize,
    newest_first: bool,
}

impl ListQuery {
    /// `None` if a parameter is unknown or out of range.
    pub fn parse(query: &str) -> Option<Self> {
        let newest_first = true;
        let mut list_query = Self {
            start_ms: i64::MIN,
            end_ms: i64::MAX,
            page_size: 50,
            page_number: 1,
            newest_first,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=')?;
            let one_to_100 = || value.parse().ok().filter(|number| (1..=100).contains(number));
            match name {
                "start" => list_query.start_ms = value.parse().ok()?,
                "end" => list_query.end_ms = value.parse().ok()?,
                "page-size" => list_query.page_size = one_to_100()?,
                "current-page" => list_query.page_number = one_to_100()?,
                "order" => {
                    list_query.newest_first = match value {
                        "start_time_desc" => true,
                        "start_time_asc" => false,
                        _ => return None,
                    };
                }
                _ => return None,
            }
        }
        Some(list_query)
    }

    /// The body of a list response, from the bodies of the status responses of all jobs.
    pub fn response_body(&self, jobs: impl Iterator<Item = Value>) -> Value {
        let mut jobs: Vec<_> = jobs
            .map(|job| (integer_value(&job["start_time"]), job))
            .filter(|(start, _)| (self.start_ms..=self.end_ms).contains(start))
            .collect();
        jobs.sort_by_key(|(start, job)| (*start, job["job_id"].to_string()));
        if self.newest_first {
            jobs.reverse();
        }
        let count = jobs.len();
        let page =
            jobs.into_iter().skip((self.page_number - 1) * self.page_size).take(self.page_size);
        let rows: Vec<_> = page.map(|(_, job)| list_row(job)).collect();
        json!({ "is_success": true, "message": "", "job_count": count, "jobs": rows })
    }
}

/// The list row of a job, from the body of its status response.
fn list_row(mut job: Value) -> Value {
    let phase =
        job["status"].as_str().and_then(|state| super::ServiceKind::Dli.phase_of_state(state));
    if let Some(JobPhase::Ended(_)) = phase {
        let end = integer_value(&job["start_time"]) + integer_value(&job["duration"]);
        // As text or as a number, like the other fields of the row.
        job["end_time"] =
            if job["start_time"].is_string() { end.to_string().into() } else { end.into() };
    }
    let fields = job.as_object_mut().expect("an object");
    fields.remove("is_success");
    fields.remove("job_mode");
    job
}

fn integer_value(value: &Value) -> i64 {
    value.as_str().map_or_else(|| value.as_i64(), |text| text.parse().ok()).expect("a number")
}

pub fn job_not_found_error(_: bool) -> (&'static str, &'static str) {
    ("DLI.0002", "The object does not exist.")
}

/// The body of a successful status response. The end of the job is `start_time + duration`, to the
/// millisecond.
pub fn status_body(
    id: &str,
    variant: ResponseVariant,
    submitted: Timestamp,
    snapshot: &ScriptSnapshot,
) -> Value {
    let started_after =
        snapshot.started_after.filter(|_| !variant.older_revision).unwrap_or_default();
    let start = add_duration(submitted, started_after).as_millisecond();
    let end =
        add_duration(submitted, snapshot.ended_after.unwrap_or(snapshot.elapsed)).as_millisecond();
    let message = match (snapshot.phase == JobPhase::Ended(JobEnd::Failed), variant.older_revision)
    {
        (false, _) => String::new(),
        (true, false) => FAILURE_MESSAGE.to_owned(),
        (true, true) => {
            json!({ "error_code": "DLI.0005", "error_msg": FAILURE_MESSAGE }).to_string()
        }
    };
    let mut body: Value =
        serde_json::from_str(FINISHED_EXAMPLE).expect("the documented example is JSON");
    body["job_id"] = id.into();
    body["status"] = super::ServiceKind::Dli.provider_state(&snapshot.phase).into();
    body["message"] = message.into();
    body["start_time"] = start.into();
    body["duration"] = (end - start).into();
    if variant.older_revision {
        body.as_object_mut().expect("an object").remove("job_mode");
    }
    if variant.numbers_as_text {
        for name in NUMERIC_FIELDS {
            body[name] = body[name].to_string().into();
        }
    }
    body
}
