//! HTML to the text that a reader would see.
//!
//! The tokenizer of `html5ever` (the parser of the Servo browser) follows the HTML standard; its tokens are turned into
//! text as they come. No tree is built: text needs none, so that nesting without end costs neither memory nor stack, and
//! broken markup yields what it can. Scripts, styles, templates and elements marked as hidden are left out; style sheets
//! are not obeyed.

use std::cell::RefCell;

use html5ever::buffer_queue::BufferQueue;
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts};

use crate::charset;
use crate::normalise::normalise;
use crate::page::{Heading, Page, Warning};
use crate::plain::loss_warning;

/// Where a declaration of the encoding must stand to be seen: the standard says 1,024 bytes, pages are less careful.
const META_WITHIN: usize = 4_096;
/// Letters of a title or heading.
const MAX_TITLE_CHARS: usize = 500;
/// Depth of lists that is shown by indentation.
const MAX_INDENT: usize = 8;

/// The text of a document, its title, and what was lost. `declared` is the encoding that its sender declares, which goes
/// before what it says itself, as the HTML standard has it.
pub(crate) fn read(bytes: &[u8], declared: Option<&str>) -> (Page, Option<String>, Vec<Warning>) {
    let own = declared_charset(bytes);
    let labels: Vec<&str> = declared.into_iter().chain(own.as_deref()).collect();
    let decoded = charset::decode(bytes, &labels);
    let warnings = loss_warning(&decoded);
    let written = tokenize(&decoded.text);
    let title = written.title();
    let (text, headings) = written.finish();
    (Page { number: 1, text, headings, ..Page::default() }, title, warnings)
}

/// The text of a piece of HTML on its own.
pub(crate) fn fragment(html: &str) -> String {
    tokenize(html).finish().0
}

fn tokenize(html: &str) -> Writer {
    let sink = Sink(RefCell::new(Writer::default()));
    let tokenizer = Tokenizer::new(sink, TokenizerOpts::default());
    let input = BufferQueue::default();
    input.push_back(StrTendril::from(html));
    // The tokenizer would stop for a script to be run; the sink never says so, and what is read is whole.
    let _done = tokenizer.feed(&input);
    tokenizer.end();
    tokenizer.sink.0.into_inner()
}

/// The encoding that a `meta` element declares.
fn declared_charset(bytes: &[u8]) -> Option<String> {
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(META_WITHIN)]).to_ascii_lowercase();
    // Only inside a tag: "charset=" in the text proves nothing.
    head.split('<').skip(1).filter(|tag| tag.starts_with("meta") || tag.starts_with("?xml")).find_map(|tag| {
        let tag = tag.split('>').next()?;
        let (_, value) = tag.split_once("charset").or_else(|| tag.split_once("encoding"))?;
        let value = value.trim_start().strip_prefix('=')?.trim_start().trim_start_matches(['"', '\'']);
        let label: String = value.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_:.".contains(*c)).collect();
        // Who could read it in ASCII is not reading UTF-16.
        (!label.is_empty() && !label.starts_with("utf-16")).then_some(label)
    })
}

struct Sink(RefCell<Writer>);

impl TokenSink for Sink {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let mut writer = self.0.borrow_mut();
        match token {
            Token::CharacterTokens(words) => writer.words(&words),
            Token::TagToken(tag) => {
                let raw = raw_content(&tag);
                match tag.kind {
                    TagKind::StartTag => writer.open(&tag),
                    TagKind::EndTag => writer.close(&tag.name),
                }
                if let Some(kind) = raw {
                    return TokenSinkResult::RawData(kind);
                }
            }
            Token::DoctypeToken(_)
            | Token::CommentToken(_)
            | Token::NullCharacterToken
            | Token::EOFToken
            | Token::ParseError(_) => {}
        }
        TokenSinkResult::Continue
    }
}

/// Elements whose content is not markup. A tree builder would tell the tokenizer; here the sink does.
fn raw_content(tag: &Tag) -> Option<RawKind> {
    if tag.kind != TagKind::StartTag || tag.self_closing {
        return None;
    }
    match &*tag.name {
        "title" | "textarea" => Some(RawKind::Rcdata),
        "style" | "xmp" | "iframe" | "noembed" | "noframes" => Some(RawKind::Rawtext),
        "script" => Some(RawKind::ScriptData),
        _ => None,
    }
}

#[derive(Default)]
struct Writer {
    text: String,
    headings: Vec<Heading>,
    /// The open heading: its level and where its words start.
    heading: Option<(u8, usize)>,
    title: String,
    in_title: bool,
    /// The element that hides everything until its end, and how many of its name are open within.
    hidden: Option<(String, usize)>,
    lists: usize,
    preformatted: usize,
    /// White space was seen and matters only if words follow.
    space: bool,
}

impl Writer {
    fn words(&mut self, words: &str) {
        if self.in_title {
            if self.title.len() < MAX_TITLE_CHARS * 4 {
                self.title.push_str(words);
            }
            return;
        }
        if self.hidden.is_some() {
            return;
        }
        if self.preformatted > 0 {
            self.text.push_str(words);
            return;
        }
        for (index, word) in words.split(|c: char| c.is_ascii_whitespace()).enumerate() {
            self.space |= index > 0;
            if word.is_empty() {
                continue;
            }
            if self.space && !self.text.is_empty() && !self.text.ends_with(['\n', '\t', ' ']) {
                self.text.push(' ');
            }
            self.space = false;
            self.text.push_str(word);
        }
    }

    fn open(&mut self, tag: &Tag) {
        let name = &*tag.name;
        if let Some((hiding, depth)) = &mut self.hidden {
            *depth += usize::from(hiding == name && !tag.self_closing);
            return;
        }
        if hides(tag) {
            self.hidden = Some((name.to_owned(), 1));
            return;
        }
        match name {
            "title" => self.in_title = self.title.is_empty(),
            "br" => self.break_line(),
            "pre" | "listing" => {
                self.paragraph();
                self.preformatted += 1;
            }
            "ul" | "ol" | "menu" => {
                if self.lists == 0 {
                    self.paragraph()
                } else {
                    self.line()
                }
                self.lists += 1;
            }
            "li" => {
                self.line();
                self.text.push_str(&"  ".repeat(self.lists.saturating_sub(1).min(MAX_INDENT)));
                self.text.push_str("- ");
                self.space = false;
            }
            "tr" | "dt" | "dd" | "option" | "summary" => self.line(),
            "td" | "th" => self.cell(),
            "img" => {
                if let Some(alternative) = attribute(tag, "alt") {
                    self.words(&format!(" {alternative} "));
                }
            }
            name => {
                if let Some(level) = heading_level(name) {
                    self.paragraph();
                    self.heading = Some((level, self.text.len()));
                } else if is_block(name) && !(self.lists > 0 && self.text.ends_with("- ")) {
                    self.paragraph();
                }
            }
        }
    }

    fn close(&mut self, name: &str) {
        if let Some((hiding, depth)) = &mut self.hidden {
            if hiding == name {
                *depth -= 1;
                if *depth == 0 {
                    self.hidden = None;
                }
            }
            return;
        }
        match name {
            "title" => self.in_title = false,
            "pre" | "listing" => {
                self.preformatted = self.preformatted.saturating_sub(1);
                self.paragraph();
            }
            "ul" | "ol" | "menu" => {
                self.lists = self.lists.saturating_sub(1);
                if self.lists == 0 { self.paragraph() } else { self.line() }
            }
            "tr" | "li" | "dt" | "dd" => self.line(),
            name if heading_level(name).is_some() => {
                self.end_heading();
                self.paragraph();
            }
            name if is_block(name) => self.paragraph(),
            _ => {}
        }
    }

    fn end_heading(&mut self) {
        let Some((level, at)) = self.heading.take() else { return };
        let text = one_line(self.text.get(at..).unwrap_or_default());
        if !text.is_empty() {
            self.headings.push(Heading { at, level, text });
        }
    }

    fn break_line(&mut self) {
        self.space = false;
        if !self.text.ends_with("\n\n") {
            self.text.push('\n');
        }
    }

    fn line(&mut self) {
        self.space = false;
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

    fn cell(&mut self) {
        self.space = false;
        if !self.text.is_empty() && !self.text.ends_with(['\n', '\t']) {
            self.text.push('\t');
        }
    }

    fn title(&self) -> Option<String> {
        let title = one_line(&normalise(&self.title));
        if title.is_empty() { self.headings.first().map(|heading| heading.text.clone()) } else { Some(title) }
    }

    /// The tidied text, with the headings at their new places.
    fn finish(mut self) -> (String, Vec<Heading>) {
        self.end_heading();
        let mut tidy = String::with_capacity(self.text.len());
        let mut headings = Vec::with_capacity(self.headings.len());
        let mut from = 0;
        for heading in self.headings {
            append_tidy(&mut tidy, &self.text[from..heading.at]);
            from = heading.at;
            headings.push(Heading { at: tidy.len(), text: normalise(&heading.text), ..heading });
        }
        append_tidy(&mut tidy, &self.text[from..]);
        tidy.truncate(tidy.trim_end().len());
        headings.retain(|heading| heading.at < tidy.len());
        (tidy, headings)
    }
}

/// Appends a piece with white space at line ends removed and at most one empty line between others. A piece starts at
/// the beginning of a line.
fn append_tidy(tidy: &mut String, piece: &str) {
    for line in normalise(piece).split_inclusive('\n') {
        let words = line.trim_end();
        if words.is_empty() {
            if !tidy.is_empty() && !tidy.ends_with("\n\n") {
                tidy.push('\n');
            }
            continue;
        }
        tidy.push_str(words);
        if line.ends_with('\n') {
            tidy.push('\n');
        }
    }
}

/// Words on one line, and no more of them than a title or a heading may have.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    line.chars().take(MAX_TITLE_CHARS).collect()
}

/// True for elements that show nothing, by their nature or because they say so.
fn hides(tag: &Tag) -> bool {
    match &*tag.name {
        "script" | "style" | "template" | "noscript" | "iframe" | "object" | "svg" | "math" | "canvas" | "noembed"
        | "noframes" | "select" | "datalist" => !tag.self_closing,
        // Only where an end tag must follow: a hidden `p` without one would swallow the rest.
        "div" | "span" | "section" | "article" | "aside" | "nav" | "header" | "footer" | "main" | "ul" | "ol"
        | "dialog" | "table" | "form" | "figure" | "a" | "b" | "em" | "strong" | "details" => {
            !tag.self_closing
                && (attribute(tag, "hidden").is_some()
                    || attribute(tag, "style").is_some_and(|style| undisplayed(&style)))
        }
        _ => false,
    }
}

fn undisplayed(style: &str) -> bool {
    let style: String = style.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect();
    style.split(';').any(|rule| matches!(rule, "display:none" | "visibility:hidden"))
}

fn attribute(tag: &Tag, name: &str) -> Option<String> {
    tag.attrs.iter().find(|attribute| &*attribute.name.local == name).map(|attribute| attribute.value.to_string())
}

fn heading_level(name: &str) -> Option<u8> {
    match name {
        "h1" => Some(1),
        "h2" => Some(2),
        "h3" => Some(3),
        "h4" => Some(4),
        "h5" => Some(5),
        "h6" => Some(6),
        _ => None,
    }
}

fn is_block(name: &str) -> bool {
    matches!(
        name,
        "p" | "div"
            | "section"
            | "article"
            | "aside"
            | "nav"
            | "header"
            | "footer"
            | "main"
            | "blockquote"
            | "figure"
            | "figcaption"
            | "table"
            | "caption"
            | "form"
            | "fieldset"
            | "address"
            | "details"
            | "dl"
            | "hr"
            | "body"
            | "html"
            | "head"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(html: &str) -> String {
        read(html.as_bytes(), None).0.text
    }

    #[test]
    fn blocks_lists_and_tables_keep_their_structure() {
        let html = "<html><head><title>A &amp; B</title><style>p{}</style></head><body><h1>The  harbour</h1>\
            <p>First\n  line<br>second <b>bold</b>text.</p><ul><li>one<li>two<ul><li>deep</ul></ul>\
            <table><tr><th>Day<th>High</tr><tr><td>Mon</td><td>4.1&nbsp;m</td></tr></table>\
            <pre>a  b\n  c</pre><p>Eﬃcient caf&eacute;</p><h2>End</h2>";
        let (page, title, _) = read(html.as_bytes(), None);
        let expected = "The harbour\n\nFirst line\nsecond boldtext.\n\n- one\n- two\n  - deep\n\nDay\tHigh\nMon\t4.1 m\n\n\
            a  b\n  c\n\nEfficient café\n\nEnd";
        assert_eq!(page.text, expected);
        assert_eq!(title.as_deref(), Some("A & B"));
        let headings: Vec<_> =
            page.headings.iter().map(|h| (h.level, h.text.as_str(), &page.text[h.at..h.at + 3])).collect();
        assert_eq!(headings, [(1, "The harbour", "The"), (2, "End", "End")]);
    }

    #[test]
    fn what_a_reader_does_not_see_is_left_out() {
        let html = "<p>seen</p><script>if (a < b) { document.write('<p>no</p>') }</script><style>p{}</style>\
            <template><p>no</template><noscript>no</noscript><div hidden>no<div>no</div>no</div><span style='display: none'>no\
            </span><!-- no --><p>also <svg><text>no</text></svg>seen</p><img alt='a lamp'>";
        assert_eq!(text(html), "seen\n\nalso seen\n\na lamp");
    }

    #[test]
    fn the_encoding_is_taken_from_the_document() {
        let (page, _, warnings) = read(b"<meta charset=\"iso-8859-1\"><p>na\xefve caf\xe9</p>", None);
        assert_eq!(page.text, "naïve café");
        assert!(warnings.is_empty());
        let old = b"<meta http-equiv='Content-Type' content='text/html; charset=windows-1251'><p>\xcf\xf0\xe8\xe2\xe5\xf2</p>";
        assert_eq!(read(old, None).0.text, "Привет");
        assert_eq!(read(old, Some("koi8-r")).0.text, "оПХБЕР", "its sender knows better");
        assert_eq!(read(old, Some("utf-8")).0.text, "Привет", "unless it cannot be");
    }

    #[test]
    fn broken_markup_yields_what_it_can() {
        assert_eq!(text("<p>open <b>bold<p>next</i></q> words &bogus; <"), "open bold\n\nnext words &bogus; <");
        assert_eq!(text("<title>only"), "");
        assert_eq!(text("<div hidden>everything"), "");
        assert_eq!(text(""), "");
    }

    #[test]
    fn nesting_without_end_is_no_danger() {
        let deep = format!("{}words", "<div>".repeat(200_000));
        assert_eq!(text(&deep), "words");
        assert!(text(&"<ul><li>".repeat(50_000)).len() < 50_000 * 25);
    }
}
