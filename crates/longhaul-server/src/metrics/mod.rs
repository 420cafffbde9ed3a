//! `GET /metrics`: what the house counts, for Prometheus.
//!
//! Two sorts of figures stand on the page. What *happens* is counted as it happens, in atomics: requests by the layer around
//! the routes ([`http`]), jobs and commits from what the store tells ([`jobs`]), calls of models from their records
//! ([`models`]). What *is* (how deep queues are, how breakers stand, who is connected) is read at the moment of the scrape
//! ([`page`]); what only the program knows, such as the memory of the process, a [`Source`] tells.
//!
//! What holds:
//!
//! - **A scrape costs the same however many jobs there are.** Nothing is counted by looking.
//! - **Labels are bounded.** They are names of the configuration or of the program; where clients can make up names (queues,
//!   kinds), the first hundred of those have their own, and all others are told together as `other`, in counters and gauges
//!   alike ([`named`]). Tenants are never told.
//! - **A store that is away takes no more from the page than what only it knows**, and the page says so ([`queues`]).
//! - **What an operator must act on is also logged**, a few lines a minute ([`log`]).
//! - **Names carry their unit**, and follow OpenTelemetry's semantic conventions where those have a name.

mod http;
mod instruments;
mod jobs;
mod log;
mod models;
mod named;
mod page;
mod queues;
mod text;

use std::sync::{Arc, Mutex, PoisonError};

use ::http::{Method, StatusCode};
use longhaul_core::{JobId, Span};
use longhaul_engine::store::{BatchFigures, Change, Observer};
use longhaul_gateway::CallRecord;

pub(crate) use http::NO_ROUTE;
pub(crate) use page::rendered;
pub use text::{CONTENT_TYPE, Family, Kind, Labels, Page};

use crate::spans::{self, SpanSink};

/// Tells figures that the server does not keep itself. Called at every scrape, on a thread that may block for a moment.
pub trait Source: Send + Sync + 'static {
    /// Writes families that nobody else writes.
    fn tell(&self, page: &mut Page);
}

/// What is observed of this process: its figures, and where its spans go. One for all parts of the house, made before them.
#[derive(Default)]
pub struct Telemetry {
    requests: http::Requests,
    jobs: jobs::Jobs,
    calls: models::Calls,
    log: log::Log,
    sources: Mutex<Vec<Arc<dyn Source>>>,
    spans: Option<Arc<dyn SpanSink>>,
}

impl std::fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Telemetry").field("traces", &self.spans.is_some()).finish_non_exhaustive()
    }
}

impl Telemetry {
    /// With spans that go to `spans`; without it, none are made.
    pub fn new(spans: Option<Arc<dyn SpanSink>>) -> Self {
        Self { spans, ..Self::default() }
    }

    /// Whether traces are recorded.
    pub fn records_traces(&self) -> bool {
        self.spans.is_some()
    }

    /// From now on these names of queues and kinds have labels of their own, however many others clients make up: for those
    /// of the configuration and of the program.
    pub fn reserve<'a>(&self, queues: impl IntoIterator<Item = &'a str>, kinds: impl IntoIterator<Item = &'a str>) {
        self.jobs.reserve(queues, kinds);
    }

    /// From now on `source` is asked at every scrape.
    pub fn add(&self, source: Arc<dyn Source>) {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).push(source);
    }

    /// A call of a model has ended: what a gateway's observer does.
    pub fn called(&self, record: &CallRecord) {
        self.calls.observe(record);
        self.log.called(record);
        if let Some(sink) = self.spans() {
            spans::calls::tell(sink, record);
        }
    }

    pub(crate) fn spans(&self) -> Option<&dyn SpanSink> {
        self.spans.as_deref()
    }

    pub(crate) fn request_began(&self) {
        self.requests.begin();
    }

    pub(crate) fn request_given_up(&self) {
        self.requests.given_up();
    }

    pub(crate) fn request_ended(&self, route: &str, method: &Method, status: StatusCode, took: Span) {
        self.requests.end(route, method, status, took);
    }
}

/// Hears of commits beside the engine's own observer, which the engine needs.
pub struct Beside<O> {
    /// What is observed.
    pub telemetry: Arc<Telemetry>,
    /// Who is told first.
    pub first: Arc<O>,
}

impl<O: Observer> Observer for Beside<O> {
    fn committed(&self, changes: &[Change]) {
        self.first.committed(changes);
        self.telemetry.jobs.committed(changes);
        self.telemetry.log.committed(changes);
        if let Some(sink) = self.telemetry.spans() {
            spans::jobs::tell(sink, changes);
        }
    }

    fn changed_elsewhere(&self) {
        self.first.changed_elsewhere();
    }

    fn wrote(&self, batch: BatchFigures) {
        self.first.wrote(batch);
        self.telemetry.jobs.wrote(batch);
    }

    fn wants(&self, job: JobId) -> bool {
        self.first.wants(job)
    }
}
