//! The tables of `docs/polling.md`, and what the policy must show.

use std::fmt::Write;

use super::clients::PollingClient;
use super::measure::{
    COMPARED_REQUESTS, DelaysAtEqualCost, EXISTING_CLIENTS, LimitedBudget, Scenario,
    UnlimitedBudget, growing_interval, maximum_wait_violations,
};
use super::metrics::{Metrics, worst};
use super::workload::WorkloadKind;

/// Something that the policy must reach: a figure, and the most that it may be.
#[derive(Debug)]
pub(crate) struct Requirement {
    description: String,
    measured: f64,
    limit: f64,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct BenchReport {
    tables: String,
    requirements: Vec<Requirement>,
}

impl BenchReport {
    /// Measures all. A few minutes.
    pub(crate) fn build() -> Self {
        let mut report = Self::default();
        report.add_existing_clients();
        report.add_equal_cost();
        report.add_limited_budgets();
        report.add_scenarios();
        report.add_duration_jumps();
        report
    }

    /// The report as markdown: the targets first.
    pub(crate) fn markdown(&self) -> String {
        let mut text =
            String::from("### It must show\n\n| what | at most | found | |\n|---|--:|--:|---|\n");
        for Requirement { description: what, measured: found, limit: most } in &self.requirements {
            let verdict = if found <= most { "reached" } else { "**not reached**" };
            let figure = if *most < 10.0 && *most > 0.0 {
                format!("{found:.2}")
            } else {
                format!("{found:.0}")
            };
            let most = format!("{most:.2}");
            let most = most.trim_end_matches('0').trim_end_matches('.');
            append(&mut text, format_args!("| {what} | {most} | {figure} | {verdict} |"));
        }
        text + &self.tables
    }

    fn require(&mut self, what: String, found: f64, most: f64) {
        self.requirements.push(Requirement { description: what, measured: found, limit: most });
    }

    fn add_line(&mut self, line: std::fmt::Arguments<'_>) {
        append(&mut self.tables, line);
    }

    fn add_heading(&mut self, title: &str, text: &str) {
        self.add_line(format_args!("\n### {title}\n\n{text}"));
    }

    /// Every policy as it comes, with requests to spare.
    fn add_existing_clients(&mut self) {
        self.add_heading(
            "Every policy as it comes",
            "With requests to spare. 10,000 runs after 2,000 that teach; delays in seconds.",
        );
        for kind in WorkloadKind::ALL {
            eprintln!("{}: as they come", kind.name());
            let ample = UnlimitedBudget::new(kind, 1);
            self.add_table_header(kind.name(), "relative");
            for (name, client) in EXISTING_CLIENTS {
                self.add_row(name, &ample.client(client));
            }
            self.add_row("`policy = \"backoff\"`, 1 s × 1.5 to 5 min", &ample.backoff());
            self.add_row("**`policy = \"learned\"`**, 1 s", &ample.learned(1.0, true));
            self.add_row("the same without its promise", &ample.learned(1.0, false));
            self.add_row(
                "knowing the true distribution, without the promise",
                &ample.oracle_distribution(1.0, false),
            );
            self.add_row("knowing each end", &ample.oracle_end_times());
        }
    }

    /// From the first day, over a restart, through a change of all durations.
    fn add_scenarios(&mut self) {
        self.add_heading(
            "Good days and bad",
            "A thousand runs each, with requests to spare; mean delays in seconds. A job of a new regime is asked\n\
             too often or, within the promise, too late, until two or three runs of its kind are over.",
        );
        for kind in [WorkloadKind::DuneQueries, WorkloadKind::Mixed] {
            eprintln!("{}: good days and bad", kind.name());
            self.add_line(format_args!(
                "\n| `{}` | learned: requests a job | mean delay | best in hindsight at so many | backoff: requests a job | mean delay |\n|---|--:|--:|--:|--:|--:|",
                kind.name()
            ));
            for (name, event) in Scenario::ALL {
                let (learned, backoff, best) = event.measure(kind);
                self.add_line(format_args!(
                    "| {name} | {:.1} | {:.1} | {best:.1} | {:.1} | {:.1} |",
                    learned.requests, learned.mean_delay, backoff.requests, backoff.mean_delay
                ));
            }
        }
    }

    fn add_table_header(&mut self, name: &str, last: &str) {
        self.add_line(format_args!(
            "\n| `{name}` | requests a job | mean delay | p50 | p95 | p99 | {last} |\n|---|--:|--:|--:|--:|--:|--:|"
        ));
    }

    fn add_row(&mut self, name: &str, figures: &Metrics) {
        let Metrics { requests, mean_delay, p50_delay, p95_delay, p99_delay, mean_relative_delay } =
            figures;
        let relative = mean_relative_delay * 100.0;
        self.add_line(format_args!(
            "| {name} | {requests:.1} | {mean_delay:.1} | {p50_delay:.1} | {p95_delay:.1} | {p99_delay:.1} | {relative:.0} % |"
        ));
    }

    /// Against the best fixed or growing pauses, tuned in hindsight, at as many requests.
    fn add_equal_cost(&mut self) {
        self.add_heading(
            "At equal requests",
            "Mean delay in seconds, without the promise, at a price that leads to so many requests a job;\n\
             beside it the best fixed or growing pauses of all, tuned in hindsight on the very runs. Last, the\n\
             worst share of five seeds.",
        );
        self.add_line(format_args!(
            "\n| | requests a job | best in hindsight | learned | knowing the true distribution | learned / best, worst of 5 seeds |\n|---|--:|--:|--:|--:|--:|"
        ));
        for kind in WorkloadKind::ALL {
            eprintln!("{}: at equal requests", kind.name());
            let seeds: Vec<UnlimitedBudget> =
                (1..=5).map(|seed| UnlimitedBudget::new(kind, seed)).collect();
            let most = match kind {
                WorkloadKind::Mixed | WorkloadKind::Drifting => 0.6,
                WorkloadKind::DuneQueries => 0.7,
                WorkloadKind::AllDistinct => 1.0,
            };
            for requests in COMPARED_REQUESTS {
                let all: Vec<DelaysAtEqualCost> = seeds
                    .iter()
                    .map(|ample| DelaysAtEqualCost::at_requests(requests, ample))
                    .collect();
                let worst = self.add_equal_cost_row(kind, &all);
                let what = format!(
                    "`{}`, {requests} requests a job: delay / best in hindsight",
                    kind.name()
                );
                self.require(what, worst, most);
                if kind == WorkloadKind::Mixed && requests <= COMPARED_REQUESTS[0] {
                    let knowing = all
                        .iter()
                        .map(|one| one.learned_delay / one.oracle_delay)
                        .fold(0.0, f64::max);
                    self.require(
                        "`mixed`, 5 requests a job: delay / knowing the true distribution".into(),
                        knowing,
                        1.3,
                    );
                }
            }
            let all: Vec<DelaysAtEqualCost> =
                seeds.iter().map(DelaysAtEqualCost::with_maximum_wait).collect();
            let worst = self.add_equal_cost_row(kind, &all);
            let most = match kind {
                WorkloadKind::Mixed => 0.65,
                WorkloadKind::DuneQueries => 0.7,
                WorkloadKind::AllDistinct | WorkloadKind::Drifting => continue,
            };
            let what = format!(
                "`{}`, as it comes, with the promise: delay / best in hindsight",
                kind.name()
            );
            self.require(what, worst, most);
        }
    }

    fn add_equal_cost_row(&mut self, kind: WorkloadKind, all: &[DelaysAtEqualCost]) -> f64 {
        let worst = worst(all.iter().map(DelaysAtEqualCost::ratio_to_best));
        let DelaysAtEqualCost {
            requests,
            best_existing: best,
            learned_delay: learned,
            oracle_delay: knowing,
        } = all[0];
        let name = kind.name();
        let with = if requests.fract() == 0.0 { "" } else { ", promised, 1 s" };
        self.add_line(format_args!(
            "| `{name}`{with} | {requests:.1} | {best:.1} | {learned:.1} | {knowing:.1} | {worst:.2} |"
        ));
        worst
    }

    /// One budget for all that run.
    fn add_limited_budgets(&mut self) {
        self.add_heading(
            "Requests short",
            "500 jobs run at once (`dune`: 20) and share one budget; mean delay in seconds, first seed of three.\n\
             \"First come\": who is due first is asked first.",
        );
        self.add_line(format_args!(
            "\n| requests a minute | every 5 s, first come | 1 s × 2 to 60 s, first come | 50 % of the elapsed time, first come | **learned** | its requests a job | knowing the true distribution | knowing each end | learned / × 2, worst of 3 seeds |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|"
        ));
        // (workload, requests a minute, the most that the delay may be of that of × 2 to 60 s)
        let cases = [
            (WorkloadKind::Mixed, 40, Some(0.2)),
            (WorkloadKind::Mixed, 70, None),
            (WorkloadKind::Mixed, 200, Some(1.0 / 3.0)),
            (WorkloadKind::Drifting, 40, Some(0.2)),
            (WorkloadKind::AllDistinct, 40, Some(0.5)),
            (WorkloadKind::DuneQueries, 40, None),
        ];
        for (kind, budget, most) in cases {
            eprintln!("{}: {budget} requests a minute", kind.name());
            self.add_limited_budget(kind, budget, most);
        }
    }

    fn add_limited_budget(&mut self, kind: WorkloadKind, budget: u32, most: Option<f64>) {
        let doubled = growing_interval(2.0, 60.0);
        let mut shares = Vec::new();
        let mut knowing = Vec::new();
        let mut told = String::new();
        let seeds = if most.is_some() { 1..=3 } else { 1..=1 };
        for seed in seeds {
            let short = LimitedBudget::new(kind, budget, seed);
            let (learned, other) = (short.learned(), short.client(doubled).mean_delay);
            shares.push(learned.mean_delay / other);
            let known = (seed == 1 || (kind, budget) == (WorkloadKind::Mixed, 40))
                .then(|| short.oracle_distribution().mean_delay);
            knowing.extend(known.map(|known| learned.mean_delay / known));
            if seed == 1 {
                let others = [PollingClient::Fixed(5.0), PollingClient::ElapsedFraction(0.5)]
                    .map(|client| short.client(client).mean_delay);
                let (known, clairvoyant) =
                    (known.unwrap_or_default(), short.oracle_end_times().mean_delay);
                told = format!(
                    "| `{}`, {budget} | {:.0} | {other:.0} | {:.0} | {:.1} | {:.2} | {known:.1} | {clairvoyant:.2} |",
                    kind.name(),
                    others[0],
                    others[1],
                    learned.mean_delay,
                    learned.requests,
                );
            }
        }
        let share = worst(shares);
        self.add_line(format_args!("{told} {share:.2} |"));
        if let Some(most) = most {
            let name = kind.name();
            self.require(
                format!("`{name}`, 500 run, {budget} a minute: delay / × 2 to 60 s, first come"),
                share,
                most,
            );
            if (kind, budget) == (WorkloadKind::Mixed, 40) {
                let knowing = worst(knowing);
                self.require(
                    "`mixed`, 500 run, 40 a minute: delay / knowing the true distribution".into(),
                    knowing,
                    1.3,
                );
            }
        }
    }

    fn add_duration_jumps(&mut self) {
        for by in [10.0, 0.1] {
            let found: Vec<_> = WorkloadKind::ALL
                .into_iter()
                .map(|kind| maximum_wait_violations(kind, by, 1))
                .collect();
            let broken: usize = found.iter().map(|(broken, _)| broken).sum();
            let looks: usize = found.iter().map(|(_, looks)| looks).sum();
            let what =
                format!("all durations × {by} at once: looks of {looks} later than promised");
            self.require(what, broken as f64, 0.0);
        }
    }
}

fn append(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a String takes all");
}
