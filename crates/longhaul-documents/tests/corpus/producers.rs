//! One text, printed by many programs. How the files were made: `fixtures/producers/make.py`.

use longhaul_documents::Page;

use crate::{open, page};

const KNOWN: &str = include_str!("../fixtures/producers/known.txt");

/// What each program wrote, and the part of the words that has to come out right.
const FILES: &[(&str, &[u8], f64)] = &[
    ("chromium.pdf", include_bytes!("../fixtures/producers/chromium.pdf"), 1.0),
    ("typst.pdf", include_bytes!("../fixtures/producers/typst.pdf"), 1.0),
    ("typst-columns.pdf", include_bytes!("../fixtures/producers/typst-columns.pdf"), 1.0),
    ("reportlab.pdf", include_bytes!("../fixtures/producers/reportlab.pdf"), 1.0),
    ("fpdf2.pdf", include_bytes!("../fixtures/producers/fpdf2.pdf"), 1.0),
    ("cairo.pdf", include_bytes!("../fixtures/producers/cairo.pdf"), 1.0),
    ("groff.pdf", include_bytes!("../fixtures/producers/groff.pdf"), 1.0),
    ("latex.pdf", include_bytes!("../fixtures/producers/latex.pdf"), 0.97),
    ("libreoffice.pdf", include_bytes!("../fixtures/producers/libreoffice.pdf"), 1.0),
    ("libreoffice.docx", include_bytes!("../fixtures/producers/libreoffice.docx"), 1.0),
    ("python-docx.docx", include_bytes!("../fixtures/producers/python-docx.docx"), 1.0),
];

/// One minus the word error rate (words to exchange, add and remove), quotation marks and dashes made plain, as some of
/// the programs make them curly.
fn accuracy(known: &str, read: &str) -> f64 {
    let plain = |text: &str| text.replace(['\u{2019}', '\u{2018}'], "'").replace(['\u{201c}', '\u{201d}'], "\"");
    let (known, read) = (plain(known), plain(read));
    let (known, read): (Vec<&str>, Vec<&str>) = (known.split_whitespace().collect(), read.split_whitespace().collect());
    let mut row: Vec<usize> = (0..=read.len()).collect();
    for (index, word) in known.iter().enumerate() {
        let mut before = std::mem::replace(&mut row[0], index + 1);
        for (at, other) in read.iter().enumerate() {
            let exchanged = before + usize::from(word != other);
            before = row[at + 1];
            row[at + 1] = exchanged.min(before + 1).min(row[at] + 1);
        }
    }
    1.0 - *row.last().unwrap() as f64 / known.len() as f64
}

#[test]
fn the_words_of_every_producer_come_out() {
    let mut poor = Vec::new();
    for (name, bytes, least) in FILES {
        let pages = open(bytes);
        let read: Vec<Page> = (1..=pages.page_count()).map(|n| page(&pages, n).unwrap()).collect();
        assert!(read.iter().all(|page| page.warnings.is_empty()), "{name}: {read:?}");
        let texts: Vec<String> = read.into_iter().map(|page| page.text).collect();
        let found = accuracy(KNOWN, &texts.join("\n"));
        println!("{name:<20} {:>7.2} % of {} words", found * 100.0, KNOWN.split_whitespace().count());
        if found < *least {
            poor.push(format!("{name}: {found}\n{}", texts.join("\n")));
        }
    }
    assert!(poor.is_empty(), "{}", poor.join("\n\n"));
}

#[test]
fn letters_that_are_pictures_without_a_meaning_need_ocr() {
    // What LaTeX makes of accented letters where fonts for them are not installed: a bitmap for each, without a name.
    let pages = open(include_bytes!("../fixtures/producers/latex-bitmaps.pdf"));
    let page = page(&pages, 1).unwrap();
    assert!(page.needs_ocr && page.text.trim().is_empty(), "{}", page.text);
    assert_eq!(page.warnings[0].code, "unmapped_letters");
    let picture = pages.raster(1, 50).unwrap();
    assert!(picture.pixels.iter().any(|&pixel| pixel < 160), "there is something to see");
}

#[test]
fn headings_and_titles_of_word_documents_are_found() {
    for (name, bytes, _) in FILES.iter().filter(|(name, ..)| name.ends_with(".docx")) {
        let pages = open(bytes);
        let page = page(&pages, 1).unwrap();
        let headings: Vec<_> = page.headings.iter().map(|heading| (heading.level, heading.text.as_str())).collect();
        assert_eq!(headings, [(1, "The tides of Norrvik")], "{name}");
        assert_eq!(pages.title(), Some("The tides of Norrvik"), "{name}");
        assert!(page.text[page.headings[0].at..].starts_with("The tides"), "{name}");
    }
}

#[test]
fn every_printed_page_can_also_be_drawn() {
    for (name, bytes, _) in FILES.iter().filter(|(name, ..)| name.ends_with(".pdf")) {
        let picture = open(bytes).raster(1, 50).unwrap();
        let ink = picture.pixels.iter().filter(|&&pixel| pixel < 160).count();
        assert!(ink * 100 > picture.pixels.len(), "{name}: {ink} dark pixels of {}", picture.pixels.len());
    }
}
