//! What is remembered of one provider's past runs, and what it predicts of a job.

use std::collections::HashMap;

use crate::job::{DurationKind, DurationSample, SimilarityKeys};

use super::distribution::{Histogram, LogNormalEstimate, Mixture};

/// The learned durations of one provider.
#[derive(Debug, Default)]
pub struct DurationHistory {
    by_key: HashMap<Box<str>, KeyHistory>,
    overall: ByDurationKind<Histogram>,
    /// How many it has taken in.
    sample_count: u64,
}

/// One for each [`Phase`].
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

/// What is remembered under one name.
#[derive(Debug, Default)]
struct KeyHistory {
    estimates: ByDurationKind<LogNormalEstimate>,
    /// The number of its last lesson: who was not heard of for longest is forgotten first.
    last_sample: u64,
}

/// The past that a job is compared with.
#[derive(Debug, Clone, Copy)]
pub struct SimilarRuns<'a> {
    /// The name that it goes by.
    pub similarity_key: &'a str,
    /// Its runs.
    pub estimate: &'a LogNormalEstimate,
}

impl DurationHistory {
    /// Names that are remembered, at least; no more than twice as many.
    const MIN_KEPT_KEYS: usize = 10_000;

    /// Takes in a run that is over.
    pub fn record(&mut self, sample: &DurationSample) {
        self.sample_count += 1;
        let durations = [(DurationKind::Total, sample.total), (DurationKind::Run, sample.run)];
        for (kind, duration) in
            durations.into_iter().filter_map(|(phase, took)| Some((phase, took?)))
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
                self.by_key.values().map(|alike| alike.last_sample).collect();
            let (_, cutoff, _) = last_samples.select_nth_unstable(Self::MIN_KEPT_KEYS);
            let cutoff = *cutoff;
            self.by_key.retain(|_, alike| alike.last_sample > cutoff);
        }
    }

    /// What another provider learned that was the same: what is known here stays as it is.
    pub fn merge_missing(&mut self, other: Self) {
        for (key, key_history) in other.by_key {
            self.by_key.entry(key).or_insert(key_history);
        }
        self.sample_count = self.sample_count.max(other.sample_count);
        if !self.overall.total.has_enough_runs() && !self.overall.run.has_enough_runs() {
            self.overall = other.overall;
        }
    }

    /// Forgets the runs of this name, or all.
    pub fn forget(&mut self, similarity_key: Option<&str>) {
        match similarity_key {
            Some(name) => drop(self.by_key.remove(name)),
            None => *self = Self::default(),
        }
    }

    /// The closest past of a job.
    #[must_use]
    pub fn similar_runs(
        &self,
        similarity_keys: &SimilarityKeys,
        kind: DurationKind,
    ) -> Option<SimilarRuns<'_>> {
        similarity_keys.keys().iter().find_map(|key| {
            let (name, key_history) = self.by_key.get_key_value(key)?;
            let estimate = key_history.estimates.get(kind);
            (estimate.runs() > 0).then_some(SimilarRuns { similarity_key: name, estimate })
        })
    }

    /// What is predicted of a job.
    #[must_use]
    pub fn predict(&self, similarity_keys: &SimilarityKeys, kind: DurationKind) -> Mixture<'_> {
        let similar = self.similar_runs(similarity_keys, kind).map(|past| past.estimate);
        Mixture { similar, overall: self.overall.get(kind) }
    }
}
