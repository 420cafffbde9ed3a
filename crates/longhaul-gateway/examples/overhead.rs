//! What the layers cost: the same exchange on a bare socket and through the gateway with everything on.
//!
//! ```text
//! cargo run --release -p longhaul-gateway --example overhead
//! ```
//!
//! A provider on loopback, on a thread of its own, answers at once with prepared bytes. Bare: write the request, read
//! the answer. Through the gateway: cache lookup (always a miss), deadline, fallback, retry, breaker, limits, attempt
//! timeout, encoding, the answer read or passed on, record. One caller, then 64; 1 KB and 16 KB answers, whole and streamed.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement of real time")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul_gateway::settings::{
    CacheSettings, Flavor, LimitSettings, ModelSettings, Preset, ProviderSettings, Scenario, TargetSettings, Wire,
};
use longhaul_gateway::{CallOptions, Endpoint, Gateway, GatewayOptions, GatewaySettings};
use longhaul_providers::chat::{ChatRequest, Dialect, Message, Role};
use longhaul_providers::exchange::{Access, Head, Reply};
use longhaul_providers::openai::{self, OpenAi};
use longhaul_providers::protocol::{Delivery, Protocol as _};
use longhaul_providers::relay::RelayTo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const CALLS: usize = 20_000;
const CALLERS: usize = 64;

fn main() {
    let runtime =
        |threads| tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build().unwrap();
    let (server, client) = (runtime(1), runtime(1));
    for (name, size) in [("1 KB", 1_024), ("16 KB", 16_384)] {
        let whole = whole(size);
        let address = server.block_on(serve(whole.clone()));
        client.block_on(async {
            let bare = bare(address, whole.len()).await;
            for (way, relay) in [("read", false), ("passed on", true)] {
                let through = through(address, CALLS, false, relay).await;
                report(&format!("{name} {way}"), &bare, &through);
            }
            let at_64 = saturated(address).await;
            println!(
                "       {CALLERS} callers: {at_64:.0} calls/s on one thread; JSON alone {:?} a call",
                json(&whole)
            );
        });
    }
    let pieces = 200_u32;
    let address = server.block_on(serve(streamed(pieces as usize)));
    client.block_on(async {
        for (way, relay) in [("read", false), ("passed on", true)] {
            let through = through(address, 500, true, relay).await;
            let median = through[through.len() / 2];
            let each = median.as_secs_f64() * 1e6 / f64::from(pieces);
            println!("streamed, {way}: {pieces} pieces in one go: {median:?} a stream, {each:.2} µs a piece");
        }
    });
}

/// Encoding the question and decoding the answer, without anything around it.
fn json(whole: &[u8]) -> Duration {
    let protocol = OpenAi::new(openai::Settings::of(Flavor::Compatible, Access::default())).unwrap();
    let body = &whole[whole.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4..];
    let headers =
        http::HeaderMap::from_iter([(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"))]);
    let started = Instant::now();
    for number in 0..CALLS {
        std::hint::black_box(protocol.encode_chat("m-1", &question(number), Delivery::Whole).unwrap());
        let head = Head { status: http::StatusCode::OK, headers: &headers, received_at: std::time::UNIX_EPOCH };
        std::hint::black_box(protocol.decode_chat(Reply { head, body }).unwrap());
    }
    started.elapsed() / u32::try_from(CALLS).unwrap()
}

fn report(name: &str, bare: &[Duration], through: &[Duration]) {
    let at = |times: &[Duration], part: f64| times[((times.len() - 1) as f64 * part) as usize];
    for (part, label) in [(0.5, "p50"), (0.99, "p99")] {
        let (bare, through) = (at(bare, part), at(through, part));
        println!("{name:<6} {label}  bare {bare:?}  through {through:?}  added {:?}", through.saturating_sub(bare));
    }
}

fn whole(size: usize) -> Vec<u8> {
    let text = "word ".repeat(size / 5);
    let body = serde_json::json!({
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    })
    .to_string();
    format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
        .into_bytes()
}

fn streamed(pieces: usize) -> Vec<u8> {
    let mut bytes =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let mut put = |text: &str| {
        bytes.extend_from_slice(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes());
    };
    for n in 0..pieces {
        let piece = serde_json::json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m-1",
            "choices": [{"index": 0, "delta": {"content": format!("word {n} ")}, "finish_reason": null}]
        });
        put(&format!("data: {piece}\n\n"));
    }
    put(
        "data: {\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n",
    );
    bytes.extend_from_slice(b"0\r\n\r\n");
    bytes
}

/// Answers every request with the same bytes.
async fn serve(answer: Vec<u8>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answer: Arc<[u8]> = answer.into();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                let mut buffer = vec![0; 64 * 1024];
                let mut filled = 0;
                loop {
                    match stream.read(&mut buffer[filled..]).await {
                        Ok(0) | Err(_) => return,
                        Ok(count) => filled += count,
                    }
                    // Requests end with the closing brace of their body.
                    if buffer[..filled].ends_with(b"}") {
                        filled = 0;
                        if stream.write_all(&answer).await.is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

async fn bare(address: std::net::SocketAddr, answer_bytes: usize) -> Vec<Duration> {
    let body =
        r#"{"model":"m-1","messages":[{"role":"user","content":"How much does this cost, call number 12345?"}]}"#;
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let mut answer = vec![0; answer_bytes];
    let mut took = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let started = Instant::now();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.read_exact(&mut answer).await.unwrap();
        took.push(started.elapsed());
    }
    took.sort();
    took
}

fn gateway(address: std::net::SocketAddr) -> Gateway {
    let mut settings = GatewaySettings::default();
    settings.providers.insert(
        "mock".to_owned(),
        ProviderSettings {
            base_url: Some(Endpoint::parse(&format!("http://{address}/v1")).unwrap()),
            flavor: Flavor::Compatible,
            ..ProviderSettings::new(Wire::OpenAi)
        },
    );
    let mut target = TargetSettings::of(Preset::Standard, "mock", "m-1");
    target.limit = LimitSettings { rpm: Some(4_000_000_000), tpm: Some(4_000_000_000), concurrency: Some(1_000) };
    let mut model = ModelSettings::of(Preset::Standard, vec![target]);
    model.cache = Some(CacheSettings::of(Scenario::UserQuery));
    settings.models.insert("smart".to_owned(), model);
    Gateway::new(settings, GatewayOptions::default()).unwrap()
}

fn question(number: usize) -> Arc<ChatRequest> {
    let text = format!("How much does this cost, call number {number}?");
    Arc::new(ChatRequest { messages: vec![Message::text(Role::User, text)], ..ChatRequest::default() })
}

/// With `relay` answers are passed on as they come, else they are put into the neutral model.
fn options(relay: bool) -> CallOptions {
    let options = CallOptions::for_tenant("t");
    let to = || RelayTo { dialect: Dialect::OpenAi, id: "chatcmpl-0".into(), include_usage: false };
    if relay { options.relay(to()) } else { options }
}

async fn through(address: std::net::SocketAddr, calls: usize, stream: bool, relay: bool) -> Vec<Duration> {
    let gateway = gateway(address);
    let options = options(relay);
    let mut took = Vec::with_capacity(calls);
    for number in 0..calls {
        let started = Instant::now();
        if stream {
            let mut stream = gateway.chat_stream("smart", question(number), &options).await.unwrap();
            while stream.next().await.is_some() {}
        } else {
            gateway.chat_relayed("smart", question(number), &options).await.unwrap();
        }
        took.push(started.elapsed());
    }
    took.sort();
    took
}

async fn saturated(address: std::net::SocketAddr) -> f64 {
    let gateway = gateway(address);
    let started = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let gateway = gateway.clone();
            tokio::spawn(async move {
                let options = options(true);
                for number in 0..CALLS / CALLERS {
                    gateway.chat_relayed("smart", question(caller * 1_000_000 + number), &options).await.unwrap();
                }
            })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap();
    }
    CALLS as f64 / started.elapsed().as_secs_f64()
}
