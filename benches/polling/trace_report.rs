//! Formats what the policies need and detect on the jobs of a trace.

use std::path::Path;

use super::clients::{PollingClient, best_in_hindsight};
use super::measure::{EXISTING_CLIENTS, LimitedBudget, UnlimitedBudget, growing_interval};
use super::metrics::delay_at_requests;
use super::report::{append, table_header, table_row};
use super::trace::read_trace;
use super::workload::SimulatedJob;

const COMPARED_REQUESTS: [f64; 5] = [2.0, 3.0, 5.0, 8.0, 12.0];
/// Requests per job that a low rate limit permits.
const SHORT_BUDGETS: [f64; 3] = [1.5, 3.0, 8.0];

/// Markdown tables. All delays are in seconds.
pub(crate) fn report(path: &Path) -> String {
    let jobs = read_trace(path);
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let limited = low_rate_limits(&jobs);
    let workload = UnlimitedBudget::from_trace(jobs);
    [
        format!("### `{name}`\n"),
        usual_settings(&name, &workload),
        equal_requests(&workload),
        limited,
    ]
    .join("\n")
}

fn usual_settings(name: &str, workload: &UnlimitedBudget) -> String {
    let mut rows = vec![table_header(name, "relative")];
    rows.extend(EXISTING_CLIENTS.map(|(name, client)| table_row(name, &workload.client(client))));
    rows.push(table_row("`policy = \"backoff\"`", &workload.backoff()));
    rows.push(table_row("**`policy = \"learned\"`**, price 1 s", &workload.learned(1.0, true)));
    let without = workload.learned(1.0, false);
    rows.push(table_row("`learned` without the maximum wait", &without));
    rows.join("\n") + "\n"
}

/// Without the maximum wait, at the price at which each policy needs the requests.
fn equal_requests(workload: &UnlimitedBudget) -> String {
    let mut text = "| requests per job | best in hindsight | `learned` | kernels of the last 20 runs | `learned` / kernels |\n\
                    |---|--:|--:|--:|--:|\n"
        .to_owned();
    for requests in COMPARED_REQUESTS {
        let best = best_in_hindsight(workload.measured_jobs(), requests);
        let learned = delay_at_requests(requests, |price| workload.learned(price, false));
        let kernels = delay_at_requests(requests, |price| workload.kernels(price));
        let ratio = learned / kernels;
        append(
            &mut text,
            format_args!("| {requests} | {best:.2} | {learned:.2} | {kernels:.2} | {ratio:.2} |"),
        );
    }
    text
}

/// Mean delays where many jobs share a low rate limit.
fn low_rate_limits(jobs: &[SimulatedJob]) -> String {
    let mut text = "| requests per job, per minute | every 5 s | 1 s × 2 to 60 s | 50 % of the elapsed time | `backoff` | `learned` | its requests per job | oracle: true end time |\n\
                    |---|--:|--:|--:|--:|--:|--:|--:|\n"
        .to_owned();
    for requests in SHORT_BUDGETS {
        let workload = LimitedBudget::from_trace(jobs, requests);
        let clients = [
            PollingClient::Fixed(5.0),
            growing_interval(2.0, 60.0),
            PollingClient::ElapsedFraction(0.5),
        ];
        let [fixed, growing, fraction] = clients.map(|client| workload.client(client).mean_delay);
        let learned = workload.learned();
        append(
            &mut text,
            format_args!(
                "| {requests}, {} | {fixed:.1} | {growing:.1} | {fraction:.1} | {:.1} | {:.1} | {:.2} | {:.2} |",
                workload.requests_per_minute(),
                workload.backoff().mean_delay,
                learned.mean_delay,
                learned.requests,
                workload.oracle_end_times().mean_delay,
            ),
        );
    }
    text
}
