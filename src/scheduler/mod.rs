//! The I/O shell of the tracker: performs what [`crate::tracker::Tracker`] decides.
//!
//! The daemon starts one [`Scheduler`]; everyone else commands it through a [`SchedulerHandle`] and
//! reads its [`SchedulerSnapshot`]. Invariant: every change of a job passes through the scheduler's
//! loop, and is published only after its commit.

mod cancel_and_check;
mod certain_time;
mod check_reply;
mod commands;
mod commits;
mod error;
mod event_loop;
mod handle;
mod job_loader;
mod job_spec;
mod job_waiters;
mod log;
mod on_demand;
mod providers;
mod publish_status;
mod requests;
mod status;
mod write;

pub use check_reply::CheckReply;
pub use error::{CommandError, SchedulerError};
pub use event_loop::Scheduler;
pub use handle::{AddedJob, SchedulerHandle};
pub use job_spec::JobSpec;
pub use providers::{ConfiguredProvider, Providers};
pub use status::{Heartbeat, ProviderSnapshot, SchedulerSnapshot};
