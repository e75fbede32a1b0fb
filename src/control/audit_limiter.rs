//! Limits the audit entries of each user, so that nobody can fill the database with commands that change
//! nothing.
//!
//! Used by `audit` for every entry that does not belong to a change in the database. Invariant: no command is
//! left out. Those beyond the limit are counted, and each window of time ends with one entry for each command
//! and outcome among them. The window after a full one is twice as long.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::job::{AuditEntry, AuditOutcome, AuditedCommand};

use super::connection_registry::PeerUid;

#[derive(Debug, Default)]
pub(super) struct AuditLimiter {
    windows: Mutex<HashMap<WindowId, Window>>,
}

/// Which entries a window limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct WindowId {
    uid: PeerUid,
    limit: Limit,
}

/// Refused commands have a limit of their own: they take no place of those that were carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Limit {
    Refused,
    Others,
}

impl Limit {
    /// `None` for a command that was sent to the provider or carried out in the database: each of them is of
    /// interest, and the rate limit or the database bounds their number.
    fn of(entry: &AuditEntry) -> Option<Self> {
        match (entry.outcome, entry.command) {
            (AuditOutcome::Refused, _) => Some(Self::Refused),
            (AuditOutcome::Unchanged, _)
            | (
                AuditOutcome::Done | AuditOutcome::Failed,
                AuditedCommand::Check | AuditedCommand::Reload | AuditedCommand::Backup,
            ) => Some(Self::Others),
            (
                AuditOutcome::Done | AuditOutcome::Failed,
                AuditedCommand::Cancel
                | AuditedCommand::Untrack
                | AuditedCommand::Forget
                | AuditedCommand::Pin
                | AuditedCommand::Unpin,
            ) => None,
        }
    }
}

/// The commands of one user in one window of time.
#[derive(Debug)]
struct Window {
    length: Duration,
    written: u32,
    /// Those beyond the limit, as the entry of the first with the count of all.
    counted: BTreeMap<(AuditedCommand, AuditOutcome), AuditEntry>,
}

impl Window {
    fn new(length: Duration) -> Self {
        Self { length, written: 0, counted: BTreeMap::new() }
    }
}

/// What becomes of an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    Write(AuditEntry),
    /// It is written, and a window begins with it, which the caller must end with
    /// [`AuditLimiter::end_of_window`].
    WriteAndBeginWindow(AuditEntry, WindowId),
    /// It is part of what [`AuditLimiter::end_of_window`] will return.
    Counted,
}

impl AuditLimiter {
    const MIN_WINDOW: Duration = Duration::from_mins(1);
    const MAX_WINDOW: Duration = Duration::from_hours(1);
    /// Entries in one window that are written one by one.
    const MAX_WRITTEN: u32 = 20;

    pub(super) fn admit(&self, uid: PeerUid, entry: AuditEntry) -> Admission {
        let Some(limit) = Limit::of(&entry) else { return Admission::Write(entry) };
        let id = WindowId { uid, limit };
        let mut windows = self.windows();
        let begins = !windows.contains_key(&id);
        let window = windows.entry(id).or_insert_with(|| Window::new(Self::MIN_WINDOW));
        if window.written < Self::MAX_WRITTEN {
            window.written += 1;
            return if begins {
                Admission::WriteAndBeginWindow(entry, id)
            } else {
                Admission::Write(entry)
            };
        }
        window
            .counted
            .entry((entry.command, entry.outcome))
            .and_modify(|first| first.count = first.count.saturating_add(1))
            .or_insert(entry);
        Admission::Counted
    }

    /// Waits for the end of a window, or for the shutdown. Returns the entries of the commands beyond the
    /// limit, and `None` once the last window was not full and no other has begun. To be called until then.
    pub(super) async fn end_of_window(
        &self,
        id: WindowId,
        shutdown: &CancellationToken,
    ) -> Option<Vec<AuditEntry>> {
        let length = self.windows().get(&id)?.length;
        let _ = shutdown.run_until_cancelled(tokio::time::sleep(length)).await;
        let mut windows = self.windows();
        let ended = windows.remove(&id)?;
        if !ended.counted.is_empty() {
            let length = ended.length.saturating_mul(2).min(Self::MAX_WINDOW);
            windows.insert(id, Window::new(length));
        }
        Some(ended.counted.into_values().collect())
    }

    /// No code panics while it holds the lock.
    fn windows(&self) -> MutexGuard<'_, HashMap<WindowId, Window>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::pin::pin;

    use tokio::time::timeout;

    use super::*;
    use crate::job::{AuditTarget, Requester, UtcTime};

    fn entry(millis: i64, command: AuditedCommand, outcome: AuditOutcome) -> AuditEntry {
        let requester = Requester::Client { uid: Some(7), user: None, pid: None };
        let at = UtcTime::from_millis(millis);
        AuditEntry::new(at, requester, command, AuditTarget::Daemon).with_result(outcome, "why")
    }

    fn refused(millis: i64, command: AuditedCommand) -> AuditEntry {
        entry(millis, command, AuditOutcome::Refused)
    }

    /// Refuses commands of a user until the limit is reached, then `beyond` more. Returns the window if it
    /// begins.
    fn exceed_limit(limiter: &AuditLimiter, beyond: u32) -> Option<WindowId> {
        let mut begun = None;
        for number in 0..AuditLimiter::MAX_WRITTEN + beyond {
            match limiter.admit(Some(7), refused(number.into(), AuditedCommand::Cancel)) {
                Admission::WriteAndBeginWindow(_, id) if number == 0 => begun = Some(id),
                Admission::Write(_) if number < AuditLimiter::MAX_WRITTEN => {}
                Admission::Counted if number >= AuditLimiter::MAX_WRITTEN => {}
                other @ (Admission::WriteAndBeginWindow(..)
                | Admission::Write(_)
                | Admission::Counted) => panic!("{number}: {other:?}"),
            }
        }
        begun
    }

    #[tokio::test(start_paused = true)]
    async fn every_command_is_written_or_counted_and_users_do_not_share_a_limit() {
        let limiter = AuditLimiter::default();
        let id = exceed_limit(&limiter, 980).expect("a window");
        let of_another = limiter.admit(Some(8), refused(0, AuditedCommand::Cancel));
        assert!(matches!(of_another, Admission::WriteAndBeginWindow(..)), "{of_another:?}");
        assert_eq!(limiter.admit(Some(7), refused(1, AuditedCommand::Check)), Admission::Counted);
        let first = refused(AuditLimiter::MAX_WRITTEN.into(), AuditedCommand::Cancel);
        let count = NonZeroU32::new(980).expect("more than the limit");
        assert_eq!(
            limiter.end_of_window(id, &CancellationToken::new()).await,
            Some(vec![AuditEntry { count, ..first }, refused(1, AuditedCommand::Check)])
        );
    }

    #[test]
    fn refused_commands_do_not_hide_those_that_were_carried_out() {
        use AuditedCommand::{Backup, Cancel, Check, Forget, Pin, Reload, Unpin, Untrack};
        let limiter = AuditLimiter::default();
        exceed_limit(&limiter, 100);
        for outcome in [AuditOutcome::Done, AuditOutcome::Failed] {
            for command in [Cancel, Untrack, Forget, Pin, Unpin] {
                for number in 0..1000 {
                    let entry = entry(number, command, outcome);
                    let admission = limiter.admit(Some(7), entry.clone());
                    assert_eq!(admission, Admission::Write(entry));
                }
            }
        }
        for command in [Check, Reload, Backup] {
            let admission = limiter.admit(Some(7), entry(0, command, AuditOutcome::Done));
            assert_ne!(admission, Admission::Counted, "{command:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_window_ends_by_time_and_the_next_is_longer_if_it_was_full() {
        let (limiter, shutdown) = (AuditLimiter::default(), CancellationToken::new());
        let id = exceed_limit(&limiter, 1).expect("a window");
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            let mut end = pin!(limiter.end_of_window(id, &shutdown));
            let nearly = Duration::from_millis(minutes * 60_000 - 10);
            timeout(nearly, &mut end).await.expect_err("it lasts");
            let counted = timeout(Duration::from_millis(20), end).await.expect("its end");
            assert_eq!(counted.expect("a window").len(), 1, "the window of {minutes} min");
            assert_eq!(exceed_limit(&limiter, 1), None, "the next window has begun");
        }
        limiter.end_of_window(id, &shutdown).await.expect("a full window");
        assert_eq!(limiter.end_of_window(id, &shutdown).await, Some(vec![]));
        assert_eq!(limiter.end_of_window(id, &shutdown).await, None);
        assert!(exceed_limit(&limiter, 1).is_some(), "a short window begins anew");
        shutdown.cancel();
        for counted in [Some(1), Some(0), None] {
            let end = limiter.end_of_window(id, &shutdown);
            let ended = timeout(Duration::from_millis(10), end).await.expect("no wait");
            assert_eq!(ended.map(|entries| entries.len()), counted);
        }
    }
}
