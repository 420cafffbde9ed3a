//! A provider that answers by a script, and keeps a ledger of every call.
//!
//! What it is asked decides what it answers: the script is a function of the request and of its number. Chat completions
//! are told whole or as a stream, as they are asked for; anything else is answered as bytes of JSON, so that it can stand
//! for a tool as well. The ledger is the provider's own: it counts what was asked, whoever has died since.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::net::sockopt;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// A request as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The lines of the head, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body; null when it is no JSON.
    pub body: Value,
    /// Whether the answer was sent to its end.
    pub answered: bool,
}

impl Asked {
    /// A header; empty when it is absent.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// The messages of a conversation.
    #[must_use]
    pub fn messages(&self) -> &[Value] {
        self.body["messages"].as_array().map_or(&[], Vec::as_slice)
    }

    /// The last message's text.
    #[must_use]
    pub fn last_text(&self) -> &str {
        self.messages().last().and_then(|message| message["content"].as_str()).unwrap_or_default()
    }
}

/// What is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A model's words.
    Text(String),
    /// A model calls tools: name and arguments, the latter as they are written.
    Calls(Vec<(String, String)>),
    /// A body of JSON with a status.
    Json(u16, Value),
    /// 429, with a `Retry-After` of so many seconds.
    Busy(u64),
    /// An answer of a model that comes after a while.
    Late(Duration, String),
    /// Some words, then the connection is reset.
    Cut(String),
    /// Some words, then nothing more; the connection stays.
    Stall(String),
}

impl Answer {
    /// One call of a tool.
    #[must_use]
    pub fn call(name: &str, arguments: &Value) -> Self {
        Self::Calls(vec![(name.to_owned(), arguments.to_string())])
    }

    /// A model's words.
    #[must_use]
    pub fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// What each answer of a model is said to have taken.
pub const INPUT_TOKENS: u64 = 100;
/// As [`INPUT_TOKENS`], of the answer.
pub const OUTPUT_TOKENS: u64 = 20;

type Script = dyn Fn(&Asked, usize) -> Answer + Send + Sync;

struct Shared {
    script: Box<Script>,
    ledger: Mutex<Vec<Asked>>,
    arrived: watch::Sender<usize>,
}

/// The provider, until it is dropped.
pub struct Scripted {
    address: SocketAddr,
    shared: Arc<Shared>,
    _serving: JoinSet<()>,
}

impl std::fmt::Debug for Scripted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scripted").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Scripted {
    /// Serves on a free loopback port. The script is told the request and its number, from 0.
    ///
    /// # Errors
    /// When there is no port to be had.
    pub async fn start(script: impl Fn(&Asked, usize) -> Answer + Send + Sync + 'static) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared =
            Arc::new(Shared { script: Box::new(script), ledger: Mutex::default(), arrived: watch::Sender::new(0) });
        let mut serving = JoinSet::new();
        serving.spawn(accept(listener, shared.clone()));
        Ok(Self { address, shared, _serving: serving })
    }

    /// Where it is, like `http://127.0.0.1:41234`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its base URL as a provider of models.
    #[must_use]
    pub fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Every request so far, oldest first.
    #[must_use]
    pub fn ledger(&self) -> Vec<Asked> {
        self.shared.ledger.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How many requests there have been.
    #[must_use]
    pub fn calls(&self) -> usize {
        *self.shared.arrived.borrow()
    }

    /// Waits until there have been so many requests.
    pub async fn called(&self, count: usize) {
        // The sender lives as long as this does.
        let _ = self.shared.arrived.subscribe().wait_for(|arrived| *arrived >= count).await;
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let shared = shared.clone();
                connections.spawn(async move {
                    // Whatever ends a connection here, the other side sees it end.
                    let _ = serve(stream, &shared).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(asked) = read(&mut stream, &mut buffer).await? {
        let number = {
            let mut ledger = shared.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            ledger.push(asked.clone());
            ledger.len() - 1
        };
        shared.arrived.send_modify(|arrived| *arrived += 1);
        let answer = (shared.script)(&asked, number);
        if !tell(&mut stream, &asked, number, answer).await? {
            return Ok(());
        }
        let mut ledger = shared.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = ledger.get_mut(number) {
            entry.answered = true;
        }
    }
    Ok(())
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Asked>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
            let mut lines = head.lines();
            let mut first = lines.next().unwrap_or_default().split(' ').map(str::to_owned);
            let (method, path) = (first.next().unwrap_or_default(), first.next().unwrap_or_default());
            let field = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_lowercase(), value.to_owned()));
            let headers: Vec<(String, String)> = lines.filter_map(field).collect();
            let length = headers.iter().find(|(name, _)| name == "content-length");
            let length: usize = length.and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
            if buffer.len() >= end + 4 + length {
                let body = serde_json::from_slice(&buffer[end + 4..end + 4 + length]).unwrap_or(Value::Null);
                buffer.drain(..end + 4 + length);
                return Ok(Some(Asked { method, path, headers, body, answered: false }));
            }
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

/// Answers; whether the connection stays.
async fn tell(stream: &mut TcpStream, asked: &Asked, number: usize, answer: Answer) -> io::Result<bool> {
    let streamed = asked.body["stream"] == true;
    match answer {
        Answer::Json(status, body) => {
            stream.write_all(&whole(status, "", &body.to_string())).await?;
            Ok(true)
        }
        Answer::Busy(seconds) => {
            let body =
                json!({"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}});
            let header = format!("retry-after: {seconds}\r\n");
            stream.write_all(&whole(429, &header, &body.to_string())).await?;
            Ok(true)
        }
        Answer::Late(after, text) => {
            tokio::time::sleep(after).await;
            stream.write_all(&words(streamed, number, &text)).await?;
            Ok(true)
        }
        Answer::Text(text) => {
            stream.write_all(&words(streamed, number, &text)).await?;
            Ok(true)
        }
        Answer::Calls(calls) => {
            let calls: Vec<Value> = calls
                .into_iter()
                .enumerate()
                .map(|(at, (name, arguments))| {
                    json!({"index": at, "id": format!("call_{number}_{at}"), "type": "function",
                           "function": {"name": name, "arguments": arguments}})
                })
                .collect();
            let said = json!({"role": "assistant", "content": null, "tool_calls": calls});
            stream.write_all(&message(streamed, number, &said, "tool_calls")).await?;
            Ok(true)
        }
        Answer::Cut(text) => {
            stream.write_all(&begun(number, &text)).await?;
            // What is reset at once may never be seen.
            tokio::time::sleep(Duration::from_millis(5)).await;
            sockopt::set_socket_linger(&*stream, Some(Duration::ZERO))?;
            Ok(false)
        }
        Answer::Stall(text) => {
            stream.write_all(&begun(number, &text)).await?;
            let mut sink = [0; 64];
            while stream.read(&mut sink).await.is_ok_and(|read| read > 0) {}
            Ok(false)
        }
    }
}

fn words(streamed: bool, number: usize, text: &str) -> Vec<u8> {
    message(streamed, number, &json!({"role": "assistant", "content": text}), "stop")
}

fn message(streamed: bool, number: usize, said: &Value, finish: &str) -> Vec<u8> {
    let usage = json!({"prompt_tokens": INPUT_TOKENS, "completion_tokens": OUTPUT_TOKENS,
                       "total_tokens": INPUT_TOKENS + OUTPUT_TOKENS});
    if !streamed {
        let body = json!({
            "id": format!("chatcmpl-{number}"), "object": "chat.completion", "created": 1_700_000_000, "model": "scripted",
            "choices": [{"index": 0, "message": said, "finish_reason": finish}], "usage": usage,
        });
        return whole(200, "", &body.to_string());
    }
    let mut bytes = HEAD.as_bytes().to_vec();
    bytes.extend(piece(number, said, None));
    bytes.extend(piece(number, &json!({}), Some(finish)));
    let last = json!({"id": format!("chatcmpl-{number}"), "object": "chat.completion.chunk", "created": 1_700_000_000,
                      "model": "scripted", "choices": [], "usage": usage});
    bytes.extend(chunk(&format!("data: {last}\n\ndata: [DONE]\n\n")));
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// A stream's head and first words.
fn begun(number: usize, text: &str) -> Vec<u8> {
    let mut bytes = HEAD.as_bytes().to_vec();
    bytes.extend(piece(number, &json!({"role": "assistant", "content": text}), None));
    bytes
}

fn piece(number: usize, delta: &Value, finish: Option<&str>) -> Vec<u8> {
    let event = json!({"id": format!("chatcmpl-{number}"), "object": "chat.completion.chunk", "created": 1_700_000_000,
                       "model": "scripted", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]});
    chunk(&format!("data: {event}\n\n"))
}

fn chunk(text: &str) -> Vec<u8> {
    format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()
}

fn whole(status: u16, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}")
        .into_bytes()
}
