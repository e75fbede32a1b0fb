//! What a simulation is asked to do, and what its days are like.

use std::time::Duration;

use crate::fake_server::ServiceKind;

/// One simulation. The same options lead to the same events.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub seed: u64,
    pub profile: Profile,
    /// Simulated days, before the quiet day at the end.
    pub days: u32,
    pub planted: Option<PlantedBug>,
    /// Whether all events are printed.
    pub print: bool,
}

/// The load and the settings of a simulation. Faults are as frequent in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Profile {
    /// Dozens of jobs of any length a day, and the default settings.
    Dense,
    /// A third as many jobs, each polled less often.
    Sparse,
    /// Groups of jobs that take seconds or minutes.
    ShortJobs,
    /// A few jobs that take hours or days; every provider polls with growing intervals.
    LongJobs,
}

impl Profile {
    pub const ALL: [Self; 4] = [Self::Dense, Self::Sparse, Self::ShortJobs, Self::LongJobs];

    /// The profile of a seed whose profile nobody chose. A dense simulation takes three times as long as another.
    pub fn of_seed(seed: u64) -> Self {
        match seed % 10 {
            1 => Self::Dense,
            2 | 5 | 8 => Self::Sparse,
            3 | 7 => Self::ShortJobs,
            _ => Self::LongJobs,
        }
    }

    /// The setting `max_interval`; in the profile `Dense` the default one.
    fn max_interval(self) -> Duration {
        Duration::from_mins(match self {
            Self::Dense => 5,
            Self::Sparse => 20,
            Self::ShortJobs => 10,
            Self::LongJobs => 60,
        })
    }

    /// The lines of the section `[polling]`.
    pub fn polling_settings(self) -> String {
        let policy = match self {
            Self::Dense => return String::new(),
            Self::Sparse => "price = \"10s\"",
            Self::ShortJobs => "price = \"5s\"",
            Self::LongJobs => "policy = \"backoff\"\nmin_interval = \"10s\"",
        };
        format!("{policy}\nmax_interval = \"{}s\"", self.max_interval().as_secs())
    }

    /// The longest interval between two polls if a provider polls with growing intervals.
    pub fn longest_backoff(self, kind: ServiceKind) -> Option<Duration> {
        match (self, kind) {
            (Self::LongJobs, _) | (_, ServiceKind::DataArts) => Some(self.max_interval()),
            (
                Self::Dense | Self::Sparse | Self::ShortJobs,
                ServiceKind::Dune | ServiceKind::Dli,
            ) => None,
        }
    }

    /// How many of 22 occasions to add jobs are used.
    pub fn used_occasions_to_add(self) -> u32 {
        match self {
            Self::Dense => 22,
            Self::Sparse | Self::ShortJobs => 8,
            Self::LongJobs => 4,
        }
    }

    /// One add in so many adds a group of jobs.
    pub fn adds_per_group(self) -> u32 {
        match self {
            Self::Dense | Self::Sparse | Self::LongJobs => 12,
            Self::ShortJobs => 3,
        }
    }
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
