//! Formats the measurements as the tables of `docs/polling.md`, with a table of requirements first.
//!
//! Called once by `main`. The explanations around the tables that do not depend on the measurements are in
//! `docs/polling.md` itself.

use std::fmt::Write;

use super::clients::PollingClient;
use super::measure::{
    COMPARED_REQUESTS, DelaysAtEqualCost, EXISTING_CLIENTS, LimitedBudget, Scenario,
    UnlimitedBudget, growing_interval, maximum_wait_violations,
};
use super::metrics::{Metrics, worst};
use super::workload::WorkloadKind;

/// An upper limit for one of the figures. A missed limit is marked in the table; it does not fail the run.
#[derive(Debug)]
pub(crate) struct Requirement {
    description: String,
    measured: f64,
    limit: f64,
}

#[derive(Debug, Default)]
pub(crate) struct BenchReport {
    tables: String,
    requirements: Vec<Requirement>,
}

impl BenchReport {
    /// Takes a few minutes.
    pub(crate) fn build() -> Self {
        let mut report = Self::default();
        report.add_existing_clients();
        report.add_equal_cost();
        report.add_limited_budgets();
        report.add_scenarios();
        report.add_duration_jumps();
        report
    }

    /// The report in Markdown, requirements first.
    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from(
            "### Requirements\n\n| figure | at most | measured | |\n|---|--:|--:|---|\n",
        );
        for Requirement { description, measured, limit } in &self.requirements {
            let verdict = if measured <= limit { "met" } else { "**not met**" };
            // A limit of 0 is one for a count, all others are for ratios.
            let is_ratio = *limit < 10.0 && *limit > 0.0;
            let figure = if is_ratio { format!("{measured:.2}") } else { format!("{measured:.0}") };
            let limit = format!("{limit:.2}");
            let limit = limit.trim_end_matches('0').trim_end_matches('.');
            append(&mut text, format_args!("| {description} | {limit} | {figure} | {verdict} |"));
        }
        text + &self.tables
    }

    fn require(&mut self, description: String, measured: f64, limit: f64) {
        self.requirements.push(Requirement { description, measured, limit });
    }

    fn add_line(&mut self, line: std::fmt::Arguments<'_>) {
        append(&mut self.tables, line);
    }

    fn add_heading(&mut self, title: &str, text: &str) {
        self.add_line(format_args!("\n### {title}\n\n{text}"));
    }

    /// Every policy with its usual settings, without a rate limit.
    fn add_existing_clients(&mut self) {
        self.add_heading(
            "Without a rate limit",
            "Every policy with its usual settings. 10,000 runs are measured, after 2,000 runs to learn from; delays\n\
             in seconds.",
        );
        for kind in WorkloadKind::ALL {
            eprintln!("{}: without a rate limit", kind.name());
            let workload = UnlimitedBudget::new(kind, 1);
            self.add_table_header(kind.name(), "relative");
            for (name, client) in EXISTING_CLIENTS {
                self.add_row(name, &workload.client(client));
            }
            self.add_row("`policy = \"backoff\"`, 1 s × 1.5 to 5 min", &workload.backoff());
            self.add_row("**`policy = \"learned\"`**, price 1 s", &workload.learned(1.0, true));
            self.add_row("`learned` without the maximum wait", &workload.learned(1.0, false));
            self.add_row(
                "oracle: true distribution, without the maximum wait",
                &workload.oracle_distribution(1.0, false),
            );
            self.add_row("oracle: true end time", &workload.oracle_end_times());
        }
    }

    /// Without past runs, after a restart, and after a sudden change of all durations.
    fn add_scenarios(&mut self) {
        self.add_heading(
            "Restarts and sudden changes",
            "A thousand runs each, without a rate limit; mean delays in seconds. After all durations have changed, a\n\
             job is polled too often, or too late within the maximum wait, until several similar runs have ended.",
        );
        for kind in [WorkloadKind::DuneQueries, WorkloadKind::Mixed] {
            eprintln!("{}: restarts and sudden changes", kind.name());
            self.add_line(format_args!(
                "\n| `{}` | `learned`: requests per job | mean delay | best in hindsight, same requests | `backoff`: requests per job | mean delay |\n|---|--:|--:|--:|--:|--:|",
                kind.name()
            ));
            for (name, scenario) in Scenario::ALL {
                let (learned, backoff, best) = scenario.measure(kind);
                self.add_line(format_args!(
                    "| {name} | {:.1} | {:.1} | {best:.1} | {:.1} | {:.1} |",
                    learned.requests, learned.mean_delay, backoff.requests, backoff.mean_delay
                ));
            }
        }
    }

    fn add_table_header(&mut self, name: &str, last: &str) {
        self.add_line(format_args!("\n{}", table_header(name, last)));
    }

    fn add_row(&mut self, name: &str, metrics: &Metrics) {
        self.add_line(format_args!("{}", table_row(name, metrics)));
    }

    /// Compares delays at the same number of requests.
    fn add_equal_cost(&mut self) {
        self.add_heading(
            "At the same number of requests",
            "Mean delays in seconds. `learned` runs without the maximum wait, at the price at which it needs the\n\
             given number of requests per job; the rows \"default\" have the maximum wait and a price of 1 s. The\n\
             delays are of the first seed, the last column is of the worst of five seeds.",
        );
        self.add_line(format_args!(
            "\n| | requests per job | best in hindsight | `learned` | oracle: true distribution | `learned` / best in hindsight, worst of 5 seeds |\n|---|--:|--:|--:|--:|--:|"
        ));
        for kind in WorkloadKind::ALL {
            eprintln!("{}: at the same number of requests", kind.name());
            let seeds: Vec<UnlimitedBudget> =
                (1..=5).map(|seed| UnlimitedBudget::new(kind, seed)).collect();
            let limit = match kind {
                WorkloadKind::Mixed | WorkloadKind::Drifting => 0.6,
                WorkloadKind::DuneQueries => 0.7,
                WorkloadKind::AllDistinct => 1.0,
            };
            for requests in COMPARED_REQUESTS {
                let all: Vec<DelaysAtEqualCost> = seeds
                    .iter()
                    .map(|workload| DelaysAtEqualCost::at_requests(requests, workload))
                    .collect();
                let worst = self.add_equal_cost_row(kind, &all);
                let description = format!(
                    "`{}`, {requests} requests per job: delay / best in hindsight",
                    kind.name()
                );
                self.require(description, worst, limit);
                if kind == WorkloadKind::Mixed && requests <= COMPARED_REQUESTS[0] {
                    let worst = all
                        .iter()
                        .map(|delays| delays.learned_delay / delays.oracle_delay)
                        .fold(0.0, f64::max);
                    self.require(
                        "`mixed`, 5 requests per job: delay / oracle with the true distribution"
                            .into(),
                        worst,
                        1.3,
                    );
                }
            }
            let all: Vec<DelaysAtEqualCost> =
                seeds.iter().map(DelaysAtEqualCost::with_maximum_wait).collect();
            let worst = self.add_equal_cost_row(kind, &all);
            let limit = match kind {
                WorkloadKind::Mixed => 0.65,
                WorkloadKind::DuneQueries => 0.7,
                WorkloadKind::AllDistinct | WorkloadKind::Drifting => continue,
            };
            let description = format!("`{}`, default: delay / best in hindsight", kind.name());
            self.require(description, worst, limit);
        }
    }

    fn add_equal_cost_row(&mut self, kind: WorkloadKind, all: &[DelaysAtEqualCost]) -> f64 {
        let worst = worst(all.iter().map(DelaysAtEqualCost::ratio_to_best));
        let DelaysAtEqualCost {
            requests,
            best_existing: best,
            learned_delay: learned,
            oracle_delay: oracle,
        } = all[0];
        let name = kind.name();
        // Only the compared numbers of requests are whole; what the default needs is measured.
        let suffix = if requests.fract() == 0.0 { "" } else { ", default" };
        self.add_line(format_args!(
            "| `{name}`{suffix} | {requests:.1} | {best:.1} | {learned:.1} | {oracle:.1} | {worst:.2} |"
        ));
        worst
    }

    /// Many jobs share one rate limit.
    fn add_limited_budgets(&mut self) {
        self.add_heading(
            "With a low rate limit",
            "500 jobs run at the same time (`dune`: 20) and share one rate limit. The other clients send their polls in\n\
             the order of their due times. Mean delays in seconds, of the first seed; the last column is of the\n\
             worst of three seeds (`mixed`, 70 and `dune`: of one seed).",
        );
        self.add_line(format_args!(
            "\n| requests per minute | every 5 s | 1 s × 2 to 60 s | 50 % of the elapsed time | `backoff` | **`learned`** | its requests per job | oracle: true distribution | oracle: true end time | `learned` / 1 s × 2 to 60 s, worst seed |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
        ));
        // (workload, requests per minute, limit for the delay relative to that of 1 s × 2 to 60 s)
        let cases = [
            (WorkloadKind::Mixed, 40, Some(0.2)),
            (WorkloadKind::Mixed, 70, None),
            (WorkloadKind::Mixed, 200, Some(1.0 / 3.0)),
            (WorkloadKind::Drifting, 40, Some(0.2)),
            (WorkloadKind::AllDistinct, 40, Some(0.5)),
            (WorkloadKind::DuneQueries, 40, None),
        ];
        for (kind, budget, limit) in cases {
            eprintln!("{}: {budget} requests per minute", kind.name());
            self.add_limited_budget(kind, budget, limit);
        }
    }

    fn add_limited_budget(&mut self, kind: WorkloadKind, budget: u32, limit: Option<f64>) {
        let doubled = growing_interval(2.0, 60.0);
        let mut ratios = Vec::new();
        let mut oracle_ratios = Vec::new();
        let mut row = String::new();
        let seeds = if limit.is_some() { 1..=3 } else { 1..=1 };
        for seed in seeds {
            let workload = LimitedBudget::new(kind, budget, seed);
            let (learned, other) = (workload.learned(), workload.client(doubled).mean_delay);
            ratios.push(learned.mean_delay / other);
            let oracle = (seed == 1 || (kind, budget) == (WorkloadKind::Mixed, 40))
                .then(|| workload.oracle_distribution().mean_delay);
            oracle_ratios.extend(oracle.map(|delay| learned.mean_delay / delay));
            if seed == 1 {
                let others = [PollingClient::Fixed(5.0), PollingClient::ElapsedFraction(0.5)]
                    .map(|client| workload.client(client).mean_delay);
                let (distribution, end_time) =
                    (oracle.unwrap_or_default(), workload.oracle_end_times().mean_delay);
                row = format!(
                    "| `{}`, {budget} | {:.0} | {other:.0} | {:.0} | {:.0} | {:.1} | {:.2} | {distribution:.1} | {end_time:.2} |",
                    kind.name(),
                    others[0],
                    others[1],
                    workload.backoff().mean_delay,
                    learned.mean_delay,
                    learned.requests,
                );
            }
        }
        let ratio = worst(ratios);
        self.add_line(format_args!("{row} {ratio:.2} |"));
        if let Some(limit) = limit {
            let name = kind.name();
            self.require(
                format!("`{name}`, {budget} requests per minute: delay / 1 s × 2 to 60 s"),
                ratio,
                limit,
            );
            if (kind, budget) == (WorkloadKind::Mixed, 40) {
                let ratio = worst(oracle_ratios);
                self.require(
                    "`mixed`, 40 requests per minute: delay / oracle with the true distribution"
                        .into(),
                    ratio,
                    1.3,
                );
            }
        }
    }

    fn add_duration_jumps(&mut self) {
        for factor in [10.0, 0.1] {
            let counts: Vec<_> = WorkloadKind::ALL
                .into_iter()
                .map(|kind| maximum_wait_violations(kind, factor, 1))
                .collect();
            let late: usize = counts.iter().map(|(late, _)| late).sum();
            let polls: usize = counts.iter().map(|(_, polls)| polls).sum();
            let description =
                format!("all durations × {factor}: polls of {polls} later than the maximum wait");
            self.require(description, late as f64, 0.0);
        }
    }
}

pub(crate) fn table_header(name: &str, last: &str) -> String {
    format!(
        "| `{name}` | requests per job | mean delay | p50 | p95 | p99 | {last} |\n|---|--:|--:|--:|--:|--:|--:|"
    )
}

pub(crate) fn table_row(name: &str, metrics: &Metrics) -> String {
    let Metrics { requests, mean_delay, p50_delay, p95_delay, p99_delay, mean_relative_delay } =
        metrics;
    let relative = mean_relative_delay * 100.0;
    format!(
        "| {name} | {requests:.1} | {mean_delay:.1} | {p50_delay:.1} | {p95_delay:.1} | {p99_delay:.1} | {relative:.0} % |"
    )
}

pub(crate) fn append(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a String does not fail");
}
