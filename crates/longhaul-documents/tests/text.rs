//! Whatever bytes come in, reading ends in an answer, and chunks keep what they promise.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use longhaul_documents::{
    ChunkOptions, DocumentError, Format, Limits, Page, Pages, chunk, estimate_tokens, extract, sniff,
};
use proptest::prelude::*;

const FORMATS: [Format; 4] = [Format::Pdf, Format::Html, Format::Markdown, Format::Text];

/// Text with what is troublesome in it: marks, emoji of several letters, line ends of all kinds, scripts of all kinds.
fn troublesome() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        "[a-zA-Z]{1,12}",
        "[0-9]{1,9}",
        Just(" ".to_owned()),
        Just(". ".to_owned()),
        Just("\n".to_owned()),
        Just("\n\n".to_owned()),
        Just("\r\n".to_owned()),
        Just("\u{c}".to_owned()),
        Just("e\u{301}\u{302}".to_owned()),
        Just("👩‍👩‍👧‍👦🇩🇪🇫🇷".to_owned()),
        Just("東京は晴れ。".to_owned()),
        Just("한국어 ".to_owned()),
        Just("مرحبا ".to_owned()),
        Just("\u{200b}\u{ad}\u{feff}".to_owned()),
        "\\PC{1,5}",
        "[<>&;/!\"'=a-z#x0-9 -]{1,20}",
        "[-*#>`_\\[\\]()|~:0-9. ]{1,12}",
    ];
    prop::collection::vec(pieces, 0..120).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_get_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..1_500), declared in "\\PC{0,30}", name in "\\PC{0,30}") {
        let _named_or_refused = sniff(&bytes, Some(&declared), Some(&name));
        for format in FORMATS {
            let _read_or_refused = extract(bytes.clone(), format, &Limits::default());
        }
    }

    #[test]
    fn any_text_is_read_in_every_format(text in troublesome()) {
        for format in [Format::Html, Format::Markdown, Format::Text] {
            let Ok(document) = extract(text.clone().into_bytes(), format, &Limits::default()) else {
                prop_assert!(text.trim().is_empty());
                continue;
            };
            prop_assert!(document.failures.is_empty() && !document.pages.is_empty());
            for page in &document.pages {
                prop_assert!(page.headings.iter().all(|heading| page.text.is_char_boundary(heading.at)));
                prop_assert!(page.headings.windows(2).all(|pair| pair[0].at <= pair[1].at));
            }
        }
    }

    #[test]
    fn chunks_cover_the_text_within_their_limits(text in troublesome(), tokens in 8..60usize, share in 0..100usize) {
        let overlap = tokens * share / 100;
        let options = ChunkOptions { tokens, overlap };
        let page = Page { number: 1, text: text.clone(), ..Page::default() };
        let chunks = chunk([&page], &options).unwrap();
        let mut covered = 0;
        for (index, piece) in chunks.iter().enumerate() {
            prop_assert_eq!(piece.index, index);
            prop_assert_eq!(&text[piece.start..piece.end], piece.text.as_str());
            prop_assert!(!piece.text.trim().is_empty() && piece.text.trim().len() == piece.text.len());
            prop_assert!(piece.tokens <= tokens, "{} of {tokens}", piece.tokens);
            prop_assert!(piece.end > covered, "every chunk brings something new");
            if piece.start > covered {
                prop_assert!(text[covered..piece.start].trim().is_empty(), "nothing but white space is left out");
            } else {
                let repeated = estimate_tokens(text[piece.start..covered].trim());
                prop_assert!(index == 0 || repeated <= overlap, "{repeated} of {overlap}");
            }
            covered = piece.end;
        }
        prop_assert!(text[covered..].trim().is_empty());
        prop_assert_eq!(chunk([&page], &options).unwrap(), chunks);
    }
}

#[test]
fn the_encoding_that_a_sender_declares_is_used() {
    let text = |bytes: &[u8], content_type| {
        let pages = Pages::open_as_sent(bytes.to_vec(), Some(content_type), None, &Limits::default())?;
        pages.page(1).map(|page| page.text).map_err(|_| DocumentError::NoPages)
    };
    let wide: Vec<u8> = "港口很安静，船停在那里。".encode_utf16().flat_map(u16::to_le_bytes).collect();
    for content_type in
        ["text/plain; charset=utf-16le", "text/html; charset=utf-16le", "text/markdown; charset=utf-16le"]
    {
        assert_eq!(text(&wide, content_type).as_deref(), Ok("港口很安静，船停在那里。"), "{content_type}");
    }
    assert_eq!(text(&wide, "text/plain"), Err(DocumentError::UnknownFormat));
    let short = b"\x93\x8c\x8b\x9e";
    assert_eq!(text(short, "text/plain; charset=Shift_JIS").as_deref(), Ok("東京"));
    assert_eq!(text(b"na\xc3\xafve", "text/plain; charset=iso-8859-1").as_deref(), Ok("naïve"), "it is UTF-8");
}

#[test]
fn text_made_to_be_slow_is_read_in_time() {
    // Each is a known way to make a careless parser quadratic; together they take seconds then, and an instant if not.
    let hostile = [
        "<".repeat(100_000),
        "&amp".repeat(30_000),
        "<!--".repeat(25_000),
        "<a ".repeat(30_000),
        "[".repeat(100_000),
        "![](".repeat(25_000),
        "*a ".repeat(30_000),
        "`".repeat(100_000),
        "> ".repeat(30_000),
        "|".repeat(100_000),
        "\u{301}".repeat(50_000),
        "a.".repeat(50_000),
        "\n".repeat(100_000) + "x",
    ];
    for text in hostile {
        for format in [Format::Html, Format::Markdown, Format::Text] {
            if let Ok(document) = extract(text.clone().into_bytes(), format, &Limits::default()) {
                chunk(&document.pages, &ChunkOptions::default()).unwrap();
            }
        }
    }
}

#[test]
fn a_text_that_is_cut_into_thousands_of_chunks_is_cut_in_time() {
    // Each makes a cutter quadratic that looks for its place anew for each chunk, or for each empty line: a minute then.
    let hostile = [
        "# a\n".repeat(150_000),
        format!("# {}\n\n{}", "long ".repeat(100_000), "words stand here. ".repeat(10_000)),
        format!("a\n\n```\n{}b\n```\n", "\n".repeat(200_000)),
        format!("a{}b", "\t".repeat(200_000)),
    ];
    for text in hostile {
        let document = extract(text.into_bytes(), Format::Markdown, &Limits::default()).unwrap();
        let chunks = chunk(&document.pages, &ChunkOptions { tokens: 8, overlap: 0 }).unwrap();
        assert!(chunks.iter().all(|chunk| chunk.section.as_ref().is_none_or(|path| path.chars().count() <= 300)));
    }
}
