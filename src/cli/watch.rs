//! `jobtrack watch`: transitions as they come, from now or from a number on, without a gap even
//! if the daemon restarts meanwhile. Ctrl-C is the way to end it, so it is no failure.

use std::process::ExitCode;

use super::follow::Follow;
use super::{Context, output, render};
use crate::api::Query;
use crate::job::{ProviderName, parse_label};

/// The arguments of `watch`.
#[derive(clap::Args)]
pub(super) struct Args {
    /// Transitions of this provider's jobs
    #[arg(long, value_name = "P")]
    provider: Option<ProviderName>,
    /// Transitions of jobs with this label; may be repeated, all of them count
    #[arg(long = "label", value_name = "K=V", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// Begin after this transition's number, not now
    #[arg(long, value_name = "SEQ")]
    after: Option<i64>,
}

/// Prints transitions until it is interrupted.
pub(super) async fn run(context: &Context, args: Args) -> anyhow::Result<ExitCode> {
    tokio::select! {
        done = watch(context, args) => done,
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted.map(|()| ExitCode::SUCCESS)?),
    }
}

async fn watch(context: &Context, args: Args) -> anyhow::Result<ExitCode> {
    // "Now" is a number too, or a break before the first event would leave a gap.
    let after = match args.after {
        Some(after) => after,
        None => context.client.status().await?.newest_seq,
    };
    let query = Query {
        provider: args.provider,
        labels: args.labels,
        after: Some(after),
        ..Query::default()
    };
    let tell = |text: &str| output::note(text);
    let mut follow = Follow::new(&context.client, query, &tell);
    loop {
        let event = follow.next().await?;
        if context.json {
            output::print_json(&[event])?;
        } else {
            output::print(&[render::event_line(&event)])?;
        }
    }
}
