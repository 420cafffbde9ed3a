//! Server-sent events: taken apart as they come, in whatever pieces, by the rules of the HTML standard.
//!
//! Lines end with LF, CR or CRLF, a byte order mark at the start is skipped, comments are dropped, `data` lines of one
//! event are joined by LF. Bytes that are no UTF-8 become replacement characters. Two differences from a browser: an
//! event has a largest size, and the end of the body ends an event too, since some servers leave the last blank line out.
//! Writing is [`Frame::write_to`](crate::facade::Frame::write_to); [`COMMENT`] is a sign of life between frames.

mod stream;

pub(crate) use stream::{Interpret, SseStream};

/// A comment, to be sent when there is nothing to say: proxies and clients see that the stream lives.
pub const COMMENT: &[u8] = b": ping\n\n";

/// The largest event that is taken, in bytes: a picture inside one frame fits, a body without line ends does not
/// fill the memory.
pub const MAX_EVENT_BYTES: usize = 16 << 20;

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event<'a> {
    /// Its name, if it has one.
    pub name: Option<&'a str>,
    /// Its data.
    pub data: &'a str,
    /// Its id, if it has one of its own.
    pub id: Option<&'a str>,
}

/// An event is larger than [`Decoder`] takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an event is larger than {limit} bytes")]
pub struct TooLarge {
    /// The limit.
    pub limit: usize,
}

/// Takes a body apart.
///
/// ```
/// use longhaul_providers::sse::Decoder;
///
/// let mut decoder = Decoder::new(1024);
/// let mut seen = Vec::new();
/// for piece in ["data: hel", "lo\r", "\ndata: you\r\n\r\n"] {
///     decoder.feed(piece.as_bytes(), |event| seen.push(event.data.to_owned())).unwrap();
/// }
/// assert_eq!(seen, ["hello\nyou"]);
/// ```
#[derive(Debug)]
pub struct Decoder {
    limit: usize,
    /// The line that is not whole yet.
    line: Vec<u8>,
    /// The last byte was a CR: an LF right after it belongs to it.
    after_cr: bool,
    /// Nothing has come yet but perhaps a part of a byte order mark.
    first_line: bool,
    name: String,
    id: Option<String>,
    data: String,
    has_data: bool,
}

impl Decoder {
    /// A decoder of events of at most so many bytes.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            line: Vec::new(),
            after_cr: false,
            first_line: true,
            name: String::new(),
            id: None,
            data: String::new(),
            has_data: false,
        }
    }

    /// Takes some bytes and tells each event that they complete. After an error there is nothing more to tell.
    pub fn feed(&mut self, mut bytes: &[u8], mut tell: impl FnMut(Event<'_>)) -> Result<(), TooLarge> {
        while !bytes.is_empty() {
            if self.after_cr {
                self.after_cr = false;
                if bytes[0] == b'\n' {
                    bytes = &bytes[1..];
                    continue;
                }
            }
            match memchr::memchr2(b'\n', b'\r', bytes) {
                None => {
                    self.keep(bytes)?;
                    break;
                }
                Some(end) => {
                    self.after_cr = bytes[end] == b'\r';
                    if self.line.is_empty() {
                        // The usual case: the line lies whole in what came.
                        self.check(end)?;
                        self.end_line(&bytes[..end], &mut tell);
                    } else {
                        self.keep(&bytes[..end])?;
                        let line = std::mem::take(&mut self.line);
                        self.end_line(&line, &mut tell);
                        self.line = line;
                        self.line.clear();
                    }
                    bytes = &bytes[end + 1..];
                }
            }
        }
        Ok(())
    }

    /// The body has ended: tells the event that was not closed, if there is one.
    pub fn finish(&mut self, mut tell: impl FnMut(Event<'_>)) {
        let line = std::mem::take(&mut self.line);
        if !line.is_empty() {
            self.end_line(&line, &mut tell);
        }
        self.dispatch(&mut tell);
    }

    fn check(&self, more: usize) -> Result<(), TooLarge> {
        let size = self.line.len() + self.data.len() + more;
        if size > self.limit { Err(TooLarge { limit: self.limit }) } else { Ok(()) }
    }

    fn keep(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        self.check(bytes.len())?;
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self, mut line: &[u8], tell: &mut impl FnMut(Event<'_>)) {
        if std::mem::take(&mut self.first_line) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            self.dispatch(tell);
            return;
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(colon) => {
                let value = &line[colon + 1..];
                (&line[..colon], value.strip_prefix(b" ").unwrap_or(value))
            }
            None => (line, &b""[..]),
        };
        match field {
            b"data" => {
                if self.has_data {
                    self.data.push('\n');
                }
                self.has_data = true;
                self.data.push_str(&String::from_utf8_lossy(value));
            }
            b"event" => {
                self.name.clear();
                self.name.push_str(&String::from_utf8_lossy(value));
            }
            b"id" if !value.contains(&0) => self.id = Some(String::from_utf8_lossy(value).into_owned()),
            // `retry`, comments (an empty name), and names of the future.
            _ => {}
        }
    }

    fn dispatch(&mut self, tell: &mut impl FnMut(Event<'_>)) {
        if self.has_data {
            let name = (!self.name.is_empty()).then_some(self.name.as_str());
            tell(Event { name, data: &self.data, id: self.id.as_deref() });
        }
        self.name.clear();
        self.id = None;
        self.data.clear();
        self.has_data = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The name and the data of an event.
    type Seen = (Option<String>, String);

    fn decode<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<Seen> {
        let mut decoder = Decoder::new(1 << 20);
        let mut seen = Vec::new();
        let mut tell = |event: Event<'_>| seen.push((event.name.map(str::to_owned), event.data.to_owned()));
        for piece in pieces {
            decoder.feed(piece, &mut tell).unwrap();
        }
        decoder.finish(&mut tell);
        seen
    }

    #[test]
    fn the_standards_own_cases_hold() {
        let one = |name: Option<&str>, data: &str| (name.map(str::to_owned), data.to_owned());
        let cases: &[(&str, &[Seen])] = &[
            ("\u{feff}data: a\n\n", &[one(None, "a")]),
            ("data: a\rdata: b\r\r", &[one(None, "a\nb")]),
            ("event: x\r\ndata:a\r\n\r\ndata:  b\n\n", &[one(Some("x"), "a"), one(None, " b")]),
            (": comment\n\n:\n\ndata\n\n", &[one(None, "")]),
            ("event: only\n\ndata: after\n\n", &[one(None, "after")]),
            ("data\ndata\n\n", &[one(None, "\n")]),
            ("data: no blank line at the end", &[one(None, "no blank line at the end")]),
            ("retry: 10\nid: 1\nunknown: 2\ndata: grüße\n\n", &[one(None, "grüße")]),
        ];
        for (body, expected) in cases {
            assert_eq!(decode([body.as_bytes()]), *expected, "{body:?}");
        }
    }

    #[test]
    fn a_body_without_line_ends_is_refused_at_the_limit() {
        let mut decoder = Decoder::new(100);
        assert_eq!(decoder.feed(&[b'a'; 60], |_| {}), Ok(()));
        assert_eq!(decoder.feed(&[b'a'; 60], |_| {}), Err(TooLarge { limit: 100 }));
        let mut decoder = Decoder::new(100);
        let lines = "data: 0123456789\n".repeat(20);
        assert!(decoder.feed(lines.as_bytes(), |_| {}).is_err());
    }

    proptest! {
        #[test]
        fn how_the_body_is_cut_makes_no_difference(
            lines in proptest::collection::vec("(data: |data:|event: |:|id: |)[a-zé🎈\\\\ ]{0,8}(\n|\r|\r\n|\n\n|\r\n\r\n)", 0..12),
            cuts in proptest::collection::vec(0usize..200, 0..8),
        ) {
            let body = lines.concat().into_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(body.len())).collect();
            cuts.extend([0, body.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|pair| &body[pair[0]..pair[1]]);
            prop_assert_eq!(decode(pieces), decode([&body[..]]));
        }

        #[test]
        fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..300)) {
            decode(body.chunks(7));
        }
    }
}
