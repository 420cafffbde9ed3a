//! A connection that asks for chat completions, whole or in pieces, and looks at as little of them as it can.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};
use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::Shape;
use super::upstream::TIME_MARK;
use crate::bench::wire::request;

/// Digits of the number that makes each question another one.
const NUMBER_DIGITS: usize = 16;

/// A question that carries a number at a fixed place, so that it need not be built again.
pub(super) struct Question {
    bytes: Vec<u8>,
    number_at: usize,
}

impl Question {
    pub(super) fn new(host: &str, shape: Shape) -> Self {
        let number = "0".repeat(NUMBER_DIGITS);
        let stream = if shape.streamed { ",\"stream\":true" } else { "" };
        let body = format!(
            "{{\"model\":\"{}\",\"messages\":[{{\"role\":\"system\",\"content\":\"You are a helpful assistant.\"}},\
             {{\"role\":\"user\",\"content\":\"Tell me about number {number}, please.\"}}]{stream}}}",
            shape.model()
        );
        let bytes = request("POST", host, "/v1/chat/completions", Some(body.as_bytes()));
        let number_at = memmem::find(&bytes, number.as_bytes()).unwrap_or(0);
        Self { bytes, number_at }
    }

    pub(super) fn numbered(&mut self, number: u64) -> &[u8] {
        let digits = format!("{number:0NUMBER_DIGITS$}");
        self.bytes[self.number_at..self.number_at + NUMBER_DIGITS].copy_from_slice(digits.as_bytes());
        &self.bytes
    }
}

/// A connection that is kept.
pub(super) struct Connection {
    address: SocketAddr,
    stream: Option<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    pub(super) fn new(address: SocketAddr) -> Self {
        Self { address, stream: None, buffer: Vec::with_capacity(64 << 10) }
    }

    /// Sends a question and reads the answer to its end. `piece` sees what came, as it came.
    pub(super) async fn ask(
        &mut self,
        question: &[u8],
        shape: Shape,
        mut piece: impl FnMut(&[u8]),
    ) -> anyhow::Result<()> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(self.address).await.context("cannot connect")?;
                stream.set_nodelay(true)?;
                stream
            }
        };
        stream.write_all(question).await?;
        self.buffer.clear();
        let head = loop {
            fill(&mut stream, &mut self.buffer).await?;
            if let Some(head) = Head::parse(&self.buffer)? {
                break head;
            }
        };
        if head.status != 200 {
            bail!("a call got {}: {}", head.status, String::from_utf8_lossy(&self.buffer[head.length..]));
        }
        piece(&self.buffer[head.length..]);
        match head.body {
            Some(body) => {
                while self.buffer.len() < head.length + body {
                    fill(&mut stream, &mut self.buffer).await?;
                }
            }
            // The last chunk of a chunked body; nothing follows it, since one call is under way.
            None => {
                while !self.buffer.ends_with(b"0\r\n\r\n") {
                    let seen = self.buffer.len();
                    fill(&mut stream, &mut self.buffer).await?;
                    piece(&self.buffer[seen..]);
                }
            }
        }
        let body = &self.buffer[head.length..];
        let is_whole = match shape.streamed {
            true => memmem::find(&body[body.len().saturating_sub(64)..], b"[DONE]").is_some(),
            false => body.len() >= shape.bytes,
        };
        if !is_whole {
            bail!("an answer is not whole: {} bytes", body.len());
        }
        self.stream = Some(stream);
        Ok(())
    }
}

async fn fill(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> anyhow::Result<()> {
    match stream.read_buf(buffer).await? {
        0 => bail!("the connection ended within an answer"),
        _ => Ok(()),
    }
}

struct Head {
    status: u16,
    length: usize,
    /// `None` is chunked.
    body: Option<usize>,
}

impl Head {
    fn parse(bytes: &[u8]) -> anyhow::Result<Option<Self>> {
        let mut headers = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(length) = response.parse(bytes).context("the answer is not HTTP/1.1")? else {
            return Ok(None);
        };
        let value = |name: &str| {
            let header = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            header.and_then(|header| std::str::from_utf8(header.value).ok())
        };
        let body = match value("content-length") {
            Some(length) => Some(length.trim().parse().context("the answer has no readable content-length")?),
            None if value("transfer-encoding").is_some() => None,
            None => bail!("the answer has neither a length nor chunks"),
        };
        Ok(Some(Self { status: response.code.unwrap_or(0), length, body }))
    }
}

/// The times that pieces of a paced stream carry.
pub(super) fn times(bytes: &[u8]) -> impl Iterator<Item = u64> + '_ {
    let marks: Vec<usize> = memchr::memchr_iter(TIME_MARK, bytes).collect();
    marks.into_iter().filter_map(|at| {
        let rest = &bytes[at + 1..];
        let end = memchr::memchr(TIME_MARK, rest)?;
        std::str::from_utf8(&rest[..end]).ok()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_in_pieces() {
        let found: Vec<u64> = times(b"x \"@00012@ words\" and @7@ and @8").collect();
        assert_eq!(found, [12, 7]);
    }
}
