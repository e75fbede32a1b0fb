//! jobtrackd in real time: the real daemon, real HTTP, the stand-in for Dune.
//!
//! Two comparisons of how late an end is seen for how many requests: of its two policies where
//! requests are short, and with Dune's own client where eight queries share the free plan's forty
//! requests a minute. Both run at once, each client with a stand-in of its own and the same lives;
//! all waiting, hardly any work. What it prints is a section of `docs/polling.md`.
#![allow(
    unreachable_pub,
    clippy::expect_used,
    clippy::struct_excessive_bools,
    reason = "a program of measurements: a broken expectation ends it"
)]

mod dune_client;
mod jobtrackd;
mod metrics;
mod plan;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::sync::Arc;

use clap::Parser;
use tokio::task::JoinHandle;

use dune_client::DuneClientEnv;
use jobtrackd::run_daemon;
use metrics::{ClientResult, markdown_table};

const DOCUMENT_PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/polling.md");
const SECTION_MARKERS: [&str; 2] = ["<!-- live -->", "<!-- /live -->"];
/// Of eight queries.
const ROUNDS: u64 = 5;
const LEARNED_POLICY: &str = "policy = \"learned\"";
const BACKOFF_POLICY: &str = "policy = \"backoff\"";

/// How late jobtrackd sees an end, in real time
#[derive(Parser)]
struct Arguments {
    /// Put the figures into docs/polling.md
    #[arg(long)]
    write: bool,
    /// Only the second comparison: two minutes
    #[arg(long)]
    small_only: bool,
    /// Leave the setting `policy` out: the daemon as it is by default
    #[arg(long)]
    default_policy: bool,
    /// What the lives are drawn from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// By cargo, which leaves it out when it runs tests
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    if !arguments.bench {
        println!("Takes ten minutes, so it runs by `just bench-live` alone.");
        return;
    }
    let (crowd, eight) = tokio::join!(
        async {
            if arguments.small_only { String::new() } else { large_comparison(&arguments).await }
        },
        small_comparison(&arguments),
    );
    let section = format!("{}{crowd}{eight}", include_str!("intro.md"));
    println!("{section}");
    if arguments.write {
        let page = std::fs::read_to_string(DOCUMENT_PATH).unwrap_or_default();
        std::fs::write(Path::new(DOCUMENT_PATH), replace_section(&page, &section))
            .expect("the page can be written");
    }
}

/// Five hundred queries, four requests a second.
async fn large_comparison(arguments: &Arguments) -> String {
    let policies = [
        ("`learned`", LEARNED_POLICY.to_owned()),
        ("`backoff`", BACKOFF_POLICY.to_owned()),
        (
            "`backoff`, `max_interval = \"15s\"`",
            format!("{BACKOFF_POLICY}\nmax_interval = \"15s\""),
        ),
    ];
    let default = [("default", String::new())];
    let policies = if arguments.default_policy { default.to_vec() } else { policies.to_vec() };
    let plan = Arc::new(plan::large_plan(arguments.seed));
    let seen = policies
        .into_iter()
        .map(|(name, settings)| tokio::spawn(run_daemon(name, settings, Arc::clone(&plan))));
    format!("{}\n{}", include_str!("large.md"), markdown_table(join_all_results(seen).await))
}

/// Eight queries, two requests in three seconds; some rounds of it, all at once.
async fn small_comparison(arguments: &Arguments) -> String {
    let official = &Arc::new(DuneClientEnv::install().await);
    let [learned, backoff] =
        if arguments.default_policy { [""; 2] } else { [LEARNED_POLICY, BACKOFF_POLICY] };
    let plans = |past_runs| {
        let seeds = (0..ROUNDS).map(|round| arguments.seed * ROUNDS + round);
        seeds.map(move |seed| Arc::new(plan::small_plan(seed, past_runs)))
    };
    let run = |name, send_retry_after| {
        plans(0)
            .map(move |plan| tokio::spawn(Arc::clone(official).run(name, plan, send_retry_after)))
    };
    let track = |name, policy: &'static str, past_runs| {
        plans(past_runs).map(move |plan| tokio::spawn(run_daemon(name, policy.to_owned(), plan)))
    };
    let seen = run("dune-client, `Retry-After` told", true)
        .chain(run("dune-client, not told", false))
        .chain(track("jobtrackd, `backoff`", backoff, 0))
        .chain(track("jobtrackd, `learned`, never saw a run before", learned, 0))
        .chain(track("jobtrackd, `learned`, ten past runs of each", learned, 10));
    format!("\n{}\n{}", include_str!("small.md"), markdown_table(join_all_results(seen).await))
}

/// What all of them saw, which go on at once.
async fn join_all_results(
    clients: impl IntoIterator<Item = JoinHandle<ClientResult>>,
) -> Vec<ClientResult> {
    let clients: Vec<_> = clients.into_iter().collect();
    let mut seen = Vec::new();
    for client in clients {
        seen.push(client.await.expect("it ends well"));
    }
    seen
}

/// The page with the section in its place, or at its end if it has none.
fn replace_section(document: &str, section: &str) -> String {
    let [begin, end] = SECTION_MARKERS;
    let parts = document.split_once(begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(end)?;
        Some((before, after))
    });
    let (before, after) = match parts {
        Some(parts) => parts,
        None if document.is_empty() => ("# What the polling policy is worth\n\n", "\n"),
        None => (document, "\n"),
    };
    format!("{before}{begin}\n{section}{end}{after}")
}
