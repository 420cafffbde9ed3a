//! A provider that is broken in one way or another: what a gateway has to live with, over real sockets.
//!
//! One server stands for many providers. The first segment of the path says what is wrong with the one that is meant, so
//! that a configuration gives each its base URL; calls are counted by it. It reads requests only as far as it must, and
//! answers chat completions, whole or streamed as they are asked for.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::sockopt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// What is wrong with a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fault {
    /// Nothing.
    Sound,
    /// Nothing, but every answer takes two seconds.
    Slow,
    /// It takes the request and never answers.
    Hang,
    /// 429, each time, with a `Retry-After` of a second.
    Throttle,
    /// 500, each time.
    ServerError,
    /// The connection is reset in the middle of the answer.
    Reset,
    /// The answer comes at a byte a second.
    Drip,
    /// The answer is no JSON.
    Malformed,
    /// The answer is a GiB long.
    Huge,
    /// The answer is a MiB of gzip that unpacks to a GiB.
    GzipBomb,
    /// The answer is a page for people.
    WrongType,
    /// The stream ends before the answer does.
    Truncated,
}

impl Fault {
    /// Every one, the sound one first.
    pub const ALL: [Self; 12] = [
        Self::Sound,
        Self::Slow,
        Self::Hang,
        Self::Throttle,
        Self::ServerError,
        Self::Reset,
        Self::Drip,
        Self::Malformed,
        Self::Huge,
        Self::GzipBomb,
        Self::WrongType,
        Self::Truncated,
    ];

    /// The segment of the path that stands for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sound => "sound",
            Self::Slow => "slow",
            Self::Hang => "hang",
            Self::Throttle => "throttle",
            Self::ServerError => "server-error",
            Self::Reset => "reset",
            Self::Drip => "drip",
            Self::Malformed => "malformed",
            Self::Huge => "huge",
            Self::GzipBomb => "gzip-bomb",
            Self::WrongType => "wrong-type",
            Self::Truncated => "truncated",
        }
    }

    fn of_path(path: &str) -> Option<Self> {
        let name = path.trim_start_matches('/').split('/').next()?;
        Self::ALL.into_iter().find(|fault| fault.name() == name)
    }
}

#[derive(Debug, Default)]
struct Counts {
    calls: Mutex<BTreeMap<Fault, u64>>,
    open: AtomicUsize,
    accepted: AtomicU64,
}

/// The server, until it is dropped.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    counts: Arc<Counts>,
    _serving: JoinSet<()>,
}

impl Upstream {
    /// Serves on a free loopback port.
    ///
    /// # Errors
    /// When there is no port to be had.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let counts = Arc::new(Counts::default());
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, counts.clone()));
        Ok(Self { address, counts, _serving: serving })
    }

    /// The base URL of the provider with this fault.
    #[must_use]
    pub fn base_url(&self, fault: Fault) -> String {
        format!("http://{}/{}/v1", self.address, fault.name())
    }

    /// How many requests the provider with this fault has had.
    #[must_use]
    pub fn calls(&self, fault: Fault) -> u64 {
        self.counts.calls.lock().unwrap_or_else(PoisonError::into_inner).get(&fault).copied().unwrap_or(0)
    }

    /// How many connections are open now.
    #[must_use]
    pub fn open_connections(&self) -> usize {
        self.counts.open.load(Ordering::SeqCst)
    }

    /// How many connections there have been.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.counts.accepted.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, counts: Arc<Counts>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                counts.accepted.fetch_add(1, Ordering::SeqCst);
                counts.open.fetch_add(1, Ordering::SeqCst);
                let counts = counts.clone();
                connections.spawn(async move {
                    // Whatever ends a connection here, the other side sees it end.
                    let _ = serve(stream, &counts).await;
                    counts.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(mut stream: TcpStream, counts: &Counts) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(request) = Request::read(&mut stream, &mut buffer).await? {
        let Some(fault) = request.fault else {
            return stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
        };
        *counts.calls.lock().unwrap_or_else(PoisonError::into_inner).entry(fault).or_default() += 1;
        if !answer(&mut stream, fault, request.streamed).await? {
            return Ok(());
        }
    }
    Ok(())
}

struct Request {
    fault: Option<Fault>,
    streamed: bool,
}

impl Request {
    async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Self>> {
        loop {
            let text = String::from_utf8_lossy(buffer);
            if let Some((head, _)) = text.split_once("\r\n\r\n") {
                let lower = head.to_ascii_lowercase();
                let length = lower.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
                let end = head.len() + 4 + length.unwrap_or(0_usize);
                if buffer.len() >= end {
                    let fault = Fault::of_path(head.split(' ').nth(1).unwrap_or_default());
                    let body = String::from_utf8_lossy(&buffer[head.len() + 4..end]);
                    let streamed = body.contains("\"stream\":true");
                    buffer.drain(..end);
                    return Ok(Some(Self { fault, streamed }));
                }
            }
            if stream.read_buf(buffer).await? == 0 {
                return Ok(None);
            }
        }
    }
}

const WHOLE: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"faulty","choices":[{"index":0,"message":{"role":"assistant","content":"All is well.","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":4,"completion_tokens":4,"total_tokens":8}}"#;

const EVENTS: [&str; 3] = [
    "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"faulty\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"All is \"},\"finish_reason\":null}]}\n\n",
    "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"faulty\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"well.\"},\"finish_reason\":null}]}\n\n",
    "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"faulty\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
];

const EVENTS_HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// A MiB of zeros, packed. Members of gzip may follow each other, so many of these are a GiB.
const MEMBER: &[u8] = include_bytes!("upstream/megabyte-of-zeros.gz");

/// Answers; whether the connection stays.
async fn answer(stream: &mut TcpStream, fault: Fault, streamed: bool) -> io::Result<bool> {
    match fault {
        Fault::Sound => sound(stream, streamed).await?,
        Fault::Slow => {
            tokio::time::sleep(Duration::from_secs(2)).await;
            sound(stream, streamed).await?;
        }
        Fault::Hang => until_closed(stream).await,
        Fault::Throttle => {
            let body = r#"{"error":{"message":"Rate limit reached","type":"requests","param":null,"code":"rate_limit_exceeded"}}"#;
            json(stream, "429 Too Many Requests", "retry-after: 1\r\n", body).await?;
        }
        Fault::ServerError => {
            let body =
                r#"{"error":{"message":"The server had an error","type":"server_error","param":null,"code":null}}"#;
            json(stream, "500 Internal Server Error", "", body).await?;
        }
        Fault::Reset => {
            begin(stream, streamed).await?;
            // Unread data and no time to linger: the kernel resets instead of closing in good order.
            sockopt::set_socket_linger(&*stream, Some(Duration::ZERO))?;
            return Ok(false);
        }
        Fault::Drip => {
            let text =
                if streamed { format!("{EVENTS_HEAD}{}", chunk(EVENTS[0])) } else { json_text("200 OK", "", WHOLE) };
            for byte in text.as_bytes() {
                stream.write_all(std::slice::from_ref(byte)).await?;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            return Ok(false);
        }
        Fault::Malformed => match streamed {
            true => events(stream, &["data: {\"id\": nonsense\n\n"]).await?,
            false => json(stream, "200 OK", "", "{\"id\": nonsense").await?,
        },
        Fault::Huge => return huge(stream, streamed).await,
        Fault::GzipBomb => {
            let kind = if streamed { "text/event-stream" } else { "application/json" };
            let length = MEMBER.len() << 10;
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-encoding: gzip\r\ncontent-length: {length}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await?;
            for _ in 0..1_024 {
                stream.write_all(MEMBER).await?;
            }
        }
        Fault::WrongType => {
            let page = "<!doctype html><title>Welcome</title><h1>Please log in</h1>";
            let head =
                format!("HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: {}\r\n\r\n{page}", page.len());
            stream.write_all(head.as_bytes()).await?;
        }
        Fault::Truncated => match streamed {
            true => events(stream, &EVENTS[..2]).await?,
            false => {
                begin(stream, false).await?;
                return Ok(false);
            }
        },
    }
    Ok(true)
}

async fn sound(stream: &mut TcpStream, streamed: bool) -> io::Result<()> {
    if streamed { events(stream, &EVENTS).await } else { json(stream, "200 OK", "", WHOLE).await }
}

/// The first half of an answer.
async fn begin(stream: &mut TcpStream, streamed: bool) -> io::Result<()> {
    let text = if streamed { format!("{EVENTS_HEAD}{}", chunk(EVENTS[0])) } else { json_text("200 OK", "", WHOLE) };
    let half = if streamed { text.len() } else { text.len() - WHOLE.len() / 2 };
    stream.write_all(&text.as_bytes()[..half]).await?;
    // What is reset at once may never be seen.
    tokio::time::sleep(Duration::from_millis(5)).await;
    Ok(())
}

async fn huge(stream: &mut TcpStream, streamed: bool) -> io::Result<bool> {
    let block = vec![b'x'; 64 * 1_024];
    let kind = if streamed { "text/event-stream" } else { "application/json" };
    let head = format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", 1_u64 << 30);
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(if streamed { b"data: \"" } else { b"{\"id\":\"" }).await?;
    for _ in 0..(1 << 30) / block.len() {
        stream.write_all(&block).await?;
    }
    Ok(false)
}

/// Waits until the other side gives up.
async fn until_closed(stream: &mut TcpStream) {
    let mut sink = [0; 64];
    while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {}
}

async fn json(stream: &mut TcpStream, status: &str, headers: &str, body: &str) -> io::Result<()> {
    stream.write_all(json_text(status, headers, body).as_bytes()).await
}

fn json_text(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}")
}

async fn events(stream: &mut TcpStream, events: &[&str]) -> io::Result<()> {
    let chunks: String = events.iter().map(|event| chunk(event)).collect();
    stream.write_all(format!("{EVENTS_HEAD}{chunks}0\r\n\r\n").as_bytes()).await
}

fn chunk(event: &str) -> String {
    format!("{:x}\r\n{event}\r\n", event.len())
}
