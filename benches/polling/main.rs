//! Compares the daemon's polling policies with other clients on simulated jobs: how many requests a
//! job needs, and how late its end is detected.
//!
//! `just bench-polling` prints the tables; with `--write` it also puts them into `docs/polling.md` and
//! redraws `docs/polling.svg`. All random numbers come from fixed seeds, so the results are the same in
//! each run.

#![allow(clippy::expect_used, reason = "a benchmark: a broken expectation ends it")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "numbers of jobs and simulated milliseconds, far below 2^52"
)]

mod clients;
mod kernel;
mod measure;
mod metrics;
mod plot;
mod report;
mod simulation;
mod trace;
mod trace_report;
mod workload;

use std::fs;
use std::path::Path;

const BEGIN_MARKER: &str = "<!-- simulated -->\n";
const END_MARKER: &str = "<!-- /simulated -->";

fn main() {
    let mut arguments = std::env::args();
    if arguments.any(|argument| argument == "--trace") {
        let files: Vec<_> = arguments.filter(|argument| !argument.starts_with("--")).collect();
        assert!(!files.is_empty(), "usage: just bench-polling --trace FILE...");
        return files.iter().for_each(|file| print!("{}", trace_report::report(Path::new(file))));
    }
    let report = report::BenchReport::build().markdown();
    println!("{report}");
    if std::env::args().any(|argument| argument == "--write") {
        write_documentation(&report, &plot::render_svg());
    }
}

/// Replaces the text between the markers; the rest of the page does not change.
fn write_documentation(report: &str, plot: &str) {
    // Cargo runs a benchmark in the package's root directory.
    let docs = Path::new("docs");
    let page = docs.join("polling.md");
    let text = fs::read_to_string(&page).expect("docs/polling.md");
    let (before, rest) = text.split_once(BEGIN_MARKER).expect("the marker before the tables");
    let (_, after) = rest.split_once(END_MARKER).expect("the marker after the tables");
    fs::write(&page, format!("{before}{BEGIN_MARKER}{report}{END_MARKER}{after}"))
        .expect("docs/polling.md");
    fs::write(docs.join("polling.svg"), plot).expect("docs/polling.svg");
}
