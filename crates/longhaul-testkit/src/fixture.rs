//! Documents for tests, good and broken, made on the spot so that each can be read where it is used.

use std::fmt::Write as _;

/// A PDF 1.4 with one page per text, each with a real text layer.
#[must_use]
pub fn pdf(pages: &[&str]) -> Vec<u8> {
    let mut objects: Vec<String> = Vec::new();
    let kids: Vec<String> = (0..pages.len()).map(|page| format!("{} 0 R", 4 + 2 * page)).collect();
    objects.push("<< /Type /Catalog /Pages 2 0 R >>".to_owned());
    objects.push(format!("<< /Type /Pages /Kids [{}] /Count {} >>", kids.join(" "), pages.len()));
    objects.push("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".to_owned());
    for (page, text) in pages.iter().enumerate() {
        objects.push(format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {} 0 R \
             /Resources << /Font << /F1 3 0 R >> >> >>",
            5 + 2 * page
        ));
        let content = page_content(text);
        objects.push(format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()));
    }
    assemble(&objects)
}

/// A PDF of one page that is turned by 90 degrees and says so, with text that stands upright once it is turned.
#[must_use]
pub fn turned_pdf(text: &str) -> Vec<u8> {
    let mut content = String::from("BT /F1 11 Tf\n");
    for (line, words) in text.lines().enumerate() {
        // Writing to a string cannot fail.
        let _ = writeln!(content, "0 1 -1 0 {} 56 Tm ({words}) Tj", 60 + 14 * line);
    }
    content.push_str("ET");
    single("/Rotate 90", "", content.as_bytes())
}

/// A PDF of one page with two columns, drawn one after the other, each line at the height of its neighbour.
#[must_use]
pub fn two_column_pdf(left: &str, right: &str) -> Vec<u8> {
    let mut content = String::from("BT /F1 11 Tf\n");
    for (x, column) in [(56, left), (330, right)] {
        for (line, words) in column.lines().enumerate() {
            let _ = writeln!(content, "1 0 0 1 {x} {} Tm ({words}) Tj", 740 - 14 * line);
        }
    }
    content.push_str("ET");
    single("", "", content.as_bytes())
}

/// A PDF of one page whose content unpacks to `mebibytes` of blanks, from a hundred and sixtieth of that.
#[must_use]
pub fn bomb_pdf(mebibytes: usize) -> Vec<u8> {
    // Deflate (RFC 1951) by hand: one block of fixed codes, a blank, and then "258 times what stood one before" again and
    // again. Nobody gets as far as the checksum.
    let mut bits: Vec<bool> = vec![true, true, false];
    let mut code = |value: u16, length: u32| bits.extend((0..length).rev().map(|bit| value >> bit & 1 == 1));
    code(0x30 + u16::from(b' '), 8);
    for _ in 0..(mebibytes << 20) / 258 {
        code(0b1100_0101, 8);
        code(0, 5);
    }
    code(0, 7);
    let pack = |bits: &[bool]| bits.iter().rev().fold(0_u8, |byte, &bit| byte << 1 | u8::from(bit));
    let deflated = bits.chunks(8).map(pack);
    let packed: Vec<u8> = [0x78, 0x9c].into_iter().chain(deflated).chain([0; 4]).collect();
    single("", "/Filter /FlateDecode", &packed)
}

/// A page with these entries, and a content stream with those.
fn single(page: &str, stream: &str, content: &[u8]) -> Vec<u8> {
    let head = format!("<< /Length {} {stream} >>\nstream\n", content.len());
    let objects: [Vec<u8>; 5] = [
        b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(),
        b"<< /Type /Pages /Kids [4 0 R] /Count 1 >>".to_vec(),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".to_vec(),
        format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] {page} /Contents 5 0 R \
             /Resources << /Font << /F1 3 0 R >> >> >>"
        )
        .into_bytes(),
        [head.as_bytes(), content, b"\nendstream"].concat(),
    ];
    assemble(&objects)
}

/// Text as a content stream: one line of it per line of the page.
fn page_content(text: &str) -> String {
    let mut content = String::from("BT /F1 11 Tf 14 TL 56 740 Td\n");
    for line in text.lines() {
        let escaped = line.replace('\\', "\\\\").replace('(', "\\(").replace(')', "\\)");
        // Writing to a string cannot fail.
        let _ = writeln!(content, "({escaped}) Tj T*");
    }
    content.push_str("ET");
    content
}

fn assemble(objects: &[impl AsRef<[u8]>]) -> Vec<u8> {
    let mut file = b"%PDF-1.4\n".to_vec();
    let mut offsets = Vec::with_capacity(objects.len());
    for (index, object) in objects.iter().enumerate() {
        offsets.push(file.len());
        file.extend(format!("{} 0 obj\n", index + 1).bytes());
        file.extend_from_slice(object.as_ref());
        file.extend_from_slice(b"\nendobj\n");
    }
    let table = file.len();
    let size = objects.len() + 1;
    let mut end = format!("xref\n0 {size}\n0000000000 65535 f \n");
    for offset in offsets {
        let _ = writeln!(end, "{offset:010} 00000 n ");
    }
    let _ = write!(end, "trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n");
    file.extend(end.bytes());
    file
}

/// A file that begins like a PDF and is none.
#[must_use]
pub fn broken_pdf() -> Vec<u8> {
    let mut file = pdf(&["This page never arrives."]);
    file.truncate(60);
    file.extend_from_slice(&[0, 159, 146, 150, 255]);
    file
}

/// A PDF that needs a password to be read: RC4, 40 bit, made once with the user password `open sesame`.
#[must_use]
pub fn encrypted_pdf() -> &'static [u8] {
    include_bytes!("fixture/encrypted.pdf")
}

/// `words` words of plausible English, the same for the same `seed`, in sentences and paragraphs.
#[must_use]
pub fn prose(seed: u64, words: usize) -> String {
    const WORDS: [&str; 48] = [
        "queue", "harbour", "engine", "letter", "winter", "signal", "lantern", "worker", "copper", "valley", "ledger",
        "meadow", "provider", "timber", "orbit", "ribbon", "station", "glacier", "pattern", "archive", "thunder",
        "pilot", "garden", "mirror", "carries", "follows", "delays", "repairs", "measures", "forgets", "crosses",
        "answers", "gathers", "loses", "holds", "returns", "slowly", "again", "never", "often", "quietly", "twice",
        "the", "a", "every", "under", "without", "between",
    ];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::with_capacity(words * 8);
    for index in 0..words {
        // xorshift64*: any spread of words will do, as long as it is the same every time.
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        let word = usize::try_from(state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 58).unwrap_or(0) % WORDS.len();
        let word = WORDS.get(word).copied().unwrap_or("word");
        text.push_str(word);
        text.push_str(match index % 14 {
            13 if index % 70 == 69 => ".\n\n",
            13 => ". ",
            _ => " ",
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cross_reference_table_of_a_pdf_points_at_its_objects() {
        let file = String::from_utf8(pdf(&["one", "two (2)"])).unwrap();
        let table = file.rfind("\nxref\n").unwrap() + 1;
        assert!(file.contains(&format!("startxref\n{table}\n")));
        let entries: Vec<usize> = file[table..]
            .lines()
            .filter(|line| line.ends_with(" 00000 n "))
            .map(|l| l[..10].parse().unwrap())
            .collect();
        assert_eq!(entries.len(), 7);
        for (index, offset) in entries.iter().enumerate() {
            assert!(file[*offset..].starts_with(&format!("{} 0 obj\n", index + 1)));
        }
    }

    #[test]
    fn a_bomb_is_a_small_file() {
        assert!((400_000..450_000).contains(&bomb_pdf(64).len()), "{}", bomb_pdf(64).len());
    }

    #[test]
    fn prose_is_the_same_for_the_same_seed() {
        assert_eq!(prose(7, 500), prose(7, 500));
        assert_ne!(prose(7, 500), prose(8, 500));
        assert!(prose(7, 500).split_whitespace().count() == 500);
    }
}
