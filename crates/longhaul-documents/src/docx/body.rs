//! From the XML of a Word document to its text.
//!
//! Tags are taken as they come and no tree is built, so that nesting without end costs no stack. Paragraphs may stand in
//! paragraphs (text boxes) and tables in tables: both are kept as stacks.

use std::collections::HashMap;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::styles::{letter, outline_level, value};
use crate::html::one_line;
use crate::normalise::{normalise, tidy_lines};
use crate::page::{Heading, Page};

/// Footnotes and endnotes by their ids.
#[derive(Debug, Default)]
pub(super) struct Notes(HashMap<(Kind, String), String>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Foot,
    End,
}

impl Notes {
    pub(super) fn of(footnotes: Option<&str>, endnotes: Option<&str>) -> Self {
        let mut notes = HashMap::new();
        for (kind, xml) in [(Kind::Foot, footnotes), (Kind::End, endnotes)] {
            let Some(xml) = xml else { continue };
            let mut writer = Writer::default();
            let _damaged = walk(xml, &mut writer, &HashMap::new());
            notes.extend(writer.notes.drain().map(|(id, text)| ((kind, id), text)));
        }
        Self(notes)
    }
}

/// The text of a document, and what is wrong with its XML, if it is.
pub(super) fn read(xml: &str, styles: &HashMap<String, u8>, notes: &Notes) -> (Page, Option<String>) {
    let mut writer = Writer::default();
    let damage = walk(xml, &mut writer, styles);
    while !writer.paragraphs.is_empty() {
        writer.end_paragraph();
    }
    while !writer.tables.is_empty() {
        writer.end_row();
        writer.end_table();
    }
    for (number, reference) in std::mem::take(&mut writer.references).iter().enumerate() {
        if let Some(note) = notes.0.get(reference) {
            writer.block(&format!("[{}] {note}", number + 1), None);
        }
    }
    (Page { number: 1, text: writer.text, headings: writer.headings, ..Page::default() }, damage)
}

#[derive(Default)]
struct Writer {
    text: String,
    headings: Vec<Heading>,
    paragraphs: Vec<Paragraph>,
    tables: Vec<Table>,
    /// Runs that are open: what stands between them is layout.
    runs: usize,
    in_text: bool,
    references: Vec<(Kind, String)>,
    /// Of a part with notes: the one that is being read, and those that have been.
    note: Option<(String, usize)>,
    notes: HashMap<String, String>,
}

#[derive(Default)]
struct Paragraph {
    text: String,
    level: Option<u8>,
}

#[derive(Default)]
struct Table {
    rows: Vec<String>,
    cells: Vec<String>,
}

fn walk(xml: &str, writer: &mut Writer, styles: &HashMap<String, u8>) -> Option<String> {
    let mut reader = Reader::from_str(xml);
    loop {
        match reader.read_event() {
            Ok(Event::Eof) => return None,
            Ok(Event::Start(tag)) => {
                if is_left_out(tag.local_name().as_ref()) {
                    if let Err(error) = reader.read_to_end(tag.name()) {
                        return Some(error.to_string());
                    }
                    continue;
                }
                writer.open(&tag, styles);
            }
            Ok(Event::Empty(tag)) => {
                if !is_left_out(tag.local_name().as_ref()) {
                    writer.open(&tag, styles);
                    writer.close(tag.local_name().as_ref());
                }
            }
            Ok(Event::End(tag)) => writer.close(tag.local_name().as_ref()),
            Ok(Event::Text(words)) => writer.words(&words.xml10_content()),
            Ok(Event::CData(words)) => writer.words(&words.xml10_content()),
            Ok(Event::GeneralRef(reference)) => {
                if let Some(letter) = letter(&reference) {
                    writer.words(letter.encode_utf8(&mut [0; 4]));
                }
            }
            Ok(_) => {}
            Err(error) => return Some(error.to_string()),
        }
    }
}

/// What says again what stands beside it (`Fallback`), what was moved away or deleted, and the formula editor's source.
fn is_left_out(name: &str) -> bool {
    matches!(name, "Fallback" | "moveFrom" | "del" | "instrText" | "delText")
}

impl Writer {
    fn open(&mut self, tag: &BytesStart<'_>, styles: &HashMap<String, u8>) {
        match tag.local_name().as_ref() {
            "p" => self.paragraphs.push(Paragraph::default()),
            "r" => self.runs += 1,
            "t" => self.in_text = true,
            "pStyle" => self.level(value(tag, "val").and_then(|style| styles.get(&style).copied())),
            "outlineLvl" => self.level(value(tag, "val").and_then(|level| outline_level(&level))),
            "tab" if self.runs > 0 => self.push("\t"),
            "br" | "cr" if self.runs > 0 => self.push("\n"),
            "noBreakHyphen" => self.push("-"),
            "footnoteReference" => self.reference(Kind::Foot, tag),
            "endnoteReference" => self.reference(Kind::End, tag),
            "tbl" => self.tables.push(Table::default()),
            "tc" => {
                if let Some(table) = self.tables.last_mut() {
                    table.cells.push(String::new());
                }
            }
            "footnote" | "endnote" => self.note = value(tag, "id").map(|id| (id, self.text.len())),
            _ => {}
        }
    }

    fn close(&mut self, name: &str) {
        match name {
            "p" => self.end_paragraph(),
            "r" => self.runs = self.runs.saturating_sub(1),
            "t" => self.in_text = false,
            "tr" => self.end_row(),
            "tbl" => self.end_table(),
            "footnote" | "endnote" => {
                if let Some((id, start)) = self.note.take() {
                    let note = self.text.split_off(start.min(self.text.len()));
                    self.notes.insert(id, note.trim().replace("\n\n", "\n"));
                }
            }
            _ => {}
        }
    }

    fn words(&mut self, words: &str) {
        if self.in_text {
            self.push(words);
        }
    }

    fn push(&mut self, words: &str) {
        if let Some(paragraph) = self.paragraphs.last_mut() {
            paragraph.text.push_str(words);
        }
    }

    fn level(&mut self, level: Option<u8>) {
        if let (Some(paragraph), Some(level)) = (self.paragraphs.last_mut(), level) {
            paragraph.level = Some(level);
        }
    }

    fn reference(&mut self, kind: Kind, tag: &BytesStart<'_>) {
        let Some(id) = value(tag, "id") else { return };
        let reference = (kind, id);
        let known = self.references.iter().position(|known| *known == reference);
        let number = known.unwrap_or(self.references.len()) + 1;
        if known.is_none() {
            self.references.push(reference);
        }
        self.push(&format!("[{number}]"));
    }

    fn end_paragraph(&mut self) {
        let Some(paragraph) = self.paragraphs.pop() else { return };
        let text = tidy_lines(&normalise(&paragraph.text));
        let text = text.trim();
        if text.is_empty() {
            return;
        }
        match self.tables.last_mut().and_then(|table| table.cells.last_mut()) {
            // A cell stays on the line of its row.
            Some(cell) => {
                if !cell.is_empty() {
                    cell.push(' ');
                }
                cell.push_str(&text.split_whitespace().collect::<Vec<_>>().join(" "));
            }
            None => self.block(text, paragraph.level),
        }
    }

    fn end_row(&mut self) {
        let Some(table) = self.tables.last_mut() else { return };
        let cells = std::mem::take(&mut table.cells);
        if cells.iter().any(|cell| !cell.is_empty()) {
            table.rows.push(cells.join("\t").trim_end().to_owned());
        }
    }

    fn end_table(&mut self) {
        let Some(table) = self.tables.pop() else { return };
        match self.tables.last_mut().and_then(|outer| outer.cells.last_mut()) {
            Some(cell) => {
                let words = table.rows.join(" ").replace('\t', " ");
                if !cell.is_empty() && !words.is_empty() {
                    cell.push(' ');
                }
                cell.push_str(&words);
            }
            None => self.block(&table.rows.join("\n"), None),
        }
    }

    /// Adds something that stands by itself.
    fn block(&mut self, text: &str, level: Option<u8>) {
        if text.is_empty() {
            return;
        }
        if !self.text.is_empty() {
            self.text.push_str("\n\n");
        }
        if let Some(level) = level {
            self.headings.push(Heading { at: self.text.len(), level, text: one_line(text) });
        }
        self.text.push_str(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(body: &str) -> Page {
        let xml = format!(r#"<w:document xmlns:w="w"><w:body>{body}</w:body></w:document>"#);
        let styles = HashMap::from([("H2".to_owned(), 2)]);
        let notes = Notes::of(
            Some(
                r#"<w:footnotes><w:footnote w:id="7"><w:p><w:r><w:t>Low water.</w:t></w:r></w:p></w:footnote></w:footnotes>"#,
            ),
            None,
        );
        let (page, damage) = read(&xml, &styles, &notes);
        assert_eq!(damage, None);
        page
    }

    fn p(words: &str) -> String {
        format!("<w:p><w:r><w:t>{words}</w:t></w:r></w:p>")
    }

    #[test]
    fn runs_are_joined_and_paragraphs_parted() {
        let page = text(
            "<w:p><w:r><w:t>Hal</w:t></w:r><w:r><w:t>f &amp; half</w:t><w:tab/><w:t>x</w:t><w:br/><w:t>y</w:t></w:r></w:p>\
             <w:p/> <w:p><w:pPr><w:tabs><w:tab/></w:tabs></w:pPr><w:r><w:t xml:space=\"preserve\">Next </w:t></w:r></w:p>",
        );
        assert_eq!(page.text, "Half & half\tx\ny\n\nNext");
    }

    #[test]
    fn headings_are_marked_where_they_stand() {
        let page = text(&format!(
            "{}<w:p><w:pPr><w:pStyle w:val=\"H2\"/></w:pPr><w:r><w:t>Tides</w:t></w:r></w:p>{}",
            p("Before."),
            p("After.")
        ));
        assert_eq!(page.headings, [Heading { at: 9, level: 2, text: "Tides".to_owned() }]);
        assert_eq!(&page.text[9..], "Tides\n\nAfter.");
    }

    #[test]
    fn rows_are_lines_and_tables_in_cells_stay_there() {
        let cell = |content: &str| format!("<w:tc>{content}</w:tc>");
        let inner = format!("<w:tbl><w:tr>{}{}</w:tr></w:tbl>", cell(&p("in")), cell(&p("side")));
        let table = format!(
            "<w:tbl><w:tr>{}{}</w:tr><w:tr>{}{}</w:tr></w:tbl>",
            cell(&p("Day")),
            cell(&format!("{}{}", p("High"), p("water"))),
            cell(&p("Monday")),
            cell(&inner)
        );
        assert_eq!(text(&format!("{}{table}{}", p("a"), p("b"))).text, "a\n\nDay\tHigh water\nMonday\tin side\n\nb");
    }

    #[test]
    fn notes_stand_at_the_end_and_are_numbered_as_they_come() {
        let page = text(
            "<w:p><w:r><w:t>Ebb</w:t></w:r><w:r><w:footnoteReference w:id=\"7\"/></w:r><w:r><w:t>.</w:t></w:r></w:p>",
        );
        assert_eq!(page.text, "Ebb[1].\n\n[1] Low water.");
    }

    #[test]
    fn deleted_and_repeated_words_are_left_out_and_text_boxes_kept() {
        let page = text(&format!(
            "<w:p><w:del><w:r><w:delText>no</w:delText></w:r></w:del><w:ins><w:r><w:t>yes</w:t></w:r></w:ins>\
             <w:moveFrom><w:r><w:t>gone</w:t></w:r></w:moveFrom>\
             <w:r><mc:AlternateContent><mc:Choice><w:txbxContent>{}</w:txbxContent></mc:Choice>\
             <mc:Fallback><w:txbxContent>{}</w:txbxContent></mc:Fallback></mc:AlternateContent></w:r></w:p>",
            p("box"),
            p("box")
        ));
        assert_eq!(page.text, "box\n\nyes");
    }

    #[test]
    fn a_part_that_breaks_off_keeps_what_came_before() {
        let (page, damage) = read(&format!("<w:document>{}<w:p", p("kept")), &HashMap::new(), &Notes::default());
        assert_eq!(page.text, "kept");
        assert!(damage.is_some());
    }
}
