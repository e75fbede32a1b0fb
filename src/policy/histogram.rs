//! The durations of all runs of a provider, as a histogram: the prediction for a job without similar runs, and for
//! one that outlives them. Recorded and read by `duration_history`.
//!
//! Runs are counted in bins of equal width on a logarithmic scale, each smoothed over its neighbors. A prior around one
//! minute predicts the first jobs. Within a bin F is linear in t.

use std::f64::consts::LN_2;
use std::ops::Range;
use std::sync::LazyLock;

use super::distribution::{CdfPoint, Distribution, LogNormal};

/// The durations of all runs of a provider.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Box<[f32]>,
    total: f32,
    /// F and A at the lower edge of each bin and at the upper edge of the last.
    edge_cdf: Box<[CdfPoint]>,
    /// The total from which on `edge_cdf` is computed anew.
    next_update_total: f32,
}

impl Histogram {
    const LOG2_MIN_SECONDS: f64 = -2.0;
    const BINS_PER_OCTAVE: f64 = 16.0;
    /// 27 octaves, up to about a year.
    const BINS: usize = 432;
    /// The number of neighbors on either side over which a bin is smoothed.
    const SMOOTHING_RADIUS: usize = 4;
    /// The weight that each bin has at least without any run.
    const MIN_BIN_WEIGHT: f64 = 0.02;
    /// The weight, in runs, of a log-normal prior from a few seconds to an hour.
    const PRIOR_RUNS: f64 = 16.0;
    const PRIOR_MEDIAN_SECONDS: f64 = 60.0;
    const PRIOR_LOG_STD_DEV: f64 = 1.8;
    /// The prior weight of durations beyond the last bin.
    const TAIL_WEIGHT: f64 = 0.32;
    /// At this total all counts are halved, so that old runs lose weight.
    const HALVING_TOTAL: f32 = 4096.0;
    /// F and A are computed anew when this part of all runs is new.
    const UPDATE_FRACTION: f32 = 0.01;

    pub fn record(&mut self, seconds: f64) {
        self.record_part(seconds, 1.0);
    }

    /// Records a run that counts for this histogram only in part, between 0 and 1.
    pub(super) fn record_part(&mut self, seconds: f64, part: f32) {
        if self.total >= Self::HALVING_TOTAL {
            self.counts.iter_mut().for_each(|count| *count /= 2.0);
            self.total /= 2.0;
            self.next_update_total = self.total;
        }
        self.counts[Self::bin_index(libm::log(seconds))] += part;
        self.total += part;
        if self.total >= self.next_update_total {
            self.update_edge_cdf();
        }
    }

    /// Whether enough runs were recorded to give a job that was never polled a priority.
    pub(super) fn has_enough_runs(&self) -> bool {
        const MIN_RUNS: f32 = 8.0;
        self.total >= MIN_RUNS
    }

    /// The probability density of the logarithm of a duration, at this logarithm.
    pub(super) fn log_density(&self, ln: f64) -> f64 {
        let bin = Self::bin_index(ln);
        let weight = Self::bin_weight(bin, |bins| self.counts[bins].iter().sum::<f32>().into());
        let total = f64::from(self.total) + PriorWeights::get().total + Self::TAIL_WEIGHT;
        weight / total * Self::BINS_PER_OCTAVE / LN_2
    }

    /// The weight of a bin, smoothed over its neighbors; `count_in` counts the runs in some bins.
    fn bin_weight(bin: usize, count_in: impl Fn(Range<usize>) -> f64) -> f64 {
        let to = (bin + Self::SMOOTHING_RADIUS + 1).min(Self::BINS);
        let neighbors = bin.saturating_sub(Self::SMOOTHING_RADIUS)..to;
        #[expect(clippy::cast_precision_loss, reason = "at most BINS")]
        let width = neighbors.len() as f64;
        count_in(neighbors) / width + PriorWeights::get().by_bin[bin]
    }

    /// The bin of a duration with this logarithm; durations out of range belong to the first or the last bin.
    fn bin_index(ln: f64) -> usize {
        let position = (ln / LN_2 - Self::LOG2_MIN_SECONDS) * Self::BINS_PER_OCTAVE;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the cast saturates: durations below the first bin belong to it"
        )]
        let bin = position as usize;
        bin.min(Self::BINS - 1)
    }

    fn update_edge_cdf(&mut self) {
        self.next_update_total = self.total * (1.0 + Self::UPDATE_FRACTION);
        let mut prefix_sums = [0.0; Self::BINS + 1];
        for (bin, count) in self.counts.iter().enumerate() {
            prefix_sums[bin + 1] = prefix_sums[bin] + f64::from(*count);
        }
        let weight = |bin: usize| {
            Self::bin_weight(bin, |bins| prefix_sums[bins.end] - prefix_sums[bins.start])
        };
        let total = Self::TAIL_WEIGHT + (0..Self::BINS).map(weight).sum::<f64>();
        let edges = bin_edges();
        let mut point = CdfPoint { probability: 0.0, integral: 0.0 };
        for bin in 0..Self::BINS {
            let next = point.probability + weight(bin) / total;
            let width = edges[bin + 1] - edges[bin];
            let integral = point.integral + width * f64::midpoint(point.probability, next);
            point = CdfPoint { probability: next, integral };
            self.edge_cdf[bin + 1] = point;
        }
    }
}

/// The edges of the bins, in seconds.
fn bin_edges() -> &'static [f64; Histogram::BINS + 1] {
    static EDGES: LazyLock<[f64; Histogram::BINS + 1]> = LazyLock::new(|| {
        std::array::from_fn(|bin| {
            #[expect(clippy::cast_precision_loss, reason = "at most BINS")]
            let octaves = bin as f64 / Histogram::BINS_PER_OCTAVE;
            (Histogram::LOG2_MIN_SECONDS + octaves).exp2()
        })
    });
    &EDGES
}

/// The weights of the bins without any run, in runs.
struct PriorWeights {
    by_bin: Box<[f64]>,
    total: f64,
}

impl PriorWeights {
    fn get() -> &'static Self {
        static WEIGHTS: LazyLock<PriorWeights> = LazyLock::new(PriorWeights::compute);
        &WEIGHTS
    }

    fn compute() -> Self {
        let log_normal = LogNormal::new(
            libm::log(Histogram::PRIOR_MEDIAN_SECONDS),
            Histogram::PRIOR_LOG_STD_DEV,
        );
        let below = |edge: usize| log_normal.probability(libm::log(bin_edges()[edge]));
        let weight = |bin: usize| {
            Histogram::MIN_BIN_WEIGHT + Histogram::PRIOR_RUNS * (below(bin + 1) - below(bin))
        };
        let by_bin: Box<[f64]> = (0..Histogram::BINS).map(weight).collect();
        Self { total: by_bin.iter().sum(), by_bin }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        let counts = vec![0.0; Self::BINS].into();
        let edge_cdf = vec![CdfPoint { probability: 0.0, integral: 0.0 }; Self::BINS + 1].into();
        let mut histogram = Self { counts, total: 0.0, edge_cdf, next_update_total: 0.0 };
        histogram.update_edge_cdf();
        histogram
    }
}

impl Distribution for Histogram {
    fn cdf_at(&self, t: f64) -> CdfPoint {
        self.cdf(t, libm::log(t))
    }
}

impl Histogram {
    /// F and A at `t`, of logarithm `ln`.
    pub(super) fn cdf(&self, t: f64, ln: f64) -> CdfPoint {
        let edges = bin_edges();
        if t <= edges[0] {
            return CdfPoint { probability: 0.0, integral: 0.0 };
        }
        let last = edges[Self::BINS];
        if t >= last {
            let end = self.edge_cdf[Self::BINS];
            return CdfPoint { integral: end.integral + end.probability * (t - last), ..end };
        }
        let bin = Self::bin_index(ln);
        let (low, high) = (self.edge_cdf[bin], self.edge_cdf[bin + 1]);
        let offset = t - edges[bin];
        let slope = (high.probability - low.probability) / (edges[bin + 1] - edges[bin]);
        CdfPoint {
            probability: low.probability + slope * offset,
            integral: low.integral + offset * (low.probability + slope * offset / 2.0),
        }
    }
}
