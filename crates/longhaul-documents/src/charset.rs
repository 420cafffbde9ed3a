//! From bytes to letters.
//!
//! In this order: a byte order mark; UTF-16 without a mark, told by its zeros or declared; ISO-2022-JP, which is written in
//! ASCII; valid UTF-8; what the sender or the document declares; a guess from the frequencies of the bytes (`chardetng`, as
//! browsers do).

use std::borrow::Cow;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, ISO_2022_JP, UTF_8, UTF_16BE, UTF_16LE};

/// Bytes of a text that are looked at to see whether it can be UTF-16.
const LOOK_AT: usize = 4_096;
/// The byte that begins each change of letters in ISO-2022-JP.
const ESCAPE: u8 = 0x1b;
/// Bytes that the guess is made from.
const GUESS_FROM: usize = 64 * 1024;

/// Decoded text, and what was lost.
pub(crate) struct Decoded<'a> {
    pub(crate) text: Cow<'a, str>,
    pub(crate) encoding: &'static Encoding,
    /// Some bytes meant nothing in the encoding and became U+FFFD.
    pub(crate) lossy: bool,
}

/// The encoding that a content type declares: its parameter `charset`.
pub(crate) fn of_content_type(content_type: &str) -> Option<&str> {
    content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        let label = value.trim().trim_matches('"').trim();
        (name.trim().eq_ignore_ascii_case("charset") && !label.is_empty()).then_some(label)
    })
}

/// Decodes a text. `declared` are the labels that its sender and the document give (WHATWG Encoding names), the weightiest
/// first.
pub(crate) fn decode<'a>(bytes: &'a [u8], declared: &[&str]) -> Decoded<'a> {
    let encoding = encoding_of(bytes, declared);
    // Removes a byte order mark, and obeys it.
    let (text, encoding, lossy) = encoding.decode(bytes);
    Decoded { text, encoding, lossy }
}

fn encoding_of(bytes: &[u8], declared: &[&str]) -> &'static Encoding {
    if let Some((marked, _)) = Encoding::for_bom(bytes) {
        return marked;
    }
    let mut declared = declared.iter().filter_map(|label| Encoding::for_label(label.trim().as_bytes()));
    let utf8 = is_utf8(bytes);
    if let Some(wide) = unmarked_utf16(bytes).or_else(|| declared.clone().find(|wide| !utf8 && reads_wide(wide, bytes)))
    {
        return wide;
    }
    let guess = || {
        let mut detector = EncodingDetector::new(Iso2022JpDetection::Allow);
        detector.feed(&bytes[..bytes.len().min(GUESS_FROM)], bytes.len() <= GUESS_FROM);
        detector.guess(None, Utf8Detection::Deny)
    };
    if bytes.is_ascii() && bytes.contains(&ESCAPE) {
        let is_japanese = declared.any(|encoding| encoding == ISO_2022_JP) || guess() == ISO_2022_JP;
        return if is_japanese { ISO_2022_JP } else { UTF_8 };
    }
    if utf8 {
        return UTF_8;
    }
    declared.find(|&encoding| encoding != UTF_8 && encoding.is_ascii_compatible()).unwrap_or_else(guess)
}

/// Valid UTF-8 with a letter beyond ASCII is UTF-8, whatever it is declared to be: chance does not produce it.
fn is_utf8(bytes: &[u8]) -> bool {
    match std::str::from_utf8(bytes) {
        Ok(_) => true,
        // Cut in the middle of a letter. Of ASCII alone that is an older encoding's last letter.
        Err(error) => error.error_len().is_none() && !bytes[..error.valid_up_to()].is_ascii(),
    }
}

/// True if `encoding` is UTF-16 and the bytes begin as a text in it.
fn reads_wide(encoding: &'static Encoding, bytes: &[u8]) -> bool {
    let head = &bytes[..bytes.len().min(LOOK_AT) & !1];
    if !(encoding == UTF_16LE || encoding == UTF_16BE) || head.is_empty() {
        return false;
    }
    let (text, _) = encoding.decode_without_bom_handling(head);
    let strange = |c: &char| (c.is_control() && !c.is_ascii_whitespace()) || *c == '\u{fffd}';
    text.chars().filter(strange).count() * 100 <= text.chars().count()
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

/// True if the beginning of a file reads as text in some encoding, or in the one that is declared.
pub(crate) fn looks_like_text(head: &[u8], declared: Option<&str>) -> bool {
    let declared = declared.and_then(|label| Encoding::for_label(label.as_bytes()));
    if Encoding::for_bom(head).is_some()
        || unmarked_utf16(head).is_some()
        || declared.is_some_and(|encoding| reads_wide(encoding, head))
    {
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
        decode(bytes, declared.as_slice()).text.into_owned()
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
        assert!(looks_like_text(&little, None));
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
    fn what_is_declared_is_believed_where_the_bytes_leave_it_open() {
        assert_eq!(text(b"the caf\xe9", Some("latin1")), "the café");
        assert_eq!(text(b"the caf\xe9", None), "the café", "no unfinished letter of UTF-8");
        assert_eq!(text("café \u{20ac}".as_bytes().split_last().unwrap().1, Some("latin1")), "café \u{fffd}");
        let greek = encoding_rs::ISO_8859_7.encode("λιμάνι").0;
        assert_eq!(text(&greek, Some("iso-8859-7")), "λιμάνι");
        assert_eq!(decode(&greek, &["utf-8", "iso-8859-7"]).text, "λιμάνι", "the first does not fit");
        let chinese: Vec<u8> = "港口很安静，船停在那里。".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert!(!looks_like_text(&chinese, None) && looks_like_text(&chinese, Some("utf-16le")));
        assert_eq!(text(&chinese, Some("utf-16le")), "港口很安静，船停在那里。");
        assert_eq!(text(b"plain words", Some("utf-16le")), "plain words");
    }

    #[test]
    fn japanese_that_is_written_in_ascii_is_read() {
        let japanese = b"\x1b$B9A$O@E$+$G\x1b(B, quiet";
        assert_eq!(text(japanese, Some("iso-2022-jp")), "港は静かで, quiet");
        assert_eq!(text(japanese, None), "港は静かで, quiet");
        assert_eq!(text(b"\x1b[31mred\x1b[0m", None), "\x1b[31mred\x1b[0m", "colours of a terminal");
    }

    #[test]
    fn a_content_type_declares_an_encoding() {
        let of = of_content_type;
        assert_eq!(of("text/plain; charset=Shift_JIS"), Some("Shift_JIS"));
        assert_eq!(of("text/plain;format=flowed; CharSet = \"utf-8\""), Some("utf-8"));
        assert_eq!((of("text/plain"), of("charset=utf-8"), of("text/plain; charset=")), (None, None, None));
    }

    #[test]
    fn binary_is_no_text() {
        assert!(!looks_like_text(b"\0\x01\x02\x03abc", None));
        assert!(looks_like_text(b"tab\tand form feed\x0c", None));
    }
}
