//! Draws `docs/polling.svg`: the mean delay of each policy against its requests per job, for two
//! workloads. Both axes are logarithmic; closer to the lower left corner is better.
//!
//! Called by `main` with `--write`. A policy with a parameter, such as the price, is a curve over it; a
//! policy with fixed settings is a point.

use std::fmt::Write;

use super::clients::{PollingClient, best_in_hindsight};
use super::measure::{UnlimitedBudget, growing_interval};
use super::metrics::Metrics;
use super::workload::WorkloadKind;

type Point = (f64, f64);

#[derive(Debug)]
struct PlotCurve {
    name: &'static str,
    colour: &'static str,
    /// The SVG attribute `stroke-dasharray`.
    dash_array: &'static str,
    width: f64,
    points: Vec<Point>,
}

#[derive(Debug)]
struct PlotPanel {
    name: &'static str,
    curves: Vec<PlotCurve>,
    /// Policies with fixed settings.
    clients: Vec<(&'static str, Point)>,
}

const PANEL_WIDTH: f64 = 500.0;
const PANEL_HEIGHT: f64 = 400.0;
const MARGIN_LEFT: f64 = 62.0;
const MARGIN_RIGHT: f64 = 14.0;
const MARGIN_TOP: f64 = 44.0;
const MARGIN_BOTTOM: f64 = 52.0;
const LEGEND_HEIGHT: f64 = 62.0;
/// Requests per job.
const X_RANGE: (f64, f64) = (2.0, 100.0);
/// Seconds.
const Y_RANGE: (f64, f64) = (1.0, 500.0);

pub(crate) fn render_svg() -> String {
    let panels = [WorkloadKind::Mixed, WorkloadKind::DuneQueries].map(build_panel);
    let (width, height) = (2.0 * PANEL_WIDTH, PANEL_HEIGHT + LEGEND_HEIGHT);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\" fill=\"#333\" role=\"img\">\n\
         <title>Mean delay against requests per job, for each polling policy</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (number, panel) in panels.iter().enumerate() {
        append(
            &mut svg,
            format_args!("<g transform=\"translate({} 0)\">", number as f64 * PANEL_WIDTH),
        );
        draw_axes(&mut svg, panel.name);
        panel.curves.iter().for_each(|curve| draw_curve(&mut svg, curve));
        for (name, point) in &panel.clients {
            let (x, y) = to_pixels(*point);
            append(
                &mut svg,
                format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"#777\"/>"),
            );
            append(
                &mut svg,
                format_args!(
                    "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"11\" fill=\"#555\">{name}</text>",
                    x + 6.0,
                    y - 5.0
                ),
            );
        }
        svg.push_str("</g>\n");
    }
    draw_legend(&mut svg, &panels[0].curves);
    svg + "</svg>\n"
}

fn build_panel(kind: WorkloadKind) -> PlotPanel {
    eprintln!("{}: plot", kind.name());
    let workload = UnlimitedBudget::new(kind, 1);
    let steps = |from: f64, to: f64, count: u32| {
        (0..count).map(move |step| from * (to / from).powf(f64::from(step) / f64::from(count - 1)))
    };
    let point = |metrics: Metrics| (metrics.requests, metrics.mean_delay);
    let prices = || steps(0.05, 200.0, 11);
    let curve = |name, colour, dash_array, width, points: Vec<Point>| {
        let points = points.into_iter().filter(|point| in_range(*point)).collect();
        PlotCurve { name, colour, dash_array, width, points }
    };
    let hindsight = steps(X_RANGE.0 * 1.1, X_RANGE.1, 12)
        .map(|requests| (requests, best_in_hindsight(workload.measured_jobs(), requests)));
    let measure = |client: PollingClient| point(workload.client(client));
    let curves = vec![
        curve(
            "fixed interval",
            "#b5651d",
            "2 3",
            1.5,
            steps(0.5, 3000.0, 24)
                .map(|interval| measure(PollingClient::Fixed(interval)))
                .collect(),
        ),
        curve(
            "fraction of the elapsed time",
            "#8a5fb0",
            "6 4",
            1.5,
            steps(0.03, 4.0, 16)
                .map(|fraction| measure(PollingClient::ElapsedFraction(fraction)))
                .collect(),
        ),
        curve("best interval in hindsight", "#c0392b", "", 1.5, hindsight.collect()),
        curve(
            "learned",
            "#1f6fb4",
            "",
            3.0,
            prices().map(|price| point(workload.learned(price, true))).collect(),
        ),
        curve(
            "learned, without the maximum wait",
            "#1f6fb4",
            "5 4",
            1.5,
            prices().map(|price| point(workload.learned(price, false))).collect(),
        ),
        curve(
            "oracle: true distribution",
            "#222",
            "1 3",
            1.5,
            prices().map(|price| point(workload.oracle_distribution(price, false))).collect(),
        ),
    ];
    let clients = vec![
        ("every 5 s", measure(PollingClient::Fixed(5.0))),
        ("× 2 to 60 s", measure(growing_interval(2.0, 60.0))),
        ("backoff", point(workload.backoff())),
        ("learned, 1 s", point(workload.learned(1.0, true))),
    ];
    let clients = clients.into_iter().filter(|(_, point)| in_range(*point)).collect();
    PlotPanel { name: kind.name(), curves, clients }
}

fn in_range((x, y): Point) -> bool {
    (X_RANGE.0..=X_RANGE.1).contains(&x) && (Y_RANGE.0..=Y_RANGE.1).contains(&y)
}

fn to_pixels((x, y): Point) -> Point {
    let fraction = |value: f64, (from, to): (f64, f64)| (value / from).ln() / (to / from).ln();
    let (width, height) =
        (PANEL_WIDTH - MARGIN_LEFT - MARGIN_RIGHT, PANEL_HEIGHT - MARGIN_TOP - MARGIN_BOTTOM);
    (
        MARGIN_LEFT + width * fraction(x, X_RANGE),
        PANEL_HEIGHT - MARGIN_BOTTOM - height * fraction(y, Y_RANGE),
    )
}

fn draw_axes(svg: &mut String, name: &str) {
    let ((left, bottom), (right, top)) =
        (to_pixels((X_RANGE.0, Y_RANGE.0)), to_pixels((X_RANGE.1, Y_RANGE.1)));
    append(
        svg,
        format_args!(
            "<text x=\"{left}\" y=\"26\" font-size=\"15\" font-weight=\"bold\">workload “{name}”</text>"
        ),
    );
    for tick in [2.0, 5.0, 10.0, 20.0, 50.0, 100.0] {
        let (x, _) = to_pixels((tick, Y_RANGE.0));
        append(svg, format_args!("<path d=\"M{x:.1} {bottom:.1}V{top:.1}\" stroke=\"#e4e4e4\"/>"));
        append(
            svg,
            format_args!(
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick}</text>",
                bottom + 17.0
            ),
        );
    }
    for tick in [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0] {
        let (_, y) = to_pixels((X_RANGE.0, tick));
        append(svg, format_args!("<path d=\"M{left:.1} {y:.1}H{right:.1}\" stroke=\"#e4e4e4\"/>"));
        append(
            svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>",
                left - 7.0,
                y + 4.0
            ),
        );
    }
    append(
        svg,
        format_args!(
            "<path d=\"M{left:.1} {top:.1}V{bottom:.1}H{right:.1}\" fill=\"none\" stroke=\"#888\"/>"
        ),
    );
    let (x, y) = (f64::midpoint(left, right), f64::midpoint(top, bottom));
    append(
        svg,
        format_args!(
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">requests per job</text>",
            bottom + 38.0
        ),
    );
    append(
        svg,
        format_args!(
            "<text transform=\"translate(20 {y:.1}) rotate(-90)\" text-anchor=\"middle\">mean delay, s</text>"
        ),
    );
}

fn draw_curve(svg: &mut String, curve: &PlotCurve) {
    let PlotCurve { colour, dash_array, width, points, .. } = curve;
    let path: Vec<_> = points
        .iter()
        .map(|point| to_pixels(*point))
        .map(|(x, y)| format!("{x:.1},{y:.1}"))
        .collect();
    append(
        svg,
        format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" stroke-dasharray=\"{dash_array}\" stroke-linejoin=\"round\"/>",
            path.join(" "),
        ),
    );
}

fn draw_legend(svg: &mut String, curves: &[PlotCurve]) {
    for (number, curve) in curves.iter().enumerate() {
        let (x, y) = (
            MARGIN_LEFT + 310.0 * (number % 3) as f64,
            PANEL_HEIGHT + 16.0 + 22.0 * (number / 3) as f64,
        );
        let PlotCurve { name, colour, dash_array, width, .. } = curve;
        append(
            svg,
            format_args!(
                "<path d=\"M{x} {y}h34\" stroke=\"{colour}\" stroke-width=\"{width}\" stroke-dasharray=\"{dash_array}\"/><text x=\"{}\" y=\"{}\">{name}</text>",
                x + 42.0,
                y + 4.0,
            ),
        );
    }
}

fn append(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a String does not fail");
}
