//! Markdown (CommonMark with tables, footnotes and strikethrough, by `pulldown-cmark`) to text.
//!
//! Marks are dropped and words kept: the text of links, the alternative text of pictures, code. Headings are kept in the
//! text and also listed, so that a chunk can say which section it is from. Raw HTML is read as HTML.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use crate::charset;
use crate::html;
use crate::normalise::normalise;
use crate::page::{Heading, Page, Warning};
use crate::plain::loss_warning;

/// The text, its headings, and the first heading as title.
pub(crate) fn read(bytes: &[u8]) -> (Page, Option<String>, Vec<Warning>) {
    let decoded = charset::decode(bytes, None);
    let warnings = loss_warning(&decoded);
    let source = normalise(&decoded.text.replace("\r\n", "\n"));
    let mut writer = Writer::default();
    let options = Options::ENABLE_TABLES
        | Options::ENABLE_FOOTNOTES
        | Options::ENABLE_STRIKETHROUGH
        | Options::ENABLE_TASKLISTS
        | Options::ENABLE_YAML_STYLE_METADATA_BLOCKS;
    for event in Parser::new_ext(&source, options) {
        writer.take(event);
    }
    let (text, headings) = writer.finish();
    let title = headings.first().map(|heading| heading.text.clone());
    (Page { number: 1, text, headings, ..Page::default() }, title, warnings)
}

#[derive(Default)]
struct Writer {
    text: String,
    headings: Vec<Heading>,
    heading: Option<(u8, usize)>,
    /// Front matter is about the document, not of it.
    hidden: usize,
    lists: Vec<Option<u64>>,
}

impl Writer {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(&tag),
            Event::End(tag) => self.end(tag),
            Event::Text(words) | Event::Code(words) | Event::InlineMath(words) | Event::DisplayMath(words) => {
                if self.hidden == 0 {
                    self.text.push_str(&words);
                }
            }
            Event::Html(raw) | Event::InlineHtml(raw) => {
                let words = html::fragment(&raw);
                self.hide_or_show(&raw);
                if self.hidden == 0 && !words.is_empty() {
                    self.text.push_str(&words);
                    if raw.ends_with('\n') {
                        self.text.push('\n');
                    }
                }
            }
            Event::SoftBreak | Event::HardBreak => self.text.push('\n'),
            Event::Rule => self.paragraph(),
            Event::FootnoteReference(_) => {}
            Event::TaskListMarker(done) => self.text.push_str(if done { "[x] " } else { "[ ] " }),
        }
    }

    /// Between the inline tags of a script its words come as text.
    fn hide_or_show(&mut self, raw: &str) {
        let raw = raw.to_ascii_lowercase();
        if ["<script", "<style"].iter().any(|tag| raw.starts_with(tag)) && !raw.contains("</") {
            self.hidden += 1;
        } else if ["</script", "</style"].iter().any(|tag| raw.starts_with(tag)) {
            self.hidden = self.hidden.saturating_sub(1);
        }
    }

    fn start(&mut self, tag: &Tag<'_>) {
        match tag {
            Tag::Heading { level, .. } => {
                self.paragraph();
                self.heading = Some((depth(*level), self.text.len()));
            }
            Tag::Paragraph if !self.at_item_start() => self.paragraph(),
            Tag::BlockQuote(_) | Tag::CodeBlock(_) | Tag::Table(_) | Tag::FootnoteDefinition(_) | Tag::HtmlBlock => {
                self.paragraph();
            }
            Tag::List(first) => {
                if self.lists.is_empty() {
                    self.paragraph();
                }
                self.lists.push(*first);
            }
            Tag::Item => {
                self.line();
                let indent = "  ".repeat(self.lists.len().saturating_sub(1).min(8));
                let mark = match self.lists.last_mut() {
                    Some(Some(number)) => {
                        *number += 1;
                        format!("{}. ", number.saturating_sub(1))
                    }
                    _ => "- ".to_owned(),
                };
                self.text.push_str(&indent);
                self.text.push_str(&mark);
            }
            Tag::TableRow | Tag::TableHead => self.line(),
            Tag::TableCell if !self.text.ends_with('\n') && !self.text.is_empty() => self.text.push('\t'),
            Tag::MetadataBlock(_) => self.hidden += 1,
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Heading(_) => {
                if let Some((level, at)) = self.heading.take() {
                    let words = self.text[at..].split_whitespace().collect::<Vec<_>>().join(" ");
                    if !words.is_empty() {
                        self.headings.push(Heading { at, level, text: words });
                    }
                }
                self.paragraph();
            }
            TagEnd::List(_) => {
                self.lists.pop();
                if self.lists.is_empty() {
                    self.paragraph();
                }
            }
            TagEnd::Paragraph | TagEnd::CodeBlock | TagEnd::Table | TagEnd::BlockQuote(_) if self.lists.is_empty() => {
                self.paragraph();
            }
            TagEnd::MetadataBlock(_) => self.hidden = self.hidden.saturating_sub(1),
            _ => {}
        }
    }

    fn at_item_start(&self) -> bool {
        !self.lists.is_empty() && (self.text.ends_with("- ") || self.text.ends_with(". "))
    }

    fn line(&mut self) {
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
    }

    fn paragraph(&mut self) {
        self.line();
        if !self.text.is_empty() && !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    fn finish(mut self) -> (String, Vec<Heading>) {
        // Headings know their place in the text, so only its end may be tidied.
        self.text.truncate(self.text.trim_end().len());
        let end = self.text.len();
        self.headings.retain(|heading| heading.at < end);
        (self.text, self.headings)
    }
}

fn depth(level: HeadingLevel) -> u8 {
    match level {
        HeadingLevel::H1 => 1,
        HeadingLevel::H2 => 2,
        HeadingLevel::H3 => 3,
        HeadingLevel::H4 => 4,
        HeadingLevel::H5 => 5,
        HeadingLevel::H6 => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_and_marks_go() {
        let source = "---\nauthor: nobody\n---\n# The *Harbour*\n\nA [link](https://example.org) and `code`.\nNext line.\n\n\
            ## Lists\n\n1. one\n2. two\n   - deep\n\n| Day | High |\n|---|---|\n| Mon | 4.1 |\n\n```\nlet x;\n```\n\
            <b>raw</b> <script>no()</script>![a lamp](lamp.png)\n";
        let (page, title, _) = read(source.as_bytes());
        let expected = "The Harbour\n\nA link and code.\nNext line.\n\nLists\n\n1. one\n2. two\n  - deep\n\nDay\tHigh\nMon\t4.1\n\n\
            let x;\n\nraw a lamp";
        assert_eq!(page.text, expected);
        assert_eq!(title.as_deref(), Some("The Harbour"));
        let headings: Vec<_> = page.headings.iter().map(|h| (h.level, &page.text[h.at..h.at + 3])).collect();
        assert_eq!(headings, [(1, "The"), (2, "Lis")]);
    }

    #[test]
    fn nesting_without_end_is_no_danger() {
        let (page, _, _) = read(format!("{}deep", "> ".repeat(20_000)).as_bytes());
        assert!(page.text.contains("deep"));
        let (page, _, _) = read("- ".repeat(5_000).as_bytes());
        assert!(page.text.len() < 5_000 * 40);
    }
}
