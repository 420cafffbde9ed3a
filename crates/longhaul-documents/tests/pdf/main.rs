//! PDFs as they come: printed, written by a library, protected, damaged and hostile.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod make;

use longhaul_documents::{ChunkOptions, DocumentError, Format, Limits, Page, PageError, Pages, chunk, extract, sniff};
use lopdf::{Object, Stream, dictionary};
use make::{Builder, encrypted, saved};
use proptest::prelude::*;

const PRINTED: &[u8] = include_bytes!("../fixtures/printed.pdf");

fn open(bytes: &[u8]) -> Result<Pages, DocumentError> {
    Pages::open(bytes.to_vec(), Format::Pdf, &Limits::default())
}

fn texts(bytes: &[u8]) -> Vec<String> {
    let document = extract(bytes.to_vec(), Format::Pdf, &Limits::default()).unwrap();
    assert_eq!(document.failures, []);
    document.pages.into_iter().map(|page| page.text).collect()
}

#[test]
fn a_printed_page_is_read_as_a_person_reads_it() {
    assert_eq!(sniff(PRINTED, None, None), Ok(Format::Pdf));
    let pages = open(PRINTED).unwrap();
    assert_eq!((pages.page_count(), pages.title()), (2, Some("Tides at the harbour of Norrvik")));
    let read: Vec<Page> = (1..=2).map(|number| pages.page(number).unwrap()).collect();
    assert!(read.iter().all(|page| !page.needs_ocr && page.warnings.is_empty()));
    let first = &read[0].text;
    assert!(first.contains("a difficult but efficient record"), "ligatures: {first}");
    assert!(first.contains("Zoë Ångström in a café"), "accents: {first}");
    assert!(first.contains("Wednesday\t4.51 m\t0.41 m\tFrançois Lefèvre"), "a row of the table: {first}");
    let left = first.find("no affluent neighbour").unwrap();
    assert!(left < first.find("In the right column").unwrap(), "one column after the other: {first}");
    assert!(read[1].text.contains("„Das Wasser fließt,\nwohin es will.“"), "{}", read[1].text);
    let chunks = chunk(&read, &ChunkOptions { tokens: 64, overlap: 16 }).unwrap();
    assert!(chunks.len() > 5 && chunks.iter().all(|chunk| chunk.tokens <= 64));
}

#[test]
fn pages_are_read_alone_in_any_order_and_always_alike() {
    let bytes = saved(Builder::default().text("First page.").text("Second page.").text("Third page.").build());
    let pages = open(&bytes).unwrap();
    let of = |number| pages.page(number).unwrap().text;
    assert_eq!(
        (of(3), of(1), of(2), of(3)),
        ("Third page.".into(), "First page.".into(), "Second page.".into(), "Third page.".into())
    );
    assert_eq!(pages.page(0), Err(PageError::OutOfRange { page: 0, count: 3 }));
    assert_eq!(pages.page(4).unwrap_err().to_string(), "there is no page 4; the document has 3");
}

#[test]
fn letters_are_found_by_the_font_s_encoding_and_differences() {
    let mut builder = Builder::default();
    let encoding = dictionary! {
        "Type" => "Encoding", "BaseEncoding" => "WinAnsiEncoding",
        "Differences" => vec![65.into(), "f_f_i".into(), "Lslash".into(), "uni20AC".into(), "g99".into()],
    };
    let font =
        dictionary! { "Type" => "Font", "Subtype" => "Type1", "BaseFont" => "Helvetica", "Encoding" => encoding };
    builder.font = Some(font);
    let bytes = saved(builder.raw(b"BT /F1 12 Tf 72 700 Td <6541 4243 20 e9> Tj ET").build());
    assert_eq!(texts(&bytes), ["effiŁ€ é"]);
    let mut builder = Builder::default();
    builder.font = Some(font_without_meaning(65));
    let bytes = saved(builder.raw(b"BT /F1 12 Tf 72 700 Td (A) Tj ET").build());
    let page = open(&bytes).unwrap().page(1).unwrap();
    assert!(page.needs_ocr, "letters without meaning are no text");
    assert_eq!(page.warnings[0].code, "unmapped_letters");
    let mut builder = Builder::default();
    builder.font = Some(font_without_meaning(65));
    let bytes = saved(builder.raw(b"BT /F1 12 Tf 72 700 Td (AAAB) Tj ET").text("BBBA").build());
    let pages = open(&bytes).unwrap();
    assert!(pages.page(1).unwrap().needs_ocr, "most of its letters have no meaning");
    assert!(!pages.page(2).unwrap().needs_ocr, "most of them have");
}

#[test]
fn standard_fonts_of_symbols_have_an_encoding_of_their_own() {
    for (font, codes, read) in [("Symbol", "abG", "αβΓ"), ("ZapfDingbats", "4", "✔")] {
        let mut builder = Builder::default();
        builder.font = Some(dictionary! { "Type" => "Font", "Subtype" => "Type1", "BaseFont" => font });
        assert_eq!(texts(&saved(builder.text(codes).build())), [read]);
    }
}

fn font_without_meaning(code: i64) -> lopdf::Dictionary {
    let encoding = dictionary! { "Type" => "Encoding", "Differences" => vec![code.into(), "g99".into()] };
    dictionary! { "Type" => "Font", "Subtype" => "Type1", "BaseFont" => "Strange", "Encoding" => encoding }
}

#[test]
fn positions_part_words_lines_and_cells() {
    let content = b"BT /F1 10 Tf 72 700 Td [(W) 80 (ord) -400 (gap)] TJ 0 -12 Td (second line) Tj \
        200 0 Td (cell) Tj ET q 1 0 0 1 0 -60 cm BT /F1 10 Tf 1 0 0 1 72 700 Tm (moved) Tj ET Q";
    let bytes = saved(Builder::default().raw(content).build());
    assert_eq!(texts(&bytes), ["Word gap\nsecond line\tcell\n\nmoved"]);
}

#[test]
fn doubled_letters_of_condensed_fonts_are_both_read() {
    let content =
        b"BT /F1 12 Tf 60 Tz 72 700 Td [(H) (e) (l) (l) (o) ( ) (s) (k) (i) (i) (n) (g) ( ) (b) (i) (l) (l)] TJ ET";
    let bytes = saved(Builder::default().raw(content).build());
    assert_eq!(texts(&bytes), ["Hello skiing bill"]);
}

#[test]
fn a_page_that_is_a_picture_asks_for_ocr_and_an_empty_one_does_not() {
    let bytes = saved(Builder::default().picture().raw(b"").text("words").build());
    let pages = open(&bytes).unwrap();
    let of = |number: usize| pages.page(number).map(|page| (page.text, page.needs_ocr)).unwrap();
    assert_eq!((of(1), of(2), of(3)), ((String::new(), true), (String::new(), false), ("words".into(), false)));
}

#[test]
fn a_protected_document_is_refused_and_one_with_an_empty_password_is_read() {
    let document = || Builder::default().text("Secret words.").build();
    for bytes in [encrypted(document(), "owner", "user", false), encrypted(document(), "owner", "user", true)] {
        let error = open(&bytes).unwrap_err();
        assert_eq!(error, DocumentError::PasswordProtected);
        assert!(error.to_string().contains("protected by a password"));
    }
    for bytes in [encrypted(document(), "owner", "", false), encrypted(document(), "owner", "", true)] {
        assert_eq!(texts(&bytes), ["Secret words."]);
    }
}

#[test]
fn what_is_cut_off_or_no_pdf_is_told() {
    for bytes in [&b"%PDF-1.7\nnothing follows"[..], b"plain words", &PRINTED[..200]] {
        let error = open(bytes).unwrap_err();
        assert!(matches!(error.code(), "document_broken" | "document_no_pages"), "{error:?}");
    }
    assert_eq!(open(b"").unwrap_err(), DocumentError::Empty);
    assert_eq!(open(b" \n ").unwrap_err().code(), "document_empty");
}

#[test]
fn a_page_that_fails_leaves_the_others() {
    let mut builder = Builder::default();
    let mut document = builder.text("one").text("two").text("three").build();
    let second = document.page_iter().nth(1).unwrap();
    document.objects.remove(&second);
    let whole = extract(saved(document), Format::Pdf, &Limits::default()).unwrap();
    let read: Vec<_> = whole.pages.iter().map(|page| (page.number, page.text.as_str())).collect();
    assert_eq!(read, [(1, "one"), (3, "three")]);
    assert_eq!(whole.failures.iter().map(PageError::code).collect::<Vec<_>>(), ["page_broken"]);
}

#[test]
fn a_content_that_cannot_be_read_to_its_end_says_so() {
    let kept = "BT /F1 12 Tf 72 700 Td (kept) Tj ET ";
    let of = |rest: &str| {
        open(&saved(Builder::default().raw(format!("{kept}{rest}").as_bytes()).build())).unwrap().page(1).unwrap()
    };
    for torn in ["BT (Liability is unlimited Tj ET", "[(never) (closed) TJ", "<< /A", "BT <41 Tj ET"] {
        let page = of(torn);
        assert_eq!(page.text, "kept", "{torn}");
        assert_eq!(
            page.warnings.iter().map(|warning| warning.code.as_str()).collect::<Vec<_>>(),
            ["page_damaged"],
            "{torn}"
        );
    }
    for whole in ["", "% a comment", "Q Q", "BI /W 1 /H 1 /CS /G /BPC 8 ID x EI", "unknown 1 2"] {
        assert_eq!(of(whole).warnings, [], "{whole}");
    }
}

#[test]
fn a_content_that_unpacks_without_end_fails_its_page_only() {
    let bomb = b"0 0 m ".repeat(2 << 20);
    let mut document = Builder::default().text("small").raw(&bomb).build();
    document.compress();
    let bytes = saved(document);
    assert!(bytes.len() < 200_000, "a small file: {}", bytes.len());
    let limits = Limits { max_page_bytes: 1 << 20, ..Limits::default() };
    let whole = extract(bytes, Format::Pdf, &limits).unwrap();
    assert_eq!(whole.pages[0].text, "small");
    assert_eq!(whole.failures, [PageError::TooLarge { page: 2, what: "bytes of content".into(), max: 1 << 20 }]);
}

/// A page with a name on it, and annotations: where they are, what they show, their flags.
fn filled_in(content: &[u8], fields: &[(i64, i64, &str, i64)]) -> lopdf::Document {
    let mut document = Builder::default().raw(content).build();
    let page = document.page_iter().next().unwrap();
    let font = dictionary! { "Type" => "Font", "Subtype" => "Type1", "BaseFont" => "Helvetica" };
    let font = document.add_object(font);
    let mut fields: Vec<Object> = fields
        .iter()
        .map(|&(x, y, words, flags)| {
            let look = dictionary! {
                "Type" => "XObject", "Subtype" => "Form", "BBox" => vec![0.into(), 0.into(), 200.into(), 20.into()],
                "Resources" => dictionary! { "Font" => dictionary! { "Helv" => font } },
            };
            let drawn = format!("/Tx BMC q BT /Helv 12 Tf 2 5 Td ({words}) Tj ET Q EMC");
            let look = document.add_object(Stream::new(look, drawn.into_bytes()));
            let place: Vec<Object> = [x, y, x + 200, y + 20].map(Object::from).into();
            let field = dictionary! {
                "Type" => "Annot", "Subtype" => "Widget", "Rect" => place, "F" => flags,
                "AP" => dictionary! { "N" => look },
            };
            document.add_object(field).into()
        })
        .collect();
    // A box that is ticked, one that is not, and what is no annotation.
    for state in ["On", "Off"] {
        let look = dictionary! { "BBox" => vec![0.into(), 0.into(), 20.into(), 20.into()] };
        let ticked = b"BT /F1 12 Tf 2 5 Td (X) Tj ET".to_vec();
        let mut ticked = Stream::new(look, ticked);
        ticked.dict.set("Resources", dictionary! { "Font" => dictionary! { "F1" => font } });
        let ticked = document.add_object(ticked);
        let place: Vec<Object> = [300, 500, 320, 520].map(Object::from).into();
        let states = dictionary! { "On" => ticked };
        let annotation = dictionary! { "Rect" => place, "AS" => state, "AP" => dictionary! { "N" => states } };
        fields.push(document.add_object(annotation).into());
    }
    fields.push(Object::Null);
    document.get_dictionary_mut(page).unwrap().set("Annots", fields);
    document
}

#[test]
fn what_was_filled_into_a_form_is_read_where_it_stands() {
    let names = b"BT /F1 12 Tf 72 700 Td (Name:) Tj 0 -30 Td (City:) Tj 0 -60 Td (Below.) Tj ET";
    let fields =
        [(120, 665, "Norrvik", 4), (120, 695, "Jane Doe 4711", 4), (120, 695, "hidden", 2), (72, 640, "no view", 32)];
    let bytes = saved(filled_in(names, &fields));
    assert_eq!(texts(&bytes), ["Name: Jane Doe 4711\n\nCity:\tNorrvik\n\nBelow.\n\nX"]);
    let bytes = saved(filled_in(b"", &[(72, 700, "only a field", 0)]));
    assert!(texts(&bytes)[0].starts_with("only a field"));
}

#[test]
fn forms_that_draw_themselves_end() {
    let mut builder = Builder::default();
    builder.form(b"BT /F1 10 Tf 72 700 Td (again) Tj ET /Self Do /Self Do");
    let page = open(&saved(builder.raw(b"/Self Do").build())).unwrap().page(1).unwrap();
    assert!(page.text.starts_with("again") && page.text.len() < 10_000, "{} letters", page.text.len());
    let mut builder = Builder::default();
    builder.form(&b"/Self Do ".repeat(50));
    let error = open(&saved(builder.raw(b"/Self Do").build())).unwrap().page(1).unwrap_err();
    assert_eq!(error.code(), "page_too_large");
}

#[test]
fn page_trees_that_bite_their_tail_end() {
    let mut document = Builder::default().text("only").build();
    let root = document.catalog().unwrap().get(b"Pages").unwrap().as_reference().unwrap();
    let tree = document.get_dictionary_mut(root).unwrap();
    let kids = tree.get_mut(b"Kids").unwrap().as_array_mut().unwrap();
    kids.insert(0, Object::Reference(root));
    tree.set("Parent", root);
    assert_eq!(texts(&saved(document)), ["only"]);
}

#[test]
fn a_letter_table_that_claims_every_code_costs_nothing() {
    let table = b"1 begincodespacerange <00000000> <ffffffff> endcodespacerange \
        1 beginbfrange <00000000> <ffffffff> <0041> endbfrange";
    let mut builder = Builder::default();
    let table = builder.document.add_object(Stream::new(dictionary! {}, table.to_vec()));
    builder.font = Some(dictionary! {
        "Type" => "Font", "Subtype" => "Type0", "BaseFont" => "Any", "Encoding" => "Identity-H", "ToUnicode" => table,
        "DescendantFonts" => vec![dictionary! { "DW" => 1000, "W" => vec![0.into(), i64::from(u32::MAX).into(), 500.into()] }.into()],
    });
    let bytes = saved(builder.raw(b"BT /F1 12 Tf 72 700 Td <00000001 00000002> Tj ET").build());
    assert_eq!(texts(&bytes), ["BC"]);
}

#[test]
fn nesting_without_end_is_an_error_and_no_crash() {
    let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
    let content = [b"BT /F1 12 Tf (before) Tj ET ".as_slice(), &deep, b" TJ"].concat();
    let page = open(&saved(Builder::default().raw(&content).build())).unwrap().page(1);
    assert!(page.is_ok_and(|page| page.text == "before" || page.text.is_empty()));
    let mut file = b"%PDF-1.7\n1 0 obj ".to_vec();
    file.extend([b"<< /A ".repeat(50_000), b">>".repeat(50_000)].concat());
    file.extend(b" endobj\ntrailer << /Root 1 0 R >>\nstartxref\n9\n%%EOF");
    assert!(open(&file).is_err());
}

/// A document all of whose pages show the same stream, each of whose codes stands for `letters`, given as UTF-16 in
/// hexadecimal digits.
fn pages_that_share(count: usize, codes: usize, letters: &str) -> Vec<u8> {
    let table = format!("1 begincodespacerange <00> <ff> endcodespacerange 1 beginbfchar <41> <{letters}> endbfchar");
    let mut builder = Builder::default();
    let table = builder.document.add_object(Stream::new(dictionary! {}, table.into_bytes()));
    builder.font = Some(dictionary! {
        "Type" => "Font", "Subtype" => "Type1", "BaseFont" => "Helvetica", "Encoding" => "WinAnsiEncoding",
        "ToUnicode" => table,
    });
    builder.raw(format!("BT /F1 12 Tf 72 700 Td ({}) Tj ET", "A".repeat(codes)).as_bytes());
    let mut document = builder.build();
    let (page, id) = document.page_iter().next().map(|id| (document.get_dictionary(id).unwrap().clone(), id)).unwrap();
    let tree = page.get(b"Parent").unwrap().as_reference().unwrap();
    let others: Vec<_> = (1..count).map(|_| Object::Reference(document.add_object(page.clone()))).collect();
    let kids = std::iter::once(Object::Reference(id)).chain(others).collect::<Vec<_>>();
    document.get_dictionary_mut(tree).unwrap().set("Kids", kids);
    document.compress();
    saved(document)
}

#[test]
fn a_small_file_of_pages_that_share_their_letters_gives_so_much_text_and_no_more() {
    let bytes = pages_that_share(5_000, 30_000, &"0061".repeat(32));
    assert!(bytes.len() < 1 << 20, "a small file: {}", bytes.len());
    let limits = Limits { max_document_chars: 3_000_000, ..Limits::default() };
    let whole = extract(bytes, Format::Pdf, &limits).unwrap();
    let lengths: Vec<usize> = whole.pages.iter().map(|page| page.text.len()).collect();
    assert_eq!(lengths, [960_000, 960_000, 960_000]);
    assert_eq!(whole.failures.len(), 4_997, "the others are told one by one, and not read");
    assert_eq!(whole.failures[0], PageError::LeftOut { page: 4, max: 3_000_000 });
    assert_eq!(whole.failures[0].code(), "page_left_out");
}

#[test]
fn letters_that_stand_for_phrases_are_counted_as_what_they_become() {
    // U+FDFA is one letter, and dissolves into a phrase of eighteen.
    let bytes = pages_that_share(1, 10_000, "fdfa");
    let with = |max| {
        let limits = Limits { max_page_chars: max, ..Limits::default() };
        Pages::open(bytes.clone(), Format::Pdf, &limits).unwrap().page(1)
    };
    assert_eq!(with(180_000).unwrap().text.chars().count(), 180_000);
    assert_eq!(with(179_999), Err(PageError::TooLarge { page: 1, what: "letters".into(), max: 179_999 }));
}

#[test]
fn limits_of_bytes_pages_and_letters_hold() {
    let bytes = saved(Builder::default().text("one").text("two").build());
    let with = |limits: Limits| Pages::open(bytes.clone(), Format::Pdf, &limits);
    let limits = Limits::default();
    let few = with(Limits { max_pages: 1, ..limits }).unwrap_err();
    assert_eq!(few, DocumentError::TooManyPages { pages: 2, max: 1 });
    assert_eq!(with(Limits { max_pdf_bytes: 10, ..limits }).unwrap_err(), DocumentError::TooLarge { max: 10 });
    let page = with(Limits { max_page_chars: 2, ..limits }).unwrap().page(1);
    assert_eq!(page, Err(PageError::TooLarge { page: 1, what: "letters".into(), max: 2 }));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever happens to a file on its way, reading it ends, and in an answer.
    #[test]
    fn damage_is_survived(hits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40), cut in 0..100usize) {
        let mut bytes = Builder::default().text("Some words.").picture().text("More words.").build();
        bytes.compress();
        let mut bytes = saved(bytes);
        for (place, byte) in hits {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes.truncate(bytes.len() * (100 - cut / 3) / 100);
        if let Ok(pages) = open(&bytes) {
            for number in 1..=pages.page_count() {
                let _read_or_refused = pages.page(number);
            }
        }
    }

    #[test]
    fn rubbish_behind_the_mark_is_survived(rubbish in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let bytes = [b"%PDF-1.5\n".as_slice(), &rubbish].concat();
        prop_assert!(open(&bytes).is_err());
    }

    #[test]
    fn any_content_stream_is_survived(content in prop::collection::vec(any::<u8>(), 0..600)) {
        let bytes = saved(Builder::default().raw(&content).build());
        let pages = open(&bytes).unwrap();
        prop_assert!(pages.page(1).is_ok());
    }
}

#[test]
fn open_documents_can_be_shared_between_threads() {
    fn shareable<T: Send + Sync>(_: &T) {}
    shareable(&open(PRINTED).unwrap());
}
