//! What the polling policy is worth: the daemon's own tracker against other clients, on made-up runs.
//!
//! `just bench-polling` prints the tables; with `--write` it puts them into `docs/polling.md`, and the
//! picture beside it. All is drawn from seeds, so that it comes out the same each time.

#![allow(clippy::expect_used, reason = "a bench: a broken expectation ends it")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "numbers of jobs and simulated milliseconds, far below 2^52"
)]

mod clients;
mod measure;
mod metrics;
mod plot;
mod report;
mod simulation;
mod workload;

use std::fs;
use std::path::Path;

const BEGIN_MARKER: &str = "<!-- simulated -->\n";
const END_MARKER: &str = "<!-- /simulated -->";

fn main() {
    let report = report::BenchReport::build().markdown();
    println!("{report}");
    if std::env::args().any(|argument| argument == "--write") {
        write_documentation(&report, &plot::render_svg());
    }
}

/// Puts the report between its marks; the rest of the page stays.
fn write_documentation(report: &str, picture: &str) {
    // Cargo runs a bench in the package's own directory.
    let docs = Path::new("docs");
    let page = docs.join("polling.md");
    let text = fs::read_to_string(&page).expect("docs/polling.md");
    let (before, rest) = text.split_once(BEGIN_MARKER).expect("the mark that begins the tables");
    let (_, after) = rest.split_once(END_MARKER).expect("the mark that ends them");
    fs::write(&page, format!("{before}{BEGIN_MARKER}{report}{END_MARKER}{after}"))
        .expect("docs/polling.md");
    fs::write(docs.join("polling.svg"), picture).expect("docs/polling.svg");
}
