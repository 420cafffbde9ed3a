//! The least HTTP/1.1 that a benchmark needs: whole requests out, a head and a body of known length in.
//!
//! Not a client for anything else: it knows no chunked bodies, no redirects, no TLS, and gives up on them with an error
//! instead of guessing.

use std::io;
use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// The largest answer that is taken, in bytes.
const MAX_ANSWER_BYTES: usize = 64 << 20;

/// A connection that is kept, with its buffer.
#[derive(Debug)]
pub(super) struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
    body: (usize, usize),
}

/// The head of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) status: u16,
    /// Seconds, if the server said so.
    pub(super) retry_after_s: Option<u64>,
}

impl Connection {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, buffer: Vec::with_capacity(16 << 10), body: (0, 0) }
    }

    /// Sends a request and reads its answer; the body is in [`Connection::body`] until the next one.
    pub(super) async fn exchange(&mut self, request: &[u8]) -> anyhow::Result<Head> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address).await.context("cannot connect")?;
                stream.set_nodelay(true)?;
                stream
            }
        };
        stream.write_all(request).await?;
        self.buffer.clear();
        let (head, start, length, keep) = loop {
            fill(&mut stream, &mut self.buffer).await?;
            if let Some(parsed) = parse_head(&self.buffer)? {
                break parsed;
            }
        };
        while self.buffer.len() < start + length {
            fill(&mut stream, &mut self.buffer).await?;
        }
        self.body = (start, start + length);
        if keep {
            self.stream = Some(stream);
        }
        Ok(head)
    }

    /// The body of the last answer.
    pub(super) fn body(&self) -> &[u8] {
        &self.buffer[self.body.0..self.body.1]
    }
}

async fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<()> {
    if buffer.len() > MAX_ANSWER_BYTES {
        bail!("the answer is longer than {} MiB", MAX_ANSWER_BYTES >> 20);
    }
    if stream.read_buf(buffer).await? == 0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof)).context("the server closed the connection");
    }
    Ok(())
}

/// The head, where the body begins, how long it is, and whether the connection stays.
fn parse_head(bytes: &[u8]) -> anyhow::Result<Option<(Head, usize, usize, bool)>> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let httparse::Status::Complete(start) = response.parse(bytes).context("the answer is not HTTP/1.1")? else {
        return Ok(None);
    };
    let status = response.code.unwrap_or(0);
    let mut length = if matches!(status, 204 | 304) { Some(0) } else { None };
    let mut keep = true;
    let mut retry_after_s = None;
    for header in response.headers.iter() {
        let value = std::str::from_utf8(header.value).unwrap_or_default().trim();
        if header.name.eq_ignore_ascii_case("content-length") {
            length = Some(value.parse().context("the answer has no readable content-length")?);
        } else if header.name.eq_ignore_ascii_case("connection") {
            keep = !value.eq_ignore_ascii_case("close");
        } else if header.name.eq_ignore_ascii_case("retry-after") {
            retry_after_s = value.parse().ok();
        }
    }
    let Some(length) = length else { bail!("the answer has no content-length (chunked bodies are not read here)") };
    Ok(Some((Head { status, retry_after_s }, start, length, keep)))
}

/// A request as bytes.
pub(super) fn request(method: &str, host: &str, path: &str, body: Option<&[u8]>) -> Vec<u8> {
    let mut request = format!("{method} {path} HTTP/1.1\r\nhost: {host}\r\n").into_bytes();
    if let Some(body) = body {
        let head = format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        request.extend_from_slice(head.as_bytes());
        request.extend_from_slice(body);
    } else if method == "POST" {
        request.extend_from_slice(b"content-length: 0\r\n\r\n");
    } else {
        request.extend_from_slice(b"\r\n");
    }
    request
}

/// The first text value of `name` in a JSON body, without parsing it. Good for names that stand at the top.
pub(super) fn text_of<'b>(body: &'b [u8], name: &str) -> Option<&'b str> {
    let quoted = format!("\"{name}\"");
    let after = memmem::find(body, quoted.as_bytes())? + quoted.len();
    let rest = body.get(after..)?;
    let colon = rest.iter().position(|byte| !byte.is_ascii_whitespace())?;
    let rest = rest.get(colon..)?.strip_prefix(b":")?.trim_ascii_start().strip_prefix(b"\"")?;
    let end = memchr::memchr(b'"', rest)?;
    std::str::from_utf8(&rest[..end]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_complete_only_with_its_empty_line() {
        assert_eq!(parse_head(b"HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\n").unwrap(), None);
        let whole = b"HTTP/1.1 503 X\r\nContent-Length: 5\r\nRetry-After: 2\r\nConnection: close\r\n\r\nhel";
        let (head, start, length, keep) = parse_head(whole).unwrap().unwrap();
        assert_eq!(head, Head { status: 503, retry_after_s: Some(2) });
        assert_eq!((start, length, keep), (whole.len() - 3, 5, false));
    }

    #[test]
    fn an_answer_without_a_length_is_refused() {
        assert!(parse_head(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").is_err());
        assert_eq!(parse_head(b"HTTP/1.1 304 N\r\n\r\n").unwrap().unwrap().2, 0);
    }

    #[test]
    fn a_text_is_found_with_or_without_blanks() {
        assert_eq!(text_of(br#"{"job_id":"job_1","status":"queued"}"#, "status"), Some("queued"));
        assert_eq!(text_of(b"{ \"status\" : \"running\" }", "status"), Some("running"));
        assert_eq!(text_of(br#"{"status":null}"#, "status"), None);
        assert_eq!(text_of(br#"{"status":"cut"#, "status"), None);
    }
}
