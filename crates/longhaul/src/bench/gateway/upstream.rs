//! The provider of the benchmark: chat completions at once, from memory, in a process of its own.
//!
//! It speaks just enough HTTP/1.1 for the proxies that are measured, and prepares its answers once, so that it takes as
//! little as possible of the machine that it shares with them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

use super::Shape;
use crate::bench::wire::text_of;
use crate::clock::wall_nanos;

/// Bytes of text in one piece of a stream.
const PIECE_BYTES: usize = 64;
/// Digits of the time that a piece was written at.
const TIME_DIGITS: usize = 20;
/// Stands on both sides of that time, and nowhere else.
pub(super) const TIME_MARK: u8 = b'@';

/// Serves on a free loopback port and says which, until it is killed.
///
/// # Errors
/// When no port can be had.
pub(crate) fn serve(announce: impl FnOnce(std::net::SocketAddr)) -> anyhow::Result<()> {
    super::super::runtime()?.block_on(LocalSet::new().run_until(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("no port")?;
        announce(listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            tokio::task::spawn_local(async move {
                stream.set_nodelay(true)?;
                connection(stream).await
            });
        }
    }))
}

async fn connection(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buffer = Vec::with_capacity(16 << 10);
    let mut answers: HashMap<String, Arc<[u8]>> = HashMap::new();
    loop {
        let Some((start, length)) = request(&mut stream, &mut buffer).await? else { return Ok(()) };
        let body = &buffer[start..start + length];
        let streamed = memmem::find(body, b"\"stream\":true").is_some();
        let shape = text_of(body, "model").and_then(|model| Shape::of_model(model, streamed));
        let Some(shape) = shape else {
            stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await?;
            buffer.drain(..start + length);
            continue;
        };
        match (shape.streamed, shape.pace.is_zero()) {
            (false, _) => {
                let answer = answers.entry(shape.model()).or_insert_with(|| whole(shape).into());
                stream.write_all(answer).await?;
            }
            (true, true) => {
                let answer =
                    answers.entry(format!("{}-s", shape.model())).or_insert_with(|| streamed_at_once(shape).into());
                stream.write_all(answer).await?;
            }
            (true, false) => paced(&mut stream, shape).await?,
        }
        buffer.drain(..start + length);
    }
}

/// Where the body of the next request stands in the buffer; `None` when the connection has ended.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<(usize, usize)>> {
    loop {
        if let Some(end) = memmem::find(buffer, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
            if buffer.len() >= end + 4 + length {
                return Ok(Some((end + 4, length)));
            }
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

/// Words, not one letter over and over: JSON readers skip the latter faster than anything real.
fn text(bytes: usize) -> String {
    const WORDS: &str = "It was late and the harbour lay still under the lamps, as it does when the last boat is in. ";
    WORDS.chars().cycle().take(bytes).collect()
}

fn whole(shape: Shape) -> Vec<u8> {
    let body = format!(
        r#"{{"id":"chatcmpl-bench","object":"chat.completion","created":1700000000,"model":"{}","choices":[{{"index":0,"message":{{"role":"assistant","content":"{}","refusal":null}},"logprobs":null,"finish_reason":"stop"}}],"usage":{{"prompt_tokens":20,"completion_tokens":{},"total_tokens":{}}}}}"#,
        shape.model(),
        text(shape.bytes),
        shape.bytes / 4,
        shape.bytes / 4 + 20,
    );
    let mut answer =
        format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len())
            .into_bytes();
    answer.extend_from_slice(body.as_bytes());
    answer
}

/// nginx collects answers before it sends them on, unless it is told here that it must not.
const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nx-accel-buffering: no\r\n\
    transfer-encoding: chunked\r\n\r\n";

fn streamed_at_once(shape: Shape) -> Vec<u8> {
    let mut answer = STREAM_HEAD.to_vec();
    let text = text(shape.bytes);
    for at in (0..text.len()).step_by(PIECE_BYTES) {
        let piece = &text[at..(at + PIECE_BYTES).min(text.len())];
        answer.extend_from_slice(&chunk(&event(&shape, &format!(r#"{{"content":"{piece}"}}"#), "null")));
    }
    answer.extend_from_slice(&end(&shape));
    answer
}

/// Pieces that carry the time, one each `pace`.
async fn paced(stream: &mut TcpStream, shape: Shape) -> std::io::Result<()> {
    stream.write_all(STREAM_HEAD).await?;
    let mut ticks = tokio::time::interval(shape.pace.max(Duration::from_micros(1)));
    for _ in 0..shape.bytes / PIECE_BYTES {
        ticks.tick().await;
        let mark = char::from(TIME_MARK);
        let content =
            format!(r#"{{"content":"{mark}{:0TIME_DIGITS$}{mark} words of a piece, like any other."}}"#, wall_nanos());
        stream.write_all(&chunk(&event(&shape, &content, "null"))).await?;
    }
    stream.write_all(&end(&shape)).await
}

fn event(shape: &Shape, delta: &str, finish: &str) -> String {
    format!(
        "data: {{\"id\":\"chatcmpl-bench\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"{}\",\
         \"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":null,\"finish_reason\":{finish}}}]}}\n\n",
        shape.model()
    )
}

fn end(shape: &Shape) -> Vec<u8> {
    let mut end = chunk(&event(shape, "{}", "\"stop\""));
    end.extend_from_slice(&chunk("data: [DONE]\n\n"));
    end.extend_from_slice(b"0\r\n\r\n");
    end
}

fn chunk(data: &str) -> Vec<u8> {
    format!("{:x}\r\n{data}\r\n", data.len()).into_bytes()
}
