//! The pages of a program and of its subcommands.
//!
//! `clap_mangen` writes all but the text after the options, whose lines it would join.

use anyhow::{Context, Result};
use clap::Command;
use clap::builder::{Resettable, StyledStr};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::{ManualPage, see_also};

/// The pages of a program and, recursively, of its subcommands that are not hidden.
pub(super) fn pages(program: Command, section: &str, date: &str) -> Result<Vec<ManualPage>> {
    let mut program = program.disable_help_subcommand(true);
    program.build();
    let mut pages = Vec::new();
    let mut waiting = vec![&program];
    while let Some(command) = waiting.pop() {
        pages.push(page(command, section, date)?);
        waiting.extend(command.get_subcommands().filter(|command| !command.is_hide_set()));
    }
    Ok(pages)
}

fn page(command: &Command, section: &str, date: &str) -> Result<ManualPage> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let notes = command.get_after_long_help().or_else(|| command.get_after_help()).cloned();
    let without_notes =
        command.clone().after_help(Resettable::Reset).after_long_help(Resettable::Reset);
    let man = Man::new(without_notes)
        .title(name.to_uppercase())
        .section(section)
        .date(date)
        .source(concat!("jobtrack ", env!("CARGO_PKG_VERSION")))
        .manual("jobtrack manual");
    let mut text = Vec::new();
    man.render(&mut text)?;
    let text = String::from_utf8(text).context("a page is not UTF-8")?;
    // clap_mangen separates possible values by two line breaks around an empty line.
    let mut text = text.replace("\n.br\n\n.br\n", "\n.sp\n");
    let mut roff = Roff::new();
    if let Some(notes) = notes {
        note_sections(&mut roff, &notes);
    }
    see_also(&mut roff, name);
    text.push_str(&roff.to_roff());
    Ok(ManualPage { file_name: format!("{name}.{section}"), text })
}

/// Indented lines after a line such as `Examples:` become a section of lines; the other paragraphs become
/// the section `NOTES`.
fn note_sections(roff: &mut Roff, notes: &StyledStr) {
    let notes = notes.to_string();
    let mut lines = notes.lines().peekable();
    let mut paragraphs = vec![Vec::new()];
    let mut lists: Vec<(&str, Vec<&str>)> = Vec::new();
    while let Some(line) = lines.next() {
        let is_list = lines.peek().is_some_and(|next| next.starts_with(' '));
        match line.strip_suffix(':').filter(|_| is_list) {
            Some(heading) => {
                let items = std::iter::from_fn(|| lines.next_if(|next| next.starts_with(' ')));
                lists.push((heading, items.map(str::trim_start).collect()));
            }
            None if line.is_empty() => paragraphs.push(Vec::new()),
            None => paragraphs.last_mut().into_iter().for_each(|paragraph| paragraph.push(line)),
        }
    }
    paragraphs.retain(|paragraph| !paragraph.is_empty());
    for (index, paragraph) in paragraphs.into_iter().enumerate() {
        if index == 0 {
            roff.control("SH", ["NOTES"]);
        } else {
            roff.control("PP", []);
        }
        roff.text([roman(paragraph.join("\n"))]);
    }
    for (heading, items) in lists {
        roff.control("SH", [heading.to_uppercase().as_str()]);
        roff.control("nf", []);
        for item in items {
            roff.text([roman(item)]);
        }
        roff.control("fi", []);
    }
}
