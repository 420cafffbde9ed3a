//! Letters in the form in which people search for them.
//!
//! Compatibility mapping (the K of NFKC) is applied to presentation forms alone: ligatures such as "ﬁ", positional Arabic,
//! wide Latin and narrow kana. Applied to everything it would turn 10½ into 101⁄2 and m² into m2. The rest is composed
//! (NFC).

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

/// Composes letters, dissolves ligatures, drops control characters and soft hyphens, turns odd spaces into plain ones.
pub(crate) fn normalise(text: &str) -> String {
    let mapped: String = text
        .chars()
        .flat_map(|c| {
            let compatible = is_presentation_form(c).then(|| c.nfkc());
            let plain = compatible.is_none().then(|| replace(c)).flatten();
            compatible.into_iter().flatten().chain(plain)
        })
        .collect();
    match is_nfc_quick(mapped.chars()) {
        IsNormalized::Yes => mapped,
        IsNormalized::No | IsNormalized::Maybe => mapped.nfc().collect(),
    }
}

fn is_presentation_form(c: char) -> bool {
    // Latin, Armenian, Hebrew and Arabic presentation forms; half- and full-width forms.
    matches!(u32::from(c), 0xFB00..=0xFDFF | 0xFE70..=0xFEFC | 0xFF01..=0xFFEE)
}

fn replace(c: char) -> Option<char> {
    match c {
        '\n' | '\t' | '\u{c}' => Some(c),
        // No-break, typographic and ideographic spaces.
        '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => Some(' '),
        '\u{2028}' | '\u{2029}' | '\u{85}' => Some('\n'),
        '\u{ad}' | '\u{200b}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => None,
        c if c.is_control() => None,
        c => Some(c),
    }
}

/// Removes white space at the ends of lines and of the text, and leaves at most one empty line between others.
pub(crate) fn tidy_lines(text: &str) -> String {
    let mut tidy = String::with_capacity(text.len());
    let mut empty = 0;
    for line in text.lines().map(str::trim_end) {
        if line.is_empty() {
            empty += 1;
            continue;
        }
        if !tidy.is_empty() {
            tidy.push_str(if empty > 0 { "\n\n" } else { "\n" });
        }
        empty = 0;
        tidy.push_str(line);
    }
    tidy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ligatures_are_dissolved_and_other_signs_kept() {
        assert_eq!(normalise("eﬃcient ﬁnal, 10½ m² ™ ①"), "efficient final, 10½ m² ™ ①");
        assert_eq!(normalise("ＡＢ１ ｶﾞ"), "AB1 ガ");
    }

    #[test]
    fn letters_are_composed_and_invisible_ones_dropped() {
        assert_eq!(normalise("Zoe\u{308} caf\u{e9}\u{ad}\u{0}\u{200b}\u{a0}x"), "Zoë café x");
    }

    #[test]
    fn lines_are_tidied() {
        assert_eq!(tidy_lines("\n\n a  \n\n\n\nb\t\nc\n"), " a\n\nb\nc");
    }
}
