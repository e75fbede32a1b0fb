//! Draws `docs/performance.svg`: the CPU time of a poll, by poller and rate, and by layer of the daemon.

use std::fmt::Write as _;

use super::contender::Contender;
use super::layers::Layer;
use super::measurement::Measurement;
use super::report::{Spread, costs, rates};

const WIDTH: f64 = 960.0;
const LABELS_WIDTH: f64 = 340.0;
const BAR_HEIGHT: f64 = 18.0;
const ROW_HEIGHT: f64 = 24.0;
const TITLE_HEIGHT: f64 = 34.0;
const DAEMON_COLOUR: &str = "#1f77b4";
const OTHER_COLOUR: &str = "#b8c4cf";

/// A group of horizontal bars below a title, at one scale.
struct Panel {
    title: String,
    bars: Vec<Bar>,
}

struct Bar {
    label: String,
    colour: &'static str,
    value: f64,
    /// The smallest and the largest measured value.
    range: Option<(f64, f64)>,
}

/// The picture as an SVG.
pub fn render(measurements: &[Measurement], layers: &[Layer]) -> String {
    let by_rate = rates(measurements).into_iter().map(|rate| Panel {
        title: format!("CPU µs a poll at {rate} polls a second (median and range)"),
        bars: Contender::ALL.iter().filter_map(|&one| cost_bar(measurements, rate, one)).collect(),
    });
    let by_layer = Panel {
        title: "jobtrackd at 250 polls a second: CPU µs a poll by layer".into(),
        bars: layers.iter().filter(|layer| layer.micros_per_poll >= 1.0).map(layer_bar).collect(),
    };
    let panels: Vec<_> = by_rate.chain([by_layer]).filter(|panel| !panel.bars.is_empty()).collect();
    let mut body = String::new();
    let mut top = 8.0;
    for panel in &panels {
        top = draw_panel(&mut body, panel, top);
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {top}\" \
         font-family=\"Helvetica, Arial, sans-serif\" font-size=\"12\" fill=\"#333\" role=\"img\">\n\
         <title>CPU time of a poll</title>\n<rect width=\"{WIDTH}\" height=\"{top}\" fill=\"#fff\"/>\n{body}</svg>\n"
    )
}

fn cost_bar(measurements: &[Measurement], rate: u32, contender: Contender) -> Option<Bar> {
    let micros = costs(measurements, rate, contender).map(|cost| cost.cpu_micros_per_poll);
    let Spread { median, min, max } = Spread::of(micros)?;
    let is_daemon = contender == Contender::Jobtrackd;
    Some(Bar {
        label: contender.description().replace('`', ""),
        colour: if is_daemon { DAEMON_COLOUR } else { OTHER_COLOUR },
        value: median,
        range: Some((min, max)),
    })
}

fn layer_bar(layer: &Layer) -> Bar {
    Bar {
        label: layer.name.into(),
        colour: DAEMON_COLOUR,
        value: layer.micros_per_poll,
        range: None,
    }
}

/// Draws below `top` and returns where the panel ends.
fn draw_panel(body: &mut String, panel: &Panel, top: f64) -> f64 {
    let largest = |bar: &Bar| bar.range.map_or(bar.value, |(_, max)| max);
    let scale_end = panel.bars.iter().map(largest).fold(0.0, f64::max) * 1.1;
    let x = |value: f64| LABELS_WIDTH + (WIDTH - LABELS_WIDTH - 50.0) * value / scale_end;
    let mut draw = |arguments: std::fmt::Arguments<'_>| {
        writeln!(body, "{arguments}").expect("a string");
    };
    draw(format_args!(
        "<text x=\"12\" y=\"{}\" font-weight=\"bold\">{}</text>",
        top + TITLE_HEIGHT - 14.0,
        panel.title
    ));
    let mut y = top + TITLE_HEIGHT;
    for bar in &panel.bars {
        let (text_y, middle) = (y + BAR_HEIGHT - 5.0, y + BAR_HEIGHT / 2.0);
        draw(format_args!(
            "<text x=\"{}\" y=\"{text_y}\" text-anchor=\"end\">{}</text>",
            LABELS_WIDTH - 8.0,
            bar.label
        ));
        draw(format_args!(
            "<rect x=\"{LABELS_WIDTH}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR_HEIGHT}\" fill=\"{}\"/>",
            x(bar.value) - LABELS_WIDTH,
            bar.colour
        ));
        if let Some((min, max)) = bar.range {
            draw(format_args!(
                "<path d=\"M{:.1} {middle}H{:.1}\" stroke=\"#333\"/>",
                x(min),
                x(max)
            ));
        }
        draw(format_args!(
            "<text x=\"{:.1}\" y=\"{text_y}\">{:.0}</text>",
            x(largest(bar)) + 6.0,
            bar.value
        ));
        y += ROW_HEIGHT;
    }
    y + 8.0
}
