//! What the bytes are.
//!
//! The bytes decide. The declared content type and the file name only tell apart what the bytes cannot: Markdown and
//! plain text look alike. What is recognised and not read is named, so that the sender knows what went wrong.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::charset;
use crate::error::DocumentError;

/// Bytes of the beginning that are enough to tell.
const HEAD: usize = 4_096;
/// The list of a ZIP archive's entries stands at its end; a Word document's has a few dozen.
const ZIP_LIST: usize = 65_536;
/// A PDF may have rubbish before its mark, but not much.
const PDF_MARK_WITHIN: usize = 1_024;

/// A format that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// Portable Document Format, any version.
    Pdf,
    /// HTML or XHTML.
    Html,
    /// CommonMark with the usual extensions.
    Markdown,
    /// Plain text in any common encoding.
    Text,
    /// Word's own format since 2007 (Office Open XML).
    Docx,
    /// An image in PNG.
    Png,
    /// An image in JPEG.
    Jpeg,
    /// One or several images in TIFF, which is what scanners and fax machines write.
    Tiff,
    /// An image in WebP.
    #[serde(rename = "webp")]
    WebP,
}

impl Format {
    /// The name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pdf => "PDF",
            Self::Html => "HTML",
            Self::Markdown => "Markdown",
            Self::Text => "text",
            Self::Docx => "Word document",
            Self::Png => "PNG image",
            Self::Jpeg => "JPEG image",
            Self::Tiff => "TIFF image",
            Self::WebP => "WebP image",
        }
    }

    /// The media type under which it is known (RFC 6838).
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Pdf => "application/pdf",
            Self::Html => "text/html",
            Self::Markdown => "text/markdown",
            Self::Text => "text/plain",
            Self::Docx => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Tiff => "image/tiff",
            Self::WebP => "image/webp",
        }
    }

    /// True for an image: nothing but a picture on every page.
    pub fn is_image(self) -> bool {
        matches!(self, Self::Png | Self::Jpeg | Self::Tiff | Self::WebP)
    }

    /// True if pages of the format can be looked at, so that text in pictures can be read.
    pub fn has_pictures(self) -> bool {
        self == Self::Pdf || self.is_image()
    }
}

impl fmt::Display for Format {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

const IMAGE: &str = "images of this kind are not read; save it as PNG or JPEG and send that";
const UNPACK: &str = "unpack it and send the documents in it one by one";
const OFFICE: &str = "this format is not read yet; save it as PDF, HTML or text and send that";
const NO_TEXT: &str = "there is no text in it to read";

/// Marks at the very beginning of images that are read. TIFF comes in either byte order, and for large files as BigTIFF.
const IMAGES: &[(&[u8], Format)] = &[
    (b"\x89PNG\r\n\x1a\n", Format::Png),
    (b"\xff\xd8\xff", Format::Jpeg),
    (b"II*\0", Format::Tiff),
    (b"MM\0*", Format::Tiff),
    (b"II+\0", Format::Tiff),
    (b"MM\0+", Format::Tiff),
];

/// Marks at the very beginning of files that are recognised and not read.
const KNOWN: &[(&[u8], &str, &str)] = &[
    (b"GIF87a", "a GIF image", IMAGE),
    (b"GIF89a", "a GIF image", IMAGE),
    (b"BM", "a BMP image", IMAGE),
    (b"\0\0\0\x0cjP  ", "a JPEG 2000 image", IMAGE),
    (b"8BPS", "a Photoshop image", IMAGE),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an older Office document (DOC, XLS, PPT or MSG)", OFFICE),
    (b"{\\rtf", "an RTF document", OFFICE),
    (b"%!PS", "a PostScript document", "this format is not read; convert it to PDF and send that"),
    (b"\x1f\x8b", "a gzip archive", UNPACK),
    (b"BZh", "a bzip2 archive", UNPACK),
    (b"\xfd7zXZ\0", "an xz archive", UNPACK),
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", UNPACK),
    (b"\x7fELF", "a program", NO_TEXT),
    (b"\xca\xfe\xba\xbe", "a program", NO_TEXT),
    (b"\0asm", "a WebAssembly module", NO_TEXT),
    (b"SQLite format 3\0", "an SQLite database", NO_TEXT),
    (b"OggS", "an Ogg recording", NO_TEXT),
    (b"fLaC", "a FLAC recording", NO_TEXT),
    (b"ID3", "an MP3 recording", NO_TEXT),
    (b"\x1aE\xdf\xa3", "a Matroska or WebM film", NO_TEXT),
    (b"AT&TFORM", "a DjVu document", OFFICE),
];

/// Says what a document is by its first bytes; four thousand of them are enough, but for DOCX, which is a ZIP archive and
/// is surely known only by the list of its entries at its end: give all bytes where you have them.
///
/// `content_type` is what the sender declared, `file_name` what it was called. Both are hints: they choose between HTML,
/// Markdown and text, and make an error clearer. A name is never opened, only its ending is looked at.
pub fn sniff(bytes: &[u8], content_type: Option<&str>, file_name: Option<&str>) -> Result<Format, DocumentError> {
    let head = &bytes[..bytes.len().min(HEAD)];
    if head.iter().all(u8::is_ascii_whitespace) {
        return Err(DocumentError::Empty);
    }
    let pdf_mark = find(&head[..head.len().min(PDF_MARK_WITHIN)], b"%PDF-");
    if pdf_mark == Some(0) {
        return Ok(Format::Pdf);
    }
    let hint = hint(content_type, file_name);
    let declared = content_type.and_then(charset::of_content_type);
    let looks_like_text = |head: &[u8]| charset::looks_like_text(head, declared);
    let mismatch =
        |found: &'static str| DocumentError::FormatMismatch { declared: "a PDF".into(), found: found.into() };
    if let Some((format, what)) = readable(bytes, head, hint) {
        return if hint == Some(Format::Pdf) { Err(mismatch(what)) } else { Ok(format) };
    }
    if let Some((what, why)) = recognised(head) {
        return Err(match hint {
            Some(Format::Pdf) => mismatch(what),
            _ => DocumentError::UnsupportedFormat { what: what.into(), why: why.into() },
        });
    }
    if pdf_mark.is_some() && (hint == Some(Format::Pdf) || !looks_like_text(head)) {
        return Ok(Format::Pdf);
    }
    if !looks_like_text(head) {
        return Err(match hint {
            Some(Format::Pdf) => mismatch("it does not begin as one"),
            _ => DocumentError::UnknownFormat,
        });
    }
    match hint {
        Some(Format::Pdf) => Err(mismatch("it is text")),
        Some(Format::Docx) => {
            Err(DocumentError::FormatMismatch { declared: "a Word document (DOCX)".into(), found: "it is text".into() })
        }
        Some(Format::Markdown) => Ok(Format::Markdown),
        Some(Format::Html) => Ok(Format::Html),
        _ if begins_as_html(head) => Ok(Format::Html),
        _ => Ok(Format::Text),
    }
}

/// Images and Word documents, which are known by their marks.
fn readable(bytes: &[u8], head: &[u8], hint: Option<Format>) -> Option<(Format, &'static str)> {
    if let Some((_, format)) = IMAGES.iter().find(|(mark, _)| head.starts_with(mark)) {
        let what = match format {
            Format::Png => "a PNG image",
            Format::Jpeg => "a JPEG image",
            _ => "a TIFF image",
        };
        return Some((*format, what));
    }
    if head.starts_with(b"RIFF") && head.get(8..12) == Some(b"WEBP") {
        return Some((Format::WebP, "a WebP image"));
    }
    if !head.starts_with(b"PK\x03\x04") {
        return None;
    }
    let tail = &bytes[bytes.len().saturating_sub(ZIP_LIST)..];
    let has = |name: &[u8]| find(head, name).is_some() || find(tail, name).is_some();
    // The main part may have another name; that the others are in the folder `word` is what all programs have in common.
    let is_word = has(b"[Content_Types].xml") && has(b"word/") && !has(b"xl/") && !has(b"ppt/");
    let is_docx = has(b"word/document.xml") || is_word;
    // With a beginning alone, where the list cannot be seen, the sender's word decides between Office's formats.
    let may_be = hint == Some(Format::Docx) && find(head, b"[Content_Types].xml").is_some();
    (is_docx || may_be).then_some((Format::Docx, "a Word document (DOCX)"))
}

fn recognised(head: &[u8]) -> Option<(&'static str, &'static str)> {
    if head.starts_with(b"PK\x03\x04") || head.starts_with(b"PK\x05\x06") {
        return Some(zip(head));
    }
    if head.starts_with(b"RIFF") {
        return Some(match head.get(8..12) {
            Some(b"WEBP") => ("a WebP image", IMAGE),
            _ => ("a recording or film (RIFF)", NO_TEXT),
        });
    }
    if head.get(4..8) == Some(b"ftyp") {
        let image = matches!(head.get(8..12), Some(b"avif" | b"heic" | b"heix" | b"mif1"));
        return Some(if image { ("an AVIF or HEIC image", IMAGE) } else { ("an MP4 film or recording", NO_TEXT) });
    }
    if head.get(257..262) == Some(b"ustar") {
        return Some(("a tar archive", UNPACK));
    }
    // Two letters are too few to go by: a text may begin so.
    let (_, what, why) = KNOWN
        .iter()
        .find(|(mark, _, _)| head.starts_with(mark) && (mark.len() > 3 || !charset::looks_like_text(head, None)))?;
    Some((what, why))
}

/// Office formats are ZIP archives; the names of their first entries tell which.
fn zip(head: &[u8]) -> (&'static str, &'static str) {
    let has = |needle: &[u8]| find(head, needle).is_some();
    if has(b"mimetypeapplication/epub") {
        ("an EPUB book", OFFICE)
    } else if has(b"mimetypeapplication/vnd.oasis.opendocument") {
        ("an OpenDocument file", OFFICE)
    } else if has(b"xl/") {
        ("an Excel workbook (XLSX)", OFFICE)
    } else if has(b"ppt/") {
        ("a PowerPoint presentation (PPTX)", OFFICE)
    } else if has(b"[Content_Types].xml") {
        ("an Office document (XLSX or PPTX)", OFFICE)
    } else {
        ("a ZIP archive", UNPACK)
    }
}

/// The format that the sender announced. The content type wins, unless it says nothing.
fn hint(content_type: Option<&str>, file_name: Option<&str>) -> Option<Format> {
    let essence = content_type.and_then(|declared| declared.split(';').next()).map(|name| name.trim().to_lowercase());
    let declared = match essence.as_deref() {
        Some("application/pdf" | "application/x-pdf") => Some(Format::Pdf),
        Some("text/html" | "application/xhtml+xml") => Some(Format::Html),
        Some("text/markdown" | "text/x-markdown") => Some(Format::Markdown),
        Some(declared) if declared == Format::Docx.media_type() => Some(Format::Docx),
        _ => None,
    };
    let ending = file_name.and_then(|name| name.rsplit_once('.')).map(|(_, ending)| ending.to_lowercase());
    declared.or(match ending.as_deref() {
        Some("pdf") => Some(Format::Pdf),
        Some("html" | "htm" | "xhtml") => Some(Format::Html),
        Some("md" | "markdown" | "mkd" | "mdx") => Some(Format::Markdown),
        Some("docx" | "docm") => Some(Format::Docx),
        Some("txt" | "text" | "log" | "csv") => Some(Format::Text),
        _ => None,
    })
}

/// True if the first thing after white space, comments and an XML declaration is a tag of HTML.
fn begins_as_html(head: &[u8]) -> bool {
    let text = charset::decode(head, &[]).text.to_lowercase();
    let mut rest = text.trim_start();
    while let Some(after) = rest.strip_prefix("<!--").map(|rest| ("-->", rest)).or_else(|| {
        let declaration = rest.strip_prefix("<?xml")?;
        Some(("?>", declaration))
    }) {
        let Some((_, tail)) = after.1.split_once(after.0) else { return false };
        rest = tail.trim_start();
    }
    let tags =
        ["<!doctype html", "<html", "<head", "<body", "<title", "<meta", "<table", "<div", "<p>", "<h1", "<article"];
    tags.iter().any(|tag| rest.starts_with(tag))
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(head: &[u8], content_type: Option<&str>, name: Option<&str>) -> Format {
        sniff(head, content_type, name).unwrap()
    }

    #[test]
    fn the_bytes_decide_over_the_name() {
        assert_eq!(ok(b"%PDF-1.7\n", Some("text/plain"), Some("notes.txt")), Format::Pdf);
        assert_eq!(ok(b"rubbish\n%PDF-1.4\n\x80\x81\xff\0", None, None), Format::Pdf);
        assert_eq!(ok(b"<!DOCTYPE html><p>x", None, Some("x.txt")), Format::Html);
        assert_eq!(ok(b"<?xml version='1.0'?>\n<!-- c --> <html>", None, None), Format::Html);
        assert_eq!(ok(b"plain words", None, None), Format::Text);
        assert_eq!(ok(b"How a %PDF-1.4 file begins", None, None), Format::Text);
    }

    #[test]
    fn hints_tell_markdown_from_text() {
        assert_eq!(ok(b"# Title", None, Some("../../etc/README.MD")), Format::Markdown);
        assert_eq!(ok(b"# Title", Some("text/markdown; charset=utf-8"), None), Format::Markdown);
        assert_eq!(ok(b"# Title", Some("application/octet-stream"), Some("a.md")), Format::Markdown);
        assert_eq!(ok(b"# Title", None, None), Format::Text);
    }

    #[test]
    fn images_and_word_documents_are_known_by_their_marks() {
        assert_eq!(ok(b"\x89PNG\r\n\x1a\n\0\0", Some("text/plain"), Some("x.txt")), Format::Png);
        assert_eq!(ok(b"\xff\xd8\xff\xe0\0", None, None), Format::Jpeg);
        assert_eq!(ok(b"II*\0\x08\0", None, None), Format::Tiff);
        assert_eq!(ok(b"RIFF\x10\0\0\0WEBPVP8 ", None, None), Format::WebP);
        let docx = b"PK\x03\x04\x14\0\x06\0\x08\0\0\0!\0[Content_Types].xml ... word/document.xml";
        assert_eq!(ok(docx, None, None), Format::Docx);
        let beginning = &docx[..40];
        assert_eq!(ok(beginning, None, Some("letter.docx")), Format::Docx);
        assert!(sniff(beginning, None, None).is_err(), "it may be any Office document");
        let long = [b"PK\x03\x04[Content_Types].xml".as_slice(), &[7; 9_000], b"word/document.xml"].concat();
        assert_eq!(ok(&long, None, None), Format::Docx, "by the list at its end");
        let text = sniff(b"words", None, Some("letter.docx")).unwrap_err();
        assert_eq!(text.to_string(), "this was sent as a Word document (DOCX), but it is not: it is text");
    }

    #[test]
    fn what_is_not_read_is_named() {
        let cases: [(&[u8], &str); 8] = [
            (b"GIF89a\x01\0", "this is a GIF image: images of this kind are not read; save it as PNG"),
            (b"PK\x03\x04\x14\0\0\0photo.jpg", "this is a ZIP archive: unpack it"),
            (b"PK\x03\x04\x14\0[Content_Types].xml ... xl/workbook.xml", "an Excel workbook (XLSX)"),
            (b"PK\x03\x04....mimetypeapplication/vnd.oasis.opendocument.text", "an OpenDocument file"),
            (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an older Office document"),
            (b"RIFF\x10\0\0\0WAVEfmt ", "a recording"),
            (b"\0\0\0\x20ftypisom", "an MP4 film"),
            (b"\x7fELF\x02", "a program"),
        ];
        for (head, said) in cases {
            let error = sniff(head, None, None).unwrap_err();
            assert!(error.to_string().contains(said), "{error}");
            assert_eq!(error.code(), "document_format_unsupported");
        }
    }

    #[test]
    fn emptiness_and_broken_promises_are_told() {
        assert_eq!(sniff(b" \n\t", None, None), Err(DocumentError::Empty));
        assert_eq!(sniff(b"\0\x01\x02\x80", None, None), Err(DocumentError::UnknownFormat));
        let png = sniff(b"\x89PNG\r\n\x1a\n", Some("application/pdf"), None).unwrap_err();
        assert_eq!(png.to_string(), "this was sent as a PDF, but it is not: a PNG image");
        let text = sniff(b"hello", None, Some("x.pdf")).unwrap_err();
        assert_eq!(text.code(), "document_format_mismatch");
    }

    #[test]
    fn a_text_may_begin_with_the_letters_of_a_mark() {
        assert_eq!(ok(b"BM is short for benchmark", None, None), Format::Text);
        assert_eq!(ok(b"ID3 tags explained", None, None), Format::Text);
    }
}
