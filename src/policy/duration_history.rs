//! The learned durations of one provider, by similarity key, and the predictions from them.
//!
//! The tracker records how long a job has lasted so far, and a sample when it ends, and asks for a prediction before each
//! poll. Memory is bounded: the keys that were not used for the longest time are forgotten.

use std::collections::HashMap;

use crate::job::{DurationKind, DurationSample, DurationStart, SimilarityKeys};

use super::by_duration_kind::ByDurationKind;
use super::change_points::ChangingDuration;
use super::concurrent_runs::ConcurrentRunsByKey;
use super::deviation_histogram::DeviationHistogram;
use super::earlier_runs::EarlierRuns;
use super::estimate_shares::EstimateShares;
use super::histogram::Histogram;
use super::key_evidence::KeyEvidence;
use super::log_score::LogScore;
use super::prediction::{KnownKey, Prediction};
use super::recent_runs::RecentRuns;
use super::typical_variance::TypicalVariance;

#[derive(Debug, Default)]
pub struct DurationHistory {
    by_key: HashMap<Box<str>, KeyHistory>,
    concurrent: ConcurrentRunsByKey,
    all_runs: ByDurationKind<AllRuns>,
    /// The number of samples recorded so far.
    sample_count: u32,
}

/// What all runs of the provider tell.
#[derive(Debug, Default)]
struct AllRuns {
    histogram: Histogram,
    deviations: DeviationHistogram,
    typical_variance: TypicalVariance,
    shares: EstimateShares,
}

impl AllRuns {
    fn predict(&self, key: &KnownKey<'_>) -> Prediction<'_> {
        let shares = self.shares.get(key.runs.count());
        Prediction::new(
            key,
            self.typical_variance.get(),
            &shares,
            &self.histogram,
            &self.deviations,
        )
    }
}

/// The durations of one similarity key.
#[derive(Debug, Default)]
struct KeyHistory {
    runs: ByDurationKind<RecentRuns>,
    earlier: ByDurationKind<EarlierRuns>,
    scores: ByDurationKind<LogScore>,
    evidence: ByDurationKind<KeyEvidence>,
    /// The number of the last sample with this key.
    last_sample: u32,
}

impl KeyHistory {
    /// None without runs.
    fn known(&self, kind: DurationKind) -> Option<KnownKey<'_>> {
        let (runs, earlier) = (self.runs.get(kind), self.earlier.get(kind));
        let (score, evidence) = (*self.scores.get(kind), *self.evidence.get(kind));
        (runs.count() > 0).then_some(KnownKey { runs, earlier, score, evidence })
    }

    /// Records a run, and how well the runs before predicted it. Those beside it do not count here, because after a
    /// restart their ages at its end are not known: what is learned from the same samples is always the same.
    fn record(&mut self, kind: DurationKind, seconds: f64, all_runs: &mut AllRuns) {
        /// The center of fewer runs is not known well enough to tell how others deviate from it.
        const MIN_RUNS_FOR_DEVIATIONS: u32 = 3;
        let ln = libm::log(seconds);
        let run_count = self.runs.get(kind).count();
        let prediction = self.known(kind).map(|key| all_runs.predict(&key));
        let before = prediction.as_ref().and_then(|prediction| {
            let (densities, shares) = prediction.log_densities(ln)?;
            let similar = prediction.similar.as_ref()?;
            Some((densities, shares, similar.newest, similar.typical.window))
        });
        if let Some((densities, shares, newest, window)) = before {
            self.scores.get_mut(kind).record(&densities, &shares);
            self.evidence.get_mut(kind).record(densities.of_key);
            all_runs.shares.record(run_count, &densities, &shares);
            all_runs.typical_variance.record(seconds, &newest);
            if run_count >= MIN_RUNS_FOR_DEVIATIONS {
                let part = densities.part_of_deviations(&shares);
                all_runs.deviations.record(ln, newest.center, part);
            }
            if let Some(displaced) = self.runs.get(kind).displaced_ln() {
                self.earlier.get_mut(kind).record(displaced, &window);
            }
        }
        self.runs.get_mut(kind).record(seconds);
    }
}

/// The runs that a job is compared with.
#[derive(Debug, Clone, Copy)]
pub struct SimilarRuns<'a> {
    /// The key that the runs share with the job.
    pub similarity_key: &'a str,
    pub runs: &'a RecentRuns,
}

impl DurationHistory {
    /// Above twice this number of keys, all but this number of keys are forgotten.
    const MIN_KEPT_KEYS: usize = 10_000;

    pub fn record(&mut self, sample: &DurationSample) {
        self.sample_count = self.sample_count.saturating_add(1);
        for (kind, duration, from) in sample.by_kind() {
            let Some(duration) = duration else { continue };
            let seconds = duration.as_secs_f64().max(RecentRuns::MIN_SECONDS);
            let all_runs = self.all_runs.get_mut(kind);
            for key in sample.similarity_keys.keys() {
                let key_history = self.by_key.entry(key.clone()).or_default();
                key_history.last_sample = self.sample_count;
                key_history.record(kind, seconds, all_runs);
                if let Some(concurrent) = self.concurrent.get_mut(key, kind) {
                    concurrent.record_end(from, seconds);
                }
            }
            all_runs.histogram.record(seconds);
        }
        if self.by_key.len() > 2 * Self::MIN_KEPT_KEYS {
            let mut last_samples: Vec<_> =
                self.by_key.values().map(|history| history.last_sample).collect();
            let (_, cutoff, _) = last_samples.select_nth_unstable(Self::MIN_KEPT_KEYS);
            let cutoff = *cutoff;
            self.by_key.retain(|_, history| history.last_sample > cutoff);
            self.concurrent.retain(|key| self.by_key.contains_key(key));
        }
    }

    /// Records that a job is unfinished at this age, in seconds. Without past runs under its keys it tells nothing.
    pub fn record_unfinished(
        &mut self,
        similarity_keys: &SimilarityKeys,
        start: DurationStart,
        age: f64,
    ) {
        for key in similarity_keys.keys() {
            if let Some(history) = self.by_key.get(key)
                && history.runs.get(start.kind).count() > 0
            {
                self.concurrent.set_age(key, start, age, &history.runs);
            }
        }
    }

    /// Records when a run started whose duration is recorded already: so runs are compared after a restart as before it.
    /// To be called from the newest run to the oldest, once the unfinished jobs are known.
    pub fn record_start(&mut self, run: &DurationSample) {
        for (kind, duration, from) in run.by_kind() {
            let Some((duration, from)) = duration.zip(from) else { continue };
            for key in run.similarity_keys.keys() {
                if let Some(concurrent) = self.concurrent.get_mut(key, kind) {
                    concurrent.record_earlier_end(from, duration.as_secs_f64());
                }
            }
        }
    }

    /// Forgets the age of a job that has ended or is no longer tracked.
    pub fn forget_unfinished(&mut self, similarity_keys: &SimilarityKeys, start: DurationStart) {
        for key in similarity_keys.keys() {
            self.concurrent.forget(key, start);
        }
    }

    /// Forgets what was learned under this key; what all runs tell keeps these runs. Without a key
    /// forgets everything.
    pub fn forget(&mut self, similarity_key: Option<&str>) {
        match similarity_key {
            Some(key) => {
                self.by_key.remove(key);
                self.concurrent.remove(key);
            }
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
        let (similarity_key, history) = self.key_history(similarity_keys, kind)?;
        Some(SimilarRuns { similarity_key, runs: history.runs.get(kind) })
    }

    /// Whether enough runs were recorded to give a job that was never polled a priority.
    #[must_use]
    pub fn has_enough_runs(&self, kind: DurationKind) -> bool {
        self.all_runs.get(kind).histogram.has_enough_runs()
    }

    /// The predicted duration of a job.
    #[must_use]
    pub fn predict(
        &self,
        similarity_keys: &SimilarityKeys,
        start: DurationStart,
    ) -> Prediction<'_> {
        let DurationStart { kind, at } = start;
        let all_runs = self.all_runs.get(kind);
        let known = self.key_history(similarity_keys, kind);
        let Some((name, key)) = known.and_then(|(name, key)| Some((name, key.known(kind)?))) else {
            return Prediction::without_similar_runs(&all_runs.histogram, &all_runs.deviations);
        };
        let others = self.concurrent.get(name, kind);
        let nearby = others
            .and_then(|others| others.near(at))
            .and_then(|nearby| ChangingDuration::new(&nearby, all_runs.typical_variance.get()));
        all_runs.predict(&key).with_nearby(nearby)
    }

    /// The closest key that has runs.
    fn key_history(
        &self,
        similarity_keys: &SimilarityKeys,
        kind: DurationKind,
    ) -> Option<(&str, &KeyHistory)> {
        similarity_keys.keys().iter().find_map(|key| {
            let (similarity_key, history) = self.by_key.get_key_value(key)?;
            (history.runs.get(kind).count() > 0).then_some((&**similarity_key, history))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_takes_little_memory() {
        assert!(size_of::<KeyHistory>() <= 120);
    }

    #[test]
    fn runs_of_some_milliseconds_do_not_widen_the_predictions_of_others() {
        let sample = |key: &str, duration| DurationSample {
            similarity_keys: SimilarityKeys::UserProvided(key.into()),
            total: Some(duration),
            ..DurationSample::default()
        };
        let mut history = DurationHistory::default();
        for run in 0..400 {
            history.record(&sample("fast", std::time::Duration::from_millis(1 + run % 9)));
            history.record(&sample("steady", std::time::Duration::from_mins(1)));
        }
        let variance = history.all_runs.get(DurationKind::Total).typical_variance.get();
        assert!(variance < 0.01, "{variance}");
    }
}
