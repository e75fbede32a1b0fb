//! A Markdown table: a row for each figure, a column for each size.

use std::fmt::Write as _;
use std::time::Duration;

pub struct Table {
    head: Vec<String>,
    rows: Vec<(String, Vec<String>)>,
}

impl Table {
    pub fn new(corner: &str) -> Self {
        Self { head: vec![corner.to_owned()], rows: Vec::new() }
    }

    pub fn add_column(&mut self, name: &str) {
        self.head.push(name.to_owned());
    }

    /// Adds a figure to the last column.
    pub fn add(&mut self, figure: &str, value: String) {
        let column = self.head.len() - 1;
        let position = self.rows.iter().position(|(name, _)| name == figure).unwrap_or_else(|| {
            self.rows.push((figure.to_owned(), Vec::new()));
            self.rows.len() - 1
        });
        let values = &mut self.rows[position].1;
        values.resize(column - 1, String::new());
        values.push(value);
    }

    pub fn to_markdown(&self) -> String {
        let mut text = format!("| {} |\n|---|", self.head.join(" | "));
        text.push_str(&"--:|".repeat(self.head.len() - 1));
        for (name, values) in &self.rows {
            write!(text, "\n| {name} | {} |", values.join(" | ")).expect("a string");
        }
        text.push('\n');
        text
    }
}

/// The median of some values.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// The median with the lowest and the highest value.
pub fn with_spread(values: &[f64], decimals: usize) -> String {
    let lowest = values.iter().copied().fold(f64::INFINITY, f64::min);
    let highest = values.iter().copied().fold(0.0, f64::max);
    format!("{:.decimals$} ({lowest:.decimals$} to {highest:.decimals$})", median(values))
}

pub fn milliseconds(durations: &[Duration]) -> Vec<f64> {
    durations.iter().map(|duration| duration.as_secs_f64() * 1e3).collect()
}
