//! Detects whether an observation carries metadata that differs from the last one.
//!
//! Only a hash of the last metadata is kept, so that a tracked job stays small and unchanged metadata
//! is not written again.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::job::{Metadata, Observation, UtcTime};

/// The hash of the last metadata; zero before the first.
#[derive(Debug, Default)]
pub(super) struct MetadataChangeDetector(u64);

impl MetadataChangeDetector {
    /// The metadata of the observation; none if the previous observation had the same.
    pub(super) fn update(&mut self, observation: &Observation) -> Option<Metadata> {
        let Observation { times, list_time, message, similarity_keys, .. } = observation;
        let detail = serde_json::Value::Object(observation.detail.clone()).to_string();
        let mut hasher = DefaultHasher::new();
        (&detail, message, similarity_keys).hash(&mut hasher);
        (&observation.source, observation.reported_duration).hash(&mut hasher);
        observation.credits.map(f64::to_bits).hash(&mut hasher);
        for time in [times.submitted_at, times.started_at, times.ended_at, times.expires_at] {
            time.map(UtcTime::as_millis).hash(&mut hasher);
        }
        let hash = hasher.finish();
        if hash == self.0 {
            return None;
        }
        self.0 = hash;
        Some(Metadata {
            times: *times,
            message: message.clone(),
            list_time: *list_time,
            similarity_keys: similarity_keys.clone(),
            source: observation.source.clone(),
            credits: observation.credits,
            reported_duration: observation.reported_duration,
            detail,
        })
    }
}
