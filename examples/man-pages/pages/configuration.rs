//! `jobtrack.toml(5)`: docs/configuration.md as a manual page, with config.example.toml as its example.
//!
//! The elements of Markdown that the document uses are converted; another one is an error. A row of a
//! table becomes an entry: the first cell, the cells between with their headings, the last cell.

use anyhow::{Result, bail};
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use super::{ManualPage, see_also};

const DOCUMENT: &str = include_str!("../../../docs/configuration.md");
const EXAMPLE: &str = include_str!("../../../config.example.toml");

pub(super) fn page(date: &str) -> Result<ManualPage> {
    let mut page = Converter::default();
    let source = concat!("jobtrack ", env!("CARGO_PKG_VERSION"));
    page.roff.control("TH", ["JOBTRACK.TOML", "5", date, source, "jobtrack manual"]);
    // Names of settings are neither divided nor spread.
    page.roff.control("nh", []);
    page.roff.control("ad", ["l"]);
    page.roff.control("SH", ["NAME"]);
    page.roff.text([roman("jobtrack.toml - configuration of jobtrackd")]);
    for event in Parser::new_ext(DOCUMENT, Options::ENABLE_TABLES) {
        page.convert(event)?;
    }
    page.roff.control("SH", ["EXAMPLE"]);
    page.follows_heading = true;
    page.lines(EXAMPLE);
    see_also(&mut page.roff, "jobtrack.toml");
    Ok(ManualPage { file_name: "jobtrack.toml.5".into(), text: page.roff.to_roff() })
}

#[derive(Default)]
struct Converter {
    roff: Roff,
    /// A heading begins a paragraph.
    follows_heading: bool,
    /// The text of the present block.
    text: Vec<Inline>,
    style: Style,
    /// For each list around the present block: the number of the next item, if items are numbered.
    lists: Vec<Option<u64>>,
    headings: Vec<Vec<Inline>>,
    cells: Vec<Vec<Inline>>,
}

#[derive(Default, Clone, Copy)]
enum Style {
    #[default]
    Roman,
    Bold,
    Italic,
    /// A block of code, whose line breaks are kept.
    Code,
}

impl Converter {
    fn convert(&mut self, event: Event<'_>) -> Result<()> {
        match event {
            Event::Start(tag) => self.begin(tag)?,
            Event::End(tag) => self.end(tag),
            Event::Code(code) => self.text.push(bold(code.to_string())),
            Event::SoftBreak | Event::HardBreak => self.text.push(roman("\n")),
            Event::Text(text) => match self.style {
                Style::Roman => self.text.push(roman(text.to_string())),
                Style::Bold => self.text.push(bold(text.to_string())),
                Style::Italic => self.text.push(italic(text.to_string())),
                Style::Code => self.lines(&text),
            },
            other => bail!("docs/configuration.md: not converted: {other:?}"),
        }
        Ok(())
    }

    fn begin(&mut self, tag: Tag<'_>) -> Result<()> {
        match tag {
            Tag::Emphasis => self.style = Style::Italic,
            Tag::Strong => self.style = Style::Bold,
            Tag::CodeBlock(_) => {
                self.end_item_text();
                self.style = Style::Code;
            }
            Tag::List(first) => {
                self.end_item_text();
                self.lists.push(first);
            }
            Tag::Item => self.begin_item(),
            Tag::Table(_) | Tag::TableHead | Tag::TableRow | Tag::TableCell => {}
            Tag::Heading { .. } | Tag::Paragraph | Tag::Link { .. } => {}
            other => bail!("docs/configuration.md: not converted: {other:?}"),
        }
        Ok(())
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(level) => self.end_heading(level),
            TagEnd::Paragraph if self.lists.is_empty() => {
                self.begin_paragraph();
                self.end_item_text();
            }
            TagEnd::Paragraph | TagEnd::Item => self.end_item_text(),
            TagEnd::List(_) => {
                self.lists.pop();
            }
            TagEnd::Emphasis | TagEnd::Strong | TagEnd::CodeBlock => self.style = Style::Roman,
            TagEnd::TableCell => self.cells.push(std::mem::take(&mut self.text)),
            TagEnd::TableHead => self.headings = std::mem::take(&mut self.cells),
            TagEnd::TableRow => self.end_row(),
            // `begin` accepts no others that have an effect at their end.
            _ => {}
        }
    }

    fn end_heading(&mut self, level: HeadingLevel) {
        let text = plain_text(&self.text);
        self.text.clear();
        self.follows_heading = true;
        match level {
            HeadingLevel::H1 => self.roff.control("SH", ["DESCRIPTION"]),
            HeadingLevel::H2 if text.starts_with('[') => self.roff.control("SH", [text.as_str()]),
            HeadingLevel::H2 => self.roff.control("SH", [text.to_uppercase().as_str()]),
            _ => self.roff.control("SS", [text.as_str()]),
        };
    }

    fn begin_item(&mut self) {
        let marker = match self.lists.last_mut() {
            Some(Some(number)) => {
                *number += 1;
                format!("{}.", *number - 1)
            }
            Some(None) | None => "\\(bu".to_owned(),
        };
        self.follows_heading = false;
        self.roff.control("IP", [marker.as_str(), "4"]);
    }

    fn end_item_text(&mut self) {
        if !self.text.is_empty() {
            self.roff.text(std::mem::take(&mut self.text));
        }
    }

    fn end_row(&mut self) {
        let mut cells = std::mem::take(&mut self.cells).into_iter().zip(&self.headings);
        let (Some((name, _)), Some((meaning, _))) = (cells.next(), cells.next_back()) else {
            return;
        };
        let mut body = Vec::new();
        for (cell, heading) in cells {
            body.push(roman(if body.is_empty() { "" } else { "; " }));
            body.push(roman(format!("{}: ", plain_text(heading))));
            body.extend(cell);
        }
        if !body.is_empty() {
            body.push(Inline::LineBreak);
        }
        body.extend(meaning);
        self.follows_heading = false;
        self.roff.control("TP", []);
        self.roff.text(name);
        self.roff.text(body);
    }

    fn begin_paragraph(&mut self) {
        if !std::mem::take(&mut self.follows_heading) {
            self.roff.control("PP", []);
        }
    }

    fn lines(&mut self, text: &str) {
        self.begin_paragraph();
        self.roff.control("nf", []);
        for line in text.lines() {
            self.roff.text([roman(line)]);
        }
        self.roff.control("fi", []);
    }
}

fn plain_text(inlines: &[Inline]) -> String {
    let parts = inlines.iter().map(|inline| match inline {
        Inline::Roman(text) | Inline::Italic(text) | Inline::Bold(text) => text.as_str(),
        Inline::LineBreak => " ",
    });
    parts.collect()
}
