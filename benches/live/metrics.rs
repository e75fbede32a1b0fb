//! What was seen, and how it is told.

use std::fmt::Write as _;
use std::time::Duration;

use super::support::fake_server::{ClockSample, FakeServer};

/// What one client saw of the runs of a plan.
pub struct ClientResult {
    name: &'static str,
    runs: usize,
    requests: usize,
    rejected: usize,
    /// From each true end to the answer that told it, in seconds, the shortest first.
    detection_delays: Vec<f64>,
    elapsed: Duration,
}

impl ClientResult {
    /// `ends`: when the client learned that a run of this id is over, in seconds since 1970. `begun`
    /// is when the first could arrive: what was asked before does not count.
    pub fn new(
        name: &'static str,
        server: &FakeServer,
        runs: usize,
        started: ClockSample,
        ends: &[(String, f64)],
    ) -> Self {
        let delay = |(id, seen): &(String, f64)| {
            let truth = server.true_history(id).ended_at.expect("every run ends");
            seen - truth.as_duration().as_secs_f64()
        };
        let detection_delays = sorted_delays(ends.iter().map(delay));
        let last = ends.iter().map(|(_, seen)| *seen).fold(0.0, f64::max);
        let took = last - started.wall.as_duration().as_secs_f64();
        let requests = server.requests();
        let counted: Vec<_> =
            requests.iter().filter(|one| one.received_at.monotonic >= started.monotonic).collect();
        Self {
            name,
            runs,
            requests: counted.len(),
            rejected: counted.iter().filter(|one| one.response_status == Some(429)).count(),
            detection_delays,
            elapsed: Duration::from_secs_f64(took.max(0.0)),
        }
    }

    /// What the same client saw in two rounds.
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
        // The smallest that so many of a hundred do not exceed.
        let share = |percent: usize| {
            self.detection_delays[(self.detection_delays.len() * percent).div_ceil(100) - 1]
        };
        let _ = write!(row, "| {mean:.1} ");
        for percent in [50, 95, 99] {
            let _ = write!(row, "| {:.1} ", share(percent));
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

/// A table in Markdown, of a line for each client with all its rounds.
pub fn markdown_table(seen: impl IntoIterator<Item = ClientResult>) -> String {
    let head = "| | requests | refused | ends seen | mean delay, s | p50 | p95 | p99 | last seen after, s |\n\
                |---|---|---|---|---|---|---|---|---|\n";
    let mut clients: Vec<ClientResult> = Vec::new();
    for round in seen {
        match clients.pop_if(|client| client.name == round.name) {
            Some(client) => clients.push(client.merge(round)),
            None => clients.push(round),
        }
    }
    let rows: Vec<_> = clients.iter().map(ClientResult::table_row).collect();
    format!("{head}{}\n", rows.join("\n"))
}
