//! What people read: cards, plans, reasons and history, as text. Programs get the same facts as JSON.
//!
//! Every text makes sense without colour and fits [`WIDTH`] columns as far as names allow. Everything
//! that came from outside passes [`plain`], so that no log line or peer can steer a terminal. No IO.

use std::fmt::Write as _;
use std::time::Duration;

use anstyle::{AnsiColor, Style};

use crate::domain::{Timestamp, span};
use crate::health::Reading;

pub mod card;
pub mod cures;
pub mod doctor;
pub mod drift;
pub mod history;
pub mod path;
pub mod plan;
#[cfg(test)]
pub(crate) mod samples;
pub mod switches;
pub mod view;
pub mod why;
mod zones;

/// Columns that a text keeps within, so that it can be read in a pager, a mail and a ticket.
pub const WIDTH: usize = 100;

const GOOD: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Green)));
const BAD: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Red))).bold();
const UNKNOWN: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Yellow)));
const STRONG: Style = Style::new().bold();

/// Text without control characters, so that it cannot move a cursor or forge a line.
pub fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn paint(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

fn reading(reading: Reading) -> (&'static str, Style) {
    match reading {
        Reading::Good => ("good", GOOD),
        Reading::Bad => ("BAD", BAD),
        Reading::Unknown => ("unknown", UNKNOWN),
    }
}

/// `2m 10s ago`, or `now`.
fn ago(now: Timestamp, then: Timestamp) -> String {
    match now.since(then) {
        passed if passed < Duration::from_secs(1) => "now".to_owned(),
        passed => format!("{} ago", span(passed)),
    }
}

/// Breaks sentences at spaces so that each line, indented by `indent`, keeps within [`WIDTH`].
fn wrapped(text: &str, indent: usize) -> Vec<String> {
    let room = WIDTH.saturating_sub(indent).max(20);
    let mut lines = vec![String::new()];
    for word in plain(text).split_whitespace() {
        let used = lines.last().map_or(0, |line| line.chars().count());
        if used > 0 && used + 1 + word.chars().count() > room {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// Columns taken by the label of a paragraph.
const LABEL: usize = 12;

/// ` because   the sentence, continued
///            below itself`
fn paragraph(page: &mut String, label: &str, text: &str) {
    for (place, line) in wrapped(text, LABEL).into_iter().enumerate() {
        let label = if place == 0 { label } else { "" };
        let _ =
            writeln!(page, "{}", format!(" {label:<width$}{line}", width = LABEL - 1).trim_end());
    }
}

/// One cell of a table: what is printed and how.
#[derive(Debug, Clone)]
struct Cell {
    text: String,
    style: Style,
}

impl Cell {
    fn new(text: impl Into<String>) -> Self {
        Self { text: plain(&text.into()), style: Style::new() }
    }

    fn styled(text: impl Into<String>, style: Style) -> Self {
        Self { text: plain(&text.into()), style }
    }
}

/// Space between two columns.
const GAP: usize = 3;

/// A table with a head; too many columns for [`WIDTH`] go into a second table below the first.
fn table(page: &mut String, head: &[String], rows: &[(String, Vec<Cell>)]) {
    let label =
        rows.iter().map(|(label, _)| label.chars().count()).max().unwrap_or(0).max(LABEL - 1);
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|(_, cells)| cells.get(column));
        cells.map(|cell| cell.text.chars().count()).chain([head[column].chars().count()]).max()
    };
    let widths: Vec<usize> = (0..head.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut first = 0;
    while first < head.len() {
        let mut last = first;
        let mut used = 1 + label;
        while last < head.len() && (last == first || used + GAP + widths[last] <= WIDTH) {
            used += GAP + widths[last];
            last += 1;
        }
        let heads: Vec<Cell> =
            head[first..last].iter().map(|name| Cell::styled(name.clone(), STRONG)).collect();
        row(page, "", label, &heads, &widths[first..last]);
        for (name, cells) in rows {
            let end = last.min(cells.len());
            row(page, name, label, &cells[first.min(end)..end], &widths[first..last]);
        }
        first = last;
    }
}

fn row(page: &mut String, name: &str, label: usize, cells: &[Cell], widths: &[usize]) {
    let mut line = format!(" {name:<label$}");
    for (place, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let pad = width.saturating_sub(cell.text.chars().count());
        // The last cell has nothing behind it, so that lines do not end in spaces.
        let pad = if place + 1 == cells.len() { 0 } else { pad };
        let _ = write!(line, "{:GAP$}{}{:pad$}", "", paint(cell.style, &cell.text), "");
    }
    let _ = writeln!(page, "{}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_a_terminal() {
        assert_eq!(plain("a\x1b[2Jb\nc\u{9b}d"), "a [2Jb c d");
    }

    #[test]
    fn long_sentences_keep_within_the_width() {
        let mut page = String::new();
        paragraph(&mut page, "because", &"word ".repeat(60));
        assert!(page.lines().count() > 2);
        assert!(page.lines().all(|line| line.chars().count() <= WIDTH), "{page}");
        assert!(page.lines().skip(1).all(|line| line.starts_with("            word")), "{page}");
    }

    #[test]
    fn a_wide_table_is_continued_below() {
        let head: Vec<String> = (0..9).map(|n| format!("region-with-a-name-{n}")).collect();
        let cells = (0..9).map(|_| Cell::new("good")).collect();
        let mut page = String::new();
        table(&mut page, &head, &[("outside".to_owned(), cells)]);
        let bare = anstream::adapter::strip_str(&page).to_string();
        assert!(bare.lines().all(|line| line.chars().count() <= WIDTH), "{bare}");
        assert_eq!(bare.matches("good").count(), 9);
    }
}
