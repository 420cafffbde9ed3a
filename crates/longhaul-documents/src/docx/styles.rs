//! What a Word document says about itself: which styles are headings, and its title.

use std::collections::HashMap;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// Styles are built on each other; a chain this long is a ring.
const MAX_CHAIN: usize = 16;

/// The level of heading of each style that is one, by the style's id.
pub(super) fn heading_levels(xml: &str) -> HashMap<String, u8> {
    let mut styles: HashMap<String, Style> = HashMap::new();
    let mut current: Option<(String, Style)> = None;
    let mut reader = Reader::from_str(xml);
    while let Ok(event) = reader.read_event() {
        match event {
            Event::Eof => break,
            Event::Start(tag) | Event::Empty(tag) => match tag.local_name().as_ref() {
                "style" => {
                    styles.extend(current.take());
                    current = value(&tag, "styleId").map(|id| (id, Style::default()));
                }
                name => {
                    if let (Some((_, style)), Some(value)) = (&mut current, value(&tag, "val")) {
                        style.learn(name, &value);
                    }
                }
            },
            _ => {}
        }
    }
    styles.extend(current);
    styles.keys().filter_map(|id| Some((id.clone(), level(&styles, id)?))).collect()
}

#[derive(Default)]
struct Style {
    level: Option<u8>,
    based_on: Option<String>,
}

impl Style {
    fn learn(&mut self, name: &str, value: &str) {
        match name {
            "name" => self.level = self.level.or_else(|| named_level(value)),
            "basedOn" => self.based_on = Some(value.to_owned()),
            "outlineLvl" => self.level = outline_level(value).or(self.level),
            _ => {}
        }
    }
}

/// Built-in headings have these names in every language of the program; outline levels are counted from 0, and 9 is none.
fn named_level(name: &str) -> Option<u8> {
    let name = name.trim().to_lowercase();
    if name == "title" {
        return Some(1);
    }
    name.strip_prefix("heading ")?.trim().parse().ok().filter(|level| (1..=9).contains(level))
}

pub(super) fn outline_level(value: &str) -> Option<u8> {
    value.parse::<u8>().ok().filter(|level| *level < 9).map(|level| level + 1)
}

fn level(styles: &HashMap<String, Style>, id: &str) -> Option<u8> {
    let mut id = id;
    for _ in 0..MAX_CHAIN {
        let style = styles.get(id)?;
        if style.level.is_some() {
            return style.level;
        }
        id = style.based_on.as_deref()?;
    }
    None
}

/// The title in a document's properties (Dublin Core).
pub(super) fn title(xml: &str) -> Option<String> {
    let mut reader = Reader::from_str(xml);
    let mut title: Option<String> = None;
    while let Ok(event) = reader.read_event() {
        match event {
            Event::Eof => break,
            Event::Start(tag) if tag.local_name().as_ref() == "title" => title = Some(String::new()),
            Event::End(tag) if tag.local_name().as_ref() == "title" => break,
            Event::Text(words) => {
                if let Some(title) = &mut title {
                    title.push_str(&words.xml10_content());
                }
            }
            Event::GeneralRef(reference) => {
                if let Some(title) = &mut title {
                    title.extend(letter(&reference));
                }
            }
            _ => {}
        }
    }
    title
}

/// The letter that a reference stands for; documents' own entities are not obeyed.
pub(super) fn letter(reference: &quick_xml::events::BytesRef<'_>) -> Option<char> {
    if let Ok(Some(letter)) = reference.resolve_char_ref() {
        return Some(letter);
    }
    match reference.xml10_content().as_ref() {
        "amp" => Some('&'),
        "lt" => Some('<'),
        "gt" => Some('>'),
        "quot" => Some('"'),
        "apos" => Some('\''),
        _ => None,
    }
}

/// The value of an attribute, whatever its prefix.
pub(super) fn value(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let found = tag.attributes().flatten().find(|attribute| attribute.key.local_name().as_ref() == name)?;
    found.normalized_value(quick_xml::XmlVersion::Implicit1_0).ok().map(|value| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headings_are_known_by_name_by_level_and_by_what_they_are_built_on() {
        let levels = heading_levels(
            r#"<w:styles xmlns:w="w">
              <w:style w:styleId="berschrift1"><w:name w:val="heading 1"/></w:style>
              <w:style w:styleId="Mine"><w:name w:val="Mine"/><w:basedOn w:val="Deep"/></w:style>
              <w:style w:styleId="Deep"><w:name w:val="Deep"/><w:pPr><w:outlineLvl w:val="2"/></w:pPr></w:style>
              <w:style w:styleId="Ring"><w:basedOn w:val="Ring"/></w:style>
              <w:style w:styleId="Body"><w:name w:val="Normal"/><w:pPr><w:outlineLvl w:val="9"/></w:pPr></w:style>
            </w:styles>"#,
        );
        let mut levels: Vec<_> = levels.into_iter().collect();
        levels.sort();
        assert_eq!(levels, [("Deep".to_owned(), 3), ("Mine".to_owned(), 3), ("berschrift1".to_owned(), 1)]);
    }

    #[test]
    fn the_title_is_read_with_its_references() {
        let xml =
            "<cp:coreProperties><dc:title>Tea &amp; caf&#xe9;</dc:title><dc:creator>x</dc:creator></cp:coreProperties>";
        assert_eq!(title(xml).as_deref(), Some("Tea & café"));
    }
}
