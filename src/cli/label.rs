//! `jobtrack label` and `jobtrack note`: set labels of a job that is known already.
//!
//! Adding a job again merges its labels; this file makes sure that the request concerns the job that was named.

use std::collections::BTreeMap;
use std::process::ExitCode;

use anyhow::{anyhow, bail};

use super::{CommandContext, render, resolve, stdio};
use crate::api::{AddOutcome, AddRequest, AddRequestEntry, AddResponseEntry, Job};
use crate::job::{JobId, JobRef, State, parse_label};

/// The label that holds a note.
const NOTE: &str = "note";

#[derive(clap::Args)]
pub(super) struct LabelArgs {
    /// A job number, `PROVIDER/REMOTE_ID` or `REMOTE_ID`
    job: JobRef,
    /// Labels; a label that is given again replaces its old value
    #[arg(value_name = "K=V", required = true, value_parser = parse_label)]
    labels: Vec<(String, String)>,
}

#[derive(clap::Args)]
pub(super) struct NoteArgs {
    /// A job number, `PROVIDER/REMOTE_ID` or `REMOTE_ID`
    job: JobRef,
    /// The value of the label "note": at most 256 bytes
    text: String,
}

pub(super) async fn run(context: &CommandContext, args: LabelArgs) -> anyhow::Result<ExitCode> {
    set_labels(context, &args.job, args.labels.into_iter().collect()).await
}

pub(super) async fn run_note(context: &CommandContext, args: NoteArgs) -> anyhow::Result<ExitCode> {
    set_labels(context, &args.job, BTreeMap::from([(NOTE.to_owned(), args.text)])).await
}

async fn set_labels(
    context: &CommandContext,
    job_ref: &JobRef,
    labels: BTreeMap<String, String>,
) -> anyhow::Result<ExitCode> {
    let job = resolve::require_job(&context.client, job_ref).await?;
    ensure_add_concerns(context, &job).await?;
    let entry = AddRequestEntry {
        labels: labels.clone(),
        ..AddRequestEntry::new(job.provider.to_string(), job.remote_id.to_string())
    };
    let response = context.client.add(&AddRequest { jobs: vec![entry] }).await?;
    response.jobs.iter().try_for_each(|entry| ensure_concerned(job.id, entry))?;
    let job = context.client.job(job.id).await?;
    ensure_labelled(&job, &labels)?;
    if context.json {
        stdio::print_json_lines(&[job])?;
    } else {
        let (id, name) = (job.id, render::job_name(&job));
        stdio::print_lines(&[format!("{id} {name} {}", render::format_labels(&job.labels))])?;
    }
    Ok(ExitCode::SUCCESS)
}

/// An add request concerns the newest job with its ID, and makes a new job of one that is not tracked.
async fn ensure_add_concerns(context: &CommandContext, job: &Job) -> anyhow::Result<()> {
    let JobId(id) = job.id;
    match job.state {
        State::Untracked | State::Lost => bail!("job {id} is {}; its labels are final", job.state),
        State::Registered
        | State::Pending
        | State::Running
        | State::Unknown
        | State::Succeeded
        | State::Failed
        | State::Cancelled
        | State::Expired
        | State::Indeterminate => {}
    }
    let same_id = JobRef::Remote(job.provider.clone(), job.remote_id.clone());
    match resolve::find_job(&context.client, &same_id).await? {
        Some(newest) if newest.id != job.id => bail!(
            "job {id} has the same ID as the newer job {}; the labels of older jobs are final",
            newest.id
        ),
        Some(_) | None => Ok(()),
    }
}

/// The job may have been deleted or become untracked or lost since it was read.
fn ensure_concerned(job: JobId, entry: &AddResponseEntry) -> anyhow::Result<()> {
    let error = entry.error.as_deref().unwrap_or("unknown reason");
    match (entry.outcome, entry.id) {
        (AddOutcome::Existing, Some(id)) if id == job => Ok(()),
        (AddOutcome::Added, Some(id)) => bail!(
            "job {job} is not tracked any more, and job {id} with the same ID was added; to stop polling it, run: \
             jobtrack untrack {id}"
        ),
        (AddOutcome::Existing, Some(id)) => {
            bail!("job {job} has the same ID as the newer job {id}, which has the labels now")
        }
        (AddOutcome::Rejected, _) | (_, None) => bail!("{error}"),
    }
}

fn ensure_labelled(job: &Job, labels: &BTreeMap<String, String>) -> anyhow::Result<()> {
    let has_label = |(key, value): (&String, &String)| {
        job.labels.iter().any(|(own_key, own_value)| own_key == key && own_value == value)
    };
    if labels.iter().all(has_label) {
        return Ok(());
    }
    Err(anyhow!("job {} would have too many labels; nothing was changed", job.id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_add_that_concerns_another_job_is_an_error_that_names_it() {
        let cases = [
            (AddOutcome::Existing, Some(17), None),
            (AddOutcome::Existing, Some(18), Some("the newer job 18")),
            (AddOutcome::Added, Some(18), Some("jobtrack untrack 18")),
            (AddOutcome::Rejected, None, Some("too many jobs")),
        ];
        for (outcome, id, expected) in cases {
            let entry = AddResponseEntry {
                id: id.map(JobId),
                provider: "dune".to_owned(),
                remote_id: "01ENDS".to_owned(),
                state: None,
                outcome,
                error: (outcome == AddOutcome::Rejected).then(|| "too many jobs".to_owned()),
                warning: None,
            };
            let error = ensure_concerned(JobId(17), &entry).err().map(|error| error.to_string());
            assert_eq!(error.is_some(), expected.is_some(), "{error:?}");
            assert!(error.unwrap_or_default().contains(expected.unwrap_or_default()));
        }
    }
}
