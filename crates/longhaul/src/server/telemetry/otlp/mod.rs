//! Spans to a collector: OTLP over HTTP, in protocol buffers.
//!
//! What has ended goes into a queue of bounded length and is sent in batches by one task. Whoever tells a span never waits:
//! when the queue is full, because the collector is slow or away, the span is left out and counted. [`wire`] writes the
//! bytes.

mod wire;

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use longhaul_core::TraceContext;
use longhaul_server::metrics::{Kind, Page, Source};
use longhaul_server::spans::{Span, SpanSink};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::environment::{Sampler, TraceSettings};

/// How often a batch is sent before it is given up.
const TRIES: u32 = 4;

/// How long to wait after the first failure; twice as long after each next one.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// The longest such wait, whatever the collector says.
const WAIT_MOST: Duration = Duration::from_secs(30);

/// How long what is left may take when the server stops.
const FLUSH_WITHIN: Duration = Duration::from_secs(5);

/// Takes spans, and sends them.
pub(in crate::server) struct Exporter {
    sampler: Sampler,
    sender: mpsc::Sender<Span>,
    counts: Arc<Counts>,
    /// Until somebody runs it.
    work: Mutex<Option<Work>>,
}

#[derive(Default)]
struct Counts {
    exported: AtomicU64,
    no_room: AtomicU64,
    given_up: AtomicU64,
}

/// What the task works with.
struct Work {
    receiver: mpsc::Receiver<Span>,
    client: reqwest::Client,
    settings: TraceSettings,
    counts: Arc<Counts>,
}

/// What became of a request.
enum Sent {
    Taken,
    /// It may be taken later, not before so long.
    Later(Option<Duration>, String),
    /// It never will.
    Refused(String),
}

impl Exporter {
    /// Opens no connection.
    pub(super) fn new(settings: TraceSettings) -> anyhow::Result<Self> {
        let mut headers = HeaderMap::new();
        for (name, value) in &settings.headers {
            let name = HeaderName::try_from(name.as_str()).context("a header of OTLP has no usable name")?;
            let mut value = HeaderValue::try_from(value.as_str()).context("a header of OTLP has no usable value")?;
            value.set_sensitive(true);
            headers.insert(name, value);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        // Another part of the program may have installed it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .default_headers(headers)
            .timeout(settings.timeout)
            .user_agent(concat!("longhaul/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none());
        if settings.endpoint.starts_with("http://") {
            // Reading the system's certificates takes time, and nobody asks for them.
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().context("the client for OTLP cannot be made")?;
        let (sender, receiver) = mpsc::channel(settings.queue);
        let (sampler, counts) = (settings.sampler, Arc::new(Counts::default()));
        let work = Mutex::new(Some(Work { receiver, client, settings, counts: counts.clone() }));
        Ok(Self { sampler, sender, counts, work })
    }

    /// Sends what comes, until it is told to stop; then what is left, for a moment. The second call has nothing to do.
    pub(in crate::server) async fn run(self: Arc<Self>, stop: CancellationToken) {
        let work = self.work.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(work) = work {
            work.run(stop).await;
        }
    }
}

impl SpanSink for Exporter {
    fn records(&self, trace_id: u128, parent: Option<TraceContext>) -> bool {
        self.sampler.takes(trace_id, parent)
    }

    fn take(&self, span: Span) {
        if self.sender.try_send(span).is_err() {
            self.counts.no_room.fetch_add(1, Relaxed);
        }
    }
}

impl Source for Exporter {
    fn tell(&self, page: &mut Page) {
        let exported = self.counts.exported.load(Relaxed);
        page.counter("longhaul_spans_exported_total", "Spans that the collector has taken.", exported);
        let help = "Spans that were left out: the queue was full, or the collector did not take them.";
        let mut family = page.family(Kind::Counter, "longhaul_spans_dropped_total", help);
        family.count(&[("reason", "queue_full")], self.counts.no_room.load(Relaxed));
        family.count(&[("reason", "not_taken")], self.counts.given_up.load(Relaxed));
    }
}

impl Work {
    async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::with_capacity(self.settings.batch);
        let mut is_well = true;
        while self.gather(&mut batch, &stop).await {
            let sending = self.send(&batch, TRIES);
            let sent = tokio::select! {
                biased;
                sent = sending => sent,
                // Once more below, with what has come since.
                () = stop.cancelled() => break,
            };
            self.count(batch.len(), &sent, &mut is_well);
            batch.clear();
        }
        self.receiver.close();
        let flushed = tokio::time::timeout(FLUSH_WITHIN, async {
            loop {
                while batch.len() < self.settings.batch
                    && let Ok(span) = self.receiver.try_recv()
                {
                    batch.push(span);
                }
                if batch.is_empty() {
                    return;
                }
                let sent = self.send(&batch, 1).await;
                self.count(batch.len(), &sent, &mut is_well);
                batch.clear();
            }
        });
        if flushed.await.is_err() {
            tracing::warn!("the collector is slow: the last spans were left out");
        }
    }

    /// Waits for a span, then a while for more; false when it is time to stop.
    async fn gather(&mut self, batch: &mut Vec<Span>, stop: &CancellationToken) -> bool {
        let first = tokio::select! {
            biased;
            () = stop.cancelled() => return false,
            first = self.receiver.recv() => first,
        };
        let Some(first) = first else { return false };
        batch.push(first);
        let more = async {
            while batch.len() < self.settings.batch
                && let Some(span) = self.receiver.recv().await
            {
                batch.push(span);
            }
        };
        tokio::select! {
            biased;
            () = stop.cancelled() => false,
            // However it ends, there is something to send.
            _ = tokio::time::timeout(self.settings.delay, more) => true,
        }
    }

    async fn send(&self, batch: &[Span], tries: u32) -> Result<(), String> {
        let body = bytes::Bytes::from(wire::request(&self.settings.resource, batch));
        let mut wait = FIRST_WAIT;
        for left in (0..tries).rev() {
            let why = match self.send_once(body.clone()).await {
                Sent::Taken => return Ok(()),
                Sent::Refused(why) => return Err(why),
                Sent::Later(_, why) if left == 0 => why,
                Sent::Later(after, _) => {
                    tokio::time::sleep(after.unwrap_or(wait).min(WAIT_MOST)).await;
                    wait *= 2;
                    continue;
                }
            };
            return Err(why);
        }
        Ok(())
    }

    async fn send_once(&self, body: bytes::Bytes) -> Sent {
        let response = match self.client.post(&self.settings.endpoint).body(body).send().await {
            Ok(response) => response,
            // The address stands in the log line already, and may hold a key.
            Err(error) => return Sent::Later(None, format!("no answer: {}", error.without_url())),
        };
        let status = response.status();
        if status.is_success() {
            return Sent::Taken;
        }
        let why = format!("it answered {status}");
        if !matches!(status.as_u16(), 429 | 502 | 503 | 504) {
            return Sent::Refused(why);
        }
        let after = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Sent::Later(after.map(Duration::from_secs), why)
    }

    /// Counts, and says when it begins to fail and when it is well again: a collector that is away for a night is two lines.
    fn count(&self, spans: usize, sent: &Result<(), String>, is_well: &mut bool) {
        let counter = if sent.is_ok() { &self.counts.exported } else { &self.counts.given_up };
        counter.fetch_add(spans as u64, Relaxed);
        match (sent, *is_well) {
            (Err(why), true) => tracing::warn!(spans, why, "the collector takes no spans: they are left out"),
            (Ok(()), false) => tracing::info!("the collector takes spans again"),
            _ => {}
        }
        *is_well = sent.is_ok();
    }
}
