//! How long jobs take, as it was learned: a sketch of three numbers for those that are alike, and
//! under it a histogram of all that a provider has.
//!
//! A [`Sketch`] holds the logarithms of durations as a log-normal distribution whose memory fades by
//! 6 % a run, so that an old regime is forgotten after some dozen runs: with d = ln T − m,
//!
//! ```text
//! w ← 0.94·w + 1    m ← m + d/w    v ← 0.94·v + d·(ln T − m)    s² = (2·0.16 + v)/(2 + w)
//! ```
//!
//! where 0.16 is the variance that two runs nobody saw would have had: one run is no certainty. Once a
//! few are known, d counts as ±2.4·s at most: one run that failed early or was stuck does not blur the
//! others. Two in a row so far off on one side are no accident: they begin a new regime, and all before
//! them is forgotten.
//!
//! A [`Histogram`] has 16 bins an octave from 0.25 s to 36 h, smoothed over four bins on either side; it
//! counts as 1.3 runs beside the sketch's w. So a likeness without a past is predicted by the provider's
//! whole past, and a job that outlives its likeness falls to the provider's long tail by itself. The
//! first day has no past at all: a few runs of a minute or so are assumed.
//!
//! What [`crate::policy::price`] needs of either is F(t), the chance that a job is over after t
//! seconds, and A(t) = ∫₀ᵗ F. For the log-normal both are closed: with z = (ln t − m)/s,
//! F = Φ(z) and A = t·Φ(z) − exp(m + s²/2)·Φ(z − s). In a bin of the histogram F is linear in t.

use std::sync::OnceLock;

/// A distribution of durations, in seconds.
pub trait Curve {
    /// F(t) and A(t): the chance to be over by `t`, and its integral from 0 to `t`.
    fn at(&self, t: f64) -> Over;
}

/// A [`Curve`] at one time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Over {
    /// F: the chance to be over, 0 to 1.
    pub chance: f64,
    /// A: its integral from 0, in seconds.
    pub area: f64,
}

/// Durations that are alike. Empty until it has [learned](Sketch::learn).
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Sketch {
    weight: f64,
    mean: f64,
    variance: f64,
    runs: u32,
    /// The last run, if it was far from those before it.
    far: Option<f64>,
}

impl Sketch {
    /// What is left of a run's weight after the next one.
    const FADE: f64 = 0.94;
    /// The spread that is assumed, as the variance of so many runs.
    const PRIOR: (f64, f64) = (2.0, 0.16);
    /// A run that is further from the mean, in spreads, counts as one so far from it.
    const FAR: f64 = 2.4;
    /// So many runs must have been seen before one is far.
    const KNOWN: f64 = 4.0;
    /// Nobody asks so soon that it would matter how much shorter a run was.
    const SHORTEST: f64 = 0.05;

    /// Takes in a run of so many seconds.
    pub fn learn(&mut self, seconds: f64) {
        let ln = seconds.max(Self::SHORTEST).ln();
        let far = self.is_far(ln).then_some(ln);
        let before = std::mem::replace(&mut self.far, far);
        if let (Some(first), Some(_)) = (before, far)
            && (first < self.mean) == (ln < self.mean)
        {
            *self = Self::default();
            self.take_in(first);
        }
        self.take_in(ln);
    }

    fn take_in(&mut self, ln: f64) {
        let most = if self.is_known() { Self::FAR * self.spread() } else { f64::INFINITY };
        let apart = (ln - self.mean).clamp(-most, most);
        self.weight = Self::FADE * self.weight + 1.0;
        let step = apart / self.weight;
        self.mean += step;
        self.variance = Self::FADE * self.variance + apart * (apart - step);
        self.runs = self.runs.saturating_add(1);
    }

    fn is_known(&self) -> bool {
        self.weight > Self::KNOWN
    }

    fn is_far(&self, ln: f64) -> bool {
        self.is_known() && (ln - self.mean).abs() > Self::FAR * self.spread()
    }

    /// How many runs it has seen, those of the regimes before this one left out.
    #[must_use]
    pub fn runs(&self) -> u32 {
        self.runs
    }

    /// The median, in seconds.
    #[must_use]
    pub fn median(&self) -> f64 {
        self.mean.exp()
    }

    fn spread(&self) -> f64 {
        let (runs, variance) = Self::PRIOR;
        ((runs * variance + self.variance) / (runs + self.weight)).sqrt()
    }
}

impl Curve for Sketch {
    fn at(&self, t: f64) -> Over {
        if t <= 0.0 {
            return Over { chance: 0.0, area: 0.0 };
        }
        let s = self.spread();
        let z = (t.ln() - self.mean) / s;
        let chance = normal(z);
        let area = t * chance - (self.mean + s * s / 2.0).exp() * normal(z - s);
        Over { chance, area: area.max(0.0) }
    }
}

/// Φ, the distribution function of the standard normal distribution.
fn normal(z: f64) -> f64 {
    libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2) / 2.0
}

/// All durations of a provider.
#[derive(Debug, Clone)]
pub struct Histogram {
    counts: Box<[f32]>,
    total: f32,
    /// F and A at each bin's lower edge and at the last one's upper, once they are asked for.
    edges: OnceLock<Box<[Over]>>,
}

impl Histogram {
    const SHORTEST: f64 = 0.25;
    const PER_OCTAVE: f64 = 16.0;
    /// log₂(36 h / 0.25 s) octaves of them.
    const BINS: usize = 304;
    const SMOOTHED_OVER: usize = 4;
    /// What a bin holds that has seen nothing…
    const FLOOR: f64 = 0.02;
    /// …beside so many runs that nobody saw: around a minute, and a few seconds as well as an hour. On
    /// the first day they are all that is known.
    const ASSUMED: f64 = 16.0;
    const ASSUMED_MEDIAN: f64 = 60.0;
    const ASSUMED_SPREAD: f64 = 1.8;
    /// What lies beyond the last bin, nobody knows when: an octave of such bins.
    const BEYOND: f64 = 0.32;
    /// Beyond so many runs all count half: the past fades here too.
    const KEPT: f32 = 4096.0;

    /// Takes in a run of so many seconds.
    pub fn learn(&mut self, seconds: f64) {
        if self.total >= Self::KEPT {
            self.counts.iter_mut().for_each(|count| *count /= 2.0);
            self.total /= 2.0;
        }
        self.counts[Self::bin(seconds)] += 1.0;
        self.total += 1.0;
        self.edges = OnceLock::new();
    }

    /// Whether it has seen enough to tell one job from another of another age.
    #[must_use]
    pub fn is_known(&self) -> bool {
        const ENOUGH: f32 = 8.0;
        self.total >= ENOUGH
    }

    /// The bin of a duration; what lies outside counts in the first or the last one.
    fn bin(seconds: f64) -> usize {
        let place = (seconds.max(Self::SHORTEST) / Self::SHORTEST).log2() * Self::PER_OCTAVE;
        // Saturates, and is not negative.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let bin = place as usize;
        bin.min(Self::BINS - 1)
    }

    fn edge(bin: usize) -> f64 {
        #[allow(clippy::cast_precision_loss)]
        let octaves = bin as f64 / Self::PER_OCTAVE;
        Self::SHORTEST * octaves.exp2()
    }

    fn integrate(counts: &[f32]) -> Box<[Over]> {
        let mut sums = vec![0.0; Self::BINS + 1];
        for (bin, count) in counts.iter().enumerate() {
            sums[bin + 1] = sums[bin] + f64::from(*count);
        }
        let assumed = |t: f64| normal((t.ln() - Self::ASSUMED_MEDIAN.ln()) / Self::ASSUMED_SPREAD);
        let weight = |bin: usize| {
            let (from, to) = (
                bin.saturating_sub(Self::SMOOTHED_OVER),
                (bin + Self::SMOOTHED_OVER + 1).min(Self::BINS),
            );
            #[allow(clippy::cast_precision_loss)]
            let width = (to - from) as f64;
            let seen = (sums[to] - sums[from]) / width;
            let share = assumed(Self::edge(bin + 1)) - assumed(Self::edge(bin));
            seen + Self::FLOOR + Self::ASSUMED * share
        };
        let total = Self::BEYOND + (0..Self::BINS).map(weight).sum::<f64>();
        let mut edges = Vec::with_capacity(Self::BINS + 1);
        let mut over = Over { chance: 0.0, area: 0.0 };
        edges.push(over);
        for bin in 0..Self::BINS {
            let next = over.chance + weight(bin) / total;
            let width = Self::edge(bin + 1) - Self::edge(bin);
            over =
                Over { chance: next, area: over.area + width * f64::midpoint(over.chance, next) };
            edges.push(over);
        }
        edges.into()
    }
}

impl Default for Histogram {
    fn default() -> Self {
        let counts = vec![0.0; Self::BINS].into_boxed_slice();
        Self { edges: OnceLock::new(), counts, total: 0.0 }
    }
}

impl Curve for Histogram {
    fn at(&self, t: f64) -> Over {
        if t <= Self::SHORTEST {
            return Over { chance: 0.0, area: 0.0 };
        }
        let edges = self.edges.get_or_init(|| Self::integrate(&self.counts));
        let last = Self::edge(Self::BINS);
        if t >= last {
            let end = edges[Self::BINS];
            return Over { area: end.area + end.chance * (t - last), ..end };
        }
        let bin = Self::bin(t);
        let (low, high) = (edges[bin], edges[bin + 1]);
        let (from, to) = (Self::edge(bin), Self::edge(bin + 1));
        let into = t - from;
        let slope = (high.chance - low.chance) / (to - from);
        Over {
            chance: low.chance + slope * into,
            area: low.area + into * (low.chance + slope * into / 2.0),
        }
    }
}

/// What is predicted of one job: those that are alike, and all others beside them as little more than
/// one run.
#[derive(Debug, Clone, Copy)]
pub struct Mixed<'a> {
    /// Those that are alike; none if there were none.
    pub alike: Option<&'a Sketch>,
    /// All.
    pub all: &'a Histogram,
}

impl Mixed<'_> {
    const WEIGHT_OF_ALL: f64 = 1.3;
}

impl Curve for Mixed<'_> {
    fn at(&self, t: f64) -> Over {
        let all = self.all.at(t);
        let Some(alike) = self.alike else { return all };
        let (own, weight) = (alike.at(t), alike.weight);
        let mix = |own: f64, all: f64| {
            (weight * own + Self::WEIGHT_OF_ALL * all) / (weight + Self::WEIGHT_OF_ALL)
        };
        Over { chance: mix(own.chance, all.chance), area: mix(own.area, all.area) }
    }
}
