//! The record of a call: what each layer decided and when, who answered, what it cost.
//!
//! One is made for every call, answered or not. It is made once, at the end; what it says of the layers is kept as they
//! wrote it and put into words only when somebody reads it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use longhaul_providers::ErrorClass;
use longhaul_providers::chat::Usage;
use longhaul_resilience::{Decision, Note, Report, Tick};
use serde::ser::SerializeStruct as _;
use serde::{Serialize, Serializer};

use crate::call::ReplyNotes;
use crate::error::CallError;
use crate::exchanges::{CallTrace, ProviderCall};
use crate::served::Served;

const CACHE: HeaderName = HeaderName::from_static("longhaul-cache");
const TARGET: HeaderName = HeaderName::from_static("longhaul-target");
const PROVIDER: HeaderName = HeaderName::from_static("longhaul-provider");
const DEGRADED: HeaderName = HeaderName::from_static("longhaul-degraded");
const ATTEMPTS: HeaderName = HeaderName::from_static("longhaul-attempts");
const LATENCY_MS: HeaderName = HeaderName::from_static("longhaul-latency-ms");
const COST_MICROUSD: HeaderName = HeaderName::from_static("longhaul-cost-microusd");
const IGNORED: HeaderName = HeaderName::from_static("longhaul-ignored");

/// What the cache did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheUse {
    /// The model has no cache.
    #[default]
    Off,
    /// It had the answer.
    Hit,
    /// It had an old answer, which was given.
    Stale,
    /// It had none.
    Miss,
    /// Another caller's call for the same answered.
    Coalesced,
    /// The caller wanted a fresh answer.
    Bypass,
}

impl CacheUse {
    /// The name in headers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Miss => "miss",
            Self::Coalesced => "coalesced",
            Self::Bypass => "bypass",
        }
    }

    /// Whether no provider was asked for this call's sake.
    pub const fn is_free(self) -> bool {
        matches!(self, Self::Hit | Self::Stale | Self::Coalesced)
    }

    fn of(report: &Report) -> Self {
        report
            .notes
            .iter()
            .rev()
            .find_map(|note| match note.decision {
                Decision::CacheHit => Some(Self::Hit),
                Decision::CacheStale | Decision::CacheStaleOnError => Some(Self::Stale),
                Decision::CacheMiss => Some(Self::Miss),
                Decision::CacheCoalesced => Some(Self::Coalesced),
                Decision::CacheBypassed => Some(Self::Bypass),
                _ => None,
            })
            .unwrap_or_default()
    }
}

/// One decision of one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LayerNote {
    /// Microseconds since the call began.
    pub at_us: u64,
    /// The model, or model and target.
    pub stack: &'static str,
    /// The layer.
    pub layer: &'static str,
    /// What it decided, such as `retry.scheduled`.
    pub decision: &'static str,
    /// A number that belongs to the decision, such as the wait in milliseconds.
    pub detail: u32,
}

/// What went wrong, as the record keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordedError {
    /// The stable name.
    pub code: &'static str,
    /// In words.
    pub message: String,
    /// The status of the provider's answer, if there was one.
    pub http_status: Option<u16>,
    /// Whose fault it is.
    #[serde(skip)]
    pub class: ErrorClass,
}

impl RecordedError {
    /// Whether what was asked is at fault, and nothing that is to be mended here or at the provider.
    pub fn is_refusal(&self) -> bool {
        match self.class {
            ErrorClass::Caller | ErrorClass::Unsupported => true,
            ErrorClass::Transient | ErrorClass::Throttled | ErrorClass::Permanent => false,
        }
    }
}

/// What happened in one call. Durations are in microseconds when it is written as JSON.
#[derive(Debug, Clone, Default)]
pub struct CallRecord {
    /// The name that was asked for.
    pub model: Arc<str>,
    /// The target that answered, or the last that failed.
    pub target: Option<Arc<str>>,
    /// Its provider.
    pub provider: Option<Arc<str>>,
    /// The model in the provider's words.
    pub upstream_model: Option<Arc<str>>,
    /// Whether the answer was asked for in pieces.
    pub streamed: bool,
    /// What the cache did.
    pub cache: CacheUse,
    /// The answer did not come from the first target.
    pub degraded: bool,
    /// Attempts that reached a provider.
    pub attempts: u32,
    /// Attempts after the first of a target.
    pub retries: u32,
    /// Tokens, as the provider counted them. Of an answer from the cache: what it had cost when it was made.
    pub usage: Option<Usage>,
    /// What this call cost, in millionths of a US dollar, where the configuration has a price. An answer from the
    /// cache costs nothing.
    pub cost_microusd: Option<u64>,
    /// From the beginning to the end.
    pub took: Duration,
    /// From the beginning to the first piece of a stream.
    pub first_token: Option<Duration>,
    /// The provider's name for the call.
    pub request_id: Option<String>,
    /// Fields of the request that the target has no place for and that do not change the answer.
    pub ignored: Vec<String>,
    /// A provider may have done the work although no answer came.
    pub ambiguous: bool,
    /// Its caller left before its end. What is told of it is what was known by then.
    pub cancelled: bool,
    /// Why there was no answer.
    pub error: Option<RecordedError>,
    /// `chat` or `embeddings`; empty where the name meant no model.
    pub serves: &'static str,
    /// The exchanges with providers, in order.
    pub calls: Vec<ProviderCall>,
    /// Of a call whose trace is recorded: the span that it belongs to, and its own.
    pub trace: Option<(CallTrace, u64)>,
    /// When such a call began, since the Unix epoch.
    pub began_at: Duration,
    began: Tick,
    notes: Vec<Note>,
    notes_lost: u32,
}

impl CallRecord {
    pub(crate) fn new(model: &Arc<str>, began: Tick, now: Tick, report: Report) -> Self {
        Self {
            model: Arc::clone(model),
            cache: CacheUse::of(&report),
            degraded: report.degraded,
            retries: report.retries,
            took: now.since(began),
            began,
            notes: report.notes,
            notes_lost: report.notes_lost,
            ..Self::default()
        }
    }

    /// Adds what was taken down elsewhere, such as in the part of a stream after its first token.
    pub(crate) fn add_notes(&mut self, report: Report) {
        self.notes.extend(report.notes);
        self.notes.sort_by_key(|note| note.at);
        self.notes_lost += report.notes_lost;
    }

    /// Who answered.
    pub(crate) fn served_by(&mut self, by: &Served, notes: &ReplyNotes) {
        self.target = Some(Arc::clone(&by.target));
        self.provider = Some(Arc::clone(&by.provider));
        self.upstream_model = Some(Arc::clone(&by.upstream));
        self.request_id.clone_from(&notes.request_id);
        self.ignored.clone_from(&notes.ignored);
    }

    /// Who failed last, and how. The words come later: they are made of the record.
    pub(crate) fn failed(&mut self, code: &'static str, class: ErrorClass, last: Option<&CallError>) {
        let http_status = last.and_then(|error| error.error().http_status);
        if let Some(last) = last {
            self.target = Some(Arc::clone(&last.by().target));
            self.provider = Some(Arc::clone(&last.by().provider));
            self.upstream_model = Some(Arc::clone(&last.by().upstream));
            self.request_id.clone_from(&last.error().request_id);
        }
        self.error = Some(RecordedError { code, message: String::new(), http_status, class });
    }

    /// What the layers decided, in order.
    pub fn layers(&self) -> impl ExactSizeIterator<Item = LayerNote> + '_ {
        self.notes.iter().map(|note| LayerNote {
            at_us: micros(note.at.since(self.began)),
            stack: note.stack.as_str(),
            layer: note.layer.as_str(),
            decision: note.decision.name(),
            detail: note.detail,
        })
    }

    /// Whether there was no answer, because of what was asked.
    pub fn is_refused(&self) -> bool {
        self.error.as_ref().is_some_and(RecordedError::is_refusal)
    }

    /// When the call had ended, on its clock.
    pub(crate) fn ended_at(&self) -> Tick {
        self.began.after(self.took)
    }

    /// Decisions that found no room in the record.
    pub fn layers_lost(&self) -> u32 {
        self.notes_lost
    }

    /// The headers that tell a client of HTTP what happened, each once.
    pub fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> + '_ {
        let cost = self.cost_microusd.map(HeaderValue::from);
        let ignored = (!self.ignored.is_empty()).then(|| header_text(&self.ignored.join(", ")));
        let latency_ms = u64::try_from(self.took.as_micros().div_ceil(1_000)).unwrap_or(u64::MAX);
        [
            (CACHE, Some(HeaderValue::from_static(self.cache.name()))),
            (TARGET, self.target.as_deref().map(header_text)),
            (PROVIDER, self.provider.as_deref().map(header_text)),
            (DEGRADED, self.degraded.then(|| HeaderValue::from_static("true"))),
            (ATTEMPTS, Some(HeaderValue::from(self.attempts))),
            (LATENCY_MS, Some(HeaderValue::from(latency_ms))),
            (COST_MICROUSD, cost),
            (IGNORED, ignored),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}

/// A name as it can stand in a header: what HTTP does not allow there becomes `?`.
fn header_text(text: &str) -> HeaderValue {
    let is_allowed = |c: char| c.is_ascii_graphic() || c == ' ';
    let shown: Cow<'_, str> = match text.chars().all(is_allowed) {
        true => text.into(),
        false => text.chars().map(|c| if is_allowed(c) { c } else { '?' }).collect(),
    };
    HeaderValue::from_str(&shown).unwrap_or(HeaderValue::from_static("?"))
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Serialize for CallRecord {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("CallRecord", 20)?;
        out.serialize_field("model", &*self.model)?;
        out.serialize_field("target", &self.target.as_deref())?;
        out.serialize_field("provider", &self.provider.as_deref())?;
        out.serialize_field("upstream_model", &self.upstream_model.as_deref())?;
        out.serialize_field("streamed", &self.streamed)?;
        out.serialize_field("cache", &self.cache)?;
        out.serialize_field("degraded", &self.degraded)?;
        out.serialize_field("attempts", &self.attempts)?;
        out.serialize_field("retries", &self.retries)?;
        out.serialize_field("usage", &self.usage)?;
        out.serialize_field("cost_microusd", &self.cost_microusd)?;
        out.serialize_field("took_us", &micros(self.took))?;
        out.serialize_field("first_token_us", &self.first_token.map(micros))?;
        out.serialize_field("request_id", &self.request_id)?;
        out.serialize_field("ignored", &self.ignored)?;
        out.serialize_field("ambiguous", &self.ambiguous)?;
        out.serialize_field("cancelled", &self.cancelled)?;
        out.serialize_field("error", &self.error)?;
        out.serialize_field("layers", &Layers(self))?;
        out.serialize_field("layers_lost", &self.notes_lost)?;
        out.end()
    }
}

struct Layers<'a>(&'a CallRecord);

impl Serialize for Layers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.layers())
    }
}
