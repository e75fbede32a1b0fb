//! The age of a job: the time since its start or its submission, by the provider's clock.
//!
//! The times in an answer are compared with the `Date` header of the same answer, never with the local
//! wall clock, which may be minutes off. Between two answers the monotonic clock measures the age. If
//! the provider reports no time, or an implausible one, the age counts from the registration.

use std::time::Duration;

use crate::job::{
    ClockReading, DurationKind, DurationSample, MonotonicTime, Observation, ProviderTimes,
    RequestTimes, SimilarityKeys, StoredJob, UtcTime,
};

/// The time from which an age counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AgeOrigin {
    time: UtcTime,
    duration_kind: DurationKind,
}

/// All ages are in seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct JobAge {
    origin: AgeOrigin,
    /// The age when the last successful request was sent. The job was unfinished then, unless the answer
    /// reported its end.
    last_active_age: f64,
    /// The time from the registration until that request, which depends on no clock of the provider.
    registered_for: f64,
    /// The age at `base_time`.
    base_age: f64,
    base_time: MonotonicTime,
    registered_at: UtcTime,
}

impl JobAge {
    /// A longer age or duration is implausible.
    pub(super) const MAX_PLAUSIBLE: Duration = Duration::from_hours(400 * 24);
    /// `Date` has whole seconds; the expected time lies half a second later.
    const HALF_DATE_RESOLUTION: Duration = Duration::from_millis(500);
    /// A difference up to this is due to the resolution of `Date` and to small clock differences.
    const CLOCK_TOLERANCE_S: f64 = 1.5;

    /// The age of a stored job. The local wall clock is used until the first answer with a `Date`.
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

    pub(super) fn at(&self, now: MonotonicTime) -> f64 {
        self.base_age + now.duration_since(self.base_time).as_secs_f64()
    }

    pub(super) fn last_active_age(&self) -> f64 {
        self.last_active_age
    }

    /// The time since the last successful request was sent, in seconds.
    pub(super) fn time_since_active(&self, now: MonotonicTime) -> f64 {
        self.at(now) - self.last_active_age
    }

    /// The time since the registration: by the wall clock until the job was tracked, and by the monotonic
    /// clock from then on.
    pub(super) fn since_registration(&self, now: MonotonicTime) -> Duration {
        let seconds = self.registered_for + self.time_since_active(now);
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }

    /// The part of [`Self::last_active_age`] that no wrong time from the provider can lengthen.
    pub(super) fn verified_age(&self) -> f64 {
        self.last_active_age.min(self.registered_for)
    }

    /// When the job reaches this age.
    pub(super) fn time_at_age(&self, age: f64) -> MonotonicTime {
        let wait = Duration::try_from_secs_f64(age - self.base_age).unwrap_or(Duration::ZERO);
        self.base_time.plus(wait)
    }

    pub(super) fn duration_kind(&self) -> DurationKind {
        self.origin.duration_kind
    }

    /// The age at the time of a request whose answer is `observation`. If the observed state is not
    /// terminal, the job was unfinished at that time.
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
            // The monotonic clock has a finer resolution than `Date`.
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

    /// The durations of a job that has ended. `self` is the age at the previous answer and `final_age`
    /// at the last one. Uses the provider's times, else the duration that the provider reports, else
    /// the middle of the interval between the two answers.
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
            // A service that reports a start reports the duration of the run without the wait.
            let reported_applies = duration_kind == DurationKind::Run || started_at.is_none();
            let reported = observation
                .reported_duration
                .filter(|_| reported_applies)
                .map(|duration| duration.as_secs_f64());
            let can_estimate = was_polled_before
                && final_age.origin == self.origin
                && duration_kind == final_age.duration_kind();
            let midpoint = can_estimate
                .then(|| f64::midpoint(self.last_active_age, final_age.last_active_age));
            let is_plausible =
                |seconds: &f64| (0.001..Self::MAX_PLAUSIBLE.as_secs_f64()).contains(seconds);
            let seconds = [exact, reported, midpoint].into_iter().flatten().find(is_plausible)?;
            Duration::try_from_secs_f64(seconds).ok()
        };
        let run = started_at.and_then(|_| duration(DurationKind::Run, started_at));
        let total = duration(DurationKind::Total, submitted_at);
        let sample = DurationSample { similarity_keys: similarity_keys.clone(), total, run };
        (total.is_some() || run.is_some()).then_some(sample)
    }

    /// The time from the job's end until the end was observed; none if the sample lacks the duration
    /// that the age counts. For a job that ended before its registration, counts from the registration.
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

/// The start of the run. The time in a list is taken as the start if no other is reported.
fn run_start(times: ProviderTimes, list_time: Option<UtcTime>) -> Option<UtcTime> {
    times.started_at.or(list_time)
}

/// The start of the run, else the submission; none if the provider reports neither.
fn best_origin(times: ProviderTimes, list_time: Option<UtcTime>) -> Option<AgeOrigin> {
    let started = run_start(times, list_time)
        .map(|at| AgeOrigin { time: at, duration_kind: DurationKind::Run });
    started.or_else(|| {
        times.submitted_at.map(|at| AgeOrigin { time: at, duration_kind: DurationKind::Total })
    })
}

/// The age if it is plausible. A slightly negative age is due to the resolution of the clocks.
fn plausible_age(age: f64) -> Option<f64> {
    (-JobAge::CLOCK_TOLERANCE_S..JobAge::MAX_PLAUSIBLE.as_secs_f64())
        .contains(&age)
        .then(|| age.max(0.0))
}

/// The time from `from` to `to`; negative if `to` is earlier.
fn signed_seconds(from: UtcTime, to: UtcTime) -> f64 {
    to.duration_since(from).as_secs_f64() - from.duration_since(to).as_secs_f64()
}
