//! A provider of vectors that writes down what it was asked for, over a real socket.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

#[derive(Default)]
struct Asked {
    calls: usize,
    texts: HashMap<String, usize>,
}

/// The provider, until it is dropped.
pub(super) struct Ledger {
    address: SocketAddr,
    asked: Arc<Mutex<Asked>>,
    _serving: JoinSet<()>,
}

impl Ledger {
    /// Answers each call after `pause`.
    pub(super) async fn start(pause: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Asked::default()));
        let mut serving = JoinSet::new();
        let ledger = asked.clone();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, ledger.clone(), pause));
            }
        });
        Self { address, asked, _serving: serving }
    }

    pub(super) fn base_url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// How often it was called.
    pub(super) fn calls(&self) -> usize {
        self.asked.lock().unwrap().calls
    }

    /// How often it was asked for the vector of a text.
    pub(super) fn times(&self, text: &str) -> usize {
        self.asked.lock().unwrap().texts.get(text).copied().unwrap_or(0)
    }
}

async fn serve(mut stream: TcpStream, asked: Arc<Mutex<Asked>>, pause: Duration) {
    let mut buffer = Vec::new();
    while let Some(body) = request(&mut stream, &mut buffer).await {
        let texts: Vec<String> = match &body["input"] {
            Value::String(text) => vec![text.clone()],
            Value::Array(texts) => texts.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect(),
            _ => Vec::new(),
        };
        let vector = |text: &String| {
            let sum: u32 = text.bytes().map(u32::from).sum();
            [f64::from(sum % 97), f64::from(sum % 89), 1.0]
        };
        let data: Vec<Value> = texts
            .iter()
            .enumerate()
            .map(|(index, text)| json!({"object": "embedding", "index": index, "embedding": vector(text)}))
            .collect();
        {
            let mut asked = asked.lock().unwrap();
            asked.calls += 1;
            for text in texts {
                *asked.texts.entry(text).or_default() += 1;
            }
        }
        tokio::time::sleep(pause).await;
        let usage = json!({"prompt_tokens": 1, "total_tokens": 1});
        let body = json!({"object": "list", "model": "vectors", "data": data, "usage": usage}).to_string();
        let head =
            format!("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        if stream.write_all(format!("{head}{body}").as_bytes()).await.is_err() {
            return;
        }
    }
}

/// The JSON of the next request; none when the connection ends.
async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Value> {
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            let whole = end + 4 + length.unwrap_or(0_usize);
            if buffer.len() >= whole {
                let body = serde_json::from_slice(&buffer[end + 4..whole]).unwrap_or(Value::Null);
                buffer.drain(..whole);
                return Some(body);
            }
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
}
