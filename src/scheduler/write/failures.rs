//! Failed writes: when to try again, and which failure is final.

use std::time::Duration;

use crate::job::MonotonicTime;
use crate::store::WriteError;

/// The failed writes since the last success.
#[derive(Debug, Default)]
pub(super) struct WriteFailures {
    pub(super) last_error: Option<String>,
    /// No write starts before this time.
    pub(super) retry_at: MonotonicTime,
    consecutive_failures: u32,
    consecutive_io_errors: u32,
}

impl WriteFailures {
    const MAX_CONSECUTIVE_IO_ERRORS: u32 = 3;
    const MIN_RETRY_DELAY: Duration = Duration::from_millis(200);
    const MAX_RETRY_DELAY: Duration = Duration::from_secs(2);

    /// Records a failure and plans the next attempt.
    ///
    /// # Errors
    /// The failure itself, if no further attempt should be made.
    pub(super) fn record(
        &mut self,
        error: WriteError,
        now: MonotonicTime,
    ) -> Result<(), WriteError> {
        match error {
            WriteError::Busy | WriteError::NoSpace(_) | WriteError::Rejected(_) => {
                self.consecutive_io_errors = 0;
            }
            WriteError::Io(_) => self.consecutive_io_errors += 1,
            WriteError::FileReplaced { .. } | WriteError::Corrupt(_) => return Err(error),
        }
        if self.consecutive_io_errors >= Self::MAX_CONSECUTIVE_IO_ERRORS {
            return Err(error);
        }
        if self.last_error.is_none() {
            tracing::error!(
                "cannot write to the database; polling continues and changes wait in memory: {error}"
            );
        }
        self.last_error = Some(error.to_string());
        let delay = Self::MIN_RETRY_DELAY * 2u32.pow(self.consecutive_failures.min(4));
        self.retry_at = now.plus(delay.min(Self::MAX_RETRY_DELAY));
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io_error() -> WriteError {
        WriteError::Io("disk I/O error".to_owned())
    }

    #[test]
    fn retry_delays_double_up_to_their_maximum() {
        let (mut failures, now) = (WriteFailures::default(), MonotonicTime::default());
        let delays = [200, 400, 800, 1600, 2000, 2000].map(Duration::from_millis);
        for delay in delays {
            failures.record(WriteError::Busy, now).expect("a busy database is waited for");
            assert_eq!(failures.retry_at, now.plus(delay));
        }
    }

    #[test]
    fn three_disk_errors_in_a_row_are_final_and_a_full_disk_is_not() {
        let (mut failures, now) = (WriteFailures::default(), MonotonicTime::default());
        for _ in 0..2 {
            failures.record(io_error(), now).expect("a disk error is tried again");
        }
        failures
            .record(WriteError::NoSpace(String::new()), now)
            .expect("a full disk is waited for");
        for _ in 0..2 {
            failures.record(io_error(), now).expect("the row of disk errors was broken");
        }
        assert!(matches!(failures.record(io_error(), now), Err(WriteError::Io(_))));
    }

    #[test]
    fn a_damaged_database_is_final_at_once() {
        let error = WriteError::Corrupt("malformed".to_owned());
        let result = WriteFailures::default().record(error, MonotonicTime::default());
        assert!(matches!(result, Err(WriteError::Corrupt(_))));
    }
}
