//! A reader of one job's stream, over a socket of its own: it hangs up at random, loses its server, and comes again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::watch,
};

/// Everything a reader was sent that belongs to the job's history: the number and the data of each event, as they came.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Transcript {
    pub(super) job: String,
    events: Vec<(u64, String)>,
}

impl Transcript {
    /// The output that the events make.
    pub(super) fn text(&self) -> String {
        let deltas = self.events.iter().filter_map(|(_, data)| {
            let event: serde_json::Value = serde_json::from_str(data).unwrap();
            (event["type"] == "job.output.delta").then(|| event["data"]["text"].as_str().unwrap_or_default().to_owned())
        });
        deltas.collect()
    }

    fn last(&self) -> u64 {
        self.events.last().map_or(0, |(seq, _)| *seq)
    }
}

pub(super) struct Reader {
    transcript: Transcript,
    server: watch::Receiver<String>,
    /// A linear congruential generator: tests are told apart by their number, not by the time.
    random: u64,
    cuts: Arc<AtomicUsize>,
}

/// How a connection ended.
enum End {
    /// After the job's last event.
    Whole,
    /// Somewhere else.
    Broken,
}

impl Reader {
    pub(super) fn new(job: &str, server: watch::Receiver<String>, seed: u64, cuts: Arc<AtomicUsize>) -> Self {
        let transcript = Transcript { job: job.to_owned(), events: Vec::new() };
        Self { transcript, server, random: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1, cuts }
    }

    fn dice(&mut self, sides: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % sides
    }

    /// Reads until the job's last event, coming again as often as it takes. When it `hangs_up`, after some reads.
    pub(super) async fn read_to_the_end(&mut self, hangs_up: bool) -> Transcript {
        for _ in 0..2_000 {
            let after = self.transcript.last();
            match self.connect(after).await {
                Some(socket) => match self.read(socket, hangs_up).await {
                    End::Whole => {
                        let job = self.transcript.job.clone();
                        return std::mem::replace(&mut self.transcript, Transcript { job, events: Vec::new() });
                    }
                    End::Broken => drop(self.cuts.fetch_add(1, Ordering::Relaxed)),
                },
                None => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
        panic!("no end of {} after {}", self.transcript.job, self.transcript.last());
    }

    /// Opens the stream again and again, and counts each opening once its first event has come.
    pub(super) async fn hold_open(&mut self, open: &AtomicUsize, told: &watch::Sender<usize>) {
        loop {
            let Some(mut socket) = self.connect(0).await else {
                tokio::time::sleep(Duration::from_millis(20 + self.dice(200))).await;
                continue;
            };
            let mut buffer = vec![0; 2_048];
            let mut counted = false;
            while let Ok(read) = socket.read(&mut buffer).await {
                if read == 0 {
                    break;
                }
                if !counted && memchr(&buffer[..read], b"event: job.queued") {
                    counted = true;
                    open.fetch_add(1, Ordering::Relaxed);
                    told.send_modify(|count| *count += 1);
                }
            }
        }
    }

    async fn connect(&mut self, after: u64) -> Option<TcpStream> {
        let url = self.server.borrow().clone();
        let host = url.strip_prefix("http://")?.to_owned();
        let mut socket = TcpStream::connect(&host).await.ok()?;
        let request = format!(
            "GET /v1/jobs/{}/events HTTP/1.1\r\nhost: {host}\r\naccept: text/event-stream\r\nlast-event-id: {after}\r\n\r\n",
            self.transcript.job
        );
        socket.write_all(request.as_bytes()).await.ok()?;
        Some(socket)
    }

    async fn read(&mut self, mut socket: TcpStream, hangs_up: bool) -> End {
        let mut bytes = Vec::new();
        let mut taken = 0;
        let leaves_after = if hangs_up { 2 + self.dice(40) } else { u64::MAX };
        for reads in 0_u64.. {
            let body = unchunked(&bytes);
            let text = String::from_utf8_lossy(&body).into_owned();
            // An event counts once its empty line has come.
            let whole = text.rfind("\n\n").map_or(0, |at| at + 2);
            for block in text[taken..whole.max(taken)].split("\n\n") {
                if self.take(block) {
                    return End::Whole;
                }
            }
            taken = whole.max(taken);
            if reads >= leaves_after {
                return End::Broken;
            }
            let mut buffer = [0; 8_192];
            match tokio::time::timeout(Duration::from_secs(40), socket.read(&mut buffer)).await {
                Ok(Ok(read)) if read > 0 => bytes.extend_from_slice(&buffer[..read]),
                _ => return End::Broken,
            }
        }
        End::Broken
    }

    /// Takes one event; true when it is the job's last.
    fn take(&mut self, block: &str) -> bool {
        let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim_start());
        let (Some(id), Some(data)) = (field("id:"), field("data:")) else { return false };
        let seq: u64 = id.parse().unwrap();
        assert_eq!(seq, self.transcript.last() + 1, "events of {} come without gap or repetition", self.transcript.job);
        self.transcript.events.push((seq, data.to_owned()));
        matches!(field("event:"), Some("job.succeeded" | "job.failed" | "job.cancelled"))
    }
}

/// The body of an answer in chunked transfer coding, as far as it has come.
fn unchunked(bytes: &[u8]) -> Vec<u8> {
    let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Vec::new() };
    let (mut rest, mut body) = (&bytes[head + 4..], Vec::new());
    while let Some(line) = rest.windows(2).position(|two| two == b"\r\n") {
        let Ok(size) = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap_or("x").trim(), 16) else {
            break;
        };
        let from = line + 2;
        if size == 0 || rest.len() < from + size + 2 {
            break;
        }
        body.extend_from_slice(&rest[from..from + size]);
        rest = &rest[from + size + 2..];
    }
    body
}

fn memchr(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
