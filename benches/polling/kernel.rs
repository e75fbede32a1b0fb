//! The reference predictor for traces: the last twenty runs with the same key, each widened by a logistic kernel,
//! beside the histogram of all runs. A daemon could not afford to compute it for each poll.

use std::collections::{BinaryHeap, HashMap, VecDeque};

use std::cmp::Reverse;

use jobtrack::policy::{CdfPoint, Distribution, Histogram, LearnedPolicySettings};

use super::clients::poll_by_rule;
use super::metrics::DetectionResult;
use super::workload::SimulatedJob;

const KEPT_RUNS: usize = 20;

/// Follows `rule` with the reference prediction that is known at each job's start.
pub(crate) fn poll_with_kernels(
    jobs: &[SimulatedJob],
    rule: &LearnedPolicySettings,
) -> Vec<DetectionResult> {
    let mut running = BinaryHeap::new();
    let mut recent: HashMap<usize, VecDeque<f64>> = HashMap::new();
    let mut overall = Histogram::default();
    let mut results = Vec::with_capacity(jobs.len());
    for (index, job) in jobs.iter().enumerate() {
        while running.peek().is_some_and(|Reverse((end, _))| *end <= job.start_ms) {
            let Some(Reverse((_, ended))) = running.pop() else { break };
            let ended: &SimulatedJob = &jobs[ended];
            overall.record(ended.duration_seconds());
            let runs = recent.entry(ended.similarity_key).or_default();
            runs.push_front(ended.duration_seconds().ln());
            runs.truncate(KEPT_RUNS);
        }
        running.push(Reverse((job.end_ms(), index)));
        let similar = recent.get(&job.similarity_key).map(Kernels::new);
        let prediction = Prediction { similar, overall: &overall };
        results.push(poll_by_rule(job, rule, &prediction));
    }
    results
}

struct Prediction<'a> {
    similar: Option<Kernels>,
    overall: &'a Histogram,
}

impl Distribution for Prediction<'_> {
    fn cdf_at(&self, t: f64) -> CdfPoint {
        let overall = self.overall.cdf_at(t);
        let Some(similar) = &self.similar else { return overall };
        let (weight, near) = (similar.runs, similar.cdf_at(t));
        let mean = |similar: f64, overall: f64| (weight * similar + overall) / (weight + 1.0);
        CdfPoint {
            probability: mean(near.probability, overall.probability),
            integral: mean(near.integral, overall.integral),
        }
    }
}

/// The sum of the kernels, tabulated over the logarithm of the duration.
struct Kernels {
    runs: f64,
    from: f64,
    step: f64,
    grid: Vec<CdfPoint>,
}

impl Kernels {
    fn new(runs: &VecDeque<f64>) -> Self {
        let n = runs.len() as f64;
        let mean = runs.iter().sum::<f64>() / n;
        let variance =
            runs.iter().map(|run| (run - mean).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
        let bandwidth =
            if runs.len() < 3 { 0.3 } else { (0.8 * variance.sqrt() * n.powf(-0.2)).max(0.05) };
        let low = runs.iter().copied().fold(f64::INFINITY, f64::min) - 14.0 * bandwidth;
        let high = runs.iter().copied().fold(f64::NEG_INFINITY, f64::max) + 14.0 * bandwidth;
        let step = bandwidth / 4.0;
        let cells = ((high - low) / step).ceil() as usize;
        let mut grid: Vec<CdfPoint> = Vec::with_capacity(cells + 1);
        for cell in 0..=cells {
            let ln = low + step * cell as f64;
            let kernel = |run: &f64| 1.0 / (1.0 + ((run - ln) / bandwidth).exp());
            let probability = runs.iter().map(kernel).sum::<f64>() / n;
            let integral = grid.last().map_or(0.0, |before| {
                let width = ln.exp() - (ln - step).exp();
                before.integral + width * f64::midpoint(before.probability, probability)
            });
            grid.push(CdfPoint { probability, integral });
        }
        Self { runs: n, from: low, step, grid }
    }
}

impl Distribution for Kernels {
    fn cdf_at(&self, t: f64) -> CdfPoint {
        let position = (t.max(f64::MIN_POSITIVE).ln() - self.from) / self.step;
        if position <= 0.0 {
            return CdfPoint { probability: 0.0, integral: 0.0 };
        }
        let (cell, last) = (position as usize, self.grid.len() - 1);
        let edge = |cell: usize| (self.from + self.step * cell as f64).exp();
        if cell >= last {
            let end = self.grid[last];
            return CdfPoint { integral: end.integral + t - edge(last), probability: 1.0 };
        }
        let (low, high) = (self.grid[cell], self.grid[cell + 1]);
        let offset = t - edge(cell);
        let slope = (high.probability - low.probability) / (edge(cell + 1) - edge(cell));
        let probability = low.probability + slope * offset;
        CdfPoint {
            probability,
            integral: low.integral + offset * f64::midpoint(low.probability, probability),
        }
    }
}
