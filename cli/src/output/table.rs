//! Tables without borders: fitted to a terminal, whole elsewhere.

use comfy_table::{ContentArrangement, presets};

use super::Tone;
use super::printer::Look;
use super::sanitise::plain;
use super::{age, bytes, csv, glyph, tone};

/// A column's heading; `wide` ones appear with `-o wide` and in CSV.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column {
    title: &'static str,
    wide: bool,
}

impl Column {
    /// A column that is always shown.
    pub(crate) const fn new(title: &'static str) -> Self {
        Self { title, wide: false }
    }
    /// A column for wide tables.
    pub(crate) const fn wide(title: &'static str) -> Self {
        Self { title, wide: true }
    }
}

/// One value: as people read it, and as programs do.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    text: String,
    /// For CSV, where it differs.
    raw: Option<String>,
    tone: Option<Tone>,
}

impl Cell {
    /// Text of whatever origin.
    pub(crate) fn new(text: impl ToString) -> Self {
        Self { text: plain(&text.to_string()), raw: None, tone: None }
    }
    /// A state word with its glyph.
    pub(crate) fn state(state: &str) -> Self {
        Self {
            text: format!("{} {}", glyph(state), plain(state)),
            raw: Some(state.into()),
            tone: Some(tone(state)),
        }
    }
    /// A state word with more words behind it.
    pub(crate) fn state_and(state: &str, more: &str) -> Self {
        let mut cell = Self::state(state);
        if !more.is_empty() {
            cell.text = format!("{} ({})", cell.text, plain(more));
        }
        cell
    }
    /// How long ago an instant was.
    pub(crate) fn age(look: &Look, at_ms: u64) -> Self {
        Self { text: age(look.now_ms, at_ms), raw: Some(at_ms.to_string()), tone: None }
    }
    /// A number of bytes.
    pub(crate) fn bytes(count: u64) -> Self {
        Self { text: bytes(count), raw: Some(count.to_string()), tone: None }
    }
    /// A text whose CSV form differs.
    pub(crate) fn with_raw(text: impl ToString, raw: impl ToString) -> Self {
        Self { raw: Some(raw.to_string()), ..Self::new(text) }
    }
    fn csv(&self) -> &str {
        self.raw.as_deref().unwrap_or(&self.text)
    }
}

/// Rows under headings.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
    /// Said on stderr in place of a table without rows.
    empty: String,
}

impl Table {
    /// A table; `empty` is what to say when it has no rows.
    pub(crate) fn new(columns: impl Into<Vec<Column>>, empty: impl Into<String>) -> Self {
        Self { columns: columns.into(), rows: Vec::new(), empty: empty.into() }
    }
    /// Adds a row; it has a cell for each column.
    pub(crate) fn row(&mut self, cells: impl Into<Vec<Cell>>) {
        let cells = cells.into();
        debug_assert_eq!(cells.len(), self.columns.len(), "a cell for each column");
        self.rows.push(cells);
    }
    /// What to say when there are no rows.
    pub(crate) fn empty_note(&self) -> Option<&str> {
        self.rows.is_empty().then_some(&self.empty)
    }

    fn visible<'a, T>(&'a self, look: &'a Look, cells: &'a [T]) -> impl Iterator<Item = &'a T> {
        self.columns
            .iter()
            .zip(cells)
            .filter(|(column, _)| look.wide || !column.wide)
            .map(|(_, cell)| cell)
    }

    /// The table for a terminal or a pipe.
    pub(crate) fn render(&self, look: &Look) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let mut table = comfy_table::Table::new();
        table.load_style(presets::NOTHING).set_truncation_indicator("…").force_no_tty();
        if look.color {
            table.enforce_styling();
        }
        match look.width {
            Some(width) => {
                table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width)
            }
            None => table.set_content_arrangement(ContentArrangement::Disabled),
        };
        let headings = self.visible(look, &self.columns).map(|c| comfy_table::Cell::new(c.title));
        table.set_header(headings.collect::<Vec<_>>());
        for cells in &self.rows {
            let mut row = comfy_table::Row::new();
            row.max_height(1);
            for cell in self.visible(look, cells) {
                let styled = comfy_table::Cell::new(&cell.text);
                row.add_cell(match cell.tone {
                    Some(tone) if look.color => styled.fg(tone.color()),
                    _ => styled,
                });
            }
            table.add_row(row);
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        let text = table.to_string();
        text.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }

    /// All columns as CSV, with machine-readable values and headings in snake_case.
    pub(crate) fn csv(&self) -> String {
        let titles: Vec<String> = self
            .columns
            .iter()
            .map(|column| column.title.to_ascii_lowercase().replace([' ', '-'], "_"))
            .collect();
        let mut out = csv::line(titles.iter().map(String::as_str));
        for row in &self.rows {
            out.push_str(&csv::line(row.iter().map(Cell::csv)));
        }
        out
    }

    /// The table in Markdown.
    pub(crate) fn markdown(&self, look: &Look) -> String {
        let titles = self.visible(look, &self.columns).map(|c| c.title.to_owned());
        let rows = self
            .rows
            .iter()
            .map(|row| self.visible(look, row).map(|cell| cell.text.clone()).collect::<Vec<_>>());
        super::markdown::table(&titles.collect::<Vec<_>>(), rows)
    }
}
