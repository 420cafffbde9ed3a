//! Word documents that are none, or more than they seem.

use std::io::{Cursor, Write as _};

use longhaul_documents::{DocumentError, Format, Limits, Pages};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

fn packed(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in parts {
        archive.start_file(*name, SimpleFileOptions::default()).unwrap();
        archive.write_all(content).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

fn open(bytes: Vec<u8>, limits: &Limits) -> Result<Pages, DocumentError> {
    Pages::open(bytes, Format::Docx, limits)
}

const BODY: &[u8] = b"<w:document><w:body><w:p><w:r><w:t>All is well.</w:t></w:r></w:p></w:body></w:document>";

#[test]
fn a_document_needs_only_its_body() {
    let pages = open(packed(&[("word/document.xml", BODY)]), &Limits::default()).unwrap();
    assert_eq!((pages.page_count(), pages.page(1).unwrap().text.as_str()), (1, "All is well."));
    let refused = pages.raster(1, 300).unwrap_err();
    assert_eq!(refused.to_string(), "page 1 cannot be shown as a picture: Word document has no pages to look at");
}

#[test]
fn parts_are_where_the_document_says() {
    let relationships = |of: &[(&str, &str)]| {
        let each =
            |(kind, target): &(&str, &str)| format!(r#"<Relationship Type="http://x/{kind}" Target="{target}"/>"#);
        format!("<Relationships>{}</Relationships>", of.iter().map(each).collect::<String>()).into_bytes()
    };
    let of_package =
        relationships(&[("metadata/core-properties", "docProps/core.xml"), ("officeDocument", "/word/document2.xml")]);
    let of_main = relationships(&[("styles", "../other/looks.xml"), ("footnotes", "notes2.xml")]);
    let styles = br#"<w:styles><w:style w:styleId="H"><w:name w:val="heading 1"/></w:style></w:styles>"#;
    let notes =
        br#"<w:footnotes><w:footnote w:id="1"><w:p><w:r><w:t>A note.</w:t></w:r></w:p></w:footnote></w:footnotes>"#;
    let body = br#"<w:document><w:body><w:p><w:pPr><w:pStyle w:val="H"/></w:pPr><w:r><w:t>Tides</w:t></w:r></w:p>
        <w:p><w:r><w:t>They turn.</w:t></w:r><w:r><w:footnoteReference w:id="1"/></w:r></w:p></w:body></w:document>"#;
    let bytes = packed(&[
        ("[Content_Types].xml", b"<Types/>"),
        ("_rels/.rels", &of_package),
        ("word/_rels/document2.xml.rels", &of_main),
        ("word/document2.xml", body),
        ("other/looks.xml", styles),
        ("word/notes2.xml", notes),
    ]);
    assert_eq!(longhaul_documents::sniff(&bytes, None, None), Ok(Format::Docx));
    let page = open(bytes, &Limits::default()).unwrap().page(1).unwrap();
    assert!(page.text.contains("They turn.") && page.text.ends_with("[1] A note."), "{}", page.text);
    assert_eq!(page.headings.iter().map(|heading| heading.text.as_str()).collect::<Vec<_>>(), ["Tides"]);
}

#[test]
fn an_archive_that_unpacks_without_end_is_refused_whatever_part_it_stands_in() {
    let spaces = vec![b' '; 8 << 20];
    let limits = Limits { max_text_bytes: 1 << 20, ..Limits::default() };
    for part in ["word/document.xml", "word/styles.xml", "word/footnotes.xml"] {
        let mut parts = vec![(part, spaces.as_slice())];
        if part != "word/document.xml" {
            parts.push(("word/document.xml", BODY));
        }
        let bytes = packed(&parts);
        assert!(bytes.len() < 50_000, "a small file: {}", bytes.len());
        assert_eq!(open(bytes, &limits).unwrap_err(), DocumentError::TooLarge { max: 1 << 20 }, "{part}");
    }
    let picture = packed(&[("word/media/image1.png", &spaces), ("word/document.xml", BODY)]);
    assert!(open(picture, &limits).is_ok(), "pictures are not unpacked");
}

#[test]
fn what_is_broken_is_told() {
    let whole = packed(&[("word/document.xml", BODY)]);
    let cases = [
        (whole[..whole.len() - 20].to_vec(), "cannot be opened"),
        (packed(&[("word/other.xml", BODY)]), "word/document.xml, is missing"),
        (packed(&[("word/document.xml", b"<w:document")]), "cannot be opened"),
    ];
    for (bytes, said) in cases {
        let error = open(bytes, &Limits::default()).unwrap_err();
        assert_eq!(error.code(), "document_broken");
        assert!(error.to_string().contains(said), "{error}");
    }
    let damaged = packed(&[("word/styles.xml", b"\xff\xfe<"), ("word/document.xml", BODY)]);
    assert_eq!(open(damaged, &Limits::default()).unwrap().page(1).unwrap().text, "All is well.");
}

#[test]
fn entities_of_a_documents_own_are_not_obeyed() {
    let laughs = br#"<!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;"><!ENTITY f SYSTEM "file:///etc/passwd">]>
        <w:document><w:body><w:p><w:r><w:t>one &b; &f; two</w:t></w:r></w:p></w:body></w:document>"#;
    let pages = open(packed(&[("word/document.xml", laughs)]), &Limits::default()).unwrap();
    let text = pages.page(1).unwrap().text;
    assert_eq!(text.split_whitespace().collect::<Vec<_>>(), ["one", "two"]);
}

#[test]
fn nesting_without_end_is_no_danger() {
    let body = [b"<w:document>".as_slice(), &b"<w:tbl><w:tr><w:tc><w:p>".repeat(100_000), b"<w:r><w:t>deep"].concat();
    let pages = open(packed(&[("word/document.xml", &body)]), &Limits::default());
    assert!(pages.is_ok_and(|pages| pages.page(1).unwrap().text == "deep"));
}
