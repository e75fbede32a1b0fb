//! How a provider is doing: whether it answers, fails or refuses, and how long it is left alone.
//!
//! An outage is told at its beginning and at its end, once each. A refusal pauses the whole provider,
//! longer each time; afterwards one request tries whether the way is clear.

use std::time::Duration;

use crate::job::{Moment, Mono, Outage, OutageEdge, Pace, ProviderError, ProviderName, Utc};

use super::{Action, Tell};

/// A time in which nothing is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// Until then.
    pub until: Mono,
    /// Why; none if the provider's own window is merely used up.
    pub reason: Option<String>,
}

/// What the answers of late tell of a provider.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Failed polls in a row.
    failures: u32,
    /// When the first of them was.
    failing_since: Option<Utc>,
    /// Refusals in a row.
    strikes: u32,
    /// Whether it has answered well since its settings were read.
    proven: bool,
    pause: Option<Pause>,
    outage: Told,
}

/// What is recorded of outages.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Told {
    /// Nothing, in this life: an earlier one may have left an outage open.
    #[default]
    NotYet,
    /// One lasts.
    Begun,
    /// None lasts.
    Ended,
}

impl Health {
    /// A provider is reported as failing after so many failed polls in a row.
    const FAILURES_TO_TELL: u32 = 3;
    const LONGEST_WINDOW: Duration = Duration::from_mins(1);

    /// Failed polls in a row.
    pub(super) fn failures(&self) -> u32 {
        self.failures
    }

    /// The last pause, which may be over.
    pub(super) fn pause(&self) -> Option<&Pause> {
        self.pause.as_ref()
    }

    /// Its settings were read anew: lets the next request go at once, since what was wrong may be
    /// mended, and that one alone, since what was right may be wrong.
    pub(super) fn begin_anew(&mut self) {
        self.pause = None;
        self.proven = false;
    }

    /// It answered well, to a request that was sent with the settings of now.
    pub(super) fn prove(&mut self) {
        self.proven = true;
    }

    /// Whether it has still to answer well: since its settings were read, or since it refused us.
    pub(super) fn is_on_trial(&self) -> bool {
        !self.proven || self.strikes > 0
    }

    /// Refusals in a row.
    pub(super) fn strikes(&self) -> u32 {
        self.strikes
    }

    /// What other providers of its account know of the key that they share.
    pub(super) fn join(&mut self, strikes: u32, pause: Option<Pause>) {
        self.strikes = self.strikes.max(strikes);
        self.pause = pause.into_iter().chain(self.pause.take()).max_by_key(|pause| pause.until);
    }

    /// Takes in what an answer tells of the provider.
    pub(super) fn learn(
        &mut self,
        provider: &ProviderName,
        outcome: Result<(), &ProviderError>,
        pace: Pace,
        refused_before: bool,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        match outcome {
            Ok(()) | Err(ProviderError::NotFound(_)) => self.recover(provider, now, actions),
            Err(ProviderError::Transient(why) | ProviderError::Malformed(why)) => {
                self.count_failure(now);
                if self.failures >= Self::FAILURES_TO_TELL {
                    let tell = Tell::Failing { provider: provider.clone(), why: why.clone() };
                    self.begin_outage(provider, tell, why, actions);
                }
            }
            // It refused this job before and has answered for others since: it is about the job.
            Err(ProviderError::Auth(_) | ProviderError::Misconfigured(_))
                if refused_before && !self.is_on_trial() => {}
            Err(
                refused @ (ProviderError::RateLimited(_)
                | ProviderError::Quota(_)
                | ProviderError::Auth(_)
                | ProviderError::Misconfigured(_)),
            ) => {
                self.count_failure(now);
                let reset = pace.left.filter(|(left, _)| *left == 0).map(|(_, reset)| reset);
                let told = pace.retry_after.max(reset);
                self.close(provider, refused, told, now, actions);
            }
        }
        if self.pause.is_none()
            && let Some((0, reset)) = pace.left
        {
            let until = now.mono.plus(reset.min(Self::LONGEST_WINDOW));
            self.pause = Some(Pause { until, reason: None });
        }
    }

    /// When the outage began that lasts, if one does.
    pub(super) fn outage_since(&self) -> Option<Utc> {
        self.failing_since.filter(|_| self.outage == Told::Begun)
    }

    /// The jobs of another come here, and its outage, if one lasts, with them.
    pub(super) fn inherit(&mut self, other: Self) {
        match (self.outage, other.outage) {
            (Told::NotYet, _) => *self = other,
            // It goes on as ours, and the next good answer ends it.
            (Told::Ended, Told::Begun | Told::NotYet) => self.outage = Told::NotYet,
            (Told::Begun, _) | (Told::Ended, Told::Ended) => {}
        }
    }

    fn count_failure(&mut self, now: Moment) {
        self.failures = self.failures.saturating_add(1);
        self.failing_since.get_or_insert(now.wall);
    }

    /// The beginning of an outage, once.
    fn begin_outage(
        &mut self,
        provider: &ProviderName,
        tell: Tell,
        why: &str,
        actions: &mut Vec<Action>,
    ) {
        if self.outage == Told::Begun {
            return;
        }
        self.outage = Told::Begun;
        actions.push(Action::Tell(tell));
        if let Some(at) = self.failing_since {
            let edge = OutageEdge::Began { at, reason: why.to_owned() };
            actions.push(Action::Outage(Outage { provider: provider.clone(), edge }));
        }
    }

    fn recover(&mut self, provider: &ProviderName, now: Moment, actions: &mut Vec<Action>) {
        if self.is_closed(now.mono) {
            return;
        }
        let before = std::mem::replace(&mut self.outage, Told::Ended);
        if before != Told::Ended {
            let edge = OutageEdge::Ended { at: now.wall, failed_polls: self.failures };
            actions.push(Action::Outage(Outage { provider: provider.clone(), edge }));
        }
        if before == Told::Begun {
            actions.push(Action::Tell(Tell::Recovered { provider: provider.clone() }));
        }
        self.failures = 0;
        self.failing_since = None;
        self.strikes = 0;
        // A window that is used up stays so until it ends, whatever was answered before.
        self.pause = self.pause.take().filter(|pause| pause.reason.is_none());
    }

    fn close(
        &mut self,
        provider: &ProviderName,
        refused: &ProviderError,
        retry_after: Option<Duration>,
        now: Moment,
        actions: &mut Vec<Action>,
    ) {
        if self.is_closed(now.mono) {
            return;
        }
        self.strikes = self.strikes.saturating_add(1);
        let span = pause_for(refused, self.strikes, retry_after, now.jitter);
        let why = refused.to_string();
        self.pause = Some(Pause { until: now.mono.plus(span), reason: Some(why.clone()) });
        let tell = Tell::Paused { provider: provider.clone(), why: why.clone(), span };
        self.begin_outage(provider, tell, &why, actions);
    }

    /// Whether a refusal still keeps the lane closed. An answer that comes meanwhile belongs to a
    /// request sent before, and tells nothing of what holds since.
    fn is_closed(&self, now: Mono) -> bool {
        self.pause.as_ref().is_some_and(|pause| pause.reason.is_some() && pause.until > now)
    }
}

/// The pause after so many refusals in a row of what is not mended by waiting a little.
pub(super) fn longer_each_time(refusals: u32) -> Duration {
    Duration::from_mins(match refusals {
        0 | 1 => 1,
        2 => 5,
        3 => 15,
        _ => 30,
    })
}

/// How long a provider is left alone after its `strikes`-th refusal in a row. `Retry-After` is
/// obeyed within a second and an hour, and never shortens our own growing pause after the first.
fn pause_for(
    refused: &ProviderError,
    strikes: u32,
    retry_after: Option<Duration>,
    jitter: f64,
) -> Duration {
    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_hours(1);
    let grown = match refused {
        ProviderError::RateLimited(_) => {
            let doubled = Duration::from_secs(5) * 2u32.saturating_pow((strikes - 1).min(6));
            doubled.min(Duration::from_mins(5)).mul_f64(1.0 + 0.2 * jitter)
        }
        ProviderError::Quota(_)
        | ProviderError::Auth(_)
        | ProviderError::Misconfigured(_)
        | ProviderError::NotFound(_)
        | ProviderError::Transient(_)
        | ProviderError::Malformed(_) => longer_each_time(strikes),
    };
    match (retry_after.map(|told| told.clamp(SECOND, HOUR)), refused, strikes) {
        (Some(told), ProviderError::RateLimited(_), 1) => told,
        (Some(told), _, _) => told.max(grown),
        (None, _, _) => grown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_mind_retry_after_within_bounds() {
        let limited = ProviderError::RateLimited(String::new());
        let refused = ProviderError::Auth(String::new());
        let s = Duration::from_secs;
        // (refusal, how many in a row, Retry-After, the pause)
        let cases = [
            (&limited, 1, None, s(5)),
            (&limited, 2, None, s(10)),
            (&limited, 50, None, s(300)),
            (&limited, 1, Some(s(0)), s(1)),
            (&limited, 1, Some(s(2)), s(2)),
            (&limited, 1, Some(s(999_999)), s(3600)),
            (&limited, 3, Some(s(2)), s(20)),
            (&refused, 1, None, s(60)),
            (&refused, 2, None, s(300)),
            (&refused, 3, None, s(900)),
            (&refused, 4, None, s(1800)),
            (&refused, 900, None, s(1800)),
            (&refused, 1, Some(s(120)), s(120)),
        ];
        for (error, strikes, retry_after, expected) in cases {
            let pause = pause_for(error, strikes, retry_after, 0.0);
            assert_eq!(pause, expected, "{error:?} {strikes} {retry_after:?}");
        }
    }
}
