//! Limits the attempts with a credential that may be wrong, over all providers of the process that use it.
//!
//! Used for IAM users and access keys: IAM locks a user after five wrong passwords, and the gateway locks a key
//! after more than five wrong signatures, whichever provider sent them. Until the first verdict, and after a
//! refusal, one request at a time finds out whether the credential is accepted. After a refusal the same
//! credential is not sent for a time that grows.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::job::{ProviderError, ProviderErrorKind, UtcTime, escalating_pause};
use crate::provider::renewable_secrets::{RenewableSecrets, SecretValues};
use crate::provider::secret::fingerprint;

/// A number that changes with the secrets of a credential.
pub(super) type Fingerprint = u64;

#[derive(Debug, Default)]
pub(super) struct CredentialGate {
    state: Mutex<GateState>,
    /// Locked by the request that finds out whether the credential is accepted.
    probe: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct GateState {
    /// Whether requests need not wait for each other.
    is_open: bool,
    consecutive_refusals: u32,
    /// The number of refusals since the start; no acceptance resets it.
    total_refusals: u64,
    last_refusal: Option<Refusal>,
}

#[derive(Debug)]
struct Refusal {
    /// The credentials that were refused since the last acceptance, such as an old and a new password.
    credentials: Vec<Fingerprint>,
    at: UtcTime,
    pause: Duration,
    error: ProviderError,
}

/// The service's answer to a credential.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RefusalReason {
    Wrong,
    /// The service has locked the user, and refuses a right password too.
    Locked,
}

/// The permission to send one request. Dropped without a verdict, it lets others try. Of requests that were in
/// flight together only the first refusal counts: the others were sent before anyone knew of it.
#[derive(Debug)]
pub(super) struct Admission<'a> {
    gate: &'a CredentialGate,
    /// The refusals that were known when the request was sent.
    known_refusals: u64,
    _probe: Option<tokio::sync::MutexGuard<'a, ()>>,
}

impl CredentialGate {
    /// Waits for the request that finds out whether the credential is accepted, if there is one.
    ///
    /// # Errors
    /// The error of the last refusal, while this credential must not be sent.
    pub(super) async fn admit(
        &self,
        credential: Fingerprint,
        now: UtcTime,
    ) -> Result<Admission<'_>, ProviderError> {
        let is_open = self.state().is_open;
        let probe = if is_open { None } else { Some(self.probe.lock().await) };
        let mut state = self.state();
        state.check(credential, now)?;
        let known_refusals = state.total_refusals;
        Ok(Admission { gate: self, known_refusals, _probe: probe.filter(|_| !state.is_open) })
    }

    /// Waits as [`Self::admit`] does, with the current values of `secrets`. If the gate refuses them because
    /// of another provider's request, their places are read again, and values that have changed are admitted.
    ///
    /// # Errors
    /// As [`Self::admit`].
    pub(super) async fn admit_secrets(
        &self,
        secrets: &RenewableSecrets,
        now: UtcTime,
    ) -> Result<(SecretValues, Admission<'_>), ProviderError> {
        let values = secrets.values_for_request().await;
        let refusal = match self.admit(fingerprint_of(&values), now).await {
            Ok(admission) => return Ok((values, admission)),
            Err(refusal) => refusal,
        };
        let new_values = secrets.renewed_before_sending(&values).await.ok_or(refusal)?;
        let admission = self.admit(fingerprint_of(&new_values), now).await?;
        Ok((new_values, admission))
    }

    /// No code panics while it holds the lock.
    fn state(&self) -> MutexGuard<'_, GateState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission<'_> {
    /// Whether other values of the same credential may be sent with this permission.
    ///
    /// # Errors
    /// As [`CredentialGate::admit`].
    pub(super) fn check(&self, credential: Fingerprint, now: UtcTime) -> Result<(), ProviderError> {
        self.gate.state().check(credential, now)
    }

    pub(super) fn record_acceptance(&mut self) {
        let mut state = self.gate.state();
        if state.total_refusals == self.known_refusals {
            let total_refusals = state.total_refusals;
            *state = GateState { is_open: true, total_refusals, ..GateState::default() };
        }
    }

    pub(super) fn record_refusal(
        &mut self,
        credential: Fingerprint,
        reason: RefusalReason,
        error: &ProviderError,
        now: UtcTime,
    ) {
        let mut state = self.gate.state();
        if state.total_refusals != self.known_refusals {
            if let Some(refusal) = &mut state.last_refusal {
                refusal.add(credential);
            }
            return;
        }
        state.total_refusals += 1;
        self.known_refusals = state.total_refusals;
        state.is_open = false;
        state.consecutive_refusals = state.consecutive_refusals.saturating_add(1);
        let previous = state.last_refusal.take();
        let credentials = previous.map(|refusal| refusal.credentials).unwrap_or_default();
        let growing_pause = escalating_pause(state.consecutive_refusals);
        let pause = match reason {
            RefusalReason::Wrong => growing_pause,
            RefusalReason::Locked => growing_pause.max(LOCK_DURATION),
        };
        let mut refusal = Refusal { credentials, at: now, pause, error: error.clone() };
        refusal.add(credential);
        state.last_refusal = Some(refusal);
    }

    /// The request failed for another reason. Other requests need not wait any longer, unless a credential was
    /// refused.
    pub(super) fn record_no_verdict(&self) {
        let mut state = self.gate.state();
        state.is_open = state.last_refusal.is_none();
    }
}

impl Refusal {
    fn add(&mut self, credential: Fingerprint) {
        if !self.credentials.contains(&credential) {
            self.credentials.push(credential);
        }
    }
}

impl GateState {
    fn check(&mut self, credential: Fingerprint, now: UtcTime) -> Result<(), ProviderError> {
        let Some(refusal) =
            self.last_refusal.as_mut().filter(|refusal| refusal.credentials.contains(&credential))
        else {
            return Ok(());
        };
        // A clock that was set back must not extend the pause.
        refusal.at = refusal.at.min(now);
        let retry_at = refusal.at.plus(refusal.pause);
        if now >= retry_at {
            return Ok(());
        }
        let message = format!(
            "{}; not sent again before {retry_at}, so that the service does not lock the credential",
            refusal.error
        );
        Err(ProviderError::new(ProviderErrorKind::Auth, message))
    }
}

pub(super) fn fingerprint_of(values: &SecretValues) -> Fingerprint {
    fingerprint(&values.iter().collect::<Vec<_>>())
}

/// IAM unlocks a user after this time. An attempt meanwhile could begin it anew.
const LOCK_DURATION: Duration = Duration::from_mins(15);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::renewable_secrets::KeyFile;

    const KEY: Fingerprint = 1;
    const NEW_KEY: Fingerprint = 2;

    fn minute(minute: u64) -> UtcTime {
        UtcTime::parse_rfc3339("2026-01-01T00:00:00Z")
            .expect("a time")
            .plus(Duration::from_mins(minute))
    }

    fn refusal() -> ProviderError {
        ProviderError::new(ProviderErrorKind::Auth, "HTTP 401")
    }

    #[tokio::test]
    async fn a_refused_credential_waits_longer_each_time() {
        let gate = CredentialGate::default();
        for (at, open_again) in [(0, 1), (1, 6), (6, 21), (21, 51), (51, 81)] {
            let mut admission = gate.admit(KEY, minute(at)).await.expect("an attempt");
            admission.record_refusal(KEY, RefusalReason::Wrong, &refusal(), minute(at));
            drop(admission);
            let error = gate.admit(KEY, minute(open_again - 1)).await.expect_err("a pause");
            assert_eq!(error.kind, ProviderErrorKind::Auth);
            assert!(error.message.contains("HTTP 401; not sent again before 2026"), "{error}");
        }
        gate.admit(KEY, minute(81)).await.expect("an attempt").record_acceptance();
        gate.admit(KEY, minute(81)).await.expect("an accepted credential");
    }

    #[tokio::test]
    async fn a_new_credential_is_tried_at_once_and_an_old_one_is_not() {
        let gate = CredentialGate::default();
        gate.admit(KEY, minute(0)).await.expect("an attempt").record_refusal(
            KEY,
            RefusalReason::Wrong,
            &refusal(),
            minute(0),
        );
        let mut admission = gate.admit(NEW_KEY, minute(0)).await.expect("another credential");
        admission.record_refusal(NEW_KEY, RefusalReason::Wrong, &refusal(), minute(0));
        drop(admission);
        for credential in [KEY, NEW_KEY] {
            gate.admit(credential, minute(4)).await.expect_err("a pause");
        }
        gate.admit(NEW_KEY, minute(5)).await.expect("an attempt");
    }

    #[tokio::test]
    async fn a_locked_user_is_left_alone_until_the_lock_ends() {
        let gate = CredentialGate::default();
        let mut admission = gate.admit(KEY, minute(0)).await.expect("an attempt");
        admission.record_refusal(KEY, RefusalReason::Locked, &refusal(), minute(0));
        drop(admission);
        gate.admit(KEY, minute(14)).await.expect_err("a pause");
        gate.admit(KEY, minute(15)).await.expect("an attempt");
    }

    #[tokio::test]
    async fn a_clock_that_is_set_back_does_not_extend_the_pause() {
        let gate = CredentialGate::default();
        gate.admit(KEY, minute(1000)).await.expect("an attempt").record_refusal(
            KEY,
            RefusalReason::Wrong,
            &refusal(),
            minute(1000),
        );
        gate.admit(KEY, minute(10)).await.expect_err("a pause");
        gate.admit(KEY, minute(11)).await.expect("an attempt");
    }

    #[tokio::test]
    async fn one_request_at_a_time_finds_out_whether_a_credential_is_accepted() {
        let gate = CredentialGate::default();
        let mut first = gate.admit(KEY, minute(0)).await.expect("an attempt");
        let mut second = Box::pin(gate.admit(KEY, minute(0)));
        assert!(futures_util::poll!(&mut second).is_pending());
        first.record_refusal(KEY, RefusalReason::Wrong, &refusal(), minute(0));
        drop(first);
        second.await.expect_err("the refusal of the first");
        gate.admit(KEY, minute(1)).await.expect("an attempt").record_acceptance();
        let both = (gate.admit(KEY, minute(1)).await, gate.admit(KEY, minute(1)).await);
        assert!(both.0.is_ok() && both.1.is_ok(), "accepted: nobody waits");
    }

    #[tokio::test]
    async fn an_attempt_without_a_verdict_lets_others_try_at_once() {
        let gate = CredentialGate::default();
        let first = gate.admit(KEY, minute(0)).await.expect("an attempt");
        first.record_no_verdict();
        gate.admit(KEY, minute(0)).await.expect("while the first is in flight");
    }

    #[tokio::test]
    async fn fault_73_requests_in_flight_together_count_as_one_refusal() {
        let gate = CredentialGate::default();
        gate.admit(KEY, minute(0)).await.expect("an attempt").record_acceptance();
        let mut in_flight = Vec::new();
        for credential in [KEY, KEY, NEW_KEY, KEY] {
            in_flight.push((credential, gate.admit(credential, minute(0)).await.expect("open")));
        }
        let mut late = gate.admit(NEW_KEY, minute(0)).await.expect("open");
        for (credential, admission) in &mut in_flight {
            admission.record_refusal(*credential, RefusalReason::Wrong, &refusal(), minute(0));
        }
        late.record_acceptance();
        for credential in [KEY, NEW_KEY] {
            gate.admit(credential, minute(0)).await.expect_err("a pause");
        }
        let mut second = gate.admit(KEY, minute(1)).await.expect("the pause after one refusal");
        second.record_refusal(KEY, RefusalReason::Wrong, &refusal(), minute(1));
        drop(second);
        gate.admit(KEY, minute(5)).await.expect_err("the pause after two refusals");
    }

    #[tokio::test]
    async fn fault_73_a_key_replaced_for_one_provider_is_used_by_all_that_share_it() {
        let file = KeyFile::create("first-key-0123");
        let (a, b) = (file.read(), file.read());
        let gate = CredentialGate::default();
        let (values, mut admission) = gate.admit_secrets(&a, minute(0)).await.expect("an attempt");
        let old = fingerprint_of(&values);
        admission.record_refusal(old, RefusalReason::Wrong, &refusal(), minute(0));
        drop(admission);
        gate.admit_secrets(&b, minute(0)).await.expect_err("the same key");
        file.write("other-key-0123");
        let (values, _) = gate.admit_secrets(&b, minute(0)).await.expect("the new key");
        assert_ne!(fingerprint_of(&values), old);
        assert_eq!(fingerprint_of(&b.values()), fingerprint_of(&values));
    }
}
