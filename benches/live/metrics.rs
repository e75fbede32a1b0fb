//! What was seen, and how it is told.

use std::fmt::Write as _;
use std::time::Duration;

use super::support::fake_server::{Now, StandIn};

/// What one client saw of the runs of a plan.
pub struct Seen {
    name: &'static str,
    runs: usize,
    requests: usize,
    refused: usize,
    /// From each true end to the answer that told it, in seconds, the shortest first.
    delays: Vec<f64>,
    took: Duration,
}

impl Seen {
    /// `ends`: when the client learned that a run of this id is over, in seconds since 1970. `begun`
    /// is when the first could arrive: what was asked before does not count.
    pub fn new(
        name: &'static str,
        of: &StandIn,
        runs: usize,
        begun: Now,
        ends: &[(String, f64)],
    ) -> Self {
        let delay = |(id, seen): &(String, f64)| {
            let truth = of.truth(id).ended_at.expect("every run ends");
            seen - truth.as_duration().as_secs_f64()
        };
        let delays = sorted(ends.iter().map(delay));
        let last = ends.iter().map(|(_, seen)| *seen).fold(0.0, f64::max);
        let took = last - begun.wall.as_duration().as_secs_f64();
        let requests = of.requests();
        let mine: Vec<_> = requests.iter().filter(|one| one.at.mono >= begun.mono).collect();
        Self {
            name,
            runs,
            requests: mine.len(),
            refused: mine.iter().filter(|one| one.status == Some(429)).count(),
            delays,
            took: Duration::from_secs_f64(took.max(0.0)),
        }
    }

    /// What the same client saw in two rounds.
    fn with(self, other: Self) -> Self {
        Self {
            name: self.name,
            runs: self.runs + other.runs,
            requests: self.requests + other.requests,
            refused: self.refused + other.refused,
            delays: sorted(self.delays.into_iter().chain(other.delays)),
            took: self.took.max(other.took),
        }
    }

    fn row(&self) -> String {
        let mut row = format!("| {} | {} | {} ", self.name, self.requests, self.refused);
        let _ = write!(row, "| {} of {} ", self.delays.len(), self.runs);
        if self.delays.is_empty() {
            return row + "| | | | | |";
        }
        let count = u32::try_from(self.delays.len()).expect("few");
        let mean = self.delays.iter().sum::<f64>() / f64::from(count);
        // The smallest that so many of a hundred do not exceed.
        let share = |percent: usize| self.delays[(self.delays.len() * percent).div_ceil(100) - 1];
        let _ = write!(row, "| {mean:.1} ");
        for percent in [50, 95, 99] {
            let _ = write!(row, "| {:.1} ", share(percent));
        }
        let _ = write!(row, "| {:.0} |", self.took.as_secs_f64());
        row
    }
}

fn sorted(delays: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut delays: Vec<_> = delays.collect();
    delays.sort_by(f64::total_cmp);
    delays
}

/// A table in Markdown, of a line for each client with all its rounds.
pub fn table(seen: impl IntoIterator<Item = Seen>) -> String {
    let head = "| | requests | refused | ends seen | mean delay, s | p50 | p95 | p99 | last seen after, s |\n\
                |---|---|---|---|---|---|---|---|---|\n";
    let mut clients: Vec<Seen> = Vec::new();
    for round in seen {
        match clients.pop_if(|client| client.name == round.name) {
            Some(client) => clients.push(client.with(round)),
            None => clients.push(round),
        }
    }
    let rows: Vec<_> = clients.iter().map(Seen::row).collect();
    format!("{head}{}\n", rows.join("\n"))
}
