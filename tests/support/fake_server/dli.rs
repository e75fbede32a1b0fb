//! The part of Data Lake Insight: its paths, its words, its bodies, its list.
//!
//! A body is the document's example, told of another job, in one of two revisions. Numbers come as
//! text for some jobs, as in real lists.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::script::{End, Phase, Snapshot, after};

/// The newer document's answer for a finished job, word for word.
pub const FINISHED_EXAMPLE: &str = include_str!("../data/dli-finished-new.json");
/// The older document's, word for word: it is not JSON.
pub const OLDER_FINISHED_EXAMPLE: &str = include_str!("../data/dli-finished-old.json");
/// The message of every job that fails here; in the older revision as JSON in text.
pub const FAILURE: &str = "Table or view not found: dbtest.tbtest; line 1 pos 14";
/// A job that runs while its queue grows says so; for [`Life::steps`](super::Life::steps).
pub const SCALING: &str = "SCALING";

pub const WORDS: [(&str, Phase); 6] = [
    ("LAUNCHING", Phase::Pending),
    ("RUNNING", Phase::Running),
    ("FINISHED", Phase::Ended(End::Completed)),
    ("FAILED", Phase::Ended(End::Failed)),
    ("CANCELLED", Phase::Ended(End::Cancelled)),
    ("CANCELED", Phase::Ended(End::Canceled)),
];
const NUMBERS: [&str; 4] = ["start_time", "duration", "input_size", "result_count"];

/// How a job is told of.
#[derive(Clone, Copy, Debug)]
pub struct Dialect {
    /// The older revision: without `job_mode`, and `start_time` is the submission. Which it is, no
    /// document says; in the newer one it is the start here.
    pub older: bool,
    /// Whether numbers come as text.
    pub numbers_as_text: bool,
}

impl Dialect {
    /// The same for one job always; all four occur.
    pub fn of(id: &str) -> Self {
        let sum: usize = id.bytes().map(usize::from).sum();
        Self { older: sum.is_multiple_of(2), numbers_as_text: sum.is_multiple_of(3) }
    }
}

/// The job of `/v1.0/{project_id}/jobs/{job_id}/status`.
pub fn job_of(path: &str) -> Option<String> {
    match path.split('/').collect::<Vec<_>>()[..] {
        ["", "v1.0", project, "jobs", id, "status"] if !project.is_empty() && !id.is_empty() => {
            Some(id.to_owned())
        }
        _ => None,
    }
}

/// Whether it is `/v1.0/{project_id}/jobs`.
pub fn is_list(path: &str) -> bool {
    matches!(path.split('/').collect::<Vec<_>>()[..], ["", "v1.0", project, "jobs"] if !project.is_empty())
}

/// Which part of the list is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    start: i64,
    end: i64,
    size: usize,
    number: usize,
    newest_first: bool,
}

impl Page {
    /// None if it has a part that is not known, or one out of its range.
    pub fn of(query: &str) -> Option<Self> {
        let newest_first = true;
        let mut page = Self { start: i64::MIN, end: i64::MAX, size: 50, number: 1, newest_first };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=')?;
            let one_to_100 = || value.parse().ok().filter(|number| (1..=100).contains(number));
            match name {
                "start" => page.start = value.parse().ok()?,
                "end" => page.end = value.parse().ok()?,
                "page-size" => page.size = one_to_100()?,
                "current-page" => page.number = one_to_100()?,
                "order" => {
                    page.newest_first = match value {
                        "start_time_desc" => true,
                        "start_time_asc" => false,
                        _ => return None,
                    };
                }
                _ => return None,
            }
        }
        Some(page)
    }

    /// The body that tells of `jobs`, which are bodies of single answers.
    pub fn body(&self, jobs: impl Iterator<Item = Value>) -> Value {
        let mut jobs: Vec<_> = jobs
            .map(|job| (whole(&job["start_time"]), job))
            .filter(|(start, _)| (self.start..=self.end).contains(start))
            .collect();
        jobs.sort_by_key(|(start, job)| (*start, job["job_id"].to_string()));
        if self.newest_first {
            jobs.reverse();
        }
        let count = jobs.len();
        let shown = jobs.into_iter().skip((self.number - 1) * self.size).take(self.size);
        let rows: Vec<_> = shown.map(|(_, job)| row(job)).collect();
        json!({ "is_success": true, "message": "", "job_count": count, "jobs": rows })
    }
}

/// The row for a job with this single answer.
fn row(mut job: Value) -> Value {
    let ended = job["status"].as_str().and_then(|word| super::Kind::Dli.phase(word));
    if let Some(Phase::Ended(_)) = ended {
        let end = whole(&job["start_time"]) + whole(&job["duration"]);
        // Like the others of its row.
        job["end_time"] =
            if job["start_time"].is_string() { end.to_string().into() } else { end.into() };
    }
    let fields = job.as_object_mut().expect("an object");
    fields.remove("is_success");
    fields.remove("job_mode");
    job
}

fn whole(value: &Value) -> i64 {
    value.as_str().map_or_else(|| value.as_i64(), |text| text.parse().ok()).expect("a number")
}

pub fn no_job(_: bool) -> (&'static str, &'static str) {
    ("DLI.0002", "The object does not exist.")
}

/// The body of a good answer. The end is `start_time + duration`, to the millisecond.
pub fn body(id: &str, dialect: Dialect, submitted: Timestamp, now: &Snapshot) -> Value {
    let begun = now.started.filter(|_| !dialect.older).unwrap_or_default();
    let start = after(submitted, begun).as_millisecond();
    let until = after(submitted, now.ended.unwrap_or(now.elapsed)).as_millisecond();
    let message = match (now.phase == Phase::Ended(End::Failed), dialect.older) {
        (false, _) => String::new(),
        (true, false) => FAILURE.to_owned(),
        (true, true) => json!({ "error_code": "DLI.0005", "error_msg": FAILURE }).to_string(),
    };
    let mut body: Value = serde_json::from_str(FINISHED_EXAMPLE).expect("the document's JSON");
    body["job_id"] = id.into();
    body["status"] = super::Kind::Dli.word(&now.phase).into();
    body["message"] = message.into();
    body["start_time"] = start.into();
    body["duration"] = (until - start).into();
    if dialect.older {
        body.as_object_mut().expect("an object").remove("job_mode");
    }
    if dialect.numbers_as_text {
        for name in NUMBERS {
            body[name] = body[name].to_string().into();
        }
    }
    body
}
