//! Markdown (CommonMark with tables, footnotes and strikethrough, by `pulldown-cmark`) to text.
//!
//! Marks are dropped and words kept: the text of links, the alternative text of pictures, code. Headings are kept in the
//! text and also listed, so that a chunk can say which section it is from. Raw HTML is read as HTML.

use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};

use crate::charset;
use crate::html::{self, one_line};
use crate::normalise::normalise;
use crate::page::{Heading, Page, Warning};
use crate::plain::loss_warning;

/// The text, its headings, and the first heading as title. `declared` is the encoding that the sender declares.
pub(crate) fn read(bytes: &[u8], declared: Option<&str>) -> (Page, Option<String>, Vec<Warning>) {
    let decoded = charset::decode(bytes, declared.as_slice());
    let warnings = loss_warning(&decoded);
    // What letters look like is settled once they are read: a wide number sign opens no heading.
    let source = decoded.text.replace("\r\n", "\n").replace('\0', "");
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

/// Elements whose words nobody sees.
const UNSEEN: [&str; 3] = ["script", "style", "template"];

#[derive(Default)]
struct Writer {
    text: String,
    headings: Vec<Heading>,
    heading: Option<(u8, usize)>,
    /// Front matter is about the document, not of it.
    in_metadata: bool,
    /// The raw HTML of the block at hand. It comes line by line, and a comment or a tag may have many.
    html: Option<String>,
    /// The element of a script or a style that was opened within a paragraph, and where. Its words come as text.
    unseen: Option<(&'static str, usize)>,
    lists: Vec<Option<u64>>,
}

impl Writer {
    fn take(&mut self, event: Event<'_>) {
        if let (Some(html), Event::Html(raw) | Event::Text(raw)) = (&mut self.html, &event) {
            html.push_str(raw);
            return;
        }
        match event {
            Event::Start(tag) => self.start(&tag),
            Event::End(tag) => self.end(tag),
            Event::Text(words) | Event::Code(words) | Event::InlineMath(words) | Event::DisplayMath(words) => {
                if !self.in_metadata {
                    self.text.push_str(&words);
                }
            }
            Event::Html(raw) => self.text.push_str(&html::fragment(&raw)),
            Event::InlineHtml(raw) => self.inline_html(&raw),
            Event::SoftBreak | Event::HardBreak => self.text.push('\n'),
            Event::Rule => self.paragraph(),
            Event::FootnoteReference(_) => {}
            Event::TaskListMarker(done) => self.text.push_str(if done { "[x] " } else { "[ ] " }),
        }
    }

    /// A single tag, comment or the like. What stands between the tags of a script is taken back when it ends; one that is
    /// never ended, or only in another paragraph, was written about rather than used.
    fn inline_html(&mut self, raw: &str) {
        match tag_name(raw) {
            ("br", false) => self.text.push('\n'),
            (name, true) => {
                if let Some((_, from)) = self.unseen.take_if(|(opened, _)| *opened == name) {
                    self.text.truncate(from);
                }
            }
            (name, false) => {
                let unseen = UNSEEN.into_iter().find(|unseen| *unseen == name);
                self.unseen = self.unseen.or(unseen.map(|name| (name, self.text.len())));
                self.text.push_str(&html::fragment(raw));
            }
        }
    }

    fn end_html(&mut self) {
        let words = self.html.take().map(|raw| html::fragment(&raw)).unwrap_or_default();
        if !words.is_empty() {
            self.text.push_str(&words);
            self.paragraph();
        }
    }

    fn start(&mut self, tag: &Tag<'_>) {
        if !is_inline(&tag.to_end()) {
            self.unseen = None;
        }
        match tag {
            Tag::Heading { level, .. } => {
                self.paragraph();
                self.heading = Some((depth(*level), self.text.len()));
            }
            Tag::Paragraph if !self.at_item_start() => self.paragraph(),
            Tag::BlockQuote(_) | Tag::CodeBlock(_) | Tag::Table(_) | Tag::FootnoteDefinition(_) => self.paragraph(),
            Tag::HtmlBlock => {
                self.paragraph();
                self.html = Some(String::new());
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
            Tag::MetadataBlock(_) => self.in_metadata = true,
            _ => {}
        }
    }

    fn end(&mut self, tag: TagEnd) {
        if !is_inline(&tag) {
            self.unseen = None;
        }
        match tag {
            TagEnd::Heading(_) => {
                if let Some((level, at)) = self.heading.take() {
                    let text = one_line(&normalise(&self.text[at..]));
                    if !text.is_empty() {
                        self.headings.push(Heading { at, level, text });
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
            TagEnd::HtmlBlock => self.end_html(),
            TagEnd::MetadataBlock(_) => self.in_metadata = false,
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

    /// The text as people search for it, with the headings at their new places.
    fn finish(self) -> (String, Vec<Heading>) {
        let (mut text, mut headings) = (String::with_capacity(self.text.len()), self.headings);
        let mut from = 0;
        for heading in &mut headings {
            text.push_str(&normalise(&self.text[from..heading.at]));
            from = std::mem::replace(&mut heading.at, text.len());
        }
        text.push_str(&normalise(&self.text[from..]));
        text.truncate(text.trim_end().len());
        headings.retain(|heading| heading.at < text.len());
        (text, headings)
    }
}

/// The name of a tag, which is its letters up to white space or its end, and whether it ends an element.
fn tag_name(raw: &str) -> (&str, bool) {
    let inner = raw.strip_prefix('<').unwrap_or_default();
    let (inner, closes) = inner.strip_prefix('/').map_or((inner, false), |inner| (inner, true));
    let end = inner.find(|c: char| c.is_ascii_whitespace() || matches!(c, '/' | '>')).unwrap_or(inner.len());
    let known = UNSEEN.into_iter().chain(["br"]).find(|known| inner[..end].eq_ignore_ascii_case(known));
    (known.unwrap_or(&inner[..end]), closes)
}

/// True for what stands within a paragraph.
fn is_inline(tag: &TagEnd) -> bool {
    matches!(tag, TagEnd::Emphasis | TagEnd::Strong | TagEnd::Strikethrough | TagEnd::Link | TagEnd::Image)
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
        let (page, title, _) = read(source.as_bytes(), None);
        let expected = "The Harbour\n\nA link and code.\nNext line.\n\nLists\n\n1. one\n2. two\n  - deep\n\nDay\tHigh\nMon\t4.1\n\n\
            let x;\n\nraw a lamp";
        assert_eq!(page.text, expected);
        assert_eq!(title.as_deref(), Some("The Harbour"));
        let headings: Vec<_> = page.headings.iter().map(|h| (h.level, &page.text[h.at..h.at + 3])).collect();
        assert_eq!(headings, [(1, "The"), (2, "Lis")]);
    }

    fn text(source: &str) -> String {
        read(source.as_bytes(), None).0.text
    }

    #[test]
    fn a_tag_hides_what_stands_in_it_and_nothing_else() {
        let cases = [
            ("# A\n\nRun python <script-name> to start.\n\n## B\n\nwords", "A\n\nRun python  to start.\n\nB\n\nwords"),
            ("The <script> tag.\n\nAll <style> of *it* stays.", "The  tag.\n\nAll  of it stays."),
            ("A <SCRIPT src=x>var *a*;</script> B", "A  B"),
            ("- a <style>p{}\n- b</style>", "- a p{}\n- b"),
            ("A\n\n<style>\n  p { }\n  </style>\n\nB", "A\n\nB"),
            ("A\n\n<script>\nvar x=1; </script>\n\nB", "A\n\nB"),
            ("one<br>two", "one\ntwo"),
        ];
        for (source, read) in cases {
            assert_eq!(text(source), read, "{source}");
        }
    }

    #[test]
    fn signs_of_full_width_are_no_markup() {
        let (page, title, _) = read("＃ 你好\n\n# ﬁne ＡＢ！\n\n＜script＞ ＊a＊ words".as_bytes(), None);
        assert_eq!(page.text, "＃ 你好\n\nfine AB！\n\n＜script＞ ＊a＊ words");
        assert_eq!(title.as_deref(), Some("fine AB！"));
        assert!(page.text[page.headings[0].at..].starts_with("fine AB！"));
    }

    #[test]
    fn a_title_and_a_heading_have_an_end() {
        let (page, title, _) = read(format!("# {}", "word ".repeat(60_000)).as_bytes(), None);
        assert_eq!((title.unwrap().chars().count(), page.headings[0].text.chars().count()), (500, 500));
    }

    #[test]
    fn comments_and_tags_of_several_lines_are_no_text() {
        let source = "A\n\n<!-- TODO\nsecret draft\n\nand more -->\n\n<p align=center\n   title='not seen'>Read\n  <b>this</b>\n</p>\n\n\
            B <!-- nor\nthis --> C";
        assert_eq!(text(source), "A\n\nRead this\n\nB  C");
    }

    #[test]
    fn nesting_without_end_is_no_danger() {
        let (page, _, _) = read(format!("{}deep", "> ".repeat(20_000)).as_bytes(), None);
        assert!(page.text.contains("deep"));
        let (page, _, _) = read("- ".repeat(5_000).as_bytes(), None);
        assert!(page.text.len() < 5_000 * 40);
    }
}
