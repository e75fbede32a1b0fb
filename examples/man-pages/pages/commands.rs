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

/// A paragraph that begins with a line such as `Examples:` becomes a section of lines; the others
/// become the section `NOTES`.
fn note_sections(roff: &mut Roff, notes: &StyledStr) {
    let notes = notes.to_string();
    let (lists, paragraphs): (Vec<_>, Vec<_>) =
        notes.split("\n\n").partition(|block| heading_and_lines(block).is_some());
    for (index, paragraph) in paragraphs.into_iter().enumerate() {
        if index == 0 {
            roff.control("SH", ["NOTES"]);
        } else {
            roff.control("PP", []);
        }
        roff.text([roman(paragraph.trim())]);
    }
    for (heading, lines) in lists.into_iter().filter_map(heading_and_lines) {
        roff.control("SH", [heading.to_uppercase().as_str()]);
        roff.control("nf", []);
        for line in lines.lines() {
            roff.text([roman(line.trim_start())]);
        }
        roff.control("fi", []);
    }
}

fn heading_and_lines(block: &str) -> Option<(&str, &str)> {
    let (heading, lines) = block.trim_end().split_once(":\n")?;
    let is_list = !heading.contains('\n') && lines.lines().all(|line| line.starts_with(' '));
    is_list.then_some((heading, lines))
}
