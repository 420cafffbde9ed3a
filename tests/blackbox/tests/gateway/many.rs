//! Ten thousand calls at once, over sockets, to a provider that takes two seconds.

use super::GatewayStage;
use serde_json::json;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// One call on a connection of its own; the status of its answer.
async fn call(address: String, body: String) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(&address).await?;
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    // A whole answer, not merely a head.
    Ok(if text.contains("All is well.") { status } else { 0 })
}

/// How many calls this system lets us make: each is two connections here and two in the server, and every connection is an
/// open file.
fn as_many_as_allowed(wanted: usize) -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let files: usize = line.split_whitespace().nth(3).and_then(|limit| limit.parse().ok()).unwrap_or(usize::MAX);
    // What else is open: the store, the listener, the tests' own.
    let allowed = files.saturating_sub(200) / 2;
    if allowed < wanted {
        println!("the limit of {files} open files allows {allowed} calls instead of {wanted}");
    }
    wanted.min(allowed)
}

async fn at_once(count: usize) {
    let stage = GatewayStage::open().await;
    let address = stage.server.url().trim_start_matches("http://").to_owned();
    let body = json!({"model": "slow", "messages": [{"role": "user", "content": "Is all well?"}]}).to_string();
    let begin = Instant::now();
    let mut calls = JoinSet::new();
    for _ in 0..count {
        calls.spawn(call(address.clone(), body.clone()));
    }
    let mut most = 0;
    let mut answered = 0;
    let mut wrong = Vec::new();
    let mut ticks = tokio::time::interval(Duration::from_millis(250));
    loop {
        tokio::select! {
            ended = calls.join_next() => match ended {
                None => break,
                Some(Ok(Ok(200))) => answered += 1,
                Some(other) => wrong.push(format!("{other:?}")),
            },
            _ = ticks.tick() => most = most.max(stage.server.resident_bytes().unwrap_or(0)),
        }
    }
    println!("{answered} of {count} answered in {:?}, at most {} MiB resident", begin.elapsed(), most >> 20);
    wrong.truncate(5);
    assert_eq!((answered, wrong), (count, Vec::new()));
    assert!(most < 500 << 20, "{} MiB", most >> 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_calls_are_answered_at_once() {
    at_once(500).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs 20,200 open files in two processes"]
async fn ten_thousand_calls_are_answered_at_once() {
    at_once(as_many_as_allowed(10_000)).await;
}
