//! Ten thousand questions held at once against a provider that takes 200 ms: none is lost.

#![allow(clippy::disallowed_methods, reason = "real calls are timed, on tasks of the tests' own")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use longhaul_testkit::files::allow_open_files;
use longhaul_testkit::script::{Answer, Scripted};
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

/// One question on a connection of its own, sent when all are connected; whether the answer is its own.
async fn ask(address: String, number: usize, ready: Arc<Barrier>) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(&address).await?;
    let body = json!({"query": format!("question {number}."), "model": "smart", "timeout_s": 60}).to_string();
    let head = format!(
        "POST /process HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    // Half a request holds its connection against the time for a first byte.
    stream.write_all(head.as_bytes()).await?;
    ready.wait().await;
    stream.write_all(body.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let text = String::from_utf8_lossy(&answer);
    let is_own = text.contains(&format!("\"output\":\"question {number}.\""));
    Ok(text.starts_with("HTTP/1.1 200") && is_own)
}

async fn at_once(count: usize) {
    let provider = Scripted::start(|asked, _| Answer::Late(Duration::from_millis(200), asked.last_text().to_owned()));
    let provider = provider.await.unwrap();
    let stage = super::open(&provider, "[queues.default]\nconcurrency = 12_000\n").await;
    let address = stage.server.url().trim_start_matches("http://").to_owned();
    let ready = Arc::new(Barrier::new(count + 1));
    let mut questions = JoinSet::new();
    for number in 0..count {
        questions.spawn(ask(address.clone(), number, ready.clone()));
    }
    ready.wait().await;
    let begin = Instant::now();
    let (mut answered, mut wrong, mut most) = (0, Vec::new(), 0);
    let mut ticks = tokio::time::interval(Duration::from_millis(100));
    loop {
        tokio::select! {
            ended = questions.join_next() => match ended {
                None => break,
                Some(Ok(Ok(true))) => answered += 1,
                Some(other) => wrong.push(format!("{other:?}")),
            },
            _ = ticks.tick() => most = most.max(stage.server.resident_bytes().unwrap_or(0)),
        }
    }
    println!(
        "{answered} of {count} questions answered in {:?}, {} calls of the provider, at most {} MiB resident",
        begin.elapsed(),
        provider.calls(),
        most >> 20
    );
    wrong.truncate(5);
    assert_eq!((answered, wrong), (count, Vec::new()));
    assert_eq!(provider.calls(), count, "each was asked once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_hundred_questions_are_held_at_once() {
    at_once(500).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "slow: ten thousand connections, and as many to the provider"]
async fn ten_thousand_questions_are_held_at_once_and_none_is_lost() {
    allow_open_files(20_500).unwrap();
    at_once(10_000).await;
}
