//! What an answer tells beside the state, and whether any of it is new.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::job::{Metadata, Observation, UtcTime};

/// A hash of what was told last, so that only news is written.
#[derive(Debug, Default)]
pub(super) struct MetadataChangeDetector(u64);

impl MetadataChangeDetector {
    /// What is told, unless the same was told before.
    pub(super) fn update(&mut self, observation: &Observation) -> Option<Metadata> {
        let detail = serde_json::Value::Object(observation.detail.clone()).to_string();
        let mut hasher = DefaultHasher::new();
        (&detail, &observation.message, &observation.similarity_keys).hash(&mut hasher);
        (&observation.source, observation.reported_duration).hash(&mut hasher);
        observation.credits.map(f64::to_bits).hash(&mut hasher);
        let times = observation.times;
        for time in [times.submitted_at, times.started_at, times.ended_at, times.expires_at] {
            time.map(UtcTime::as_millis).hash(&mut hasher);
        }
        let hash = hasher.finish();
        if hash == self.0 {
            return None;
        }
        self.0 = hash;
        let (times, message, listed_at) =
            (observation.times, observation.message.clone(), observation.list_time);
        let similarity_keys = observation.similarity_keys.clone();
        Some(Metadata {
            times,
            message,
            list_time: listed_at,
            similarity_keys,
            source: observation.source.clone(),
            credits: observation.credits,
            reported_duration: observation.reported_duration,
            detail,
        })
    }
}
