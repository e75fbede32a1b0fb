//! What the runs of one similarity key before its last twenty had in common, in 12 bytes: up to two typical durations.
//! `duration_history` records them, and `typical_durations` joins them with the last twenty runs.
//!
//! Twenty runs tell a center only to a fifth of their standard deviation, and how many belong to a second kind (answered
//! from a cache, for instance) only roughly. About the last fifty of the earlier runs count. Those that failed early or
//! hung are left out.

use super::core_moments::{CoreMoments, RunKind};
use super::recent_runs::CompactDuration;
use super::window_moments::WindowMoments;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct EarlierRuns {
    /// An f32, in an array so that the struct needs no alignment: the center of the first kind, a logarithm of seconds.
    center: [u8; 4],
    /// Of both kinds, in steps of `VARIANCE_STEP`.
    log_variance: i16,
    second_center: CompactDuration,
    /// In steps of `SHARE_STEP`.
    second_share: u16,
    /// The number of runs; it stops at the maximum.
    count: u8,
}

/// [`EarlierRuns`] as numbers.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct EarlierMoments {
    /// Without weight if there are no earlier runs.
    pub(super) first: RunKind,
    /// Without weight if there was one kind only.
    pub(super) second: RunKind,
    /// Of the logarithms of the first kind.
    pub(super) variance: f64,
}

impl EarlierRuns {
    /// The weight of a run relative to the next one.
    const DECAY: f64 = 0.98;
    const VARIANCE_STEP: f64 = 1.0 / 1024.0;
    const SHARE_STEP: f64 = 1.0 / 65_535.0;

    /// Records a run that is no longer among the last twenty; `window` is what these have in common.
    pub(super) fn record(&mut self, ln: f64, window: &WindowMoments) {
        let mut moments = self.moments().that_agree_with(window);
        if moments.first.weight == 0.0 {
            *self = Self::default();
        }
        let Some(is_second) = moments.is_second(ln, window) else { return };
        self.count = self.count.saturating_add(1);
        let weight = self.weight();
        if is_second {
            let share = self.share() + (1.0 - self.share()) / weight;
            let known = moments.second.weight > 0.0;
            let step = if known { 1.0 / (share * weight).max(1.0) } else { 1.0 };
            moments.second.center += step * (ln - moments.second.center);
            self.set_share(share);
        } else {
            self.set_share(self.share() * (1.0 - 1.0 / weight));
            let step = 1.0 / ((1.0 - self.share()) * weight).max(1.0);
            if moments.first.weight == 0.0 {
                (moments.first.center, moments.variance) = (ln, window.first.variance);
            } else {
                let before = ln - moments.first.center;
                moments.first.center += step * before;
                let squared = before * (ln - moments.first.center);
                moments.variance += step * (squared - moments.variance);
            }
        }
        self.set(&moments);
    }

    pub(super) fn moments(&self) -> EarlierMoments {
        let (weight, share) = (self.weight(), self.share());
        EarlierMoments {
            first: RunKind {
                center: f32::from_le_bytes(self.center).into(),
                weight: weight * (1.0 - share),
            },
            second: RunKind { center: self.second_center.ln(), weight: weight * share },
            variance: libm::exp(f64::from(self.log_variance) * Self::VARIANCE_STEP),
        }
    }

    /// The sum of the weights of `count` runs.
    fn weight(&self) -> f64 {
        (1.0 - Self::DECAY.powi(self.count.into())) / (1.0 - Self::DECAY)
    }

    fn share(&self) -> f64 {
        f64::from(self.second_share) * Self::SHARE_STEP
    }

    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1")]
    fn set_share(&mut self, share: f64) {
        self.second_share = (share / Self::SHARE_STEP).round() as u16;
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "few digits suffice, and the cast saturates"
    )]
    fn set(&mut self, moments: &EarlierMoments) {
        self.center = (moments.first.center as f32).to_le_bytes();
        self.second_center = CompactDuration::from_ln(moments.second.center);
        let log_variance = libm::log(moments.variance.max(f64::MIN_POSITIVE));
        self.log_variance = (log_variance / Self::VARIANCE_STEP).round() as i16;
    }
}

impl EarlierMoments {
    /// A center that moved by more standard errors is another one.
    const MAX_STANDARD_ERRORS: f64 = 5.0;

    /// Nothing if the center of the first kind is another one among the later runs. If only that of the second kind is, the
    /// share of the second kind stays, with the center of the later runs.
    pub(super) fn that_agree_with(mut self, window: &WindowMoments) -> Self {
        let variance = window.first.variance;
        let agrees = |kind: &RunKind, later: &CoreMoments| {
            let distance = kind.center - later.center;
            let expected = variance * (1.0 / later.core_weight + 1.0 / kind.weight);
            distance * distance <= Self::MAX_STANDARD_ERRORS.powi(2) * expected
        };
        if self.first.weight == 0.0 || !agrees(&self.first, &window.first) {
            return Self::default();
        }
        if let Some(second) = window.second.filter(|second| !agrees(&self.second, second)) {
            self.second.center = second.center;
        }
        self
    }

    /// Whether a run is of the second kind; none if it is of neither kind.
    fn is_second(&self, ln: f64, window: &WindowMoments) -> Option<bool> {
        let is_near = |center: f64| (ln - center).abs() <= window.first.max_deviation();
        let earlier = (self.second.weight > 0.0).then_some(self.second.center);
        let second = window.second.map(|second| second.center).or(earlier);
        if is_near(window.first.center) {
            Some(false)
        } else {
            second.is_some_and(is_near).then_some(true)
        }
    }
}
