//! A provider on loopback that fails as it is told, byte by byte, and a gateway in front of it.
//!
//! It is written on bare sockets: what is tested here (cut bodies, dripping, lies in headers) no HTTP server would do.

#![allow(
    clippy::unwrap_used,
    dead_code,
    unreachable_pub,
    reason = "compiled into each test, none of which uses all of it"
)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longhaul_gateway::settings::{
    Flavor, ModelSettings, Preset, ProviderSettings, RetrySettings, TargetSettings, Wire,
};
use longhaul_gateway::{CallOptions, Endpoint, Gateway, GatewayOptions, GatewaySettings};
use longhaul_providers::chat::{ChatRequest, Message, Role};
use longhaul_resilience::VirtualClock;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

/// What is done with one request.
#[derive(Clone, Debug)]
pub enum Play {
    /// Bytes, then the connection stays open for the next request.
    Keep(Vec<u8>),
    /// Bytes, then the connection is closed.
    Close(Vec<u8>),
    /// Bytes, then the connection is reset.
    Reset(Vec<u8>),
    /// Bytes, then nothing more, for ever.
    Hang(Vec<u8>),
    /// Nothing until the test says so, then bytes; the connection stays open for the next request.
    Later(Vec<u8>),
    /// Bytes, then one byte of the second part each time the test says so.
    Drip(Vec<u8>, Vec<u8>),
    /// Bytes, then zeros without end.
    Flood(Vec<u8>),
}

/// A good answer of OpenAI's.
pub fn answer(text: &str) -> Play {
    Play::Keep(json_reply(200, "", &completion(text)))
}

pub fn completion(text: &str) -> String {
    serde_json::json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    })
    .to_string()
}

/// `headers` end each with CRLF.
pub fn json_reply(status: u16, headers: &str, body: &str) -> Vec<u8> {
    reply(status, &format!("content-type: application/json\r\n{headers}"), body.as_bytes())
}

pub fn reply(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {status} X\r\n{headers}content-length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

pub fn error(status: u16, headers: &str) -> Play {
    let body = r#"{"error":{"message":"told to fail","type":"x","param":null,"code":null}}"#;
    Play::Keep(json_reply(status, headers, body))
}

/// The head of a stream and its first pieces, each a chunk of HTTP.
pub fn stream_begin(pieces: &[&str]) -> Vec<u8> {
    let mut bytes =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for piece in pieces {
        bytes.extend_from_slice(&chunk(&delta(piece)));
    }
    bytes
}

pub fn delta(text: &str) -> String {
    let chunk = serde_json::json!({
        "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m-1",
        "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": null}]
    });
    format!("data: {chunk}\n\n")
}

pub fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

/// A whole good stream.
pub fn stream(pieces: &[&str]) -> Vec<u8> {
    let mut bytes = stream_begin(pieces);
    bytes.extend_from_slice(&stream_end());
    bytes
}

pub fn stream_end() -> Vec<u8> {
    let finish = r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
    let usage = r#"data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m-1","choices":[],"usage":{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}}"#;
    let mut bytes = chunk(&format!("{finish}\n\n{usage}\n\ndata: [DONE]\n\n"));
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

/// A provider on loopback.
pub struct Provider {
    pub url: String,
    shared: Arc<Shared>,
    _serving: AbortOnDropHandle<()>,
}

/// What is played to the call of that number with that body.
type Plot = dyn Fn(usize, &str) -> Play + Send + Sync;

struct Shared {
    play: Box<Plot>,
    requests: AtomicUsize,
    bodies: Mutex<Vec<String>>,
    arrived: watch::Sender<usize>,
    connections: watch::Sender<usize>,
    open: watch::Sender<usize>,
    drip: watch::Sender<usize>,
}

impl Provider {
    /// `play` is told the number of the request, from 0.
    pub async fn start(play: impl Fn(usize) -> Play + Send + Sync + 'static) -> Self {
        Self::reading(move |number, _| play(number)).await
    }

    /// `play` is told the number of the request, from 0, and its body.
    pub async fn reading(play: impl Fn(usize, &str) -> Play + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1", listener.local_addr().unwrap());
        let shared = Arc::new(Shared {
            play: Box::new(play),
            requests: AtomicUsize::new(0),
            bodies: Mutex::default(),
            arrived: watch::Sender::new(0),
            connections: watch::Sender::new(0),
            open: watch::Sender::new(0),
            drip: watch::Sender::new(0),
        });
        let tracker = TaskTracker::new();
        let serving = {
            let (shared, connections) = (Arc::clone(&shared), tracker.clone());
            tracker.spawn(async move {
                loop {
                    let Ok((stream, _)) = listener.accept().await else { return };
                    let shared = Arc::clone(&shared);
                    shared.connections.send_modify(|count| *count += 1);
                    connections.spawn(async move {
                        shared.open.send_modify(|open| *open += 1);
                        serve(stream, &shared).await;
                        shared.open.send_modify(|open| *open -= 1);
                    });
                }
            })
        };
        Self { url, shared, _serving: AbortOnDropHandle::new(serving) }
    }

    /// Requests so far.
    pub fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        *self.shared.connections.borrow()
    }

    pub fn body(&self, request: usize) -> String {
        self.shared.bodies.lock().unwrap()[request].clone()
    }

    /// Until so many requests have arrived.
    pub async fn arrived(&self, count: usize) {
        self.shared.arrived.subscribe().wait_for(|arrived| *arrived >= count).await.unwrap();
    }

    /// Until so many connections are open.
    pub async fn open_connections(&self, count: usize) {
        self.shared.open.subscribe().wait_for(|open| *open == count).await.unwrap();
    }

    /// Another byte of whatever drips, or what was to come later.
    pub fn drip(&self) {
        self.shared.drip.send_modify(|count| *count += 1);
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) {
    stream.set_nodelay(true).unwrap();
    let mut read = Vec::new();
    loop {
        let Some(body) = read_request(&mut stream, &mut read).await else { return };
        // From here on: the test may speak as soon as it knows that the request has arrived.
        let mut said = shared.drip.subscribe();
        let number = shared.requests.fetch_add(1, Ordering::SeqCst);
        let play = (shared.play)(number, &body);
        shared.bodies.lock().unwrap().push(body);
        shared.arrived.send_modify(|arrived| *arrived += 1);
        match play {
            Play::Keep(bytes) => {
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Play::Close(bytes) => {
                let _ = stream.write_all(&bytes).await;
                return;
            }
            Play::Reset(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let _ = stream.flush().await;
                // Unread bytes, or no lingering: the peer gets a reset instead of an end.
                #[allow(deprecated, reason = "lingering for no time at all does not block")]
                let _ = stream.set_linger(Some(Duration::ZERO));
                return;
            }
            Play::Hang(bytes) => {
                let _ = stream.write_all(&bytes).await;
                until_closed(&mut stream).await;
                return;
            }
            Play::Later(bytes) => {
                tokio::select! {
                    said = said.changed() => said.unwrap(),
                    () = until_closed(&mut stream) => return,
                }
                if stream.write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Play::Drip(bytes, slowly) => {
                let _ = stream.write_all(&bytes).await;
                for byte in slowly {
                    tokio::select! {
                        said = said.changed() => said.unwrap(),
                        () = until_closed(&mut stream) => return,
                    }
                    if stream.write_all(&[byte]).await.is_err() {
                        return;
                    }
                }
                until_closed(&mut stream).await;
                return;
            }
            Play::Flood(bytes) => {
                let _ = stream.write_all(&bytes).await;
                let zeros = vec![b'0'; 64 * 1024];
                while stream.write_all(&zeros).await.is_ok() {}
                return;
            }
        }
    }
}

async fn until_closed(stream: &mut TcpStream) {
    let mut rest = vec![0; 1024];
    while !matches!(stream.read(&mut rest).await, Ok(0) | Err(_)) {}
}

/// The body of the next request; what was read beyond it stays in `read`.
async fn read_request(stream: &mut TcpStream, read: &mut Vec<u8>) -> Option<String> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&read[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
            if read.len() >= end + 4 + length {
                let body = String::from_utf8_lossy(&read[end + 4..end + 4 + length]).into_owned();
                read.drain(..end + 4 + length);
                return Some(body);
            }
        }
        match stream.read(&mut buffer).await {
            Ok(0) | Err(_) => return None,
            Ok(count) => read.extend_from_slice(&buffer[..count]),
        }
    }
}

/// A provider of the gateway at this URL.
pub fn provider(url: &str) -> ProviderSettings {
    ProviderSettings {
        base_url: Some(Endpoint::parse(url).unwrap()),
        flavor: Flavor::Compatible,
        ..ProviderSettings::new(Wire::OpenAi)
    }
}

/// A target that is tried again at once, and parks for any wait.
pub fn target(provider: &str) -> TargetSettings {
    let retry =
        RetrySettings { max_retries: 2, initial: Duration::ZERO, max: Duration::ZERO, ..RetrySettings::default() };
    TargetSettings { name: provider.to_owned(), retry, ..TargetSettings::of(Preset::Standard, provider, "m-1") }
}

/// The model `smart` over these providers, by their names, one rank after the other; all called `a`, `b` and so on.
pub fn smart(providers: &[&Provider]) -> (GatewaySettings, ModelSettings) {
    let mut settings = GatewaySettings::default();
    let mut targets = Vec::new();
    for (name, (rank, server)) in ["a", "b", "c", "d"].into_iter().zip((0..).zip(providers)) {
        settings.providers.insert(name.to_owned(), provider(&server.url));
        targets.push(TargetSettings { rank, ..target(name) });
    }
    (settings, ModelSettings::of(Preset::Standard, targets))
}

pub fn gateway(mut settings: GatewaySettings, model: ModelSettings) -> (Gateway, VirtualClock) {
    settings.models.insert("smart".to_owned(), model);
    let clock = VirtualClock::new();
    // The scale of a fresh clock begins at zero, where "never read" is.
    clock.advance(Duration::from_secs(1));
    let options = GatewayOptions { clock: Some(Arc::new(clock.clone())), seed: Some(7), ..GatewayOptions::default() };
    (Gateway::new(settings, options).unwrap(), clock)
}

pub fn ask(text: &str) -> Arc<ChatRequest> {
    Arc::new(ChatRequest { messages: vec![Message::text(Role::User, text)], ..ChatRequest::default() })
}

pub fn options() -> CallOptions {
    CallOptions::for_tenant("t").correlation("req-1")
}
