//! `jobtrackd restore` and `jobtrackd verify`: work on the database while no daemon need run.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Subcommand;

use crate::clock::Clock;
use crate::config::{StoreConfig, parse_file_path};
use crate::escape::escape_unprintable;
use crate::job::counted;
use crate::store::{self, FileSystemPolicy, VerifiedDatabase};

use super::exit::ExitError;

#[derive(Debug, Subcommand)]
pub(super) enum DatabaseCommand {
    /// Replace the database by a backup; the daemon must not run. The old files keep other names
    Restore {
        /// A file made by `jobtrack backup`, or another complete copy of a database
        #[arg(value_parser = parse_file_path)]
        backup: PathBuf,
    },
    /// Verify the database, or a backup: the file, the schema, and that each history is possible
    Verify {
        /// The database to verify, by default store.path
        #[arg(value_parser = parse_file_path)]
        file: Option<PathBuf>,
    },
}

impl DatabaseCommand {
    pub(super) async fn run(&self, config: &StoreConfig) -> Result<(), ExitError> {
        match self {
            Self::Restore { backup } => restore(backup, config).await,
            Self::Verify { file } => verify(file.as_deref().unwrap_or(&config.path)).await,
        }
    }
}

async fn restore(backup: &Path, config: &StoreConfig) -> Result<(), ExitError> {
    let policy = FileSystemPolicy::from(config);
    let restored = store::restore(backup, &config.path, policy, Clock::start().utc_now()).await?;
    let mut lines = vec![format!(
        "{}: restored, with {}",
        restored.path.display(),
        counted(restored.jobs, "job")
    )];
    if let Some(replaced) = restored.replaced {
        lines.push(format!("the replaced database is {}", replaced.display()));
    }
    if restored.may_reuse_numbers {
        lines.push(
            "note: the replaced database cannot be read; the numbers of jobs that were added after the \
             backup are given again"
                .into(),
        );
    }
    if restored.is_of_another_database {
        lines.push("note: the backup is of another database than the one that it replaced".into());
    }
    print(&lines)
}

async fn verify(file: &Path) -> Result<(), ExitError> {
    let verified = store::verify_database(file).await?;
    let VerifiedDatabase { path, version, jobs, transitions, findings } = verified;
    print(&findings)?;
    if findings.is_empty() {
        return print(&[format!(
            "{}: ok, schema version {version}, {}, {}",
            path.display(),
            counted(jobs, "job"),
            counted(transitions, "transition")
        )]);
    }
    let count = match findings.len() {
        VerifiedDatabase::MAX_FINDINGS => format!("{} findings or more", findings.len()),
        count => counted(count, "finding"),
    };
    Err(ExitError::database(anyhow::anyhow!("{}: {count}", path.display())))
}

fn print(lines: &[String]) -> Result<(), ExitError> {
    let mut out = std::io::stdout().lock();
    let printed = lines.iter().try_for_each(|line| writeln!(out, "{}", escape_unprintable(line)));
    printed.context("cannot write to stdout").map_err(ExitError::io)
}
