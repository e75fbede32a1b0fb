//! Turns the events of `tracing` into log lines and queues them.
//!
//! Runs in the thread that logs, and never waits: a line that finds the queue full is counted as lost. Spans
//! are not logged; the program has none.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::NonBlocking;
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::clock::Clock;
use crate::job::counted;

use super::JOB_ENDS;
use super::line::{LineFormat, LogLine};
use super::lost_lines::LostLines;
use super::repeat_limiter::{Admission, RepeatLimiter};

pub(super) struct LogLayer {
    queue: NonBlocking,
    format: LineFormat,
    clock: Clock,
    limiter: Mutex<RepeatLimiter<Identifier>>,
    lost_lines: LostLines,
}

impl LogLayer {
    pub(super) fn new(
        queue: NonBlocking,
        format: LineFormat,
        clock: Clock,
        lost_lines: LostLines,
    ) -> Self {
        Self { queue, format, clock, limiter: Mutex::new(RepeatLimiter::new()), lost_lines }
    }

    fn admit(&self, event: &Event<'_>) -> Admission {
        let metadata = event.metadata();
        if *metadata.level() > Level::WARN || metadata.target() == JOB_ENDS {
            return Admission::Admitted { omitted_before: 0 };
        }
        let now = self.clock.monotonic_now();
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        limiter.admit(event.metadata().callsite(), now)
    }

    fn enqueue(&self, line: &LogLine) {
        self.lost_lines.record_logged();
        // Never fails: the queue counts the lines that it rejects.
        let _ = self.queue.clone().write_all(&line.encode(self.format, self.clock.utc_now()));
    }
}

impl<S: Subscriber> Layer<S> for LogLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Admission::Admitted { omitted_before } = self.admit(event) else { return };
        if omitted_before > 0 {
            self.enqueue(&LogLine::about_log(
                *event.metadata().level(),
                format!("left out: {} like the next one", counted(omitted_before, "line")),
            ));
        }
        let mut line = LogLine::new(event.metadata());
        event.record(&mut line);
        self.enqueue(&line);
    }
}
