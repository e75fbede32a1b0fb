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

use dune_client::Official;
use jobtrackd::track;
use metrics::{Seen, table};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/polling.md");
const MARKS: [&str; 2] = ["<!-- live -->", "<!-- /live -->"];
/// Of eight queries.
const ROUNDS: u64 = 5;
const LEARNED: &str = "policy = \"learned\"";
const BACKOFF: &str = "policy = \"backoff\"";

/// How late jobtrackd sees an end, in real time
#[derive(Parser)]
struct Arguments {
    /// Put the figures into docs/polling.md
    #[arg(long)]
    write: bool,
    /// Only the second comparison: two minutes
    #[arg(long)]
    eight: bool,
    /// Leave the setting `policy` out: the daemon as it is by default
    #[arg(long)]
    plain: bool,
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
        async { if arguments.eight { String::new() } else { crowd(&arguments).await } },
        eight(&arguments),
    );
    let section = format!("{}{crowd}{eight}", include_str!("intro.md"));
    println!("{section}");
    if arguments.write {
        let page = std::fs::read_to_string(PAGE).unwrap_or_default();
        std::fs::write(Path::new(PAGE), place(&page, &section)).expect("the page can be written");
    }
}

/// Five hundred queries, four requests a second.
async fn crowd(arguments: &Arguments) -> String {
    let policies = [
        ("`learned`", LEARNED.to_owned()),
        ("`backoff`", BACKOFF.to_owned()),
        ("`backoff`, `max_interval = \"15s\"`", format!("{BACKOFF}\nmax_interval = \"15s\"")),
    ];
    let default = [("default", String::new())];
    let policies = if arguments.plain { default.to_vec() } else { policies.to_vec() };
    let plan = Arc::new(plan::crowd(arguments.seed));
    let seen = policies
        .into_iter()
        .map(|(name, settings)| tokio::spawn(track(name, settings, Arc::clone(&plan))));
    format!("{}\n{}", include_str!("large.md"), table(all(seen).await))
}

/// Eight queries, two requests in three seconds; some rounds of it, all at once.
async fn eight(arguments: &Arguments) -> String {
    let official = &Arc::new(Official::install().await);
    let [learned, backoff] = if arguments.plain { [""; 2] } else { [LEARNED, BACKOFF] };
    let plans = |past_runs| {
        let seeds = (0..ROUNDS).map(|round| arguments.seed * ROUNDS + round);
        seeds.map(move |seed| Arc::new(plan::eight(seed, past_runs)))
    };
    let run = |name, told| {
        plans(0).map(move |plan| tokio::spawn(Arc::clone(official).run(name, plan, told)))
    };
    let track = |name, policy: &'static str, past_runs| {
        plans(past_runs).map(move |plan| tokio::spawn(track(name, policy.to_owned(), plan)))
    };
    let seen = run("dune-client, `Retry-After` told", true)
        .chain(run("dune-client, not told", false))
        .chain(track("jobtrackd, `backoff`", backoff, 0))
        .chain(track("jobtrackd, `learned`, never saw a run before", learned, 0))
        .chain(track("jobtrackd, `learned`, ten past runs of each", learned, 10));
    format!("\n{}\n{}", include_str!("small.md"), table(all(seen).await))
}

/// What all of them saw, which go on at once.
async fn all(clients: impl IntoIterator<Item = JoinHandle<Seen>>) -> Vec<Seen> {
    let clients: Vec<_> = clients.into_iter().collect();
    let mut seen = Vec::new();
    for client in clients {
        seen.push(client.await.expect("it ends well"));
    }
    seen
}

/// The page with the section in its place, or at its end if it has none.
fn place(page: &str, section: &str) -> String {
    let [begin, end] = MARKS;
    let parts = page.split_once(begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(end)?;
        Some((before, after))
    });
    let (before, after) = match parts {
        Some(parts) => parts,
        None if page.is_empty() => ("# What the polling policy is worth\n\n", "\n"),
        None => (page, "\n"),
    };
    format!("{before}{begin}\n{section}{end}{after}")
}
