//! Learned distributions of durations: a log-normal estimate for similar runs, mixed with a histogram
//! of all runs of the provider.
//!
//! A [`LogNormalEstimate`] stores mean m and squared deviations v of the logarithms of durations, and the
//! weight w of the runs. The weight of a run decays by `DECAY` with each later run,
//! so that a few dozen runs replace the past. With d = ln T − m and `PRIOR = (n, s₀²)`:
//!
//! ```text
//! w ← DECAY·w + 1    m ← m + d/w    v ← DECAY·v + d·(ln T − m)    s² = (n·s₀² + v)/(n + w)
//! ```
//!
//! The prior keeps the estimate wide after a single run. Above the weight `OUTLIER_MIN_WEIGHT`, d is
//! clamped to ±`OUTLIER_STD_DEVS`·s, so that one run that failed early or hung has little influence. Two
//! consecutive outliers on the same side mean that the durations have changed: the estimate forgets all
//! runs before these two.
//!
//! A [`Histogram`] counts runs in bins of equal width on a logarithmic scale, each smoothed over its
//! neighbors. In a [`Mixture`] the histogram has the weight of `OVERALL_WEIGHT` runs. So jobs without
//! similar runs are predicted by all runs of the provider, and so is a job that outlives its similar
//! runs. A prior around one minute predicts the first jobs.
//!
//! [`super::next_poll`] needs F(t), the probability that a job has ended by age t, and A(t) = ∫₀ᵗ F. For
//! the log-normal distribution both have a closed form: with z = (ln t − m)/s, F = Φ(z) and
//! A = t·Φ(z) − exp(m + s²/2)·Φ(z − s). Within a bin of the histogram F is linear in t.

use std::sync::OnceLock;

/// A distribution of durations, in seconds.
pub trait Distribution {
    /// F(t) and A(t).
    fn cdf_at(&self, t: f64) -> CdfPoint;
}

/// The value of a [`Distribution`] at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CdfPoint {
    /// F: the probability of a shorter duration, 0 to 1.
    pub probability: f64,
    /// A: the integral of F from 0, in seconds.
    pub integral: f64,
}

/// The estimated distribution of the durations of similar runs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LogNormalEstimate {
    weight: f64,
    log_mean: f64,
    squared_deviations: f64,
    runs: u32,
    /// The logarithm of the last run, if it was an outlier.
    previous_outlier: Option<f64>,
}

impl LogNormalEstimate {
    /// The factor by which the weight of a run decays with each later run.
    const DECAY: f64 = 0.94;
    /// The number of runs in the prior, and their variance.
    const PRIOR: (f64, f64) = (2.0, 0.16);
    /// A run further from the mean is an outlier, and its deviation is clamped to this.
    const OUTLIER_STD_DEVS: f64 = 2.4;
    /// Outliers are detected above this weight.
    const OUTLIER_MIN_WEIGHT: f64 = 4.0;
    /// Shorter runs count as this long: no poll is sent so early that the difference would matter.
    const MIN_SECONDS: f64 = 0.05;

    pub fn record(&mut self, seconds: f64) {
        let ln = libm::log(seconds.max(Self::MIN_SECONDS));
        let outlier = self.is_outlier(ln).then_some(ln);
        let previous = std::mem::replace(&mut self.previous_outlier, outlier);
        if let (Some(first), Some(_)) = (previous, outlier)
            && (first < self.log_mean) == (ln < self.log_mean)
        {
            *self = Self::default();
            self.update(first);
        }
        self.update(ln);
    }

    fn update(&mut self, ln: f64) {
        let max_deviation = if self.can_detect_outliers() {
            Self::OUTLIER_STD_DEVS * self.log_std_dev()
        } else {
            f64::INFINITY
        };
        let deviation = (ln - self.log_mean).clamp(-max_deviation, max_deviation);
        self.weight = Self::DECAY * self.weight + 1.0;
        let mean_shift = deviation / self.weight;
        self.log_mean += mean_shift;
        self.squared_deviations =
            Self::DECAY * self.squared_deviations + deviation * (deviation - mean_shift);
        self.runs = self.runs.saturating_add(1);
    }

    fn can_detect_outliers(&self) -> bool {
        self.weight > Self::OUTLIER_MIN_WEIGHT
    }

    fn is_outlier(&self, ln: f64) -> bool {
        self.can_detect_outliers()
            && (ln - self.log_mean).abs() > Self::OUTLIER_STD_DEVS * self.log_std_dev()
    }

    /// The number of runs since the durations last changed.
    #[must_use]
    pub fn runs(&self) -> u32 {
        self.runs
    }

    /// In seconds.
    #[must_use]
    pub fn median(&self) -> f64 {
        libm::exp(self.log_mean)
    }

    fn log_std_dev(&self) -> f64 {
        let (runs, variance) = Self::PRIOR;
        ((runs * variance + self.squared_deviations) / (runs + self.weight)).sqrt()
    }
}

impl Distribution for LogNormalEstimate {
    fn cdf_at(&self, t: f64) -> CdfPoint {
        if t <= 0.0 {
            return CdfPoint { probability: 0.0, integral: 0.0 };
        }
        // The formulas of the module's documentation, with its letters.
        let s = self.log_std_dev();
        let z = (libm::log(t) - self.log_mean) / s;
        let probability = standard_normal_cdf(z);
        let integral =
            t * probability - libm::exp(self.log_mean + s * s / 2.0) * standard_normal_cdf(z - s);
        CdfPoint { probability, integral: integral.max(0.0) }
    }
}

/// Φ, the distribution function of the standard normal distribution.
fn standard_normal_cdf(z: f64) -> f64 {
    libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2) / 2.0
}

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
    /// 19 octaves, up to about 36 h.
    const BINS: usize = 304;
    /// The number of neighbors on either side over which a bin is smoothed.
    const SMOOTHING_RADIUS: usize = 4;
    /// The weight that each bin has without any run.
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
    #[must_use]
    pub fn has_enough_runs(&self) -> bool {
        const MIN_RUNS: f32 = 8.0;
        self.total >= MIN_RUNS
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
        let prior_cdf = |t: f64| {
            standard_normal_cdf(
                (libm::log(t) - libm::log(Self::PRIOR_MEDIAN_SECONDS)) / Self::PRIOR_LOG_STD_DEV,
            )
        };
        let bin_weight = |bin: usize| {
            let (from, to) = (
                bin.saturating_sub(Self::SMOOTHING_RADIUS),
                (bin + Self::SMOOTHING_RADIUS + 1).min(Self::BINS),
            );
            #[expect(clippy::cast_precision_loss, reason = "at most BINS")]
            let width = (to - from) as f64;
            let smoothed_count = (prefix_sums[to] - prefix_sums[from]) / width;
            let prior_share = prior_cdf(Self::bin_edge(bin + 1)) - prior_cdf(Self::bin_edge(bin));
            smoothed_count + Self::MIN_BIN_WEIGHT + Self::PRIOR_RUNS * prior_share
        };
        let total = Self::TAIL_WEIGHT + (0..Self::BINS).map(bin_weight).sum::<f64>();
        let mut edges = Vec::with_capacity(Self::BINS + 1);
        let mut point = CdfPoint { probability: 0.0, integral: 0.0 };
        edges.push(point);
        for bin in 0..Self::BINS {
            let next = point.probability + bin_weight(bin) / total;
            let width = Self::bin_edge(bin + 1) - Self::bin_edge(bin);
            point = CdfPoint {
                probability: next,
                integral: point.integral + width * f64::midpoint(point.probability, next),
            };
            edges.push(point);
        }
        edges.into()
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

/// The prediction for one job: the similar runs, mixed with all runs of the provider.
#[derive(Debug, Clone, Copy)]
pub struct Mixture<'a> {
    pub similar: Option<&'a LogNormalEstimate>,
    pub overall: &'a Histogram,
}

impl Mixture<'_> {
    /// The weight of all runs together, in runs.
    const OVERALL_WEIGHT: f64 = 1.3;
}

impl Distribution for Mixture<'_> {
    fn cdf_at(&self, t: f64) -> CdfPoint {
        let overall_point = self.overall.cdf_at(t);
        let Some(similar) = self.similar else { return overall_point };
        let (similar_point, weight) = (similar.cdf_at(t), similar.weight);
        let weighted_mean = |similar_value: f64, overall_value: f64| {
            (weight * similar_value + Self::OVERALL_WEIGHT * overall_value)
                / (weight + Self::OVERALL_WEIGHT)
        };
        CdfPoint {
            probability: weighted_mean(similar_point.probability, overall_point.probability),
            integral: weighted_mean(similar_point.integral, overall_point.integral),
        }
    }
}
