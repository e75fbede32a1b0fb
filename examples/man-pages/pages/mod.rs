//! The manual pages: those of the commands from the definitions of the command lines, and
//! `jobtrack.toml(5)` from docs/configuration.md and config.example.toml.
//!
//! Used by the example `man-pages`, which writes them to files, and by a test, which reads them.

mod commands;
mod configuration;

use std::fmt::Write;

use anyhow::Result;
use clap_mangen::roff::{Roff, bold, roman};

/// One manual page in the language of roff, in ASCII.
pub(crate) struct ManualPage {
    /// Such as `jobtrack-add.1`.
    pub(crate) file_name: String,
    pub(crate) text: String,
}

/// All pages. `date` is shown at the bottom of each.
pub(crate) fn manual_pages(date: &str) -> Result<Vec<ManualPage>> {
    let mut pages = commands::pages(jobtrack::cli::command(), "1", date)?;
    pages.extend(commands::pages(jobtrack::daemon::command(), "8", date)?);
    pages.push(configuration::page(date)?);
    for page in &mut pages {
        page.text = in_ascii(&page.text);
    }
    Ok(pages)
}

/// The section that names the other main pages.
fn see_also(roff: &mut Roff, own_title: &str) {
    let titles = [("jobtrack", "(1)"), ("jobtrackd", "(8)"), ("jobtrack.toml", "(5)")];
    let mut line = Vec::new();
    for (title, section) in titles.into_iter().filter(|(title, _)| *title != own_title) {
        if !line.is_empty() {
            line.push(roman(", "));
        }
        line.extend([bold(title), roman(section)]);
    }
    roff.control("SH", ["SEE ALSO"]);
    roff.text(line);
}

/// Replaces other characters by escape sequences: some formatters read single bytes.
fn in_ascii(text: &str) -> String {
    let mut ascii = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_ascii() {
            ascii.push(character);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(ascii, "\\[u{:04X}]", u32::from(character));
        }
    }
    ascii
}
