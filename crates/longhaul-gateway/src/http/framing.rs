//! Where the body of an answer ends: by its length, chunk by chunk, or with the connection.

use bytes::{Buf as _, Bytes, BytesMut};

use super::error::HttpError;

/// A line of a chunked body: a size with its extensions, or a trailer. Nobody sends long ones.
const MAX_LINE_BYTES: usize = 8 * 1024;
/// All trailers together.
const MAX_TRAILER_BYTES: usize = 64 * 1024;

/// How much of a body is still to come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Framing(State);

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Length(u64),
    /// The line before a chunk.
    Size,
    /// So much of a chunk.
    Chunk(u64),
    /// The line end behind a chunk.
    ChunkEnd,
    /// Behind the last chunk; so many bytes of trailers have been passed by.
    Trailers(usize),
    UntilClose,
}

impl Framing {
    pub(super) fn length(bytes: u64) -> Self {
        Self(State::Length(bytes))
    }

    pub(super) fn chunked() -> Self {
        Self(State::Size)
    }

    pub(super) fn until_close() -> Self {
        Self(State::UntilClose)
    }

    /// The whole length, if it was said beforehand and nothing has been taken yet.
    pub(super) fn announced(&self) -> Option<u64> {
        match self.0 {
            State::Length(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The body has been taken to its end.
    pub(super) fn is_over(&self) -> bool {
        self.0 == State::Length(0)
    }

    /// The end of the connection is the end of the body.
    pub(super) fn ends_with_connection(&self) -> bool {
        self.0 == State::UntilClose
    }

    /// Takes as much of the body as is there, in one piece: chunks that came together are joined. `None`: nothing is
    /// there, or nothing is left.
    pub(super) fn take(&mut self, unread: &mut BytesMut) -> Result<Option<Bytes>, HttpError> {
        let mut first: Option<Bytes> = None;
        let mut joined: Option<BytesMut> = None;
        while !unread.is_empty() && !self.is_over() {
            let Some(part) = self.step(unread)? else { break };
            if part.is_empty() {
                continue;
            }
            match (&mut joined, first.take()) {
                (Some(joined), _) => joined.extend_from_slice(&part),
                (None, None) => first = Some(part),
                (None, Some(before)) => {
                    let mut both = BytesMut::with_capacity(before.len() + part.len() + unread.len());
                    both.extend_from_slice(&before);
                    both.extend_from_slice(&part);
                    joined = Some(both);
                }
            }
        }
        Ok(joined.map(BytesMut::freeze).or(first))
    }

    /// One step; `None` when more bytes are needed.
    fn step(&mut self, unread: &mut BytesMut) -> Result<Option<Bytes>, HttpError> {
        match self.0 {
            State::Length(left) => {
                let part = up_to(unread, left);
                self.0 = State::Length(left - part.len() as u64);
                Ok(Some(part))
            }
            State::Chunk(left) => {
                let part = up_to(unread, left);
                let left = left - part.len() as u64;
                self.0 = if left == 0 { State::ChunkEnd } else { State::Chunk(left) };
                Ok(Some(part))
            }
            State::UntilClose => Ok(Some(unread.split().freeze())),
            State::ChunkEnd => {
                if unread.len() < 2 {
                    return Ok(None);
                }
                if !unread.starts_with(b"\r\n") {
                    return Err(bad("a chunk is longer than it says"));
                }
                unread.advance(2);
                self.0 = State::Size;
                Ok(Some(Bytes::new()))
            }
            State::Size => {
                let Some(end) = line_end(unread)? else { return Ok(None) };
                let size = chunk_size(&unread[..end])?;
                unread.advance(end + 1);
                self.0 = if size == 0 { State::Trailers(0) } else { State::Chunk(size) };
                Ok(Some(Bytes::new()))
            }
            State::Trailers(passed) => {
                let Some(end) = line_end(unread)? else { return Ok(None) };
                let passed = passed + end;
                if passed > MAX_TRAILER_BYTES {
                    return Err(bad("its trailers have no end"));
                }
                let is_last = unread[..end].is_empty() || unread[..end] == *b"\r";
                unread.advance(end + 1);
                self.0 = if is_last { State::Length(0) } else { State::Trailers(passed) };
                Ok(Some(Bytes::new()))
            }
        }
    }
}

fn up_to(unread: &mut BytesMut, most: u64) -> Bytes {
    let length = usize::try_from(most).unwrap_or(usize::MAX).min(unread.len());
    unread.split_to(length).freeze()
}

/// Where the line feed of the first line is.
fn line_end(unread: &BytesMut) -> Result<Option<usize>, HttpError> {
    match memchr::memchr(b'\n', unread) {
        Some(end) if end <= MAX_LINE_BYTES => Ok(Some(end)),
        None if unread.len() <= MAX_LINE_BYTES => Ok(None),
        _ => Err(bad("a line between its chunks has no end")),
    }
}

/// The size in front of a chunk, without its extensions.
fn chunk_size(line: &[u8]) -> Result<u64, HttpError> {
    let line = line.strip_suffix(b"\r").ok_or_else(|| bad("a line between its chunks ends wrongly"))?;
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let is_hex = (1..=15).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).unwrap_or_default();
    match (is_hex, u64::from_str_radix(text, 16)) {
        (true, Ok(size)) => Ok(size),
        _ => Err(bad("a chunk has a size that is no number")),
    }
}

fn bad(why: &str) -> HttpError {
    HttpError::NotHttp(format!("in its body {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// All that a body gives when it comes in such pieces; what is left behind it; whether it is over.
    fn read(mut framing: Framing, pieces: &[&[u8]]) -> Result<(Vec<u8>, Vec<u8>, bool), HttpError> {
        let (mut unread, mut body) = (BytesMut::new(), Vec::new());
        for piece in pieces {
            unread.extend_from_slice(piece);
            while let Some(part) = framing.take(&mut unread)? {
                body.extend_from_slice(&part);
            }
        }
        Ok((body, unread.to_vec(), framing.is_over()))
    }

    #[test]
    fn chunks_that_came_together_are_one_piece() {
        let mut unread = BytesMut::from("3\r\nabc\r\n2;name=value\r\nde\r\n0\r\ntrailer: x\r\n\r\nrest");
        let mut framing = Framing::chunked();
        assert_eq!(framing.take(&mut unread).unwrap().unwrap(), "abcde");
        assert!(framing.is_over() && unread == "rest");
        assert_eq!(framing.take(&mut unread).unwrap(), None);
    }

    #[test]
    fn a_chunk_that_lies_about_itself_is_refused() {
        for body in
            ["3\r\nabcd\r\n", "x\r\n", "\r\n", "+3\r\nabc", "-1\r\n", "3\nabc", "fffffffffffffffff\r\n", " \r\n"]
        {
            assert!(read(Framing::chunked(), &[body.as_bytes()]).is_err(), "{body:?}");
        }
        assert!(read(Framing::chunked(), &[&[b'1'; MAX_LINE_BYTES + 2]]).is_err());
    }

    proptest! {
        #[test]
        fn how_a_chunked_body_is_cut_makes_no_difference(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..10),
            cuts in proptest::collection::vec(0usize..400, 0..8),
        ) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\nnext");
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(wire.len())).collect();
            cuts.extend([0, wire.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &wire[pair[0]..pair[1]]).collect();
            let (body, left, over) = read(Framing::chunked(), &pieces).unwrap();
            prop_assert_eq!((body, &left[..], over), (chunks.concat(), &b"next"[..], true));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), length in 0u64..300) {
            for framing in [Framing::chunked(), Framing::length(length), Framing::until_close()] {
                let _ = read(framing, &bytes.chunks(7).collect::<Vec<_>>());
            }
        }
    }
}
