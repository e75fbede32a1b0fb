//! The durations of all runs of a provider, as a histogram: the prediction for a job without similar runs, and for
//! one that outlives them. Recorded and read by `duration_history`.
//!
//! Runs are counted in bins of equal width on a logarithmic scale, each smoothed over its neighbors. A prior around one
//! minute predicts the first jobs. Within a bin F is linear in t.

use std::ops::Range;
use std::sync::{LazyLock, OnceLock};

use super::distribution::{CdfPoint, Distribution, LogNormal};

/// The durations of all runs of a provider.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Box<[f32]>,
    total: f32,
    /// F and A at the lower edge of each bin and at the upper edge of the last, computed when needed.
    edge_cdf: OnceLock<Box<[CdfPoint]>>,
}

impl Histogram {
    const MIN_SECONDS: f64 = 0.25;
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

    pub fn record(&mut self, seconds: f64) {
        if self.total >= Self::HALVING_TOTAL {
            self.counts.iter_mut().for_each(|count| *count /= 2.0);
            self.total /= 2.0;
        }
        self.counts[Self::bin_index(seconds)] += 1.0;
        self.total += 1.0;
        self.edge_cdf = OnceLock::new();
    }

    /// Whether enough runs were recorded to give a job that was never polled a priority.
    pub(super) fn has_enough_runs(&self) -> bool {
        const MIN_RUNS: f32 = 8.0;
        self.total >= MIN_RUNS
    }

    /// The probability density of the logarithm of a duration, without the sums of all bins.
    pub(super) fn log_density(&self, seconds: f64) -> f64 {
        let bin = Self::bin_index(seconds);
        let weight = Self::bin_weight(bin, |bins| self.counts[bins].iter().sum::<f32>().into());
        let total = f64::from(self.total) + PriorWeights::get().total + Self::TAIL_WEIGHT;
        weight / total * Self::BINS_PER_OCTAVE / std::f64::consts::LN_2
    }

    /// The weight of a bin, smoothed over its neighbors; `count_in` counts the runs in some bins.
    fn bin_weight(bin: usize, count_in: impl Fn(Range<usize>) -> f64) -> f64 {
        let to = (bin + Self::SMOOTHING_RADIUS + 1).min(Self::BINS);
        let neighbors = bin.saturating_sub(Self::SMOOTHING_RADIUS)..to;
        #[expect(clippy::cast_precision_loss, reason = "at most BINS")]
        let width = neighbors.len() as f64;
        count_in(neighbors) / width + PriorWeights::get().by_bin[bin]
    }

    /// The bin of a duration; durations out of range belong to the first or the last bin.
    fn bin_index(seconds: f64) -> usize {
        let position =
            libm::log2(seconds.max(Self::MIN_SECONDS) / Self::MIN_SECONDS) * Self::BINS_PER_OCTAVE;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the cast saturates, and the position is not negative"
        )]
        let bin = position as usize;
        bin.min(Self::BINS - 1)
    }

    fn bin_edge(bin: usize) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "at most BINS")]
        let octaves = bin as f64 / Self::BINS_PER_OCTAVE;
        Self::MIN_SECONDS * octaves.exp2()
    }

    fn compute_edge_cdf(counts: &[f32]) -> Box<[CdfPoint]> {
        let mut prefix_sums = vec![0.0; Self::BINS + 1];
        for (bin, count) in counts.iter().enumerate() {
            prefix_sums[bin + 1] = prefix_sums[bin] + f64::from(*count);
        }
        let count_in = |bins: Range<usize>| prefix_sums[bins.end] - prefix_sums[bins.start];
        let weights: Vec<_> = (0..Self::BINS).map(|bin| Self::bin_weight(bin, count_in)).collect();
        let total = Self::TAIL_WEIGHT + weights.iter().sum::<f64>();
        let mut point = CdfPoint { probability: 0.0, integral: 0.0 };
        let mut edges = Vec::with_capacity(Self::BINS + 1);
        edges.push(point);
        let mut lower_edge = Self::bin_edge(0);
        for (bin, weight) in weights.into_iter().enumerate() {
            let upper_edge = Self::bin_edge(bin + 1);
            let next = point.probability + weight / total;
            let width = upper_edge - lower_edge;
            point = CdfPoint {
                probability: next,
                integral: point.integral + width * f64::midpoint(point.probability, next),
            };
            edges.push(point);
            lower_edge = upper_edge;
        }
        edges.into()
    }
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
        let log_normal = LogNormal {
            log_mean: libm::log(Histogram::PRIOR_MEDIAN_SECONDS),
            log_std_dev: Histogram::PRIOR_LOG_STD_DEV,
        };
        let below = |edge: usize| log_normal.cdf_at(Histogram::bin_edge(edge)).probability;
        let weight = |bin: usize| {
            Histogram::MIN_BIN_WEIGHT + Histogram::PRIOR_RUNS * (below(bin + 1) - below(bin))
        };
        let by_bin: Box<[f64]> = (0..Histogram::BINS).map(weight).collect();
        Self { total: by_bin.iter().sum(), by_bin }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        let counts = vec![0.0; Self::BINS].into_boxed_slice();
        Self { edge_cdf: OnceLock::new(), counts, total: 0.0 }
    }
}

impl Distribution for Histogram {
    fn cdf_at(&self, t: f64) -> CdfPoint {
        if t <= Self::MIN_SECONDS {
            return CdfPoint { probability: 0.0, integral: 0.0 };
        }
        let edges = self.edge_cdf.get_or_init(|| Self::compute_edge_cdf(&self.counts));
        let last = Self::bin_edge(Self::BINS);
        if t >= last {
            let end = edges[Self::BINS];
            return CdfPoint { integral: end.integral + end.probability * (t - last), ..end };
        }
        let bin = Self::bin_index(t);
        let (low, high) = (edges[bin], edges[bin + 1]);
        let (from, to) = (Self::bin_edge(bin), Self::bin_edge(bin + 1));
        let offset = t - from;
        let slope = (high.probability - low.probability) / (to - from);
        CdfPoint {
            probability: low.probability + slope * offset,
            integral: low.integral + offset * (low.probability + slope * offset / 2.0),
        }
    }
}
