//! How old a job is: the seconds since its beginning, by the provider's clock where it tells one.
//!
//! A provider's times are compared with the `Date` of its own answers, never with our clock, which
//! may be minutes off. Between two answers the stopwatch counts on. What cannot be true is not
//! believed: then the job began when it was registered.

use std::time::Duration;

use crate::job::{
    ClockReading, DurationKind, DurationSample, MonotonicTime, Observation, ProviderTimes,
    RequestTimes, SimilarityKeys, StoredJob, UtcTime,
};

/// When a job began, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AgeOrigin {
    time: UtcTime,
    duration_kind: DurationKind,
}

/// A job's age, in seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct JobAge {
    origin: AgeOrigin,
    /// When it was last known not to be over.
    last_active_age: f64,
    /// How long it had been registered then: of so much there is no doubt.
    registered_for: f64,
    /// At `at`, by the stopwatch.
    base_age: f64,
    base_time: MonotonicTime,
    registered_at: UtcTime,
}

impl JobAge {
    /// What is believed of a job's age, or of its duration.
    pub(super) const MAX_PLAUSIBLE: Duration = Duration::from_hours(400 * 24);
    /// `Date` has whole seconds: their middle.
    const HALF_DATE_RESOLUTION: Duration = Duration::from_millis(500);
    /// By so much a `Date` may differ from a stopwatch that is right, and a clock from another.
    const CLOCK_TOLERANCE_S: f64 = 1.5;

    /// The age of a job as the store knows it. Our calendar must do until an answer has a `Date`.
    pub(super) fn new(job: &StoredJob, now: ClockReading) -> Self {
        let last_active_at =
            job.current_state.last_success_sent_at.unwrap_or(job.registered_at).min(now.utc);
        let registered_for = signed_seconds(job.registered_at, last_active_at).max(0.0);
        let registered_at = job.registered_at;
        let reported = best_origin(job.times, job.list_time);
        let reported = reported.and_then(|origin| {
            Some((origin, plausible_age(signed_seconds(origin.time, last_active_at))?))
        });
        let (origin, last_active_age) =
            reported.unwrap_or((origin_at_registration(registered_at), registered_for));
        let base_age = last_active_age + now.utc.duration_since(last_active_at).as_secs_f64();
        Self {
            origin,
            last_active_age,
            registered_for,
            base_age,
            base_time: now.monotonic,
            registered_at,
        }
    }

    /// How old it is at `now`.
    pub(super) fn at(&self, now: MonotonicTime) -> f64 {
        self.base_age + now.duration_since(self.base_time).as_secs_f64()
    }

    /// How old it was when it was last known not to be over.
    pub(super) fn last_active_age(&self) -> f64 {
        self.last_active_age
    }

    /// How long ago it is at `now` that it was last known not to be over.
    pub(super) fn time_since_active(&self, now: MonotonicTime) -> f64 {
        self.at(now) - self.last_active_age
    }

    /// The part of [`Age::alive`] that is beyond doubt.
    pub(super) fn verified_age(&self) -> f64 {
        self.last_active_age.min(self.registered_for)
    }

    /// When it will be so old.
    pub(super) fn time_at_age(&self, age: f64) -> MonotonicTime {
        let wait = Duration::try_from_secs_f64(age - self.base_age).unwrap_or(Duration::ZERO);
        self.base_time.plus(wait)
    }

    /// What its age counts from.
    pub(super) fn duration_kind(&self) -> DurationKind {
        self.origin.duration_kind
    }

    /// The age at an answer that says `seen`: when that was asked for it was not over, if it is not now.
    pub(super) fn after_observation(
        &self,
        observation: &Observation,
        server_date: Option<UtcTime>,
        request_times: RequestTimes,
        now: MonotonicTime,
    ) -> Self {
        let sent_at = now
            .minus(request_times.received_at.duration_since(request_times.sent_at))
            .max(self.base_time);
        let elapsed_age = self.at(sent_at);
        let registered_for = self.registered_for + (elapsed_age - self.last_active_age);
        let continued = Self {
            last_active_age: elapsed_age,
            registered_for,
            base_age: elapsed_age,
            base_time: sent_at,
            ..*self
        };
        let Some(origin) = best_origin(observation.times, observation.list_time) else {
            return continued;
        };
        let server_time =
            server_date.map_or(request_times.sent_at, |date| date.plus(Self::HALF_DATE_RESOLUTION));
        match plausible_age(signed_seconds(origin.time, server_time)) {
            None => {
                let origin = origin_at_registration(self.registered_at);
                Self {
                    origin,
                    last_active_age: registered_for,
                    base_age: registered_for,
                    ..continued
                }
            }
            // The stopwatch counts finer.
            Some(reported)
                if origin == self.origin
                    && (reported - elapsed_age).abs() <= Self::CLOCK_TOLERANCE_S =>
            {
                continued
            }
            Some(reported) => {
                Self { origin, last_active_age: reported, base_age: reported, ..continued }
            }
        }
    }

    /// What the end that `seen` tells teaches, when its age is `end` and was `self` at the answer
    /// before, if there was one. By the provider's times, else by the duration that it tells, else by
    /// the middle of the time in which it ended.
    pub(super) fn duration_sample(
        &self,
        final_age: &Self,
        was_polled_before: bool,
        observation: &Observation,
        similarity_keys: &SimilarityKeys,
    ) -> Option<DurationSample> {
        let ProviderTimes { submitted_at, ended_at, .. } = observation.times;
        let started_at = run_start(observation.times, observation.list_time);
        let duration = |duration_kind, from: Option<UtcTime>| {
            let exact = from.zip(ended_at).map(|(from, to)| signed_seconds(from, to));
            // A service that tells of a start tells how long the run took, not the wait before it.
            let reported_applies = duration_kind == DurationKind::Run || started_at.is_none();
            let reported = observation
                .reported_duration
                .filter(|_| reported_applies)
                .map(|took| took.as_secs_f64());
            let can_estimate = was_polled_before
                && final_age.origin == self.origin
                && duration_kind == final_age.duration_kind();
            let midpoint = can_estimate
                .then(|| f64::midpoint(self.last_active_age, final_age.last_active_age));
            let is_plausible =
                |took: &f64| (0.001..Self::MAX_PLAUSIBLE.as_secs_f64()).contains(took);
            let seconds = [exact, reported, midpoint].into_iter().flatten().find(is_plausible)?;
            Duration::try_from_secs_f64(seconds).ok()
        };
        let running = started_at.and_then(|_| duration(DurationKind::Run, started_at));
        let whole = duration(DurationKind::Total, submitted_at);
        let sample =
            DurationSample { similarity_keys: similarity_keys.clone(), total: whole, run: running };
        (whole.is_some() || running.is_some()).then_some(sample)
    }

    /// How long after its end it is so old, if `lesson` tells when that was; one that was over when it
    /// was registered is late from then on.
    pub(super) fn detection_delay(&self, sample: &DurationSample) -> Option<Duration> {
        let duration = match self.duration_kind() {
            DurationKind::Total => sample.total?,
            DurationKind::Run => sample.run?,
        };
        let delay = (self.base_age - duration.as_secs_f64()).min(self.registered_for);
        Some(Duration::try_from_secs_f64(delay).unwrap_or_default())
    }
}

fn origin_at_registration(at: UtcTime) -> AgeOrigin {
    AgeOrigin { time: at, duration_kind: DurationKind::Total }
}

/// The start of the run. A place in a list is the start, as far as is known.
fn run_start(times: ProviderTimes, listed_at: Option<UtcTime>) -> Option<UtcTime> {
    times.started_at.or(listed_at)
}

/// The start of the run, else the submission.
fn best_origin(times: ProviderTimes, listed_at: Option<UtcTime>) -> Option<AgeOrigin> {
    let started = run_start(times, listed_at)
        .map(|at| AgeOrigin { time: at, duration_kind: DurationKind::Run });
    started.or_else(|| {
        times.submitted_at.map(|at| AgeOrigin { time: at, duration_kind: DurationKind::Total })
    })
}

/// An age that can be true; a little before the beginning is a clock's grain.
fn plausible_age(age: f64) -> Option<f64> {
    (-JobAge::CLOCK_TOLERANCE_S..JobAge::MAX_PLAUSIBLE.as_secs_f64())
        .contains(&age)
        .then(|| age.max(0.0))
}

/// From `from` to `to`; negative if it is the other way round.
fn signed_seconds(from: UtcTime, to: UtcTime) -> f64 {
    to.duration_since(from).as_secs_f64() - from.duration_since(to).as_secs_f64()
}
