//! The manual pages: every command, option and setting is there, and the programs that format them find
//! nothing wrong.

#[path = "../../examples/man-pages/pages/mod.rs"]
pub(crate) mod pages;

use std::path::Path;
use std::process::Command;

use pages::ManualPage;
use tempfile::TempDir;

use crate::support::daemon::utf8;

fn manual_pages() -> Vec<ManualPage> {
    pages::manual_pages("2026-01-31").expect("the pages")
}

/// Writes the pages to files of a directory.
pub(crate) fn write_pages(directory: &Path) {
    std::fs::create_dir_all(directory).expect("a directory");
    for page in manual_pages() {
        std::fs::write(directory.join(page.file_name), page.text).expect("a page");
    }
}

fn text_of<'a>(pages: &'a [ManualPage], file_name: &str) -> &'a str {
    let page = pages.iter().find(|page| page.file_name == file_name);
    &page.unwrap_or_else(|| panic!("no page {file_name}")).text
}

/// Every option of the command, and of its subcommands, is in the page of the command.
fn assert_complete(pages: &[ManualPage], command: &clap::Command, section: u8) {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let text = text_of(pages, &format!("{name}.{section}"));
    for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
        let shown = match argument.get_long() {
            Some(long) => format!("--{long}").replace('-', "\\-"),
            None => argument.get_value_names().expect("a name")[0].replace('-', "\\-"),
        };
        assert!(text.contains(&shown), "{name}: {shown}: {text}");
        let help = argument.get_help().expect("a help text").to_string();
        let first = help.split(['(', '-', '\'', '"', '`', '.', '\n']).next().expect("a text");
        assert!(text.contains(first.trim()), "{name}: {help}: {text}");
    }
    for subcommand in command.get_subcommands() {
        let title = format!("{name}-{}", subcommand.get_name()).replace('-', "\\-");
        assert!(text.contains(&format!("{title}({section})")), "{title}: {text}");
        assert_complete(pages, subcommand, section);
    }
}

#[test]
fn every_command_and_option_has_its_place_in_a_manual_page() {
    let pages = manual_pages();
    for (program, section) in [(jobtrack::cli::command(), 1), (jobtrack::daemon::command(), 8)] {
        let mut program = program.disable_help_subcommand(true);
        program.build();
        assert!(program.get_subcommands().count() >= 2);
        assert_complete(&pages, &program, section);
    }
    let list = text_of(&pages, "jobtrack-list.1");
    assert!(list.contains(".SH EXAMPLES\n.nf\njobtrack list\n"), "each example is a line: {list}");
}

#[test]
fn every_setting_and_the_example_are_in_the_page_of_the_configuration() {
    let pages = manual_pages();
    let text = text_of(&pages, "jobtrack.toml.5");
    let document = include_str!("../../docs/configuration.md");
    let rows = document.lines().filter_map(|line| line.strip_prefix("| `"));
    let keys: Vec<_> = rows.filter_map(|row| row.split('`').next()).collect();
    assert!(keys.len() > 30, "{keys:?}");
    for key in keys.iter().filter(|key| key.chars().all(|c| c.is_ascii_lowercase() || c == '_')) {
        assert!(text.contains(&format!(".TP\n\\fB{key}\\fR\n")), "{key}");
    }
    for heading in document.lines().filter_map(|line| line.strip_prefix("## `[")) {
        let section = heading.trim_end_matches("]`");
        assert!(text.contains(&format!("[{section}]")), "{section}");
    }
    assert!(text.contains("\n.SH EXAMPLE\n") && text.contains("\n[store]\n"), "{text}");
}

/// `man`, `groff` and `mandoc` format the pages of this system or of others.
#[test]
fn groff_and_mandoc_find_nothing_wrong_in_the_manual_pages() {
    let directory = TempDir::with_prefix("jobtrack-man-").expect("a directory");
    write_pages(directory.path());
    let formatters: [&[&str]; 2] =
        [&["groff", "-man", "-ww", "-z", "-Tutf8"], &["mandoc", "-T", "lint", "-W", "warning"]];
    for formatter in formatters {
        let found = Command::new(formatter[0]).arg("-v").output();
        if found.is_err() {
            println!("skipped: {} is not installed", formatter[0]);
            continue;
        }
        for page in manual_pages() {
            let mut command = Command::new(formatter[0]);
            command.args(&formatter[1..]).arg(directory.path().join(&page.file_name));
            let output = command.output().expect("the formatter runs");
            let printed = [output.stdout, output.stderr].map(|bytes| utf8(&bytes)).concat();
            assert_eq!(printed, "", "{} {}", formatter[0], page.file_name);
        }
    }
}
