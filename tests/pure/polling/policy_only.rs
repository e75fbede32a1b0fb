//! The learned policy without the tracker around it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use jobtrack::job::{DurationKind, DurationSample, DurationStart, SimilarityKeys, UtcTime};
use jobtrack::policy::{DurationHistory, LearnedPolicySettings};

use super::metrics::DetectionResult;
use super::workload::SimulatedJob;

/// What memory and rule alone would do, knowing the elapsed time exactly.
pub(crate) fn simulate_policy(
    jobs: &[SimulatedJob],
    rule: &LearnedPolicySettings,
) -> Vec<DetectionResult> {
    let likeness = |job: &SimulatedJob| {
        SimilarityKeys::UserProvided(format!("like-{}", job.similarity_key).into())
    };
    let mut history = DurationHistory::default();
    let mut seen = vec![None; jobs.len()];
    let mut requests = vec![0; jobs.len()];
    let mut due: BinaryHeap<_> =
        jobs.iter().enumerate().map(|(index, job)| Reverse((job.start_ms, index))).collect();
    while let Some(Reverse((now, index))) = due.pop() {
        let job = &jobs[index];
        requests[index] += 1;
        if now >= job.end_ms() {
            let took = Some(Duration::from_millis(job.duration_ms));
            history.record(&DurationSample {
                similarity_keys: likeness(job),
                total: took,
                run: took,
                ..DurationSample::default()
            });
            seen[index] = Some(DetectionResult::new(job, requests[index], now));
        } else {
            let start = DurationStart {
                kind: DurationKind::Run,
                at: UtcTime::from_millis(job.start_ms.try_into().expect("a time")),
            };
            let curve = history.predict(&likeness(job), start);
            let age = (now - job.start_ms) as f64 / 1000.0;
            let next = rule.plan_next_poll(&curve, age, age);
            due.push(Reverse((job.start_ms + (next.age * 1000.0).ceil() as u64, index)));
        }
    }
    seen.into_iter().flatten().collect()
}
