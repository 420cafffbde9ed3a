//! Aligned columns.

use super::style::{Tint, clean};

/// A table with a heading; columns are as wide as their widest cell.
#[derive(Debug, Clone, Default)]
pub struct Table {
    headings: Vec<&'static str>,
    right: Vec<bool>,
    rows: Vec<Vec<(String, Tint)>>,
}

impl Table {
    /// A table with these columns. A heading that begins with `>` is aligned to the right.
    #[must_use]
    pub fn new(headings: &[&'static str]) -> Self {
        Self {
            headings: headings.iter().map(|heading| heading.trim_start_matches('>')).collect(),
            right: headings.iter().map(|heading| heading.starts_with('>')).collect(),
            rows: Vec::new(),
        }
    }

    /// Adds a row of plain cells.
    pub fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.tinted(cells.into_iter().map(|cell| (cell, Tint::Plain)));
    }

    /// Adds a row of cells with their colours.
    pub fn tinted<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = (S, Tint)>) {
        let one_line = |text: &str| clean(text).replace(['\n', '\t'], " ");
        self.rows.push(cells.into_iter().map(|(text, tint)| (one_line(text.as_ref()), tint)).collect());
    }

    /// Whether it has no rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as text.
    #[must_use]
    pub fn render(&self, colour: bool) -> String {
        let mut widths: Vec<usize> = self.headings.iter().map(|heading| heading.chars().count()).collect();
        for row in &self.rows {
            for (width, (cell, _)) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        let headings = self.headings.iter().map(|heading| ((*heading).to_owned(), Tint::Dim)).collect();
        for row in std::iter::once(&headings).chain(&self.rows) {
            let mut line = String::new();
            for (column, (cell, tint)) in row.iter().enumerate() {
                let gap = " ".repeat(widths.get(column).copied().unwrap_or(0).saturating_sub(cell.chars().count()));
                let painted = tint.paint(cell, colour);
                if column > 0 {
                    line.push_str("  ");
                }
                if self.right.get(column).copied().unwrap_or(false) {
                    line.push_str(&gap);
                    line.push_str(&painted);
                } else {
                    line.push_str(&painted);
                    line.push_str(&gap);
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_have_no_trailing_blanks() {
        let mut table = Table::new(&["NAME", ">COUNT", "NOTE"]);
        table.row(["a", "1", ""]);
        table.row(["longer", "12345", "x\ny"]);
        assert_eq!(table.render(false), "NAME    COUNT  NOTE\na           1\nlonger  12345  x y\n");
    }
}
