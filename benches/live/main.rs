//! Measures the real `jobtrackd` in real time, over real HTTP, against a fake Dune server.
//!
//! Three measurements of requests and detection delays: the daemon's two policies under a low rate limit, the
//! daemon beside Dune's own client where eight queries share the 40 requests per minute of the free plan, and
//! short queries one at a time.
//! Each client has its own fake server with the same runs. Everything runs at the same time, since the
//! clients mostly wait. The output is a section of `docs/polling.md`.
#![allow(
    unreachable_pub,
    clippy::expect_used,
    clippy::struct_excessive_bools,
    reason = "a benchmark: a broken expectation ends it"
)]

mod dune_client;
mod jobtrackd;
mod metrics;
mod plan;
#[path = "../../tests/support/mod.rs"]
mod support;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use tokio::task::JoinHandle;

use dune_client::DuneClientEnv;
use jobtrackd::{run_daemon, run_one_by_one};
use metrics::{ClientResult, markdown_table};

const DOCUMENT_PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/polling.md");
const SECTION_MARKERS: [&str; 2] = ["<!-- live -->", "<!-- /live -->"];
/// Repetitions of the small comparison, each with other runs.
const ROUNDS: u64 = 5;
/// From the detected end of a short query to the start of the next one.
const SHORT_PAUSE: Duration = Duration::from_secs(5);
const LEARNED_POLICY: &str = "policy = \"learned\"";
const BACKOFF_POLICY: &str = "policy = \"backoff\"";

/// Measures how late jobtrackd detects the ends of jobs, in real time
#[derive(Parser)]
struct Arguments {
    /// Put the figures into docs/polling.md
    #[arg(long)]
    write: bool,
    /// Run only the comparison with Dune's client, which takes two minutes
    #[arg(long)]
    small_only: bool,
    /// Run only the short queries, which take six minutes
    #[arg(long, conflicts_with = "small_only")]
    short_only: bool,
    /// Run the daemon with its default policy instead of comparing policies
    #[arg(long)]
    default_policy: bool,
    /// Seed of the random runs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Passed by `cargo bench`, but not by `cargo test`
    #[arg(long, hide = true)]
    bench: bool,
}

#[tokio::main]
async fn main() {
    let arguments = Arguments::parse();
    if !arguments.bench {
        println!("This benchmark takes ten minutes; run it with `just bench-live`.");
        return;
    }
    let runs_all = !arguments.small_only && !arguments.short_only;
    let (large, small, short) = tokio::join!(
        async { if runs_all { large_comparison(&arguments).await } else { String::new() } },
        async {
            if arguments.short_only { String::new() } else { small_comparison(&arguments).await }
        },
        async { if arguments.small_only { String::new() } else { short_queries().await } },
    );
    let section = format!("{}{large}{small}{short}", include_str!("intro.md"));
    println!("{section}");
    if arguments.write {
        let document = std::fs::read_to_string(DOCUMENT_PATH).unwrap_or_default();
        std::fs::write(Path::new(DOCUMENT_PATH), replace_section(&document, &section))
            .expect("the page can be written");
    }
}

/// 500 queries at four requests per second.
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
    let clients = policies
        .into_iter()
        .map(|(name, settings)| tokio::spawn(run_daemon(name, settings, Arc::clone(&plan))));
    format!("{}\n{}", include_str!("large.md"), markdown_table(join_all_results(clients).await))
}

/// Eight queries at two requests in three seconds; all rounds run at the same time.
async fn small_comparison(arguments: &Arguments) -> String {
    let dune_client = &Arc::new(DuneClientEnv::install().await);
    let [learned, backoff] =
        if arguments.default_policy { [""; 2] } else { [LEARNED_POLICY, BACKOFF_POLICY] };
    let plans = |past_runs| {
        let seeds = (0..ROUNDS).map(|round| arguments.seed * ROUNDS + round);
        seeds.map(move |seed| Arc::new(plan::small_plan(seed, past_runs)))
    };
    let run = |name, send_retry_after| {
        plans(0).map(move |plan| {
            tokio::spawn(Arc::clone(dune_client).run(name, plan, send_retry_after))
        })
    };
    let track = |name, policy: &'static str, past_runs| {
        plans(past_runs).map(move |plan| tokio::spawn(run_daemon(name, policy.to_owned(), plan)))
    };
    let clients = run("dune-client, with `Retry-After`", true)
        .chain(run("dune-client, without `Retry-After`", false))
        .chain(track("jobtrackd, `backoff`", backoff, 0))
        .chain(track("jobtrackd, `learned`, no past runs", learned, 0))
        .chain(track("jobtrackd, `learned`, ten past runs of each query", learned, 10));
    format!("\n{}\n{}", include_str!("small.md"), markdown_table(join_all_results(clients).await))
}

/// Queries of three seconds, one at a time.
async fn short_queries() -> String {
    let plans = [
        ("the same query each time", plan::short_plan(|_| 1)),
        ("another query each time", plan::short_plan(|run| run)),
    ];
    let clients = plans.map(|(name, plan)| tokio::spawn(run_one_by_one(name, plan, SHORT_PAUSE)));
    format!("\n{}\n{}", include_str!("short.md"), markdown_table(join_all_results(clients).await))
}

/// The results in the order of `clients`, all of which are running already.
async fn join_all_results(
    clients: impl IntoIterator<Item = JoinHandle<ClientResult>>,
) -> Vec<ClientResult> {
    let clients: Vec<_> = clients.into_iter().collect();
    let mut results = Vec::new();
    for client in clients {
        results.push(client.await.expect("the client's task ends without a panic"));
    }
    results
}

/// `document` with the text between the markers replaced; without markers the section is appended.
fn replace_section(document: &str, section: &str) -> String {
    let [begin, end] = SECTION_MARKERS;
    let parts = document.split_once(begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(end)?;
        Some((before, after))
    });
    let (before, after) = match parts {
        Some(parts) => parts,
        None if document.is_empty() => ("# Benchmarks of the polling policy\n\n", "\n"),
        None => (document, "\n"),
    };
    format!("{before}{begin}\n{section}{end}{after}")
}
