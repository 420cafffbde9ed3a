//! How many small requests a second the listener carries, beside `axum::serve` under the same load.
//!
//! `cargo run --release -p longhaul-server --example listener_throughput -- [clients] [seconds]`
//!
//! The third line adds what every route has: request ids, hardening headers and a strictly read JSON body.
//!
//! Server and clients share one runtime of two threads. Each client sends a POST of 1 KB over a connection that it
//! keeps, waits for the answer and sends the next.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{Router, http::StatusCode, routing::post};
use bytes::Bytes;
use longhaul_server::{
    json::ApiJsonBytes,
    listener::{Listener, ListenerOptions},
    request_id::{RequestId, RequestIdLayer},
    security_headers::hardening_layer,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1).map(|arg| arg.parse::<u64>());
    let clients = args.next().transpose()?.unwrap_or(64);
    let seconds = args.next().transpose()?.unwrap_or(5);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        for round in 0..3 {
            for server in [Server::Axum, Server::Listener, Server::Strict] {
                let (rate, cpu_us) = measure(server, clients, Duration::from_secs(seconds)).await?;
                let name = server.name();
                report(&format!("round {round}  {name:<32} {rate:>8} requests/s  {cpu_us:>6.2} µs of CPU each"));
            }
        }
        Ok(())
    })
}

#[derive(Clone, Copy, PartialEq)]
enum Server {
    Axum,
    Listener,
    Strict,
}

impl Server {
    fn name(self) -> &'static str {
        match self {
            Self::Axum => "axum::serve",
            Self::Listener => "longhaul listener",
            Self::Strict => "longhaul listener, strict route",
        }
    }

    fn router(self) -> Router {
        let accepted = (StatusCode::ACCEPTED, "{\"ok\":true}");
        if self != Self::Strict {
            return Router::new().route("/v1/jobs", post(move |_body: Bytes| async move { accepted }));
        }
        let numbers = AtomicU64::new(1);
        let strict = move |ApiJsonBytes { value, .. }: ApiJsonBytes<CreateJob>| async move {
            if value.kind == "echo" { accepted } else { (StatusCode::NOT_FOUND, "") }
        };
        Router::new()
            .route("/v1/jobs", post(strict))
            .layer(hardening_layer())
            .layer(RequestIdLayer::new(move || RequestId::from_u128(numbers.fetch_add(1, Relaxed).into())))
    }
}

#[derive(serde::Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
#[allow(dead_code, reason = "parsed to measure the parsing")]
struct CreateJob {
    kind: String,
    input: serde_json::Value,
    priority: Option<i8>,
}

#[allow(clippy::print_stdout, reason = "an example that reports to a person")]
fn report(line: &str) {
    println!("{line}");
}

async fn measure(server: Server, clients: u64, time: Duration) -> Result<(u64, f64), Box<dyn std::error::Error>> {
    let router = server.router();
    let tracker = TaskTracker::new();
    let shutdown = CancellationToken::new();
    let addr: SocketAddr = if server != Server::Axum {
        let listener = Listener::bind("127.0.0.1:0".parse()?, ListenerOptions::default())?;
        let addr = listener.local_addr();
        drop(tracker.spawn(listener.serve(router, shutdown.clone())));
        addr
    } else {
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let addr = socket.local_addr()?;
        let stop = shutdown.clone().cancelled_owned();
        drop(tracker.spawn(async move { axum::serve(socket, router).with_graceful_shutdown(stop).await }));
        addr
    };
    let (done, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let load = TaskTracker::new();
    for _ in 0..clients {
        let (done, answered) = (Arc::clone(&done), Arc::clone(&answered));
        drop(load.spawn(async move { client(addr, &done, &answered).await }));
    }
    load.close();
    tokio::time::sleep(time / 5).await;
    let (before, cpu_before) = (answered.load(Relaxed), cpu_seconds());
    tokio::time::sleep(time).await;
    let count = (answered.load(Relaxed) - before) as f64;
    let (rate, cpu_us) = (count / time.as_secs_f64(), (cpu_seconds() - cpu_before) * 1e6 / count);
    done.store(true, Relaxed);
    load.wait().await;
    shutdown.cancel();
    tracker.close();
    tracker.wait().await;
    Ok((rate as u64, cpu_us))
}

/// CPU time of this process, server and clients together: a figure that other processes disturb less than a rate.
fn cpu_seconds() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields).split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / TICKS_PER_SECOND
}

async fn client(addr: SocketAddr, done: &AtomicBool, answered: &AtomicU64) -> std::io::Result<()> {
    let body = format!("{{\"kind\":\"echo\",\"input\":\"{}\"}}", "x".repeat(995));
    let request = format!(
        "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(addr).await?;
    stream.set_nodelay(true)?;
    let mut answer = [0; 1024];
    while !done.load(Relaxed) {
        stream.write_all(request.as_bytes()).await?;
        // The answer is small and arrives whole.
        if stream.read(&mut answer).await? == 0 {
            break;
        }
        answered.fetch_add(1, Relaxed);
    }
    Ok(())
}
