//! The runs of one similarity key in the order of their starts, kept while some of them run at the same time.
//!
//! `recent_runs` has the order of the ends. The two differ where many runs of a key run at the same time: a run that
//! started an hour ago resembles those that started near it, not the short ones that have started and ended since. And
//! those that still run say how long it lasts at least. `change_points` compares a job with both.

use std::collections::{HashMap, VecDeque};

use crate::job::{DurationKind, DurationStart, UtcTime};

use super::by_duration_kind::ByDurationKind;
use super::recent_runs::{CompactDuration, RecentRuns};

/// Of the keys that have past runs and unfinished ones.
#[derive(Debug, Default)]
pub(super) struct ConcurrentRunsByKey(HashMap<Box<str>, Box<ByDurationKind<ConcurrentRuns>>>);

impl ConcurrentRunsByKey {
    pub(super) fn get(&self, key: &str, kind: DurationKind) -> Option<&ConcurrentRuns> {
        self.0.get(key).map(|runs| runs.get(kind))
    }

    pub(super) fn get_mut(&mut self, key: &str, kind: DurationKind) -> Option<&mut ConcurrentRuns> {
        self.0.get_mut(key).map(|runs| runs.get_mut(kind))
    }

    /// The job of this key that started then is unfinished at this age, in seconds. A job has lasted at least as long as
    /// its run. `recent` are the runs of the key that have ended.
    pub(super) fn set_age(
        &mut self,
        key: &str,
        start: DurationStart,
        age: f64,
        recent: &ByDurationKind<RecentRuns>,
    ) {
        let runs = match self.0.get_mut(key) {
            Some(runs) => runs,
            None => self.0.entry(key.into()).or_insert_with(|| {
                let (total, run) = (&recent.total, &recent.run);
                Box::new(ByDurationKind {
                    total: ConcurrentRuns::after(total),
                    run: ConcurrentRuns::after(run),
                })
            }),
        };
        runs.total.set_age(start.at, age);
        if start.kind == DurationKind::Run {
            runs.run.set_age(start.at, age);
        }
    }

    pub(super) fn forget(&mut self, key: &str, start: DurationStart) {
        let Some(runs) = self.0.get_mut(key) else { return };
        runs.total.forget(start.at);
        runs.run.forget(start.at);
        if runs.total.unfinished.is_empty() && runs.run.unfinished.is_empty() {
            self.0.remove(key);
        }
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }

    pub(super) fn retain(&mut self, is_kept: impl Fn(&str) -> bool) {
        self.0.retain(|key, _| is_kept(key));
    }
}

#[derive(Debug, Default)]
pub(super) struct ConcurrentRuns {
    /// In the order of their ends.
    ended: VecDeque<EndedRun>,
    /// In the order of their starts.
    unfinished: Vec<UnfinishedRun>,
}

#[derive(Debug, Clone, Copy)]
struct EndedRun {
    /// None of runs that ended before any run was known to be unfinished.
    started_at: Option<UtcTime>,
    duration: CompactDuration,
}

#[derive(Debug, Clone, Copy)]
struct UnfinishedRun {
    started_at: UtcTime,
    /// When it was last seen unfinished.
    age: CompactDuration,
}

/// A run that started near a job.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct NearbyRun {
    /// The logarithm of the duration in seconds; of the age if the run is unfinished.
    pub(super) ln: f64,
    pub(super) has_ended: bool,
}

/// The runs around a job, each list towards the job.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct NearbyRuns {
    pub(super) before: Vec<NearbyRun>,
    pub(super) after: Vec<NearbyRun>,
}

impl ConcurrentRuns {
    /// Of more runs that have ended, those that ended last are kept.
    const MAX_ENDED: usize = 40;
    /// Of more unfinished runs, those that started last are kept.
    const MAX_UNFINISHED: usize = 256;
    /// The number of unfinished runs before a job, and after it, that it is compared with.
    const MAX_NEARBY_UNFINISHED: usize = 30;

    /// After these runs.
    fn after(recent: &RecentRuns) -> Self {
        let ended = recent
            .durations()
            .iter()
            .rev()
            .map(|duration| EndedRun { started_at: None, duration: *duration });
        Self { ended: ended.collect(), unfinished: Vec::new() }
    }

    fn position(&self, started_at: UtcTime) -> Result<usize, usize> {
        self.unfinished.binary_search_by_key(&started_at, |run| run.started_at)
    }

    /// The run that started then is unfinished at this age, in seconds.
    fn set_age(&mut self, started_at: UtcTime, age: f64) {
        let run = UnfinishedRun { started_at, age: CompactDuration::from_seconds(age) };
        match self.position(started_at) {
            Ok(at) => self.unfinished[at] = run,
            Err(at) if self.unfinished.len() < Self::MAX_UNFINISHED => {
                self.unfinished.insert(at, run);
            }
            Err(0) => {}
            Err(at) => {
                self.unfinished.insert(at, run);
                self.unfinished.remove(0);
            }
        }
    }

    /// The run that started then has ended, or is no longer tracked.
    fn forget(&mut self, started_at: UtcTime) {
        if let Ok(at) = self.position(started_at) {
            self.unfinished.remove(at);
        }
    }

    /// Records a run of this duration, in seconds, that has ended.
    pub(super) fn record_end(&mut self, started_at: Option<UtcTime>, duration: f64) {
        if self.ended.len() == Self::MAX_ENDED {
            self.ended.pop_front();
        }
        let duration = CompactDuration::from_seconds(duration);
        self.ended.push_back(EndedRun { started_at, duration });
    }

    /// Records a run that ended before all runs whose start is known. It is the last of those whose start is unknown;
    /// without such ones it is a run that ended before the recent ones.
    pub(super) fn record_earlier_end(&mut self, started_at: UtcTime, duration: f64) {
        let duration = CompactDuration::from_seconds(duration);
        let run = EndedRun { started_at: Some(started_at), duration };
        let unknown = self.ended.iter().take_while(|run| run.started_at.is_none()).count();
        if unknown > 0 {
            self.ended[unknown - 1] = run;
        } else if self.ended.len() < Self::MAX_ENDED {
            self.ended.push_front(run);
        }
    }

    /// The runs around a job that started then. None if no others run beside it: then the order of the ends is good
    /// enough.
    pub(super) fn near(&self, started_at: UtcTime) -> Option<NearbyRuns> {
        let position = self.position(started_at);
        let before = &self.unfinished[..position.unwrap_or_else(|at| at)];
        let after = &self.unfinished[position.map_or_else(|at| at, |at| at + 1)..];
        let before = &before[before.len().saturating_sub(Self::MAX_NEARBY_UNFINISHED)..];
        let after = &after[..after.len().min(Self::MAX_NEARBY_UNFINISHED)];
        let has_ended_after = self.ended.iter().any(|run| run.started_at > Some(started_at));
        if before.is_empty() && after.is_empty() && !has_ended_after {
            return None;
        }
        let unfinished =
            before.iter().chain(after).map(|run| (Some(run.started_at), run.age, false));
        let ended = self.ended.iter().map(|run| (run.started_at, run.duration, true));
        let mut runs: Vec<_> = ended.chain(unfinished).collect();
        runs.sort_by_key(|(at, _, _)| *at);
        let first_after = runs.partition_point(|(at, _, _)| *at <= Some(started_at));
        let nearby = |(_, duration, has_ended): &(Option<UtcTime>, CompactDuration, bool)| {
            NearbyRun { ln: duration.ln(), has_ended: *has_ended }
        };
        Some(NearbyRuns {
            before: runs[..first_after].iter().map(nearby).collect(),
            after: runs[first_after..].iter().rev().map(nearby).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> UtcTime {
        UtcTime::from_millis(seconds * 1000)
    }

    /// The durations of the runs around a job in seconds; those of unfinished ones are negative.
    fn seconds(runs: &[NearbyRun]) -> Vec<f64> {
        let seconds = |run: &NearbyRun| {
            let seconds = libm::exp(run.ln).round();
            if run.has_ended { seconds } else { -seconds }
        };
        runs.iter().map(seconds).collect()
    }

    #[test]
    fn runs_are_ordered_by_their_starts() {
        // Two old runs, then the ends of runs that started at 50, 10 and 30 s.
        let mut recent = RecentRuns::default();
        for duration in [1.0, 2.0] {
            recent.record(duration);
        }
        let mut concurrent = ConcurrentRuns::after(&recent);
        for (started_at, duration) in [(50, 5.0), (10, 60.0), (30, 45.0)] {
            concurrent.record_end(Some(at(started_at)), duration);
        }
        concurrent.set_age(at(40), 7.0);
        concurrent.set_age(at(20), 70.0);
        concurrent.set_age(at(35), 42.0);
        concurrent.set_age(at(40), 37.0);
        let near = concurrent.near(at(35)).expect("others run");
        assert_eq!(seconds(&near.before), [1.0, 2.0, 60.0, -70.0, 45.0]);
        assert_eq!(seconds(&near.after), [5.0, -37.0]);
    }

    #[test]
    fn without_runs_at_the_same_time_the_order_of_the_ends_is_right() {
        let mut concurrent = ConcurrentRuns::default();
        concurrent.set_age(at(10), 5.0);
        concurrent.forget(at(10));
        concurrent.record_end(Some(at(10)), 30.0);
        assert_eq!(concurrent.near(at(20)), None);
        concurrent.set_age(at(20), 3.0);
        assert_eq!(concurrent.near(at(20)), None, "its own age");
        assert!(concurrent.near(at(21)).is_some(), "another is unfinished");
        concurrent.forget(at(20));
        assert!(concurrent.near(at(9)).is_some(), "another started later and has ended");
    }

    #[test]
    fn only_keys_with_unfinished_runs_are_kept() {
        let mut by_key = ConcurrentRunsByKey::default();
        let waiting = DurationStart { kind: DurationKind::Total, at: at(1) };
        let running = DurationStart { kind: DurationKind::Run, at: at(2) };
        let mut recent = ByDurationKind::<RecentRuns>::default();
        recent.total.record(5.0);
        by_key.set_age("q", waiting, 1.0, &recent);
        by_key.set_age("q", running, 1.0, &recent);
        let counts = |by_key: &ConcurrentRunsByKey, kind| {
            by_key.get("q", kind).map(|runs| (runs.ended.len(), runs.unfinished.len()))
        };
        assert_eq!(counts(&by_key, DurationKind::Total), Some((1, 2)), "waiting and running ones");
        assert_eq!(counts(&by_key, DurationKind::Run), Some((0, 1)));
        by_key.forget("q", running);
        assert_eq!(counts(&by_key, DurationKind::Run), Some((0, 0)));
        by_key.forget("q", waiting);
        assert!(by_key.0.is_empty());
    }

    #[test]
    fn starts_become_known_from_the_newest_run_to_the_oldest() {
        let mut recent = RecentRuns::default();
        for duration in [1.0, 2.0, 3.0] {
            recent.record(duration);
        }
        let mut concurrent = ConcurrentRuns::after(&recent);
        let starts = |concurrent: &ConcurrentRuns| -> Vec<_> {
            concurrent.ended.iter().map(|run| run.started_at).collect()
        };
        concurrent.record_earlier_end(at(30), 3.0);
        concurrent.record_earlier_end(at(20), 2.0);
        assert_eq!(starts(&concurrent), [None, Some(at(20)), Some(at(30))]);
        concurrent.record_earlier_end(at(10), 1.0);
        (0..100).for_each(|start| concurrent.record_earlier_end(at(-start), 7.0));
        assert_eq!(concurrent.ended.len(), ConcurrentRuns::MAX_ENDED);
        assert_eq!(starts(&concurrent)[37..], [Some(at(10)), Some(at(20)), Some(at(30))]);
    }

    #[test]
    fn of_many_runs_the_last_are_kept() {
        let mut concurrent = ConcurrentRuns::default();
        for start in (0..400).chain([0]) {
            concurrent.set_age(at(start), 1.0);
            concurrent.record_end(Some(at(start)), 1.0);
        }
        assert_eq!(concurrent.unfinished.len(), ConcurrentRuns::MAX_UNFINISHED);
        assert_eq!(concurrent.unfinished[0].started_at, at(144));
        assert_eq!(concurrent.ended.len(), ConcurrentRuns::MAX_ENDED);
        assert_eq!(concurrent.ended[0].started_at, Some(at(361)));
    }
}
