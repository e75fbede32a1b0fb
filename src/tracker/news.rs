//! What an answer tells beside the state, and whether any of it is new.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::job::{Observation, Told, Utc};

/// A hash of what was told last, so that only news is written.
#[derive(Debug, Default)]
pub(super) struct News(u64);

impl News {
    /// What is told, unless the same was told before.
    pub(super) fn of(&mut self, seen: &Observation) -> Option<Told> {
        let detail = serde_json::Value::Object(seen.detail.clone()).to_string();
        let mut hasher = DefaultHasher::new();
        (&detail, &seen.message, &seen.likeness).hash(&mut hasher);
        let t = seen.times;
        for time in [t.submitted_at, t.started_at, t.ended_at, t.expires_at] {
            time.map(Utc::as_millis).hash(&mut hasher);
        }
        let hash = hasher.finish();
        if hash == self.0 {
            return None;
        }
        self.0 = hash;
        let (times, message, listed_at) = (seen.times, seen.message.clone(), seen.listed_at);
        let likeness = seen.likeness.clone();
        Some(Told { times, message, listed_at, likeness, detail })
    }
}
