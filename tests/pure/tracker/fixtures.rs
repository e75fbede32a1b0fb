//! The data of the simulation (stored jobs, requests, outcomes of writes), default settings, and
//! functions that build answers.

use std::time::Duration;

use jobtrack::job::{
    Anomaly, Answer, Change, ConnectionCheck, Finding, FindingKind, JobId, NotFoundTimeout,
    Observation, ObservedState, ProviderError, ProviderErrorKind, ProviderTimes, RateLimitInfo,
    ServiceHints, State, StoredJob, Transition, registration_transition,
};
use jobtrack::policy::Backoff;
use jobtrack::tracker::ProviderSettings;

pub(super) const SECOND: u64 = 1000;
pub(super) const MINUTE: u64 = 60 * SECOND;
pub(super) const HOUR: u64 = 60 * MINUTE;
pub(super) const DAY: u64 = 24 * HOUR;

/// A request that the tracker sent.
#[derive(Debug, Clone)]
pub(super) struct SimulatedRequest {
    pub(super) job: JobId,
    pub(super) provider: String,
    pub(super) sent_at: u64,
    /// None while the request is in flight.
    pub(super) answered_at: Option<u64>,
}

/// A latency in milliseconds and the answer.
pub(super) type DelayedAnswer = (u64, Answer);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WriteOutcome {
    /// Committed if the store holds the expected state.
    Committed,
    /// Committed, but the commit is not reported: the change is written again and rejected.
    CommittedUnacknowledged,
}

/// A job in the simulated database.
#[derive(Debug, Clone)]
pub(super) struct SimulatedRow {
    pub(super) job: StoredJob,
    pub(super) history: Vec<Transition>,
    pub(super) anomalies: Vec<Anomaly>,
    pub(super) last_poll_error: Option<String>,
}

impl SimulatedRow {
    /// Applies a change; panics if the change does not continue the history.
    pub(super) fn apply_change(&mut self, change: &Change) {
        assert!(!change.transitions.is_empty(), "job {}: a change without transitions", change.job);
        for row in &change.transitions {
            let last = self.history.last().expect("the first row");
            assert_eq!(row.from, Some(last.to), "job {}: {row:?}", change.job);
            assert!(!last.to.is_terminal(), "job {} leaves {}", change.job, last.to);
            assert!(row.observed_at >= last.observed_at, "job {}: {row:?}", change.job);
            self.history.push(row.clone());
            self.job.current_state.apply(row);
        }
        assert_eq!(self.job.current_state.state(), change.new_state.state(), "job {}", change.job);
        if change.new_state.state().is_terminal() {
            self.job.next_poll_at = None;
        }
    }

    /// Another program changes the state of the job in the database.
    pub(super) fn change_externally(&mut self, to: State) {
        let standing = &mut self.job.current_state;
        let from = Some(standing.state());
        let row = Transition { from, to, ..registration_transition(standing.observed_at) };
        standing.apply(&row);
        self.history.push(row);
    }
}

/// The documented default settings of a provider, with the backoff policy.
pub(super) fn default_settings(name: &str) -> ProviderSettings {
    ProviderSettings {
        policy: jobtrack::tracker::PollPolicy::Backoff,
        name: name.parse().expect("a name"),
        account: None,
        requests_per_minute: 600,
        max_in_flight: 8,
        backoff: Backoff { min: Duration::from_secs(1), max: Duration::from_mins(5) },
        give_up_after: Duration::from_hours(30 * 24),
        lost_after: NotFoundTimeout {
            previously_seen: Duration::from_mins(15),
            never_seen: Duration::from_hours(1),
        },
        request_timeout: Duration::from_secs(30),
        supports_list: false,
        connection_fingerprint: 0,
    }
}

/// A successful answer without times.
pub(super) fn answer_with_state(state: ObservedState) -> Answer {
    answer_with_provider_state(state, &format!("{state:?}").to_uppercase())
}

pub(super) fn answer_with_provider_state(state: ObservedState, provider_state: &str) -> Answer {
    let observation = Observation {
        similarity_keys: jobtrack::job::SimilarityKeys::Unknown,
        reported_duration: None,
        source: None,
        credits: None,
        list_time: None,
        state,
        provider_state: provider_state.into(),
        times: ProviderTimes::default(),
        message: None,
        detail: serde_json::Map::default(),
    };
    Answer::from_result(Ok(observation))
}

pub(super) fn connection_check(kind: FindingKind) -> ConnectionCheck {
    ConnectionCheck {
        finding: Finding::new(kind, "HTTP 401"),
        clock_ahead_s: None,
        rate_limit: RateLimitInfo::default(),
        credential_replaced: false,
        hints: ServiceHints::GENERIC,
    }
}

pub(super) fn transient_error() -> ProviderError {
    ProviderError::new(ProviderErrorKind::Transient, "HTTP 503")
}

pub(super) fn not_found_answer() -> Answer {
    Answer::failed(ProviderError::new(ProviderErrorKind::NotFound, "no such job"))
}

/// The answer that no job can have this id.
pub(super) fn invalid_id_answer() -> Answer {
    Answer::failed(ProviderError::new(ProviderErrorKind::InvalidId, "the id is invalid"))
}
