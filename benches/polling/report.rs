//! The tables of `docs/polling.md`, and what the policy must show.

use std::fmt::Write;

use super::clients::Client;
use super::measure::{AT, Ample, Equal, Event, Short, TODAY, broken_promises, growing};
use super::metrics::{Figures, worst};
use super::workload::Kind;

/// Something that the policy must reach: a figure, and the most that it may be.
#[derive(Debug)]
pub(crate) struct Target {
    what: String,
    found: f64,
    most: f64,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    tables: String,
    targets: Vec<Target>,
}

impl Report {
    /// Measures all. A few minutes.
    pub(crate) fn make() -> Self {
        let mut report = Self::default();
        report.today();
        report.equal();
        report.short();
        report.events();
        report.jumps();
        report
    }

    /// The report as markdown: the targets first.
    pub(crate) fn markdown(&self) -> String {
        let mut text =
            String::from("### It must show\n\n| what | at most | found | |\n|---|--:|--:|---|\n");
        for Target { what, found, most } in &self.targets {
            let verdict = if found <= most { "reached" } else { "**not reached**" };
            let figure = if *most < 10.0 && *most > 0.0 {
                format!("{found:.2}")
            } else {
                format!("{found:.0}")
            };
            let most = format!("{most:.2}");
            let most = most.trim_end_matches('0').trim_end_matches('.');
            put(&mut text, format_args!("| {what} | {most} | {figure} | {verdict} |"));
        }
        text + &self.tables
    }

    fn must(&mut self, what: String, found: f64, most: f64) {
        self.targets.push(Target { what, found, most });
    }

    fn say(&mut self, line: std::fmt::Arguments<'_>) {
        put(&mut self.tables, line);
    }

    fn heading(&mut self, title: &str, text: &str) {
        self.say(format_args!("\n### {title}\n\n{text}"));
    }

    /// Every policy as it comes, with requests to spare.
    fn today(&mut self) {
        self.heading(
            "Every policy as it comes",
            "With requests to spare. 10,000 runs after 2,000 that teach; delays in seconds.",
        );
        for kind in Kind::ALL {
            eprintln!("{}: as they come", kind.name());
            let ample = Ample::of(kind, 1);
            self.table(kind.name(), "relative");
            for (name, client) in TODAY {
                self.row(name, &ample.client(client));
            }
            self.row("`policy = \"backoff\"`, 1 s × 1.5 to 5 min", &ample.backoff());
            self.row("**`policy = \"learned\"`**, 1 s", &ample.learned(1.0, true));
            self.row("the same without its promise", &ample.learned(1.0, false));
            self.row(
                "knowing the true distribution, without the promise",
                &ample.knowing(1.0, false),
            );
            self.row("knowing each end", &ample.clairvoyant());
        }
    }

    /// From the first day, over a restart, through a change of all durations.
    fn events(&mut self) {
        self.heading(
            "Good days and bad",
            "A thousand runs each, with requests to spare; mean delays in seconds. A job of a new regime is asked\n\
             too often or, within the promise, too late, until two or three runs of its kind are over.",
        );
        for kind in [Kind::Dune, Kind::Mixed] {
            eprintln!("{}: good days and bad", kind.name());
            self.say(format_args!(
                "\n| `{}` | learned: requests a job | mean delay | best in hindsight at so many | backoff: requests a job | mean delay |\n|---|--:|--:|--:|--:|--:|",
                kind.name()
            ));
            for (name, event) in Event::ALL {
                let (learned, backoff, best) = event.befalls(kind);
                self.say(format_args!(
                    "| {name} | {:.1} | {:.1} | {best:.1} | {:.1} | {:.1} |",
                    learned.requests, learned.mean, backoff.requests, backoff.mean
                ));
            }
        }
    }

    fn table(&mut self, name: &str, last: &str) {
        self.say(format_args!(
            "\n| `{name}` | requests a job | mean delay | p50 | p95 | p99 | {last} |\n|---|--:|--:|--:|--:|--:|--:|"
        ));
    }

    fn row(&mut self, name: &str, figures: &Figures) {
        let Figures { requests, mean, p50, p95, p99, relative } = figures;
        let relative = relative * 100.0;
        self.say(format_args!(
            "| {name} | {requests:.1} | {mean:.1} | {p50:.1} | {p95:.1} | {p99:.1} | {relative:.0} % |"
        ));
    }

    /// Against the best fixed or growing pauses, tuned in hindsight, at as many requests.
    fn equal(&mut self) {
        self.heading(
            "At equal requests",
            "Mean delay in seconds, without the promise, at a price that leads to so many requests a job;\n\
             beside it the best fixed or growing pauses of all, tuned in hindsight on the very runs. Last, the\n\
             worst share of five seeds.",
        );
        self.say(format_args!(
            "\n| | requests a job | best in hindsight | learned | knowing the true distribution | learned / best, worst of 5 seeds |\n|---|--:|--:|--:|--:|--:|"
        ));
        for kind in Kind::ALL {
            eprintln!("{}: at equal requests", kind.name());
            let seeds: Vec<Ample> = (1..=5).map(|seed| Ample::of(kind, seed)).collect();
            let most = match kind {
                Kind::Mixed | Kind::Drift => 0.6,
                Kind::Dune => 0.7,
                Kind::Cold => 1.0,
            };
            for requests in AT {
                let all: Vec<Equal> =
                    seeds.iter().map(|ample| Equal::at(requests, ample)).collect();
                let worst = self.equal_row(kind, &all);
                let what = format!(
                    "`{}`, {requests} requests a job: delay / best in hindsight",
                    kind.name()
                );
                self.must(what, worst, most);
                if kind == Kind::Mixed && requests <= AT[0] {
                    let knowing =
                        all.iter().map(|one| one.learned / one.knowing).fold(0.0, f64::max);
                    self.must(
                        "`mixed`, 5 requests a job: delay / knowing the true distribution".into(),
                        knowing,
                        1.3,
                    );
                }
            }
            let all: Vec<Equal> = seeds.iter().map(Equal::promised).collect();
            let worst = self.equal_row(kind, &all);
            let most = match kind {
                Kind::Mixed => 0.65,
                Kind::Dune => 0.7,
                Kind::Cold | Kind::Drift => continue,
            };
            let what = format!(
                "`{}`, as it comes, with the promise: delay / best in hindsight",
                kind.name()
            );
            self.must(what, worst, most);
        }
    }

    fn equal_row(&mut self, kind: Kind, all: &[Equal]) -> f64 {
        let worst = worst(all.iter().map(Equal::share));
        let Equal { requests, best, learned, knowing } = all[0];
        let name = kind.name();
        let with = if requests.fract() == 0.0 { "" } else { ", promised, 1 s" };
        self.say(format_args!(
            "| `{name}`{with} | {requests:.1} | {best:.1} | {learned:.1} | {knowing:.1} | {worst:.2} |"
        ));
        worst
    }

    /// One budget for all that run.
    fn short(&mut self) {
        self.heading(
            "Requests short",
            "500 jobs run at once (`dune`: 20) and share one budget; mean delay in seconds, first seed of three.\n\
             \"First come\": who is due first is asked first.",
        );
        self.say(format_args!(
            "\n| requests a minute | every 5 s, first come | 1 s × 2 to 60 s, first come | 50 % of the elapsed time, first come | **learned** | its requests a job | knowing the true distribution | knowing each end | learned / × 2, worst of 3 seeds |\n|---|--:|--:|--:|--:|--:|--:|--:|--:|"
        ));
        // (workload, requests a minute, the most that the delay may be of that of × 2 to 60 s)
        let cases = [
            (Kind::Mixed, 40, Some(0.2)),
            (Kind::Mixed, 70, None),
            (Kind::Mixed, 200, Some(1.0 / 3.0)),
            (Kind::Drift, 40, Some(0.2)),
            (Kind::Cold, 40, Some(0.5)),
            (Kind::Dune, 40, None),
        ];
        for (kind, budget, most) in cases {
            eprintln!("{}: {budget} requests a minute", kind.name());
            self.short_case(kind, budget, most);
        }
    }

    fn short_case(&mut self, kind: Kind, budget: u32, most: Option<f64>) {
        let doubled = growing(2.0, 60.0);
        let mut shares = Vec::new();
        let mut knowing = Vec::new();
        let mut told = String::new();
        let seeds = if most.is_some() { 1..=3 } else { 1..=1 };
        for seed in seeds {
            let short = Short::of(kind, budget, seed);
            let (learned, other) = (short.learned(), short.client(doubled).mean);
            shares.push(learned.mean / other);
            let known =
                (seed == 1 || (kind, budget) == (Kind::Mixed, 40)).then(|| short.knowing().mean);
            knowing.extend(known.map(|known| learned.mean / known));
            if seed == 1 {
                let others = [Client::Fixed(5.0), Client::Share(0.5)]
                    .map(|client| short.client(client).mean);
                let (known, clairvoyant) = (known.unwrap_or_default(), short.clairvoyant().mean);
                told = format!(
                    "| `{}`, {budget} | {:.0} | {other:.0} | {:.0} | {:.1} | {:.2} | {known:.1} | {clairvoyant:.2} |",
                    kind.name(),
                    others[0],
                    others[1],
                    learned.mean,
                    learned.requests,
                );
            }
        }
        let share = worst(shares);
        self.say(format_args!("{told} {share:.2} |"));
        if let Some(most) = most {
            let name = kind.name();
            self.must(
                format!("`{name}`, 500 run, {budget} a minute: delay / × 2 to 60 s, first come"),
                share,
                most,
            );
            if (kind, budget) == (Kind::Mixed, 40) {
                let knowing = worst(knowing);
                self.must(
                    "`mixed`, 500 run, 40 a minute: delay / knowing the true distribution".into(),
                    knowing,
                    1.3,
                );
            }
        }
    }

    fn jumps(&mut self) {
        for by in [10.0, 0.1] {
            let found: Vec<_> =
                Kind::ALL.into_iter().map(|kind| broken_promises(kind, by, 1)).collect();
            let broken: usize = found.iter().map(|(broken, _)| broken).sum();
            let looks: usize = found.iter().map(|(_, looks)| looks).sum();
            let what =
                format!("all durations × {by} at once: looks of {looks} later than promised");
            self.must(what, broken as f64, 0.0);
        }
    }
}

fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a String takes all");
}
