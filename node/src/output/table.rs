//! Tables in the manner of `ip` and `docker ps`: columns, no frames, as wide as the terminal allows.

use comfy_table::presets::NOTHING;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table};

use super::style::{Paint, Style};

/// A table under construction.
pub struct Listing {
    table: Table,
    right: Vec<usize>,
    screen: Option<u16>,
}

/// Blanks between columns.
const GAP: u16 = 2;

impl Listing {
    /// A table with these column titles. On a terminal long cells wrap at its width; elsewhere lines stay whole.
    pub fn new(style: Style, titles: &[&str]) -> Listing {
        let mut table = Table::new();
        let screen = if table.is_tty() { table.width() } else { None };
        table.load_style(NOTHING);
        table.set_content_arrangement(match table.is_tty() {
            true => ContentArrangement::Dynamic,
            false => ContentArrangement::Disabled,
        });
        match style.colours() {
            true => table.enforce_styling(),
            false => table.force_no_tty(),
        };
        if let Some(width) = screen {
            table.set_width(width);
        }
        table.set_header(titles.iter().map(|title| painted(Paint::Dim, title)));
        Listing {
            table,
            right: Vec::new(),
            screen,
        }
    }

    /// Puts the numbers of these columns to the right.
    #[must_use]
    pub fn right(mut self, columns: &[usize]) -> Listing {
        self.right = columns.to_vec();
        self
    }

    /// True if whole lines would not fit the terminal, so that cells will wrap.
    pub fn is_too_wide(&self) -> bool {
        let content: u32 = self
            .table
            .column_max_content_widths()
            .iter()
            .map(|width| u32::from(*width + GAP))
            .sum();
        self.screen.is_some_and(|width| content > u32::from(width + GAP))
    }

    /// Adds one line; `None` leaves a cell unpainted.
    pub fn row(&mut self, cells: impl IntoIterator<Item = (String, Option<Paint>)>) {
        self.table
            .add_row(cells.into_iter().map(|(text, paint)| match paint {
                Some(paint) => painted(paint, &text),
                None => Cell::new(text),
            }));
    }

    /// The lines, without blanks at their ends.
    pub fn render(mut self) -> String {
        let right = std::mem::take(&mut self.right);
        for (index, column) in self.table.column_iter_mut().enumerate() {
            column.set_padding((0, GAP));
            if right.contains(&index) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        self.table
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// How many characters a line of the terminal holds; `None` where a program reads.
pub fn screen_width() -> Option<u16> {
    let table = Table::new();
    if table.is_tty() { table.width() } else { None }
}

/// A cell without special meaning.
pub fn plain(text: impl ToString) -> (String, Option<Paint>) {
    (text.to_string(), None)
}

/// A cell whose meaning shows.
pub fn cell(paint: Paint, text: impl ToString) -> (String, Option<Paint>) {
    (text.to_string(), Some(paint))
}

/// What stands in a column that has no value for a line.
pub fn dash_if_empty(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

fn painted(paint: Paint, text: &str) -> Cell {
    let cell = Cell::new(text);
    match paint {
        Paint::Good => cell.fg(Color::DarkGreen),
        Paint::Warn => cell.fg(Color::DarkYellow),
        Paint::Bad => cell.fg(Color::DarkRed).add_attribute(Attribute::Bold),
        Paint::Strong => cell.add_attribute(Attribute::Bold),
        Paint::Dim => cell.add_attribute(Attribute::Dim),
    }
}
