//! The learned durations of one provider, by similarity key, and the predictions from them.
//!
//! The tracker records a sample when a job ends and asks for a prediction before each poll. Memory is
//! bounded: the keys that were not used for the longest time are forgotten.

use std::collections::HashMap;

use crate::job::{DurationKind, DurationSample, SimilarityKeys};

use super::distribution::{Histogram, LogNormalEstimate, Mixture};

#[derive(Debug, Default)]
pub struct DurationHistory {
    by_key: HashMap<Box<str>, KeyHistory>,
    overall: ByDurationKind<Histogram>,
    /// The number of samples recorded so far.
    sample_count: u64,
}

/// A value for each [`DurationKind`].
#[derive(Debug, Default)]
struct ByDurationKind<T> {
    total: T,
    run: T,
}

impl<T> ByDurationKind<T> {
    fn get(&self, kind: DurationKind) -> &T {
        match kind {
            DurationKind::Total => &self.total,
            DurationKind::Run => &self.run,
        }
    }

    fn get_mut(&mut self, kind: DurationKind) -> &mut T {
        match kind {
            DurationKind::Total => &mut self.total,
            DurationKind::Run => &mut self.run,
        }
    }
}

/// The durations of one similarity key.
#[derive(Debug, Default)]
struct KeyHistory {
    estimates: ByDurationKind<LogNormalEstimate>,
    /// The number of the last sample with this key.
    last_sample: u64,
}

/// The runs that a job is compared with.
#[derive(Debug, Clone, Copy)]
pub struct SimilarRuns<'a> {
    /// The key that the runs share with the job.
    pub similarity_key: &'a str,
    pub estimate: &'a LogNormalEstimate,
}

impl DurationHistory {
    /// Above twice this number of keys, all but this number of keys are forgotten.
    const MIN_KEPT_KEYS: usize = 10_000;

    pub fn record(&mut self, sample: &DurationSample) {
        self.sample_count += 1;
        let durations = [(DurationKind::Total, sample.total), (DurationKind::Run, sample.run)];
        for (kind, duration) in
            durations.into_iter().filter_map(|(kind, duration)| Some((kind, duration?)))
        {
            let seconds = duration.as_secs_f64();
            self.overall.get_mut(kind).record(seconds);
            for key in sample.similarity_keys.keys() {
                let key_history = self.by_key.entry(key.clone()).or_default();
                key_history.estimates.get_mut(kind).record(seconds);
                key_history.last_sample = self.sample_count;
            }
        }
        if self.by_key.len() > 2 * Self::MIN_KEPT_KEYS {
            let mut last_samples: Vec<_> =
                self.by_key.values().map(|history| history.last_sample).collect();
            let (_, cutoff, _) = last_samples.select_nth_unstable(Self::MIN_KEPT_KEYS);
            let cutoff = *cutoff;
            self.by_key.retain(|_, history| history.last_sample > cutoff);
        }
    }

    /// Forgets what was learned under this key; the histogram of all runs keeps these runs. Without a key
    /// forgets everything.
    pub fn forget(&mut self, similarity_key: Option<&str>) {
        match similarity_key {
            Some(key) => drop(self.by_key.remove(key)),
            None => *self = Self::default(),
        }
    }

    /// The runs with the closest key that has any.
    #[must_use]
    pub fn similar_runs(
        &self,
        similarity_keys: &SimilarityKeys,
        kind: DurationKind,
    ) -> Option<SimilarRuns<'_>> {
        similarity_keys.keys().iter().find_map(|key| {
            let (similarity_key, key_history) = self.by_key.get_key_value(key)?;
            let estimate = key_history.estimates.get(kind);
            (estimate.runs() > 0).then_some(SimilarRuns { similarity_key, estimate })
        })
    }

    /// The predicted duration of a job.
    #[must_use]
    pub fn predict(&self, similarity_keys: &SimilarityKeys, kind: DurationKind) -> Mixture<'_> {
        let similar = self.similar_runs(similarity_keys, kind).map(|runs| runs.estimate);
        Mixture { similar, overall: self.overall.get(kind) }
    }
}
