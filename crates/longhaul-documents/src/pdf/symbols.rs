//! The two standard fonts whose codes are not letters: Symbol and ZapfDingbats (ISO 32000-1, annexes D.5 and D.6).

/// What the codes of a font stand for that has an encoding of its own, by the font's name; none for any other font.
pub(super) fn encoding(name: &[u8]) -> Option<Vec<Option<String>>> {
    // A font of which a part is embedded has six letters and a plus sign before its name.
    let name = if name.get(6) == Some(&b'+') { &name[7..] } else { name };
    let letter: fn(u8) -> Option<char> = match name {
        b"Symbol" | b"SymbolMT" => symbol,
        b"ZapfDingbats" | b"ITCZapfDingbats" => dingbat,
        _ => return None,
    };
    let shown = |code: u8| Some(letter(code)?.to_string().replace(PART, ""));
    Some((0..=255).map(shown).collect())
}

/// From code 32 on.
const SYMBOL_LOW: &str =
    " !∀#∃%&∋()∗+,−./0123456789:;<=>?≅ΑΒΧΔΕΦΓΗΙϑΚΛΜΝΟΠΘΡΣΤΥςΩΞΨΖ[∴]⊥_‾αβχδεφγηιϕκλμνοπθρστυϖωξψζ{|}∼";
/// A part of a large bracket, of which nothing is to be read.
const PART: char = '~';

/// From code 161 on.
const SYMBOL_HIGH: &str =
    "ϒ′≤⁄∞ƒ♣♦♥♠↔←↑→↓°±″≥×∝∂•÷≠≡≈…~~~ℵℑℜ℘⊗⊕∅∩∪⊃⊇⊄⊂⊆∈∉∠∇®©™∏√⋅¬∧∨⇔⇐⇑⇒⇓◊〈®©™∑~~~~~~~~~~~〉∫~~~~~~~~~~~";

fn symbol(code: u8) -> Option<char> {
    let (table, first) = if code < 161 { (SYMBOL_LOW, 32) } else { (SYMBOL_HIGH, 161) };
    table.chars().nth(usize::from(code.checked_sub(first)?))
}

fn dingbat(code: u8) -> Option<char> {
    let run = |first: u8, letter: u32| char::from_u32(letter + u32::from(code - first));
    match code {
        b' ' => Some(' '),
        0x25 => Some('☎'),
        0x2A => Some('☛'),
        0x2B => Some('☞'),
        0x48 => Some('★'),
        0x6C => Some('●'),
        0x6E => Some('■'),
        0x73 => Some('▲'),
        0x74 => Some('▼'),
        0x75 => Some('◆'),
        0x77 => Some('◗'),
        0x21..=0x7E => run(0x21, 0x2701),
        0x80..=0x8D => run(0x80, 0x2768),
        0xA1..=0xA7 => run(0xA1, 0x2761),
        0xA8 => Some('♣'),
        0xA9 => Some('♦'),
        0xAA => Some('♥'),
        0xAB => Some('♠'),
        0xAC..=0xB5 => run(0xAC, 0x2460),
        0xB6..=0xD4 => run(0xB6, 0x2776),
        0xD5 => Some('→'),
        0xD6 => Some('↔'),
        0xD7 => Some('↕'),
        0xD8..=0xEF => run(0xD8, 0x2798),
        0xF1..=0xFE => run(0xF1, 0x27B1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_symbols_stand_for_what_they_show() {
        let read = |font: &[u8], codes: &[u8]| -> String {
            let encoding = encoding(font).unwrap();
            codes.iter().filter_map(|&code| encoding[usize::from(code)].clone()).collect()
        };
        assert_eq!(read(b"ABCDEF+Symbol", b"abG = \xa3 \xb1 \xde \xe5 \xf2 ~"), "αβΓ = ≤ ± ⇒ ∑ ∫ ∼");
        assert_eq!(read(b"Symbol", b"\xbd\xe6\xfd\xff\x1f\xa0"), "", "parts of brackets");
        assert_eq!(read(b"ZapfDingbats", b"4 8 l n \xac \xb6 \xd4 \xfe"), "✔ ✘ ● ■ ① ❶ ➔ ➾");
        assert!(encoding(b"Helvetica").is_none());
    }
}
