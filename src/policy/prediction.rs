//! The predicted duration of one job: the similar runs, mixed with what all runs of the provider tell.
//!
//! A run may resemble none of the similar ones. How often it does, and what it is like then, is learned from all keys: as
//! deviations from the center of the key (failed early, hung), and as durations of all runs. `estimate_shares` has the
//! shares; a key whose runs are predicted better by all runs than by its own gives them more weight (`log_score`).
//!
//! Where runs of the key run at the same time, those that started near the job have the most to tell (`change_points`).

use super::change_points::ChangingDuration;
use super::deviation_histogram::DeviationHistogram;
use super::distribution::{CdfPoint, Distribution};
use super::earlier_runs::EarlierRuns;
use super::estimate_shares::PerEstimate;
use super::histogram::Histogram;
use super::kernel_estimate::KernelEstimate;
use super::key_evidence::KeyEvidence;
use super::log_score::LogScore;
use super::recent_runs::RecentRuns;

/// The prediction for one job.
#[derive(Debug, Clone)]
pub struct Prediction<'a> {
    /// None without similar runs.
    pub similar: Option<KernelEstimate>,
    pub overall: &'a Histogram,
    deviations: &'a DeviationHistogram,
    /// The part of the similar runs; zero if there are none.
    similar_share: f64,
    /// By the runs that started near the job. None if no other runs beside it.
    nearby: Option<ChangingDuration>,
    deviation_share: f64,
}

/// What is known of the key of a job.
#[derive(Debug, Clone, Copy)]
pub(super) struct KnownKey<'a> {
    pub(super) runs: &'a RecentRuns,
    pub(super) earlier: &'a EarlierRuns,
    pub(super) score: LogScore,
    pub(super) evidence: KeyEvidence,
}

impl<'a> Prediction<'a> {
    /// The least weight of all runs together, in runs.
    const MIN_OVERALL_WEIGHT: f64 = 0.15;
    /// The most that all runs together get before the score of the key counts.
    const MAX_OVERALL_SHARE: f64 = 0.9;
    /// The weight of the similar runs beyond that of each, in runs.
    const SIMILAR_PRIOR_WEIGHT: f64 = 1.5;
    /// Of the runs that started near the job, as a part of the share of the similar runs, if the typical duration of the
    /// key has certainly changed among them.
    const NEARBY_SHARE: f64 = 0.6;

    pub(super) fn without_similar_runs(
        overall: &'a Histogram,
        deviations: &'a DeviationHistogram,
    ) -> Self {
        Self {
            similar: None,
            nearby: None,
            overall,
            deviations,
            similar_share: 0.0,
            deviation_share: 0.0,
        }
    }

    /// `shares` are those of a key with as many runs.
    pub(super) fn new(
        key: &KnownKey<'_>,
        prior_variance: f64,
        shares: &PerEstimate,
        overall: &'a Histogram,
        deviations: &'a DeviationHistogram,
    ) -> Self {
        let factors = key.evidence.factors();
        let weights = std::array::from_fn(|index| shares.of_key[index] * factors[index]);
        let similar = KernelEstimate::new(&key.runs.sorted(), key.earlier, prior_variance, weights);
        let weight = similar.newest.weight + Self::SIMILAR_PRIOR_WEIGHT;
        let overall_share =
            shares.of_all_runs.clamp(Self::MIN_OVERALL_WEIGHT / weight, Self::MAX_OVERALL_SHARE);
        let odds = overall_share / (1.0 - overall_share) * key.score.overall_factor();
        let rest = 1.0 / (1.0 + odds);
        let learned_rest = shares.of_deviations + shares.of_key.iter().sum::<f64>();
        let deviation_share = rest * shares.of_deviations / learned_rest;
        let similar_share = rest - deviation_share;
        Self {
            similar: Some(similar),
            nearby: None,
            overall,
            deviations,
            similar_share,
            deviation_share,
        }
    }

    /// This prediction for a job beside which others run. Those that started near it get a part of the share of the
    /// similar runs.
    pub(super) fn with_nearby(self, nearby: Option<ChangingDuration>) -> Self {
        Self { nearby, ..self }
    }

    /// F and A at `t`, of logarithm `ln`, by the runs of the key.
    fn similar_cdf(&self, similar: &KernelEstimate, t: f64, ln: f64) -> CdfPoint {
        let by_all = similar.cdf(t, ln);
        let Some(nearby) = &self.nearby else { return by_all };
        let share = Self::NEARBY_SHARE * nearby.change_probability;
        CdfPoint::mixture([(1.0 - share, by_all), (share, nearby.cdf(t, ln))])
    }

    /// The probability densities of the logarithm of a duration by each estimate, and the shares of the estimates. None
    /// without similar runs.
    pub(super) fn log_densities(&self, ln: f64) -> Option<(PerEstimate, PerEstimate)> {
        let similar = self.similar.as_ref()?;
        let densities = PerEstimate {
            of_key: similar.log_densities(ln),
            of_deviations: self.deviations.log_density(ln, similar.newest.center),
            of_all_runs: self.overall.log_density(ln),
        };
        let shares = PerEstimate {
            of_key: similar.shares().map(|share| share * self.similar_share),
            of_deviations: self.deviation_share,
            of_all_runs: 1.0 - self.similar_share - self.deviation_share,
        };
        Some((densities, shares))
    }
}

impl Distribution for Prediction<'_> {
    fn cdf_at(&self, t: f64) -> CdfPoint {
        let ln = libm::log(t);
        let overall = self.overall.cdf(t, ln);
        let Some(similar) = &self.similar else { return overall };
        let deviations = self.deviations.cdf(t, ln, similar.newest.center);
        CdfPoint::mixture([
            (self.similar_share, self.similar_cdf(similar, t, ln)),
            (self.deviation_share, deviations),
            (1.0 - self.similar_share - self.deviation_share, overall),
        ])
    }
}
