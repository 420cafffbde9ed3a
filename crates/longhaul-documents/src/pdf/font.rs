//! Fonts: which letters a string of a content stream shows, and how wide they are.
//!
//! Meaning comes from the font's letter table (`ToUnicode`) first, then from its encoding and the names of its glyphs, as
//! ISO 32000-1, 9.10.2 has it. Widths are only needed to tell where a word ends, so a missing one is estimated.

use std::collections::HashMap;

use encoding_rs::{BIG5, EUC_KR, Encoding, GBK, SHIFT_JIS};
use lopdf::{Dictionary, Document, Object};

use super::cmap::CMap;
use super::symbols;

/// Widths that a font may list.
const MAX_WIDTHS: usize = 70_000;
/// Entries of a list of differences that are looked at; there are 256 codes.
const MAX_DIFFERENCES: usize = 1_024;

/// One glyph of a string.
pub(super) struct Glyph {
    /// The letters; `None` if the file does not say what the glyph means.
    pub(super) letters: Option<String>,
    /// Its width, in parts of the font size.
    pub(super) width: f64,
    /// A one-byte code 32, to which word spacing applies.
    pub(super) is_space_code: bool,
}

pub(super) struct Font {
    table: Option<CMap>,
    codes: Codes,
}

enum Codes {
    /// One byte a glyph.
    Simple { letters: Vec<Option<String>>, widths: Vec<Option<f64>>, missing: Option<f64> },
    /// Codes of several bytes.
    Composite { cmap: Option<CMap>, meaning: Meaning, widths: HashMap<u32, f64>, default: f64 },
}

/// What the name of a composite font's encoding says about its codes.
enum Meaning {
    /// Glyph numbers, which mean nothing by themselves.
    Numbers,
    /// UTF-16.
    Utf16,
    /// A national encoding.
    National(&'static Encoding),
}

impl Font {
    /// Reads a font; what is missing or damaged is left out. No stream of it may unpack to more than `max_bytes`.
    pub(super) fn read(document: &Document, font: &Dictionary, max_bytes: usize) -> Self {
        let table = cmap_of(document, font, b"ToUnicode", max_bytes);
        let subtype = font.get_deref(b"Subtype", document).and_then(Object::as_name).unwrap_or_default();
        let codes =
            if subtype == b"Type0" { composite(document, font, max_bytes) } else { simple(document, font, subtype) };
        Self { table: table.filter(|table| !table.is_empty()), codes }
    }

    /// Takes a string apart into its glyphs, one as it is asked for: each may have many letters, and who has enough of them
    /// stops.
    pub(super) fn glyphs<'a>(&'a self, bytes: &'a [u8]) -> Box<dyn Iterator<Item = Glyph> + 'a> {
        match &self.codes {
            Codes::Simple { letters, widths, missing } => {
                Box::new(bytes.iter().map(|&code| self.simple_glyph(code, letters, widths, *missing)))
            }
            Codes::Composite { cmap, meaning, widths, default } => {
                if let (None, Meaning::National(encoding)) = (&self.table, meaning) {
                    return Box::new(national(encoding, bytes, *default).into_iter());
                }
                let mut rest = bytes;
                Box::new(std::iter::from_fn(move || {
                    if rest.is_empty() {
                        return None;
                    }
                    let tables = [cmap.as_ref(), self.table.as_ref()];
                    let length = tables.into_iter().flatten().find_map(|table| table.code_length(rest)).unwrap_or(2);
                    let (code, after) = rest.split_at(length.min(rest.len()));
                    rest = after;
                    let number = code.iter().fold(0, |value, &byte| (value << 8) | u32::from(byte));
                    let letters = match (&self.table, meaning) {
                        (Some(table), _) => table.letters(code.len(), number),
                        (None, Meaning::Utf16) => char::from_u32(number).map(String::from),
                        (None, Meaning::Numbers | Meaning::National(_)) => None,
                    };
                    let width = widths.get(&number).copied().unwrap_or(*default);
                    Some(Glyph { letters, width, is_space_code: code == b" " })
                }))
            }
        }
    }

    fn simple_glyph(
        &self,
        code: u8,
        letters: &[Option<String>],
        widths: &[Option<f64>],
        missing: Option<f64>,
    ) -> Glyph {
        let index = usize::from(code);
        let from_table = self.table.as_ref().and_then(|table| table.letters(1, u32::from(code)));
        let letters = from_table.or_else(|| letters.get(index).cloned().flatten());
        let listed = widths.get(index).copied().flatten().or(missing);
        let width = listed.unwrap_or_else(|| estimated_width(letters.as_deref()));
        Glyph { letters, width, is_space_code: code == b' ' }
    }
}

fn cmap_of(document: &Document, font: &Dictionary, key: &[u8], max_bytes: usize) -> Option<CMap> {
    let stream = font.get_deref(key, document).ok()?.as_stream().ok()?;
    let source = stream.get_plain_content_with_limit(max_bytes).ok()?;
    Some(CMap::parse(&source))
}

fn number(object: &Object) -> Option<f64> {
    object.as_float().ok().map(f64::from).filter(|value| value.is_finite())
}

fn simple(document: &Document, font: &Dictionary, subtype: &[u8]) -> Codes {
    // The glyphs of a Type 3 font have a scale of their own.
    let scale = font
        .get_deref(b"FontMatrix", document)
        .and_then(Object::as_array)
        .ok()
        .filter(|_| subtype == b"Type3")
        .and_then(|matrix| number(matrix.first()?))
        .map_or(0.001, f64::abs);
    let mut widths = vec![None; 256];
    let first = font.get_deref(b"FirstChar", document).and_then(Object::as_i64).unwrap_or(0);
    if let Ok(listed) = font.get_deref(b"Widths", document).and_then(Object::as_array) {
        for (code, width) in (first..256).zip(listed) {
            let width = document.dereference(width).ok().and_then(|(_, width)| number(width));
            if let (Some(width), Ok(code)) = (width, usize::try_from(code))
                && width > 0.0
            {
                widths[code] = Some(width * scale);
            }
        }
    }
    let descriptor = font.get_deref(b"FontDescriptor", document).and_then(Object::as_dict);
    let missing = descriptor.and_then(|descriptor| descriptor.get_deref(b"MissingWidth", document)).ok();
    let missing = missing.and_then(number).filter(|&width| width > 0.0).map(|width| width * scale);
    let name = font.get_deref(b"BaseFont", document).and_then(Object::as_name).unwrap_or_default();
    let fixed = name.windows(7).any(|part| part == b"Courier").then_some(0.6);
    Codes::Simple { letters: encoding(document, font, subtype), widths, missing: missing.or(fixed) }
}

/// The letters of each code by the font's encoding and its differences.
fn encoding(document: &Document, font: &Dictionary, subtype: &[u8]) -> Vec<Option<String>> {
    let declared = font.get_deref(b"Encoding", document).ok();
    let differing = declared.and_then(|object| object.as_dict().ok());
    let base = match declared {
        Some(Object::Name(name)) => Some(name.as_slice()),
        _ => differing.and_then(|encoding| encoding.get_deref(b"BaseEncoding", document).ok()?.as_name().ok()),
    };
    let implied: &[u8] = if subtype == b"TrueType" { b"WinAnsiEncoding" } else { b"StandardEncoding" };
    let known: [&[u8]; 4] = [b"StandardEncoding", b"WinAnsiEncoding", b"MacRomanEncoding", b"MacExpertEncoding"];
    let base = base.filter(|name| known.contains(name)).unwrap_or(implied);
    let own = font.get_deref(b"BaseFont", document).and_then(Object::as_name).ok().and_then(symbols::encoding);
    let mut letters = own.unwrap_or_else(|| base_encoding(base));
    let differences = differing.and_then(|encoding| encoding.get_deref(b"Differences", document).ok()?.as_array().ok());
    let mut code = 0_usize;
    for entry in differences.into_iter().flatten().take(MAX_DIFFERENCES) {
        match entry {
            Object::Integer(next) => code = usize::try_from(*next).unwrap_or(usize::MAX),
            Object::Name(name) => {
                if let Some(slot) = letters.get_mut(code) {
                    *slot = glyph_letters(name);
                }
                code = code.saturating_add(1);
            }
            _ => {}
        }
    }
    letters
}

/// The letters of the 256 codes of a standard encoding, as `lopdf` knows them.
fn base_encoding(name: &[u8]) -> Vec<Option<String>> {
    let font = Dictionary::from_iter([("Type", Object::from("Font")), ("Encoding", Object::Name(name.to_vec()))]);
    decode_each(&font, 0..=255)
}

fn decode_each(font: &Dictionary, codes: impl Iterator<Item = u8>) -> Vec<Option<String>> {
    let document = Document::new();
    let mut font = font.clone();
    font.set("Type", Object::Name(b"Font".to_vec()));
    let encoding = font.get_font_encoding_with_limit(&document, 0).ok();
    let letters = |code: u8| encoding.as_ref()?.bytes_to_string(&[code]).ok().filter(|letters| !letters.is_empty());
    codes.map(letters).collect()
}

/// The letters that the name of a glyph stands for, by the rules of the Adobe Glyph List specification.
fn glyph_letters(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    // What follows a full stop is a variant: "a.sc" is a small capital.
    let name = name.split('.').next().filter(|name| !name.is_empty())?;
    let letters: Option<String> = name.split('_').map(component).collect();
    letters.filter(|letters| !letters.is_empty())
}

fn component(name: &str) -> Option<String> {
    if let Some(hex) = name.strip_prefix("uni").filter(|hex| hex.len() >= 4 && hex.len() % 4 == 0 && hex.is_ascii()) {
        let units: Option<Vec<u16>> = hex.as_bytes().chunks(4).map(hex_unit).collect();
        if let Some(units) = units {
            return char::decode_utf16(units).collect::<Result<String, _>>().ok();
        }
    }
    if let Some(hex) = name.strip_prefix('u').filter(|hex| (4..=6).contains(&hex.len()))
        && let Some(letter) = u32::from_str_radix(hex, 16).ok().and_then(char::from_u32)
    {
        return Some(letter.to_string());
    }
    named(name)
}

fn hex_unit(digits: &[u8]) -> Option<u16> {
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Looks a name up in the glyph list of `lopdf`, which is reached through an encoding that differs in one code.
fn named(name: &str) -> Option<String> {
    let differences = vec![Object::Integer(1), Object::Name(name.as_bytes().to_vec())];
    let encoding = Dictionary::from_iter([("Differences", Object::Array(differences))]);
    let font = Dictionary::from_iter([("Encoding", Object::Dictionary(encoding))]);
    decode_each(&font, 1..=1).pop().flatten()
}

fn composite(document: &Document, font: &Dictionary, max_bytes: usize) -> Codes {
    let cmap = cmap_of(document, font, b"Encoding", max_bytes);
    let name = font.get_deref(b"Encoding", document).and_then(Object::as_name).unwrap_or_default();
    let descendant = font
        .get_deref(b"DescendantFonts", document)
        .and_then(Object::as_array)
        .ok()
        .and_then(|fonts| document.dereference(fonts.first()?).ok()?.1.as_dict().ok());
    let mut default = 1.0;
    let mut widths = HashMap::new();
    if let Some(descendant) = descendant {
        let stated = descendant.get_deref(b"DW", document).ok().and_then(number);
        default = stated.map_or(1.0, |width| width / 1_000.0);
        if let Ok(listed) = descendant.get_deref(b"W", document).and_then(Object::as_array) {
            read_widths(document, listed, &mut widths);
        }
    }
    Codes::Composite { cmap, meaning: meaning(name), widths, default }
}

fn meaning(name: &[u8]) -> Meaning {
    let has = |part: &[u8]| name.windows(part.len()).any(|window| window == part);
    if has(b"UCS2") || has(b"UTF16") {
        Meaning::Utf16
    } else if has(b"RKSJ") {
        Meaning::National(SHIFT_JIS)
    } else if name.starts_with(b"GBK") || has(b"GB-EUC") {
        Meaning::National(GBK)
    } else if has(b"B5") {
        Meaning::National(BIG5)
    } else if name.starts_with(b"KSC") {
        Meaning::National(EUC_KR)
    } else {
        Meaning::Numbers
    }
}

/// The widths of a composite font: `first [w w w]` or `first last w`, in thousandths.
fn read_widths(document: &Document, listed: &[Object], widths: &mut HashMap<u32, f64>) {
    let mut entries = listed.iter().map(|object| document.dereference(object).map_or(object, |(_, object)| object));
    while let (Some(first), Some(second)) = (entries.next(), entries.next()) {
        if widths.len() >= MAX_WIDTHS {
            return;
        }
        let Some(first) = first.as_i64().ok().and_then(|code| u32::try_from(code).ok()) else { continue };
        if let Ok(array) = second.as_array() {
            for (code, width) in (first..).zip(array).take(MAX_WIDTHS) {
                widths.extend(number(width).map(|width| (code, width / 1_000.0)));
            }
        } else if let (Ok(last), Some(width)) = (second.as_i64(), entries.next().and_then(number)) {
            let last = u32::try_from(last).unwrap_or(first);
            for code in (first..=last).take(MAX_WIDTHS) {
                widths.insert(code, width / 1_000.0);
            }
        }
    }
}

/// A string in a national encoding, as one glyph for each letter.
fn national(encoding: &'static Encoding, bytes: &[u8], width: f64) -> Vec<Glyph> {
    let (text, _) = encoding.decode_without_bom_handling(bytes);
    let glyph = |letter: char| {
        let letters = (letter != '\u{fffd}').then(|| letter.to_string());
        Glyph { letters, width: if letter.is_ascii() { width / 2.0 } else { width }, is_space_code: letter == ' ' }
    };
    text.chars().map(glyph).collect()
}

/// About how wide a letter of a common typeface is, in parts of the font size.
fn estimated_width(letters: Option<&str>) -> f64 {
    let Some(letter) = letters.and_then(|letters| letters.chars().next()) else { return 0.5 };
    match letter {
        ' ' | 'i' | 'j' | 'l' | '.' | ',' | ';' | ':' | '\'' | '|' | '!' | 'f' | 't' | 'I' => 0.28,
        'r' | '(' | ')' | '-' | '"' | '/' => 0.33,
        'm' | 'M' | 'W' | 'w' | '@' | '%' => 0.83,
        'A'..='Z' => 0.68,
        _ => 0.53,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn glyph_names_become_letters() {
        let cases: [(&[u8], Option<&str>); 9] = [
            (b"A", Some("A")),
            (b"eacute", Some("é")),
            (b"f_f_i", Some("ffi")),
            (b"a.sc", Some("a")),
            (b"uni0142", Some("ł")),
            (b"uniD83DDE00", Some("😀")),
            (b"u1F600", Some("😀")),
            (b"g123", None),
            (b".notdef", None),
        ];
        for (name, letters) in cases {
            assert_eq!(glyph_letters(name).as_deref(), letters, "{}", String::from_utf8_lossy(name));
        }
    }

    #[test]
    fn standard_encodings_are_known() {
        assert_eq!(base_encoding(b"WinAnsiEncoding")[0xe9].as_deref(), Some("é"));
        assert_eq!(base_encoding(b"MacRomanEncoding")[0x8e].as_deref(), Some("é"));
        assert_eq!(base_encoding(b"StandardEncoding")[usize::from(b'A')].as_deref(), Some("A"));
    }

    #[test]
    fn widths_that_claim_every_code_are_bounded() {
        let mut widths = HashMap::new();
        let all = [Object::Integer(0), Object::Integer(i64::from(u32::MAX)), Object::Integer(500)];
        read_widths(&Document::new(), &all, &mut widths);
        assert!(widths.len() <= MAX_WIDTHS);
        assert_eq!(widths[&7], 0.5);
    }
}
