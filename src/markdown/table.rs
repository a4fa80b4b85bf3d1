//! A table as text: columns in a monospace block, or one block of lines per row if it is wide.

use pulldown_cmark::Alignment;

use super::builder::Builder;
use super::glyph;
use super::rich::{Kind, Rich};

/// Columns a phone shows without breaking lines.
const WIDEST: usize = 56;
const BETWEEN: &str = "  ";

pub struct Table {
    alignments: Vec<Alignment>,
    /// The first row is the header.
    rows: Vec<Vec<Rich>>,
}

impl Table {
    pub fn new(alignments: Vec<Alignment>) -> Table {
        Table { alignments, rows: Vec::new() }
    }

    pub fn row(&mut self) {
        self.rows.push(Vec::new());
    }

    /// A cell of the row begun last.
    pub fn cell(&mut self, cell: Rich) {
        if let Some(row) = self.rows.last_mut() {
            row.push(cell);
        }
    }

    /// Source behind the last column, which Markdown drops: mostly the second half of a cell with an unescaped `||`.
    pub fn surplus(&mut self, source: &str) {
        let last = self.rows.last_mut().and_then(|row| row.last_mut());
        if let Some(cell) = last.filter(|_| !source.trim_matches(['|', ' ', '\t']).is_empty()) {
            cell.text.push_str(if cell.text.is_empty() { "" } else { " " });
            cell.text.push_str(source.trim());
        }
    }

    /// A monospace block shows no links, so a table that has some is written as lines.
    pub fn write(&self, out: &mut Builder) {
        let widths = self.widths();
        let total = widths.iter().sum::<usize>() + BETWEEN.len() * widths.len().saturating_sub(1);
        let linked = self.rows.iter().flatten().any(|cell| cell.spans().iter().any(|span| span.kind.is_link()));
        if total <= WIDEST && !linked {
            out.pre(None, &self.columns(&widths, total));
        } else {
            self.lines(out);
        }
    }

    fn widths(&self) -> Vec<usize> {
        let mut widths = vec![0; self.alignments.len()];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = glyph::width(cell.text()).max(*width);
            }
        }
        widths
    }

    fn columns(&self, widths: &[usize], total: usize) -> String {
        let mut text = String::new();
        for (i, row) in self.rows.iter().enumerate() {
            for ((cell, width), alignment) in row.iter().zip(widths).zip(&self.alignments) {
                let spare = width - glyph::width(cell.text());
                let before = match alignment {
                    Alignment::Right => spare,
                    Alignment::Center => spare / 2,
                    _ => 0,
                };
                text.extend(std::iter::repeat_n(' ', before));
                text.push_str(cell.text());
                text.extend(std::iter::repeat_n(' ', spare - before));
                text.push_str(BETWEEN);
            }
            text.truncate(text.trim_end_matches(' ').len());
            text.push('\n');
            if i == 0 {
                text.extend(std::iter::repeat_n('─', total));
                text.push('\n');
            }
        }
        text
    }

    /// `header: value` lines, the rows apart by blank lines; values that are empty are left out.
    fn lines(&self, out: &mut Builder) {
        let Some((header, rows)) = self.rows.split_first() else { return };
        if rows.is_empty() || self.header_outweighs(header, rows) {
            return self.bars(out);
        }
        for row in rows {
            out.block(2);
            for (name, value) in header.iter().zip(row).filter(|(_, value)| !value.is_blank()) {
                out.block(1);
                if !name.is_blank() {
                    out.open(Kind::Bold);
                    out.append(name);
                    out.close();
                    out.text(": ");
                }
                out.append(value);
            }
        }
        out.block(2);
    }

    /// Long headers before many short values: the text would be a multiple of its source.
    fn header_outweighs(&self, header: &[Rich], rows: &[Vec<Rich>]) -> bool {
        let cells: usize = self.rows.iter().flatten().map(|cell| cell.text().len() + 1).sum();
        let headers: usize = (rows.iter())
            .flat_map(|row| header.iter().zip(row))
            .filter(|(_, value)| !value.is_blank())
            .map(|(name, _)| name.text().len())
            .sum();
        headers > 4_096 + 8 * cells
    }

    /// Rows as lines, cells apart by bars.
    fn bars(&self, out: &mut Builder) {
        for row in &self.rows {
            out.block(1);
            for (i, cell) in row.iter().enumerate() {
                if i > 0 {
                    out.text(" | ");
                }
                out.append(cell);
            }
        }
    }
}
