//! What a simulation is asked to do.

/// One simulation. The same options lead to the same events.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub seed: u64,
    /// Simulated days, before the quiet day at the end.
    pub days: u32,
    pub planted: Option<PlantedBug>,
    /// Whether all events are printed.
    pub print: bool,
}

/// A bug that is planted around the daemon, to show that the reference model finds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlantedBug {
    /// The disk loses a commit that it confirmed.
    LostCommit,
    /// A start does not load every third unfinished job.
    ForgottenJob,
    /// A service reports some running jobs as failed.
    FalseAnswer,
    /// The daemon is configured with more requests per minute than the account allows.
    ExceededBudget,
}

impl PlantedBug {
    pub const ALL: [Self; 4] =
        [Self::LostCommit, Self::ForgottenJob, Self::FalseAnswer, Self::ExceededBudget];
}
