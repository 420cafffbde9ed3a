//! Documents whose words are known: written here byte by byte, so that they need nothing and are the same everywhere.

use std::fmt::Write as _;

/// A4, in points.
const WIDTH: usize = 595;
const HEIGHT: usize = 842;
/// Letters of a line: it ends well before the edge in Helvetica of eleven points.
const LINE: usize = 80;
/// Lines of a page.
const LINES: usize = 46;

const WORDS: &[&str] = &[
    "harbour", "lantern", "captain", "winter", "letter", "engine", "garden", "mirror", "thunder", "pilot", "copper",
    "village", "bridge", "machine", "journey", "kitchen", "measure", "quarter", "question", "surface", "weather",
    "yellow", "zinc", "jacket", "velvet", "orchard", "signal", "tunnel", "market", "ledger", "voyage", "account",
    "carries", "follows", "delays", "repairs", "forgets", "crosses", "answers", "gathers", "loses", "holds", "returns",
    "slowly", "again", "never", "often", "quietly", "twice", "beyond", "under", "without", "between", "the", "a", "of",
    "and", "every", "no", "some",
];

/// The words of a page: sentences and paragraphs, the same for the same seed.
#[must_use]
pub fn prose(seed: u64, words: usize) -> String {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut text = String::with_capacity(words * 8);
    let mut begins = true;
    for index in 0..words {
        // xorshift: any spread will do, as long as it is the same every time.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let word = WORDS.get(usize::try_from(state >> 33).unwrap_or(0) % WORDS.len()).copied().unwrap_or("word");
        if begins {
            let (first, rest) = word.split_at(1);
            text.push_str(&first.to_uppercase());
            text.push_str(rest);
        } else {
            text.push_str(word);
        }
        let is_last = index + 1 == words;
        begins = is_last || index % 13 == 12;
        text.push_str(match index {
            _ if is_last => ".",
            _ if index % 104 == 103 => ".\n\n",
            _ if begins => ". ",
            _ => " ",
        });
    }
    text
}

/// A PDF with a text layer: each page has these words, as far as they fit on one.
#[must_use]
pub fn text_pdf(pages: &[String]) -> Vec<u8> {
    let mut file = File::new();
    let font = file.add(b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>".to_vec());
    let resources = format!("<< /Font << /F1 {font} 0 R >> >>");
    let pages = pages.iter().map(|words| {
        let mut content = String::from("BT /F1 11 Tf 16 TL 56 780 Td\n");
        for line in lines(words).into_iter().take(LINES) {
            let escaped = line.replace('\\', "\\\\").replace('(', "\\(").replace(')', "\\)");
            // Writing to a string cannot fail.
            let _ = writeln!(content, "({escaped}) Tj T*");
        }
        content.push_str("ET");
        (stream("", content.as_bytes()), resources.clone())
    });
    let pages: Vec<_> = pages.collect();
    file.finish(pages)
}

/// A picture in black and white, as a scanner gives it: rows from the top, a byte a pixel, below 128 is black.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// Pixels of a row.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// The pixels.
    pub pixels: Vec<u8>,
}

impl Scan {
    /// Turned by a small angle about its middle, as paper lies on glass.
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "places on a page are small and checked"
    )]
    pub fn askew(&self, degrees: f64) -> Self {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let middle = (self.width as f64 / 2.0, self.height as f64 / 2.0);
        let mut pixels = Vec::with_capacity(self.pixels.len());
        for y in 0..self.height {
            for x in 0..self.width {
                let (x, y) = (x as f64 - middle.0, y as f64 - middle.1);
                let from = (x * cos + y * sin + middle.0, y * cos - x * sin + middle.1);
                let inside =
                    from.0 >= 0.0 && from.1 >= 0.0 && from.0 < self.width as f64 && from.1 < self.height as f64;
                let pixel = if inside { self.pixels.get(from.1 as usize * self.width + from.0 as usize) } else { None };
                pixels.push(pixel.copied().unwrap_or(255));
            }
        }
        Self { pixels, ..*self }
    }

    /// With so many of a thousand pixels turned to their opposite: dust and a worn lamp.
    #[must_use]
    pub fn noisy(&self, of_a_thousand: u64, seed: u64) -> Self {
        let mut state = seed | 1;
        let mut flips = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 20) % 1_000 < of_a_thousand
        };
        let pixels = self.pixels.iter().map(|&pixel| if flips() { 255 - pixel } else { pixel }).collect();
        Self { pixels, ..*self }
    }

    /// Lying on its side.
    #[must_use]
    pub fn on_its_side(&self) -> Self {
        let mut pixels = Vec::with_capacity(self.pixels.len());
        for x in 0..self.width {
            pixels.extend((0..self.height).rev().map(|y| self.pixels[y * self.width + x]));
        }
        Self { width: self.height, height: self.width, pixels }
    }
}

/// A PDF whose pages are pictures and nothing else.
#[must_use]
pub fn scanned_pdf(pages: &[Scan]) -> Vec<u8> {
    let mut file = File::new();
    let mut contents = Vec::new();
    for scan in pages {
        let head = format!(
            "/Type /XObject /Subtype /Image /Width {} /Height {} /ColorSpace /DeviceGray /BitsPerComponent 1 \
             /Filter /RunLengthDecode",
            scan.width, scan.height
        );
        let picture = file.add(stream(&head, &run_lengths(&bits(scan))));
        let content = format!("q {WIDTH} 0 0 {HEIGHT} 0 0 cm /Im0 Do Q");
        contents.push((stream("", content.as_bytes()), format!("<< /XObject << /Im0 {picture} 0 R >> >>")));
    }
    file.finish(contents)
}

/// Lines that are no longer than a line, with an empty one between paragraphs.
fn lines(words: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in words.split("\n\n") {
        let mut line = String::new();
        for word in paragraph.split_whitespace() {
            if !line.is_empty() && line.len() + 1 + word.len() > LINE {
                lines.push(std::mem::take(&mut line));
            }
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
        lines.push(line);
        lines.push(String::new());
    }
    lines
}

/// A bit a pixel, each row from a new byte on.
fn bits(scan: &Scan) -> Vec<u8> {
    let rows = scan.pixels.chunks_exact(scan.width.max(1));
    rows.flat_map(|row| {
        row.chunks(8)
            .map(|eight| eight.iter().enumerate().fold(0, |byte, (at, &pixel)| byte | (pixel >> 7) << (7 - at)))
    })
    .collect()
}

/// The filter `RunLengthDecode` of PDF: a length and bytes, or a length above 128 and one byte that is repeated.
fn run_lengths(bytes: &[u8]) -> Vec<u8> {
    const MOST: usize = 128;
    let mut packed = Vec::new();
    let mut rest = bytes;
    while let Some(&first) = rest.first() {
        let run = rest.iter().take(MOST).take_while(|&&byte| byte == first).count();
        if run > 2 {
            // 257 − 128 is the least.
            packed.extend([u8::try_from(257 - run).unwrap_or(u8::MAX), first]);
            rest = &rest[run..];
            continue;
        }
        let plain =
            (1..rest.len().min(MOST)).find(|&at| rest[at..].iter().take(3).filter(|&&b| b == rest[at]).count() == 3);
        let plain = plain.unwrap_or(rest.len().min(MOST));
        packed.push(u8::try_from(plain - 1).unwrap_or(0));
        packed.extend_from_slice(&rest[..plain]);
        rest = &rest[plain..];
    }
    packed.push(128);
    packed
}

fn stream(head: &str, bytes: &[u8]) -> Vec<u8> {
    let head = format!("<< {head} /Length {} >>\nstream\n", bytes.len());
    [head.as_bytes(), bytes, b"\nendstream"].concat()
}

/// A file in the making. Objects 1 and 2 are the catalog and the list of pages.
struct File(Vec<Vec<u8>>);

impl File {
    fn new() -> Self {
        Self(vec![b"<< /Type /Catalog /Pages 2 0 R >>".to_vec(), Vec::new()])
    }

    /// Adds an object and gives its number.
    fn add(&mut self, object: Vec<u8>) -> usize {
        self.0.push(object);
        self.0.len()
    }

    /// The file with these pages: the content of each, and what it needs.
    fn finish(mut self, pages: Vec<(Vec<u8>, String)>) -> Vec<u8> {
        let mut kids = String::new();
        let count = pages.len();
        for (content, resources) in pages {
            let content = self.add(content);
            let page = format!(
                "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {WIDTH} {HEIGHT}] /Contents {content} 0 R /Resources {resources} >>"
            );
            let page = self.add(page.into_bytes());
            let _ = write!(kids, "{page} 0 R ");
        }
        self.0[1] = format!("<< /Type /Pages /Kids [{kids}] /Count {count} >>").into_bytes();
        let mut file = b"%PDF-1.4\n".to_vec();
        let mut table = format!("xref\n0 {}\n0000000000 65535 f \n", self.0.len() + 1);
        for (index, object) in self.0.iter().enumerate() {
            let _ = writeln!(table, "{:010} 00000 n ", file.len());
            file.extend_from_slice(format!("{} 0 obj\n", index + 1).as_bytes());
            file.extend_from_slice(object);
            file.extend_from_slice(b"\nendobj\n");
        }
        let start = file.len();
        file.extend_from_slice(table.as_bytes());
        let size = self.0.len() + 1;
        file.extend_from_slice(
            format!("trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n").as_bytes(),
        );
        file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_read_with_the_words_that_they_were_written_with() {
        let pages: Vec<String> = (0..3).map(|seed| prose(seed, 300)).collect();
        let read = longhaul_documents::extract(
            text_pdf(&pages),
            longhaul_documents::Format::Pdf,
            &longhaul_documents::Limits::default(),
        );
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for (page, known) in read.unwrap().pages.iter().zip(&pages) {
            assert_eq!(words(&page.text), words(known));
        }
    }

    #[test]
    fn a_scan_comes_out_as_the_picture_that_went_in() {
        let pixels: Vec<u8> = (0..40 * 60).map(|at| if at % 7 < 3 || at > 1_200 { 0 } else { 255 }).collect();
        let scan = Scan { width: 40, height: 60, pixels };
        let limits = longhaul_documents::Limits::default();
        let pages =
            longhaul_documents::Pages::open(scanned_pdf(&[scan]), longhaul_documents::Format::Pdf, &limits).unwrap();
        assert!(pages.page(1).unwrap().needs_ocr);
        let shown = pages.raster(1, 72).unwrap();
        let dark = |rows: std::ops::Range<usize>| {
            let shown = &shown.pixels[rows.start * 595..rows.end * 595];
            shown.iter().filter(|&&pixel| pixel < 128).count() * 100 / shown.len()
        };
        assert_eq!((dark(0..400) / 10, dark(440..842)), (4, 100), "three in seven above, all below");
    }

    #[test]
    fn runs_are_packed() {
        assert_eq!(run_lengths(&[5, 5, 5, 5, 1, 2, 3]), [253, 5, 2, 1, 2, 3, 128]);
        assert_eq!(run_lengths(&[]), [128]);
        assert_eq!(run_lengths(&[7; 300]), [129, 7, 129, 7, 213, 7, 128]);
    }

    #[test]
    fn a_page_on_its_side_is_as_wide_as_it_was_high() {
        let scan = Scan { width: 2, height: 3, pixels: vec![1, 2, 3, 4, 5, 6] };
        assert_eq!(scan.on_its_side(), Scan { width: 3, height: 2, pixels: vec![5, 3, 1, 6, 4, 2] });
        assert_eq!(scan.askew(0.0), scan);
    }
}
