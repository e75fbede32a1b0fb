//! The tables of the measurements, as Markdown.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::contender::Contender;
use super::measurement::{Cost, Measurement};

/// The median of some values, and the smallest and the largest.
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
}

impl Spread {
    /// None without values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<_> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (&min, &max) = (values.first()?, values.last()?);
        Some(Self {
            median: f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2]),
            min,
            max,
        })
    }

    /// `0.95 (0.91–1.02)`
    pub fn format(&self, decimals: usize) -> String {
        let Self { median, min, max } = self;
        format!("{median:.decimals$} ({min:.decimals$}–{max:.decimals$})")
    }
}

/// One line for a run that has just ended.
pub fn progress_line(measurement: &Measurement) -> String {
    let Measurement { contender, rate, round, cost } = measurement;
    format!(
        "round {round}, {rate}/s, {}: {:.1} polls/s, {:.1} µs, {:.2} + {:.2} switches, {:.2} rows a poll, {:.1} MiB",
        contender.name(),
        cost.polls_per_second,
        cost.cpu_micros_per_poll,
        cost.voluntary_switches_per_poll,
        cost.involuntary_switches_per_poll,
        cost.rows_per_poll.unwrap_or(0.0),
        cost.resident_mib,
    )
}

/// The costs of each poller at each rate: the median of all rounds, and the spread of the CPU time.
pub fn cost_table(measurements: &[Measurement]) -> String {
    let mut table = String::from(
        "| polls a second | poller | polls made a second | CPU µs a poll | voluntary switches a poll | involuntary | rows a poll | memory, MiB |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for rate in rates(measurements) {
        for contender in Contender::ALL {
            let median = |value: fn(&Cost) -> Option<f64>, decimals: usize| {
                let spread = Spread::of(costs(measurements, rate, contender).filter_map(value));
                spread.map_or("–".into(), |spread| format!("{:.decimals$}", spread.median))
            };
            let cpu = costs(measurements, rate, contender).map(|cost| cost.cpu_micros_per_poll);
            let Some(cpu) = Spread::of(cpu) else { continue };
            writeln!(
                table,
                "| {rate} | {} | {} | {} | {} | {} | {} | {} |",
                contender.description(),
                median(|cost| Some(cost.polls_per_second), 0),
                cpu.format(0),
                median(|cost| Some(cost.voluntary_switches_per_poll), 1),
                median(|cost| Some(cost.involuntary_switches_per_poll), 2),
                median(|cost| cost.rows_per_poll, 2),
                median(|cost| Some(cost.resident_mib), 1),
            )
            .expect("a string");
        }
    }
    table
}

/// The CPU time of a poll of the daemon, divided by that of each other poller in the same round.
pub fn ratio_table(measurements: &[Measurement]) -> String {
    let mut table = String::from("| CPU a poll of `jobtrackd` ÷ CPU a poll of |");
    for rate in rates(measurements) {
        write!(table, " {rate}/s |").expect("a string");
    }
    write!(table, "\n|---|{}\n", "---|".repeat(rates(measurements).len())).expect("a string");
    for contender in Contender::ALL.into_iter().filter(|other| *other != Contender::Jobtrackd) {
        let ratios = rates(measurements).into_iter().map(|rate| {
            let ratios = costs(measurements, rate, Contender::Jobtrackd)
                .zip(costs(measurements, rate, contender))
                .map(|(daemon, other)| daemon.cpu_micros_per_poll / other.cpu_micros_per_poll);
            Spread::of(ratios).map(|ratio| ratio.format(2))
        });
        if let Some(ratios) = ratios.collect::<Option<Vec<_>>>() {
            writeln!(table, "| {} | {} |", contender.description(), ratios.join(" | "))
                .expect("a string");
        }
    }
    table
}

pub fn rates(measurements: &[Measurement]) -> BTreeSet<u32> {
    measurements.iter().map(|measurement| measurement.rate).collect()
}

/// The costs of one poller at one rate, by round.
pub fn costs(
    measurements: &[Measurement],
    rate: u32,
    contender: Contender,
) -> impl Iterator<Item = &Cost> {
    measurements
        .iter()
        .filter(move |measurement| measurement.rate == rate && measurement.contender == contender)
        .map(|measurement| &measurement.cost)
}
