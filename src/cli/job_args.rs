//! The argument `JOB` of the commands that also accept `-`, for jobs on standard input.
//!
//! Used by `cancel` and `wait`. An invalid argument is a usage error; an invalid line is passed on to the
//! command, which treats it as a job that does not exist.

use std::io::{self, Read};
use std::str::FromStr;

use super::stdin_lines;
use crate::job::{InvalidText, JobRef};

#[derive(Debug, Clone)]
pub(super) enum JobArg {
    Job(JobRef),
    StandardInput,
}

impl FromStr for JobArg {
    type Err = InvalidText;
    fn from_str(text: &str) -> Result<Self, InvalidText> {
        if text == "-" { Ok(Self::StandardInput) } else { text.parse().map(Self::Job) }
    }
}

/// The jobs that the arguments name; reads standard input if one of them is `-`.
pub(super) fn read_job_refs(args: &[JobArg]) -> io::Result<Vec<Result<JobRef, InvalidText>>> {
    let mut job_refs = Vec::new();
    for arg in args {
        match arg {
            JobArg::Job(job) => job_refs.push(Ok(job.clone())),
            JobArg::StandardInput => {
                let mut input = Vec::new();
                io::stdin().read_to_end(&mut input)?;
                job_refs.extend(stdin_lines::parse_job_refs(&String::from_utf8_lossy(&input)));
            }
        }
    }
    Ok(job_refs)
}
