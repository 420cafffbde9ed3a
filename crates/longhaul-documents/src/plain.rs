//! Plain text: letters, line ends, and form feeds for pages.

use crate::charset;
use crate::normalise::{normalise, tidy_lines};
use crate::page::{Page, Warning};

/// The pages of a text, at least one. `declared` is the encoding that its sender declares.
pub(crate) fn read(bytes: &[u8], declared: Option<&str>) -> (Vec<Page>, Vec<Warning>) {
    let decoded = charset::decode(bytes, declared.as_slice());
    let warnings = loss_warning(&decoded);
    let text = normalise(&decoded.text.replace("\r\n", "\n").replace('\r', "\n"));
    let mut texts: Vec<String> = text.split('\u{c}').map(tidy_lines).collect();
    // A form feed at the very end opens no page.
    if texts.len() > 1 && texts.last().is_some_and(String::is_empty) {
        texts.pop();
    }
    let pages = texts.into_iter().zip(1..).map(|(text, number)| Page { number, text, ..Page::default() }).collect();
    (pages, warnings)
}

pub(crate) fn loss_warning(decoded: &charset::Decoded<'_>) -> Vec<Warning> {
    let lost = || {
        let message = format!("some bytes mean nothing in {} and were replaced", decoded.encoding.name());
        Warning::new("undecodable_bytes", message)
    };
    decoded.lossy.then(lost).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_feeds_part_pages_and_line_ends_are_made_one() {
        let (pages, warnings) = read(b"One\r\ntwo\rthree\x0cSecond\n\n\n\npage\x0c", None);
        let texts: Vec<_> = pages.iter().map(|page| (page.number, page.text.as_str())).collect();
        assert_eq!(texts, [(1, "One\ntwo\nthree"), (2, "Second\n\npage")]);
        assert!(warnings.is_empty());
    }

    #[test]
    fn lost_bytes_are_told() {
        let (pages, warnings) = read(b"\xef\xbb\xbfbroken \xff here", None);
        assert_eq!(pages[0].text, "broken \u{fffd} here");
        assert_eq!(warnings[0].code, "undecodable_bytes");
    }
}
