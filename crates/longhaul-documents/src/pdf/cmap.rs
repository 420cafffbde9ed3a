//! Letter tables of fonts (`ToUnicode` CMaps): from a code in the text to the letters it stands for.
//!
//! A small scanner for the three sections that matter (ISO 32000-1, 9.10.3), lenient where files are careless. Ranges are
//! kept as ranges: a table that claims four thousand million codes costs one entry.

use std::collections::BTreeMap;

/// Entries of one table; the largest fonts have 65,536 letters.
const MAX_ENTRIES: usize = 200_000;
/// Bytes of one string in a table.
const MAX_STRING: usize = 64;

/// A letter table.
#[derive(Debug, Default)]
pub(super) struct CMap {
    /// Lengths of codes, with the lowest and highest code of each range.
    spaces: Vec<(usize, u32, u32)>,
    /// By length of the code and its first value: the last value, and what the first stands for.
    ranges: BTreeMap<(usize, u32), (u32, Vec<u16>)>,
}

impl CMap {
    pub(super) fn parse(source: &[u8]) -> Self {
        let mut map = Self::default();
        let mut scanner = Scanner { source, at: 0 };
        let mut section = Section::None;
        while let Some(token) = scanner.next() {
            if map.ranges.len() >= MAX_ENTRIES || map.spaces.len() >= MAX_ENTRIES {
                break;
            }
            match (&token, section) {
                (Token::Word(word), _) => section = Section::named(word, section),
                (Token::String(low), Section::CodeSpace) => {
                    let Some(Token::String(high)) = scanner.next() else { continue };
                    map.spaces.push((low.len(), number(low), number(&high)));
                }
                (Token::String(code), Section::Char) => {
                    let Some(Token::String(target)) = scanner.next() else { continue };
                    map.insert(code.len(), number(code), number(code), units(&target));
                }
                (Token::String(low), Section::Range) => {
                    let Some(Token::String(high)) = scanner.next() else { continue };
                    map.range(low, &high, &mut scanner);
                }
                _ => {}
            }
        }
        map
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The length of the code at the start of `bytes`, as the code spaces say.
    pub(super) fn code_length(&self, bytes: &[u8]) -> Option<usize> {
        (1..=bytes.len().min(4)).find(|&length| {
            let code = number(&bytes[..length]);
            self.spaces.iter().any(|&(of, low, high)| of == length && within(code, low, high, length))
        })
    }

    /// The letters of a code.
    pub(super) fn letters(&self, length: usize, code: u32) -> Option<String> {
        let (&(of, first), (last, target)) = self.ranges.range(..=(length, code)).next_back()?;
        if of != length || code > *last {
            return None;
        }
        let mut target = target.clone();
        if let Some(unit) = target.last_mut() {
            *unit = unit.wrapping_add((code - first) as u16);
        }
        let letters: String = char::decode_utf16(target).filter_map(Result::ok).collect();
        (!letters.is_empty()).then_some(letters)
    }

    fn range(&mut self, low: &[u8], high: &[u8], scanner: &mut Scanner<'_>) {
        let (length, first, last) = (low.len(), number(low), number(high));
        match scanner.next() {
            Some(Token::String(target)) => self.insert(length, first, last, units(&target)),
            Some(Token::Open) => {
                let mut code = first;
                while let Some(Token::String(target)) = scanner.next() {
                    if code > last || self.ranges.len() >= MAX_ENTRIES {
                        break;
                    }
                    self.insert(length, code, code, units(&target));
                    let Some(next) = code.checked_add(1) else { break };
                    code = next;
                }
            }
            _ => {}
        }
    }

    fn insert(&mut self, length: usize, first: u32, last: u32, target: Vec<u16>) {
        if (1..=4).contains(&length) && first <= last && !target.is_empty() {
            self.ranges.insert((length, first), (last, target));
        }
    }
}

/// True if each byte of a code is within the bytes of the bounds, which is how code spaces are defined.
fn within(code: u32, low: u32, high: u32, length: usize) -> bool {
    (0..length).all(|byte| {
        let at = |value: u32| (value >> (8 * byte)) as u8;
        (at(low)..=at(high)).contains(&at(code))
    })
}

/// The number that up to four bytes form.
fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).fold(0, |value, &byte| (value << 8) | u32::from(byte))
}

fn units(bytes: &[u8]) -> Vec<u16> {
    match bytes {
        // Some writers give one byte for a Latin letter.
        [only] => vec![u16::from(*only)],
        _ => bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect(),
    }
}

#[derive(Clone, Copy)]
enum Section {
    None,
    CodeSpace,
    Char,
    Range,
}

impl Section {
    fn named(word: &[u8], current: Self) -> Self {
        match word {
            b"begincodespacerange" => Self::CodeSpace,
            b"beginbfchar" => Self::Char,
            b"beginbfrange" => Self::Range,
            b"endcodespacerange" | b"endbfchar" | b"endbfrange" => Self::None,
            _ => current,
        }
    }
}

enum Token {
    String(Vec<u8>),
    Word(Vec<u8>),
    Open,
    Close,
}

struct Scanner<'a> {
    source: &'a [u8],
    at: usize,
}

impl Scanner<'_> {
    fn next(&mut self) -> Option<Token> {
        loop {
            let byte = *self.source.get(self.at)?;
            self.at += 1;
            match byte {
                b'%' => self.skip_while(|byte| !matches!(byte, b'\n' | b'\r')),
                b'<' if self.source.get(self.at) == Some(&b'<') => self.at += 1,
                b'<' => return Some(Token::String(self.hex())),
                b'[' => return Some(Token::Open),
                b']' => return Some(Token::Close),
                byte if byte.is_ascii_alphanumeric() => {
                    let start = self.at - 1;
                    self.skip_while(|byte| byte.is_ascii_alphanumeric());
                    return Some(Token::Word(self.source[start..self.at].to_vec()));
                }
                _ => {}
            }
        }
    }

    fn hex(&mut self) -> Vec<u8> {
        let start = self.at;
        self.skip_while(|byte| byte != b'>');
        let digits = self.source[start..self.at].iter().filter_map(|&byte| char::from(byte).to_digit(16));
        self.at += 1;
        let digits: Vec<u8> = digits.take(MAX_STRING * 2).map(|digit| digit as u8).collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair.get(1).unwrap_or(&0)).collect()
    }

    fn skip_while(&mut self, holds: impl Fn(u8) -> bool) {
        while self.source.get(self.at).is_some_and(|&byte| holds(byte)) {
            self.at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"/CIDInit /ProcSet findresource begin begincmap % a comment\n\
        1 begincodespacerange <0000> <FFFF> endcodespacerange\n\
        2 beginbfchar <0003> <0020> <0010> <00660066> endbfchar\n\
        3 beginbfrange <0041> <0043> <0061> <0050> <0051> [<0031> <D83DDE00>] <0060><0060><05d0> endbfrange endcmap";

    #[test]
    fn codes_become_letters() {
        let map = CMap::parse(TABLE);
        let of = |code| map.letters(2, code).unwrap_or_default();
        assert_eq!((of(3), of(0x10), of(0x41), of(0x43)), (" ".into(), "ff".into(), "a".into(), "c".into()));
        assert_eq!((of(0x50), of(0x51), of(0x60)), ("1".into(), "😀".into(), "א".into()));
        assert_eq!((map.letters(2, 0x44), map.letters(1, 0x41)), (None, None));
        assert_eq!(map.code_length(&[0, 0x41, 0, 0x42]), Some(2));
        assert_eq!(map.code_length(&[0]), None);
    }

    #[test]
    fn a_table_that_claims_every_code_is_one_entry() {
        let map = CMap::parse(b"beginbfrange <00000000> <FFFFFFFF> <0041> endbfrange");
        assert_eq!(map.ranges.len(), 1);
        assert_eq!(map.letters(4, 1).as_deref(), Some("B"));
    }

    #[test]
    fn damaged_tables_end_where_they_end() {
        for source in [&b"beginbfchar <00"[..], b"beginbfrange <01> <02> [", b"<<<<", b"beginbfchar <> <>", b"%", b""] {
            assert!(CMap::parse(source).is_empty());
        }
    }
}
