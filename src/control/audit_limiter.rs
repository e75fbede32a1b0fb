//! Limits the audit entries of each user, so that nobody can fill the database with commands that change
//! nothing.
//!
//! Used by `audit` for every entry that does not belong to a change in the database. Invariant: no command is
//! left out. Those beyond the limit are counted, and each window of time ends with one entry for each command
//! and outcome among them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::job::{AuditEntry, AuditOutcome, AuditedCommand};

use super::connection_registry::PeerUid;

#[derive(Debug, Default)]
pub(super) struct AuditLimiter {
    windows: Mutex<HashMap<PeerUid, Window>>,
}

/// The commands of one user in one window of time.
#[derive(Debug, Default)]
struct Window {
    written: u32,
    /// Those beyond the limit, as the entry of the first with the count of all.
    counted: BTreeMap<(AuditedCommand, AuditOutcome), AuditEntry>,
}

/// What becomes of an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is written. With it the window of the user begins, which the caller must end after
    /// [`AuditLimiter::WINDOW`].
    WriteAndBeginWindow(AuditEntry),
    Write(AuditEntry),
    /// It is part of what [`AuditLimiter::end_window`] will return.
    Counted,
}

impl AuditLimiter {
    pub(super) const WINDOW: Duration = Duration::from_mins(1);
    /// Entries of one user in one window that are written one by one.
    const MAX_WRITTEN: u32 = 20;

    pub(super) fn admit(&self, uid: PeerUid, entry: AuditEntry) -> Admission {
        let mut windows = self.windows();
        let begins = !windows.contains_key(&uid);
        let window = windows.entry(uid).or_default();
        if window.written < Self::MAX_WRITTEN {
            window.written += 1;
            return if begins {
                Admission::WriteAndBeginWindow(entry)
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

    /// Ends the window of a user. Returns the entries of the commands beyond the limit.
    pub(super) fn end_window(&self, uid: PeerUid) -> Vec<AuditEntry> {
        let window = self.windows().remove(&uid).unwrap_or_default();
        window.counted.into_values().collect()
    }

    /// No code panics while it holds the lock.
    fn windows(&self) -> MutexGuard<'_, HashMap<PeerUid, Window>> {
        self.windows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::job::{AuditTarget, Requester, UtcTime};

    fn refused(millis: i64, command: AuditedCommand) -> AuditEntry {
        let requester = Requester::Client { uid: Some(7), user: None, pid: None };
        let at = UtcTime::from_millis(millis);
        AuditEntry::new(at, requester, command, AuditTarget::Daemon)
            .with_result(AuditOutcome::Refused, "no job 999")
    }

    #[test]
    fn every_command_is_written_or_counted_and_users_do_not_share_a_limit() {
        let limiter = AuditLimiter::default();
        let mut written = 0;
        for at in 0..1000 {
            match limiter.admit(Some(7), refused(at, AuditedCommand::Cancel)) {
                Admission::WriteAndBeginWindow(_) if at == 0 => written += 1,
                Admission::Write(_) if at > 0 => written += 1,
                Admission::Counted => {}
                other @ (Admission::WriteAndBeginWindow(_) | Admission::Write(_)) => {
                    panic!("{at}: {other:?}")
                }
            }
        }
        assert_eq!(written, AuditLimiter::MAX_WRITTEN);
        let of_another = limiter.admit(Some(8), refused(0, AuditedCommand::Cancel));
        assert!(matches!(of_another, Admission::WriteAndBeginWindow(_)), "{of_another:?}");
        assert_eq!(limiter.admit(Some(7), refused(1, AuditedCommand::Check)), Admission::Counted);
        let first = refused(written.into(), AuditedCommand::Cancel);
        let count = NonZeroU32::new(1000 - written).expect("more than the limit");
        assert_eq!(
            limiter.end_window(Some(7)),
            [AuditEntry { count, ..first }, refused(1, AuditedCommand::Check)]
        );
        let next = limiter.admit(Some(7), refused(0, AuditedCommand::Cancel));
        assert!(matches!(next, Admission::WriteAndBeginWindow(_)), "{next:?}");
    }
}
