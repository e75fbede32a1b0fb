//! The picture of `docs/polling.md`: for each policy what it costs, in requests a job, and how late it
//! sees a job's end. Both axes are logarithmic; nearer to the lower left corner is better.

use std::fmt::Write;

use super::clients::{Client, best_in_hindsight};
use super::measure::{Ample, growing};
use super::metrics::Figures;
use super::workload::Kind;

type Point = (f64, f64);

/// How a policy is drawn.
#[derive(Debug)]
struct Curve {
    name: &'static str,
    colour: &'static str,
    /// Of an SVG stroke.
    dashes: &'static str,
    width: f64,
    points: Vec<Point>,
}

#[derive(Debug)]
struct Panel {
    name: &'static str,
    curves: Vec<Curve>,
    /// Clients of today, as they come.
    clients: Vec<(&'static str, Point)>,
}

const WIDTH: f64 = 500.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 52.0;
const LEGEND: f64 = 62.0;
/// Ranges of the axes: requests a job, seconds.
const X: (f64, f64) = (2.0, 100.0);
const Y: (f64, f64) = (1.0, 500.0);

/// Both panels, as SVG.
pub(crate) fn draw() -> String {
    let panels = [Kind::Mixed, Kind::Dune].map(panel);
    let (width, height) = (2.0 * WIDTH, HEIGHT + LEGEND);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\" fill=\"#333\" role=\"img\">\n\
         <title>Requests a job against mean delay, for each polling policy</title>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    for (number, panel) in panels.iter().enumerate() {
        put(&mut svg, format_args!("<g transform=\"translate({} 0)\">", number as f64 * WIDTH));
        axes(&mut svg, panel.name);
        panel.curves.iter().for_each(|curve| line(&mut svg, curve));
        for (name, point) in &panel.clients {
            let (x, y) = place(*point);
            put(
                &mut svg,
                format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"#777\"/>"),
            );
            put(
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
    legend(&mut svg, &panels[0].curves);
    svg + "</svg>\n"
}

fn panel(kind: Kind) -> Panel {
    eprintln!("{}: the picture", kind.name());
    let ample = Ample::of(kind, 1);
    let steps = |from: f64, to: f64, count: u32| {
        (0..count).map(move |step| from * (to / from).powf(f64::from(step) / f64::from(count - 1)))
    };
    let point = |figures: Figures| (figures.requests, figures.mean);
    let prices = || steps(0.05, 200.0, 11);
    let curve = |name, colour, dashes, width, points: Vec<Point>| {
        let points = points.into_iter().filter(|point| is_inside(*point)).collect();
        Curve { name, colour, dashes, width, points }
    };
    let hindsight =
        steps(X.0 * 1.1, X.1, 12).map(|at| (at, best_in_hindsight(ample.counted(), at)));
    let of = |client: Client| point(ample.client(client));
    let curves = vec![
        curve(
            "fixed pauses",
            "#b5651d",
            "2 3",
            1.5,
            steps(0.5, 3000.0, 24).map(|pause| of(Client::Fixed(pause))).collect(),
        ),
        curve(
            "a share of the elapsed time",
            "#8a5fb0",
            "6 4",
            1.5,
            steps(0.03, 4.0, 16).map(|share| of(Client::Share(share))).collect(),
        ),
        curve(
            "best fixed or growing pauses, in hindsight",
            "#c0392b",
            "",
            1.5,
            hindsight.collect(),
        ),
        curve(
            "learned",
            "#1f6fb4",
            "",
            3.0,
            prices().map(|price| point(ample.learned(price, true))).collect(),
        ),
        curve(
            "learned, without the promise",
            "#1f6fb4",
            "5 4",
            1.5,
            prices().map(|price| point(ample.learned(price, false))).collect(),
        ),
        curve(
            "knowing the true distribution",
            "#222",
            "1 3",
            1.5,
            prices().map(|price| point(ample.knowing(price, false))).collect(),
        ),
    ];
    let clients = vec![
        ("every 5 s", of(Client::Fixed(5.0))),
        ("× 2 to 60 s", of(growing(2.0, 60.0))),
        ("backoff", point(ample.backoff())),
        ("learned, 1 s", point(ample.learned(1.0, true))),
    ];
    let clients = clients.into_iter().filter(|(_, point)| is_inside(*point)).collect();
    Panel { name: kind.name(), curves, clients }
}

fn is_inside((x, y): Point) -> bool {
    (X.0..=X.1).contains(&x) && (Y.0..=Y.1).contains(&y)
}

fn place((x, y): Point) -> Point {
    let share = |value: f64, (from, to): (f64, f64)| (value / from).ln() / (to / from).ln();
    let (across, up) = (WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM);
    (LEFT + across * share(x, X), HEIGHT - BOTTOM - up * share(y, Y))
}

fn axes(svg: &mut String, name: &str) {
    let ((left, bottom), (right, top)) = (place((X.0, Y.0)), place((X.1, Y.1)));
    put(
        svg,
        format_args!(
            "<text x=\"{left}\" y=\"26\" font-size=\"15\" font-weight=\"bold\">workload “{name}”</text>"
        ),
    );
    for tick in [2.0, 5.0, 10.0, 20.0, 50.0, 100.0] {
        let (x, _) = place((tick, Y.0));
        put(svg, format_args!("<path d=\"M{x:.1} {bottom:.1}V{top:.1}\" stroke=\"#e4e4e4\"/>"));
        put(
            svg,
            format_args!(
                "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick}</text>",
                bottom + 17.0
            ),
        );
    }
    for tick in [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0] {
        let (_, y) = place((X.0, tick));
        put(svg, format_args!("<path d=\"M{left:.1} {y:.1}H{right:.1}\" stroke=\"#e4e4e4\"/>"));
        put(
            svg,
            format_args!(
                "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>",
                left - 7.0,
                y + 4.0
            ),
        );
    }
    put(
        svg,
        format_args!(
            "<path d=\"M{left:.1} {top:.1}V{bottom:.1}H{right:.1}\" fill=\"none\" stroke=\"#888\"/>"
        ),
    );
    let (x, y) = (f64::midpoint(left, right), f64::midpoint(top, bottom));
    put(
        svg,
        format_args!(
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">requests a job</text>",
            bottom + 38.0
        ),
    );
    put(
        svg,
        format_args!(
            "<text transform=\"translate(20 {y:.1}) rotate(-90)\" text-anchor=\"middle\">mean delay, s</text>"
        ),
    );
}

fn line(svg: &mut String, curve: &Curve) {
    let Curve { colour, dashes, width, points, .. } = curve;
    let path: Vec<_> =
        points.iter().map(|point| place(*point)).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    put(
        svg,
        format_args!(
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width}\" stroke-dasharray=\"{dashes}\" stroke-linejoin=\"round\"/>",
            path.join(" "),
        ),
    );
}

fn legend(svg: &mut String, curves: &[Curve]) {
    for (number, curve) in curves.iter().enumerate() {
        let (x, y) =
            (LEFT + 310.0 * (number % 3) as f64, HEIGHT + 16.0 + 22.0 * (number / 3) as f64);
        let Curve { name, colour, dashes, width, .. } = curve;
        put(
            svg,
            format_args!(
                "<path d=\"M{x} {y}h34\" stroke=\"{colour}\" stroke-width=\"{width}\" stroke-dasharray=\"{dashes}\"/><text x=\"{}\" y=\"{}\">{name}</text>",
                x + 42.0,
                y + 4.0,
            ),
        );
    }
}

fn put(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("a String takes all");
}
