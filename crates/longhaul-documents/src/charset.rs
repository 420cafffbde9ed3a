//! From bytes to letters.
//!
//! In this order: a byte order mark; what the document declares, unless the bytes contradict it; valid UTF-8; UTF-16
//! without a mark, told by its zeros; a guess from the frequencies of the bytes (`chardetng`, as browsers do).

use std::borrow::Cow;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// Bytes that the guess is made from.
const GUESS_FROM: usize = 64 * 1024;

/// Decoded text, and what was lost.
pub(crate) struct Decoded<'a> {
    pub(crate) text: Cow<'a, str>,
    pub(crate) encoding: &'static Encoding,
    /// Some bytes meant nothing in the encoding and became U+FFFD.
    pub(crate) lossy: bool,
}

/// Decodes a text. `declared` is the label that the document or its sender gives (WHATWG Encoding names).
pub(crate) fn decode<'a>(bytes: &'a [u8], declared: Option<&str>) -> Decoded<'a> {
    let encoding = encoding_of(bytes, declared);
    // Removes a byte order mark, and obeys it.
    let (text, encoding, lossy) = encoding.decode(bytes);
    Decoded { text, encoding, lossy }
}

fn encoding_of(bytes: &[u8], declared: Option<&str>) -> &'static Encoding {
    if let Some((marked, _)) = Encoding::for_bom(bytes) {
        return marked;
    }
    if let Some(wide) = unmarked_utf16(bytes) {
        return wide;
    }
    // Valid UTF-8 with a letter beyond ASCII is UTF-8, whatever it is declared to be: chance does not produce it.
    let utf8 = match std::str::from_utf8(bytes) {
        Ok(_) => true,
        // Cut in the middle of a letter, as the head of a file may be.
        Err(error) => error.error_len().is_none() && error.valid_up_to() > 0,
    };
    if utf8 {
        return UTF_8;
    }
    let declared = declared.and_then(|label| Encoding::for_label(label.trim().as_bytes()));
    if let Some(declared) = declared.filter(|&encoding| encoding != UTF_8 && encoding.is_ascii_compatible()) {
        return declared;
    }
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
    detector.feed(&bytes[..bytes.len().min(GUESS_FROM)], bytes.len() <= GUESS_FROM);
    detector.guess(None, Utf8Detection::Deny)
}

/// UTF-16 shows by a zero in every other byte, as long as it is mostly Latin.
fn unmarked_utf16(bytes: &[u8]) -> Option<&'static Encoding> {
    let head = &bytes[..bytes.len().min(1_024) & !1];
    if head.len() < 4 {
        return None;
    }
    let zeros = |offset: usize| head.iter().skip(offset).step_by(2).filter(|&&byte| byte == 0).count();
    let (even, odd, half) = (zeros(0), zeros(1), head.len() / 2);
    if odd * 10 >= half * 7 && even * 10 < half {
        Some(UTF_16LE)
    } else if even * 10 >= half * 7 && odd * 10 < half {
        Some(UTF_16BE)
    } else {
        None
    }
}

/// True if the beginning of a file reads as text in some encoding.
pub(crate) fn looks_like_text(head: &[u8]) -> bool {
    if Encoding::for_bom(head).is_some() || unmarked_utf16(head).is_some() {
        return true;
    }
    let control = |byte: &&u8| **byte < 0x20 && !matches!(**byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x1b);
    // A stray control character occurs in real text; a zero never.
    !head.contains(&0) && head.iter().filter(control).count() * 100 <= head.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8], declared: Option<&str>) -> String {
        decode(bytes, declared).text.into_owned()
    }

    #[test]
    fn marks_are_obeyed_and_removed() {
        assert_eq!(text(b"\xef\xbb\xbfcaf\xc3\xa9", Some("windows-1252")), "café");
        assert_eq!(text(b"\xff\xfeh\0\xe9\0", None), "hé");
        assert_eq!(text(b"\xfe\xff\0h\0\xe9", None), "hé");
    }

    #[test]
    fn utf16_without_a_mark_is_recognised() {
        let little: Vec<u8> = "A quiet café".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = "A quiet café".encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!((text(&little, None), text(&big, None)), ("A quiet café".into(), "A quiet café".into()));
        assert!(looks_like_text(&little));
    }

    #[test]
    fn older_encodings_are_declared_or_guessed() {
        assert_eq!(text(b"na\xefve caf\xe9", Some("ISO-8859-1")), "naïve café");
        let german = encoding_rs::WINDOWS_1252.encode("Die Größe der Straße überrascht die Gäste in München.").0;
        assert!(text(&german, None).contains("Größe der Straße"));
        let russian = encoding_rs::WINDOWS_1251.encode("Гавань была тихой, и лодки стояли рядом под утренним небом.").0;
        assert!(text(&russian, None).starts_with("Гавань была"));
        let japanese = encoding_rs::SHIFT_JIS.encode("港は静かで、船は朝の空の下に並んでいた。").0;
        assert!(text(&japanese, None).starts_with("港は静か"));
    }

    #[test]
    fn a_false_declaration_does_not_spoil_utf8() {
        assert_eq!(text("café".as_bytes(), Some("iso-8859-1")), "café");
        assert_eq!(text(b"caf\xe9 au lait", Some("utf-8")), "café au lait");
    }

    #[test]
    fn binary_is_no_text() {
        assert!(!looks_like_text(b"\0\x01\x02\x03abc"));
        assert!(looks_like_text(b"tab\tand form feed\x0c"));
    }
}
