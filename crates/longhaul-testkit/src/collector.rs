//! What takes traces: a collector of OTLP over HTTP that keeps the spans it is sent, and a provider beside it that keeps what
//! it was told of the trace.
//!
//! The bytes are read by the rules of protocol buffers and the numbers of OpenTelemetry's published messages, without any
//! code of the program's.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A span as it was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CollectedSpan {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// The same; empty at the root.
    pub parent: String,
    /// What it is called.
    pub name: String,
    /// 1 internal, 2 server, 3 client, 4 producer, 5 consumer.
    pub kind: u64,
    /// Nanoseconds since 1970.
    pub began: u64,
    /// The same.
    pub ended: u64,
    /// Attributes that are texts or whole numbers.
    pub attributes: BTreeMap<String, String>,
    /// Why it failed, when it did.
    pub error: Option<String>,
}

#[derive(Debug, Default)]
struct Kept {
    spans: Vec<CollectedSpan>,
    services: Vec<String>,
    traceparents: Vec<String>,
    requests: u64,
}

/// The server, until it is dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
    _serving: JoinSet<()>,
}

/// How the collector answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Takes everything.
    Willing,
    /// Takes a request and never answers.
    Silent,
}

impl Collector {
    /// Serves on a free loopback port.
    ///
    /// # Errors
    /// When there is no port to be had.
    pub async fn start(manner: Manner) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let kept = Arc::new(Mutex::new(Kept::default()));
        let mut serving = JoinSet::new();
        let shared = kept.clone();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let kept = shared.clone();
                connections.spawn(async move {
                    // Whatever ends a connection here, the other side sees it end.
                    let _ = serve(stream, manner, &kept).await;
                });
            }
        });
        Ok(Self { address, kept, _serving: serving })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `OTEL_EXPORTER_OTLP_ENDPOINT` names.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The base URL of a provider that answers, after `failures` first calls that it refuses with 500.
    #[must_use]
    pub fn provider_url(&self, failures: u64) -> String {
        format!("http://{}/provider/{failures}/v1", self.address)
    }

    /// All spans that have come.
    #[must_use]
    pub fn spans(&self) -> Vec<CollectedSpan> {
        self.kept().spans.clone()
    }

    /// The names of the services that have sent them.
    #[must_use]
    pub fn services(&self) -> Vec<String> {
        self.kept().services.clone()
    }

    /// The `traceparent` of each call of the provider; empty where there was none.
    #[must_use]
    pub fn traceparents(&self) -> Vec<String> {
        self.kept().traceparents.clone()
    }

    /// How many requests with spans have come.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.kept().requests
    }

    /// The spans, once `enough` says that these are all; or those that have come within 20 s.
    pub async fn spans_when(&self, enough: impl Fn(&[CollectedSpan]) -> bool) -> Vec<CollectedSpan> {
        for _ in 0..400 {
            if enough(&self.kept().spans) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.spans()
    }
}

const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"All is well.","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":4,"completion_tokens":5,"total_tokens":9}}"#;
const REFUSAL: &str =
    r#"{"error":{"message":"The server had an error","type":"server_error","param":null,"code":null}}"#;

async fn serve(mut stream: TcpStream, manner: Manner, kept: &Mutex<Kept>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some((head, body)) = request(&mut stream, &mut buffer).await? {
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let (status, answer) = match path.strip_prefix("/provider/") {
            Some(rest) => {
                let failures: usize = rest.split('/').next().and_then(|number| number.parse().ok()).unwrap_or(0);
                let said = header(&head, "traceparent").unwrap_or_default();
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.traceparents.push(said);
                match kept.traceparents.len() > failures {
                    true => ("200 OK", ANSWER),
                    false => ("500 Internal Server Error", REFUSAL),
                }
            }
            None => {
                let taken = {
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.requests += 1;
                    manner == Manner::Willing && take(&body, &mut kept).is_some()
                };
                if manner == Manner::Silent {
                    std::future::pending::<()>().await;
                }
                (if taken { "200 OK" } else { "400 Bad Request" }, "")
            }
        };
        let head = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{answer}",
            answer.len()
        );
        stream.write_all(head.as_bytes()).await?;
    }
    Ok(())
}

fn header(head: &str, name: &str) -> Option<String> {
    let named = head.lines().filter_map(|line| line.split_once(':'));
    named.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
}

async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<(String, Vec<u8>)>> {
    loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..at]).into_owned();
            let length: usize = header(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            if buffer.len() >= at + 4 + length {
                let body = buffer[at + 4..at + 4 + length].to_vec();
                buffer.drain(..at + 4 + length);
                return Ok(Some((head, body)));
            }
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

// ── protocol buffers ──

/// A field of a message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn bytes(&self) -> Option<&'a [u8]> {
        match self {
            Self::Bytes(bytes) => Some(bytes),
            Self::Number(_) => None,
        }
    }

    fn text(&self) -> String {
        self.bytes().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default()
    }

    fn hex(&self) -> String {
        self.bytes().unwrap_or_default().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn number(&self) -> u64 {
        match self {
            Self::Number(number) => *number,
            Self::Bytes(_) => 0,
        }
    }
}

/// The fields of a message; none when it is not one.
fn fields(mut message: &[u8]) -> Option<Vec<(u64, Field<'_>)>> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message)?;
        let field = match key & 7 {
            0 => Field::Number(varint(&mut message)?),
            1 => Field::Number(u64::from_le_bytes(take_bytes(&mut message, 8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                Field::Bytes(take_bytes(&mut message, length)?)
            }
            5 => Field::Number(u32::from_le_bytes(take_bytes(&mut message, 4)?.try_into().ok()?).into()),
            _ => return None,
        };
        fields.push((key >> 3, field));
    }
    Some(fields)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = *take_bytes(message, 1)?.first()?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn take_bytes<'a>(message: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (taken, rest) = message.split_at_checked(count)?;
    *message = rest;
    Some(taken)
}

/// The messages in the fields of this number.
fn within(message: &[u8], number: u64) -> Option<Vec<&[u8]>> {
    let fields = fields(message)?.into_iter().filter(|(known, _)| *known == number);
    fields.map(|(_, field)| field.bytes()).collect()
}

/// Keeps what an `ExportTraceServiceRequest` holds; none when the bytes are not one.
fn take(request: &[u8], kept: &mut Kept) -> Option<()> {
    for resource_spans in within(request, 1)? {
        for resource in within(resource_spans, 1)? {
            let attributes = attributes(within(resource, 1)?)?;
            kept.services.extend(attributes.get("service.name").cloned());
        }
        for scope_spans in within(resource_spans, 2)? {
            for span in within(scope_spans, 2)? {
                kept.spans.push(read_span(span)?);
            }
        }
    }
    Some(())
}

fn read_span(message: &[u8]) -> Option<CollectedSpan> {
    let mut span = CollectedSpan { attributes: attributes(within(message, 9)?)?, ..CollectedSpan::default() };
    for (number, field) in fields(message)? {
        match number {
            1 => span.trace_id = field.hex(),
            2 => span.span_id = field.hex(),
            4 => span.parent = field.hex(),
            5 => span.name = field.text(),
            6 => span.kind = field.number(),
            7 => span.began = field.number(),
            8 => span.ended = field.number(),
            15 => {
                let status = fields(field.bytes()?)?;
                let failed = status.iter().any(|(number, field)| *number == 3 && field.number() == 2);
                let why = status.iter().find(|(number, _)| *number == 2).map(|(_, field)| field.text());
                span.error = failed.then_some(why.unwrap_or_default());
            }
            _ => {}
        }
    }
    Some(span)
}

fn attributes(pairs: Vec<&[u8]>) -> Option<BTreeMap<String, String>> {
    let mut attributes = BTreeMap::new();
    for pair in pairs {
        let (mut key, mut value) = (String::new(), String::new());
        for (number, field) in fields(pair)? {
            match number {
                1 => key = field.text(),
                2 => {
                    for (sort, field) in fields(field.bytes()?)? {
                        value = if sort == 1 { field.text() } else { field.number().to_string() };
                    }
                }
                _ => {}
            }
        }
        attributes.insert(key, value);
    }
    Some(attributes)
}
