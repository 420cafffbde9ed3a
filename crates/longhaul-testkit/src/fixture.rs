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

fn assemble(objects: &[String]) -> Vec<u8> {
    let mut file = String::from("%PDF-1.4\n");
    let mut offsets = Vec::with_capacity(objects.len());
    for (index, object) in objects.iter().enumerate() {
        offsets.push(file.len());
        let _ = write!(file, "{} 0 obj\n{object}\nendobj\n", index + 1);
    }
    let table = file.len();
    let size = objects.len() + 1;
    let _ = write!(file, "xref\n0 {size}\n0000000000 65535 f \n");
    for offset in offsets {
        let _ = writeln!(file, "{offset:010} 00000 n ");
    }
    let _ = write!(file, "trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{table}\n%%EOF\n");
    file.into_bytes()
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
    fn prose_is_the_same_for_the_same_seed() {
        assert_eq!(prose(7, 500), prose(7, 500));
        assert_ne!(prose(7, 500), prose(8, 500));
        assert!(prose(7, 500).split_whitespace().count() == 500);
    }
}
