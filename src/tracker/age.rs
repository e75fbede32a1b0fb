//! How old a job is: the seconds since its beginning, by the provider's clock where it tells one.
//!
//! A provider's times are compared with the `Date` of its own answers, never with our clock, which
//! may be minutes off. Between two answers the stopwatch counts on. What cannot be true is not
//! believed: then the job began when it was registered.

use std::time::Duration;

use crate::job::{Asked, Lesson, Likeness, Moment, Mono, Observation, Phase, Times, Tracked, Utc};

/// When a job began, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Origin {
    at: Utc,
    phase: Phase,
}

/// A job's age, in seconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Age {
    origin: Origin,
    /// When it was last known not to be over.
    alive: f64,
    /// How long it had been registered then: of so much there is no doubt.
    known: f64,
    /// At `at`, by the stopwatch.
    then: f64,
    at: Mono,
    registered_at: Utc,
}

impl Age {
    /// What is believed of a job's age, or of its duration.
    pub(super) const LONGEST: Duration = Duration::from_hours(400 * 24);
    /// `Date` has whole seconds: their middle.
    const HALF: Duration = Duration::from_millis(500);
    /// By so much a `Date` may differ from a stopwatch that is right, and a clock from another.
    const GRAIN: f64 = 1.5;

    /// The age of a job as the store knows it. Our calendar must do until an answer has a `Date`.
    pub(super) fn new(job: &Tracked, now: Moment) -> Self {
        let alive_at = job.standing.answered_from.unwrap_or(job.registered_at).min(now.wall);
        let known = seconds(job.registered_at, alive_at).max(0.0);
        let registered_at = job.registered_at;
        let told = began(job.times, job.listed_at);
        let told = told.and_then(|own| Some((own, believed(seconds(own.at, alive_at))?)));
        let (origin, alive) = told.unwrap_or((since_registration(registered_at), known));
        let then = alive + now.wall.since(alive_at).as_secs_f64();
        Self { origin, alive, known, then, at: now.mono, registered_at }
    }

    /// How old it is at `now`.
    pub(super) fn now(&self, now: Mono) -> f64 {
        self.then + now.since(self.at).as_secs_f64()
    }

    /// How old it was when it was last known not to be over.
    pub(super) fn alive(&self) -> f64 {
        self.alive
    }

    /// How long ago it is at `now` that it was last known not to be over.
    pub(super) fn silence(&self, now: Mono) -> f64 {
        self.now(now) - self.alive
    }

    /// The part of [`Age::alive`] that is beyond doubt.
    pub(super) fn proven(&self) -> f64 {
        self.alive.min(self.known)
    }

    /// When it will be so old.
    pub(super) fn reaches(&self, age: f64) -> Mono {
        let wait = Duration::try_from_secs_f64(age - self.then).unwrap_or(Duration::ZERO);
        self.at.plus(wait)
    }

    /// What its age counts from.
    pub(super) fn phase(&self) -> Phase {
        self.origin.phase
    }

    /// The age at an answer that says `seen`: when that was asked for it was not over, if it is not now.
    pub(super) fn heard(
        &self,
        seen: &Observation,
        date: Option<Utc>,
        asked: Asked,
        now: Mono,
    ) -> Self {
        let at = now.minus(asked.answered_at.since(asked.sent_at)).max(self.at);
        let counted = self.now(at);
        let known = self.known + (counted - self.alive);
        let stay = Self { alive: counted, known, then: counted, at, ..*self };
        let Some(origin) = began(seen.times, seen.listed_at) else { return stay };
        let clock = date.map_or(asked.sent_at, |date| date.plus(Self::HALF));
        match believed(seconds(origin.at, clock)) {
            None => {
                let origin = since_registration(self.registered_at);
                Self { origin, alive: known, then: known, ..stay }
            }
            // The stopwatch counts finer.
            Some(told) if origin == self.origin && (told - counted).abs() <= Self::GRAIN => stay,
            Some(told) => Self { origin, alive: told, then: told, ..stay },
        }
    }

    /// What the end that `seen` tells teaches, when its age is `end` and was `self` at the answer
    /// before, if there was one. By the provider's times, else by the duration that it tells, else by
    /// the middle of the time in which it ended.
    pub(super) fn lesson(
        &self,
        end: &Self,
        was_seen: bool,
        seen: &Observation,
        likeness: &Likeness,
    ) -> Option<Lesson> {
        let Times { submitted_at, ended_at, .. } = seen.times;
        let started_at = started(seen.times, seen.listed_at);
        let took = |phase, from: Option<Utc>| {
            let exact = from.zip(ended_at).map(|(from, to)| seconds(from, to));
            // A service that tells of a start tells how long the run took, not the wait before it.
            let is_told = phase == Phase::Running || started_at.is_none();
            let told = seen.took.filter(|_| is_told).map(|took| took.as_secs_f64());
            let is_between = was_seen && end.origin == self.origin && phase == end.phase();
            let between = is_between.then(|| f64::midpoint(self.alive, end.alive));
            let sane = |took: &f64| (0.001..Self::LONGEST.as_secs_f64()).contains(took);
            let took = [exact, told, between].into_iter().flatten().find(sane)?;
            Duration::try_from_secs_f64(took).ok()
        };
        let running = started_at.and_then(|_| took(Phase::Running, started_at));
        let whole = took(Phase::Whole, submitted_at);
        let lesson = Lesson { likeness: likeness.clone(), whole, running };
        (whole.is_some() || running.is_some()).then_some(lesson)
    }

    /// How long after its end it is so old, if `lesson` tells when that was; one that was over when it
    /// was registered is late from then on.
    pub(super) fn lateness(&self, lesson: &Lesson) -> Option<Duration> {
        let took = match self.phase() {
            Phase::Whole => lesson.whole?,
            Phase::Running => lesson.running?,
        };
        let late = (self.then - took.as_secs_f64()).min(self.known);
        Some(Duration::try_from_secs_f64(late).unwrap_or_default())
    }
}

fn since_registration(at: Utc) -> Origin {
    Origin { at, phase: Phase::Whole }
}

/// The start of the run. A place in a list is the start, as far as is known.
fn started(times: Times, listed_at: Option<Utc>) -> Option<Utc> {
    times.started_at.or(listed_at)
}

/// The start of the run, else the submission.
fn began(times: Times, listed_at: Option<Utc>) -> Option<Origin> {
    let started = started(times, listed_at).map(|at| Origin { at, phase: Phase::Running });
    started.or_else(|| times.submitted_at.map(|at| Origin { at, phase: Phase::Whole }))
}

/// An age that can be true; a little before the beginning is a clock's grain.
fn believed(age: f64) -> Option<f64> {
    (-Age::GRAIN..Age::LONGEST.as_secs_f64()).contains(&age).then(|| age.max(0.0))
}

/// From `from` to `to`; negative if it is the other way round.
fn seconds(from: Utc, to: Utc) -> f64 {
    to.since(from).as_secs_f64() - from.since(to).as_secs_f64()
}
