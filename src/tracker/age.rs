//! The age of a job: the time since its start or its submission, by the provider's clock.
//!
//! The times in an answer are compared with the `Date` header of the same answer, never with the local
//! wall clock, which may be minutes off. Between two answers the monotonic clock measures the age. If
//! the provider reports no time, or an implausible one, the age counts from the registration.

use std::time::Duration;

use crate::job::{
    ClockReading, DurationKind, DurationSample, DurationStart, MonotonicTime, Observation,
    ProviderTimes, RequestTimes, SimilarityKeys, StoredJob, UtcTime,
};

/// The time from which an age counts, and which duration counts from there, in 8 bytes: milliseconds since 1970,
/// doubled, and one more for the duration of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct AgeOrigin(i64);

impl AgeOrigin {
    fn new(time: UtcTime, duration_kind: DurationKind) -> Self {
        let is_run = match duration_kind {
            DurationKind::Total => 0,
            DurationKind::Run => 1,
        };
        Self(time.as_millis() * 2 + is_run)
    }

    fn time(self) -> UtcTime {
        UtcTime::from_millis(self.0.div_euclid(2))
    }

    fn duration_kind(self) -> DurationKind {
        if self.0.rem_euclid(2) == 1 { DurationKind::Run } else { DurationKind::Total }
    }
}

/// A time by the monotonic clock in milliseconds; negative before the clock's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ClockMillis(i64);

/// The age is kept as three points of the monotonic clock. All ages are in seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct JobAge {
    origin: AgeOrigin,
    registered_at: UtcTime,
    /// When the age was zero.
    zero_at: ClockMillis,
    /// When the job was registered, whatever the clock of the provider shows.
    registered: ClockMillis,
    /// When the last successful request was sent. The job was unfinished then, unless the answer reported
    /// its end.
    last_active: ClockMillis,
}

impl ClockMillis {
    /// Rounds up to a whole millisecond, as [`MonotonicTime::plus`] does.
    fn plus(self, duration: Duration) -> Self {
        let ms = i64::try_from(duration.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(ms))
    }

    /// The time `ms` earlier.
    fn minus(self, ms: i64) -> Self {
        Self(self.0.saturating_sub(ms))
    }

    #[expect(clippy::cast_precision_loss, reason = "exact up to 285,000 years")]
    fn seconds_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / 1000.0
    }
}

impl From<MonotonicTime> for ClockMillis {
    fn from(at: MonotonicTime) -> Self {
        Self(i64::try_from(at.as_millis()).unwrap_or(i64::MAX))
    }
}

impl From<ClockMillis> for MonotonicTime {
    fn from(at: ClockMillis) -> Self {
        Self::from_millis(u64::try_from(at.0).unwrap_or(0))
    }
}

impl JobAge {
    /// A longer age or duration is implausible.
    pub(super) const MAX_PLAUSIBLE: Duration = Duration::from_hours(400 * 24);
    /// `Date` has whole seconds; the expected time lies half a second later.
    const HALF_DATE_RESOLUTION: Duration = Duration::from_millis(500);
    /// A difference up to this is due to the resolution of `Date` and to small clock differences.
    const CLOCK_TOLERANCE_MS: i64 = 1500;

    /// The age of a stored job. The local wall clock is used until the first answer with a `Date`.
    pub(super) fn new(job: &StoredJob, now: ClockReading) -> Self {
        let registered_at = job.registered_at;
        let last_active_at =
            job.current_state.last_success_sent_at.unwrap_or(registered_at).min(now.utc);
        let last_active =
            ClockMillis::from(now.monotonic).minus(signed_millis(last_active_at, now.utc));
        let registered = last_active.minus(signed_millis(registered_at, last_active_at).max(0));
        let reported = best_origin(job.times, job.list_time).and_then(|origin| {
            Some((origin, plausible_age(signed_millis(origin.time(), last_active_at))?))
        });
        let (origin, zero_at) = match reported {
            Some((origin, age)) => (origin, last_active.minus(age)),
            None => (origin_at_registration(registered_at), registered),
        };
        Self { origin, registered_at, zero_at, registered, last_active }
    }

    pub(super) fn registered_at(&self) -> UtcTime {
        self.registered_at
    }

    pub(super) fn at(&self, now: MonotonicTime) -> f64 {
        ClockMillis::from(now).seconds_since(self.zero_at)
    }

    /// The age when the last successful request was sent.
    pub(super) fn last_active_age(&self) -> f64 {
        self.last_active.seconds_since(self.zero_at)
    }

    /// The time since the last successful request was sent, in seconds.
    pub(super) fn time_since_active(&self, now: MonotonicTime) -> f64 {
        ClockMillis::from(now).seconds_since(self.last_active)
    }

    /// The time since the registration: by the wall clock until the job was tracked, and by the monotonic
    /// clock from then on.
    pub(super) fn since_registration(&self, now: MonotonicTime) -> Duration {
        let seconds = ClockMillis::from(now).seconds_since(self.registered);
        Duration::try_from_secs_f64(seconds).unwrap_or_default()
    }

    /// The time from the registration until the last successful request, which depends on no clock of the
    /// provider.
    fn registered_for(&self) -> f64 {
        self.last_active.seconds_since(self.registered)
    }

    /// The part of [`Self::last_active_age`] that no wrong time from the provider can lengthen.
    pub(super) fn verified_age(&self) -> f64 {
        self.last_active_age().min(self.registered_for())
    }

    /// When the job reaches this age; not before the last successful request.
    pub(super) fn time_at_age(&self, age: f64) -> MonotonicTime {
        let wait = Duration::try_from_secs_f64(age - self.last_active_age()).unwrap_or_default();
        self.last_active.plus(wait).into()
    }

    pub(super) fn duration_kind(&self) -> DurationKind {
        self.origin.duration_kind()
    }

    /// From when the age counts.
    pub(super) fn start(&self) -> DurationStart {
        DurationStart { kind: self.duration_kind(), at: self.origin.time() }
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
        let sent_at = now.minus(request_times.received_at.duration_since(request_times.sent_at));
        let last_active = ClockMillis::from(sent_at).max(self.last_active);
        let continued = Self { last_active, ..*self };
        let Some(origin) = best_origin(observation.times, observation.list_time) else {
            return continued;
        };
        let server_time =
            server_date.map_or(request_times.sent_at, |date| date.plus(Self::HALF_DATE_RESOLUTION));
        match plausible_age(signed_millis(origin.time(), server_time)) {
            None => Self {
                origin: origin_at_registration(self.registered_at),
                zero_at: self.registered,
                ..continued
            },
            Some(reported) => {
                let zero_at = last_active.minus(reported);
                // The monotonic clock has a finer resolution than `Date`.
                let is_continued = origin == self.origin
                    && zero_at.0.abs_diff(self.zero_at.0)
                        <= Self::CLOCK_TOLERANCE_MS.unsigned_abs();
                if is_continued { continued } else { Self { origin, zero_at, ..continued } }
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
            let exact = from.zip(ended_at).map(|(from, to)| to.duration_since(from).as_secs_f64());
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
                .then(|| f64::midpoint(self.last_active_age(), final_age.last_active_age()));
            let is_plausible =
                |seconds: &f64| (0.001..Self::MAX_PLAUSIBLE.as_secs_f64()).contains(seconds);
            let seconds = [exact, reported, midpoint].into_iter().flatten().find(is_plausible)?;
            Duration::try_from_secs_f64(seconds).ok()
        };
        let run = started_at.and_then(|_| duration(DurationKind::Run, started_at));
        let total = duration(DurationKind::Total, submitted_at);
        let sample = DurationSample {
            similarity_keys: similarity_keys.clone(),
            total,
            run,
            total_from: Some(submitted_at.unwrap_or(self.registered_at)),
            run_from: started_at,
        };
        (total.is_some() || run.is_some()).then_some(sample)
    }

    /// The time from the job's end until the end was observed; none if the sample lacks the duration
    /// that the age counts. For a job that ended before its registration, counts from the registration.
    pub(super) fn detection_delay(&self, sample: &DurationSample) -> Option<Duration> {
        let duration = match self.duration_kind() {
            DurationKind::Total => sample.total?,
            DurationKind::Run => sample.run?,
        };
        let delay = (self.last_active_age() - duration.as_secs_f64()).min(self.registered_for());
        Some(Duration::try_from_secs_f64(delay).unwrap_or_default())
    }
}

fn origin_at_registration(at: UtcTime) -> AgeOrigin {
    AgeOrigin::new(at, DurationKind::Total)
}

/// The start of the run. The time in a list is taken as the start if no other is reported.
fn run_start(times: ProviderTimes, list_time: Option<UtcTime>) -> Option<UtcTime> {
    times.started_at.or(list_time)
}

/// The start of the run, else the submission; none if the provider reports neither.
fn best_origin(times: ProviderTimes, list_time: Option<UtcTime>) -> Option<AgeOrigin> {
    let started = run_start(times, list_time).map(|at| AgeOrigin::new(at, DurationKind::Run));
    started.or_else(|| times.submitted_at.map(|at| AgeOrigin::new(at, DurationKind::Total)))
}

/// The age in milliseconds if it is plausible. A slightly negative age is due to the resolution of the clocks.
fn plausible_age(ms: i64) -> Option<i64> {
    let max = i64::try_from(JobAge::MAX_PLAUSIBLE.as_millis()).unwrap_or(i64::MAX);
    (-JobAge::CLOCK_TOLERANCE_MS..max).contains(&ms).then(|| ms.max(0))
}

/// The time from `from` to `to` in milliseconds; negative if `to` is earlier.
fn signed_millis(from: UtcTime, to: UtcTime) -> i64 {
    to.as_millis() - from.as_millis()
}
