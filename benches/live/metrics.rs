//! The requests and detection delays of one client, and their row in the tables of `docs/polling.md`.

use std::fmt::Write as _;
use std::time::Duration;

use super::support::fake_server::{ClockSample, FakeServer};

/// The requests that one client sent for the runs of a plan, and the ends that it detected.
pub struct ClientResult {
    name: &'static str,
    runs: usize,
    requests: usize,
    rejected: usize,
    /// From each true end to the answer that reported it, in seconds, sorted.
    detection_delays: Vec<f64>,
    elapsed: Duration,
}

impl ClientResult {
    /// `ends` holds run ids and the times at which the client detected their ends, in seconds since 1970.
    /// Requests before `started` are not counted: they fetched past runs.
    pub fn new(
        name: &'static str,
        server: &FakeServer,
        runs: usize,
        started: ClockSample,
        ends: &[(String, f64)],
    ) -> Self {
        let delay = |(id, detected_at): &(String, f64)| {
            let true_end = server.true_history(id).ended_at.expect("every run ends");
            detected_at - true_end.as_duration().as_secs_f64()
        };
        let detection_delays = sorted_delays(ends.iter().map(delay));
        let last = ends.iter().map(|(_, detected_at)| *detected_at).fold(0.0, f64::max);
        let elapsed = last - started.wall.as_duration().as_secs_f64();
        let requests = server.requests();
        let counted: Vec<_> = requests
            .iter()
            .filter(|request| request.received_at.monotonic >= started.monotonic)
            .collect();
        Self {
            name,
            runs,
            requests: counted.len(),
            rejected: counted.iter().filter(|request| request.response_status == Some(429)).count(),
            detection_delays,
            elapsed: Duration::from_secs_f64(elapsed.max(0.0)),
        }
    }

    /// The results of the same client in two rounds.
    fn merge(self, other: Self) -> Self {
        Self {
            name: self.name,
            runs: self.runs + other.runs,
            requests: self.requests + other.requests,
            rejected: self.rejected + other.rejected,
            detection_delays: sorted_delays(
                self.detection_delays.into_iter().chain(other.detection_delays),
            ),
            elapsed: self.elapsed.max(other.elapsed),
        }
    }

    fn table_row(&self) -> String {
        let mut row = format!("| {} | {} | {} ", self.name, self.requests, self.rejected);
        let _ = write!(row, "| {} of {} ", self.detection_delays.len(), self.runs);
        if self.detection_delays.is_empty() {
            return row + "| | | | | |";
        }
        let count = u32::try_from(self.detection_delays.len()).expect("few");
        let mean = self.detection_delays.iter().sum::<f64>() / f64::from(count);
        // Nearest rank: the smallest delay that `percent` of the delays do not exceed.
        let percentile = |percent: usize| {
            self.detection_delays[(self.detection_delays.len() * percent).div_ceil(100) - 1]
        };
        let _ = write!(row, "| {mean:.1} ");
        for percent in [50, 95, 99] {
            let _ = write!(row, "| {:.1} ", percentile(percent));
        }
        let _ = write!(row, "| {:.0} |", self.elapsed.as_secs_f64());
        row
    }
}

fn sorted_delays(delays: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut delays: Vec<_> = delays.collect();
    delays.sort_by(f64::total_cmp);
    delays
}

/// A Markdown table with one row per client. The rounds of a client must be adjacent in `results`.
pub fn markdown_table(results: impl IntoIterator<Item = ClientResult>) -> String {
    let header = "| | requests | rejected (429) | ends detected | mean delay, s | p50 | p95 | p99 | last end detected after, s |\n\
                |---|---|---|---|---|---|---|---|---|\n";
    let mut clients: Vec<ClientResult> = Vec::new();
    for round in results {
        match clients.pop_if(|client| client.name == round.name) {
            Some(client) => clients.push(client.merge(round)),
            None => clients.push(round),
        }
    }
    let rows: Vec<_> = clients.iter().map(ClientResult::table_row).collect();
    format!("{header}{}\n", rows.join("\n"))
}
