//! The learned policy without the tracker around it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use jobtrack::job::{Lesson, Likeness, Phase};
use jobtrack::policy::{Memory, Rule};

use super::metrics::Seen;
use super::workload::Job;

/// What memory and rule alone would do, knowing the elapsed time exactly.
pub(crate) fn learned(jobs: &[Job], rule: &Rule) -> Vec<Seen> {
    let likeness = |job: &Job| Likeness::Given(format!("like-{}", job.likeness).into());
    let mut memory = Memory::default();
    let mut seen = vec![None; jobs.len()];
    let mut requests = vec![0; jobs.len()];
    let mut due: BinaryHeap<_> =
        jobs.iter().enumerate().map(|(index, job)| Reverse((job.start, index))).collect();
    while let Some(Reverse((now, index))) = due.pop() {
        let job = &jobs[index];
        requests[index] += 1;
        if now >= job.end() {
            let took = Some(Duration::from_millis(job.took));
            memory.learn(&Lesson { likeness: likeness(job), whole: took, running: took });
            seen[index] = Some(Seen::at(job, requests[index], now));
        } else {
            let curve = memory.predict(&likeness(job), Phase::Running);
            let age = (now - job.start) as f64 / 1000.0;
            let next = rule.next_look(&curve, age, age);
            due.push(Reverse((job.start + (next.at * 1000.0).ceil() as u64, index)));
        }
    }
    seen.into_iter().flatten().collect()
}
