//! What the last twenty runs of a similarity key have in common: one or two centers. `typical_durations` computes it, and
//! `earlier_runs` sorts the runs that leave by it.

use super::core_moments::CoreMoments;
use super::recent_runs::{RecentRuns, RunWeights, SortedRuns};

/// What the last twenty runs have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct WindowMoments {
    pub(super) first: CoreMoments,
    /// Of the runs that `first` leaves out, if several of them are alike.
    pub(super) second: Option<CoreMoments>,
}

impl WindowMoments {
    pub(super) const WEIGHTS: RunWeights = RecentRuns::weights(0.99);
    /// In weight. Fewer runs that are alike may be so by chance.
    pub(super) const MIN_SECOND_RUNS: f64 = 3.0;

    /// `rest` are the runs that `first` leaves out.
    pub(super) fn new(first: CoreMoments, rest: &SortedRuns) -> Self {
        let second = (!rest.is_empty())
            .then(|| CoreMoments::new(rest, &Self::WEIGHTS, first.variance))
            .filter(|second| second.core_weight >= Self::MIN_SECOND_RUNS);
        Self { first, second }
    }
}
