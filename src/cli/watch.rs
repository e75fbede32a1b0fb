//! `jobtrack watch`: prints transitions when they are committed, from now on or after a cursor.
//!
//! No transition is missed if the daemon restarts. What keeps jobs from being polled is told on standard error.
//! Ctrl-C ends the command with exit code 0, and so does the end of the program that reads its output.

use std::process::ExitCode;

use super::event_follower::EventFollower;
use super::problem_notices::announce_poll_problems;
use super::{CommandContext, render, stdio};
use crate::api::{ListParams, StreamedEvent};
use crate::job::{EventCursor, ProviderName, counted, parse_label};

#[derive(clap::Args)]
pub(super) struct WatchArgs {
    /// Transitions of this provider's jobs
    #[arg(long, value_name = "PROVIDER")]
    provider: Option<ProviderName>,
    /// Transitions of jobs with this label; if repeated, all labels must match
    #[arg(long = "label", value_name = "K=V", value_parser = parse_label)]
    labels: Vec<(String, String)>,
    /// Begin after this cursor instead of now
    #[arg(long, value_name = "CURSOR")]
    after: Option<EventCursor>,
}

pub(super) async fn run(context: &CommandContext, args: WatchArgs) -> anyhow::Result<ExitCode> {
    tokio::select! {
        result = watch(context, args) => result,
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted.map(|()| ExitCode::SUCCESS)?),
        () = stdio::stdout_closed() => Ok(ExitCode::SUCCESS),
    }
}

async fn watch(context: &CommandContext, args: WatchArgs) -> anyhow::Result<ExitCode> {
    let status = context.client.status().await?;
    // A cursor, not "now": otherwise a reconnection before the first event could miss transitions.
    let after = args.after.clone().unwrap_or_else(|| status.newest_event.clone());
    let provider = args.provider.clone();
    let problems = announce_poll_problems(
        &context.client,
        status,
        |status| {
            let is_selected = provider.as_ref().is_none_or(|name| *name == status.provider);
            is_selected && status.active_jobs > 0
        },
        async |_| None,
        |notice| context.print_notice(notice),
    );
    tokio::select! {
        result = print_events(context, args, after) => result,
        never = problems => match never {},
    }
}

async fn print_events(
    context: &CommandContext,
    args: WatchArgs,
    after: EventCursor,
) -> anyhow::Result<ExitCode> {
    let query = ListParams {
        provider: args.provider,
        labels: args.labels,
        after: Some(after.into()),
        ..ListParams::default()
    };
    let notify = |text: &str| context.print_notice(text);
    let mut follower = EventFollower::new(&context.client, query, &notify);
    loop {
        match follower.next_event().await? {
            StreamedEvent::Transition(event) if context.json => stdio::print_json_lines(&[event])?,
            StreamedEvent::Transition(event) => stdio::print_lines(&[render::event_line(&event)])?,
            StreamedEvent::Pruned(pruned) => context.print_notice(&format!(
                "deleted from the database meanwhile: {} after {}",
                counted(pruned.count, "transition"),
                pruned.after
            )),
        }
    }
}
