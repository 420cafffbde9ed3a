//! Which providers a call has asked, and when: for metrics, and for the spans of a trace.
//!
//! A call that belongs to a trace has a span of its own, and so has each exchange with a provider. Their ids are made
//! here, because a provider is told its own in the header `traceparent`. What becomes of the spans is for whoever
//! observes the record.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderName, HeaderValue};
use longhaul_providers::exchange::HttpRequest;
use longhaul_resilience::{Cx, Tick};

use crate::error::CallError;
use crate::record::CallRecord;
use crate::served::Served;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Of one call so many exchanges are kept: a stack tries a handful of times.
const CALLS_MOST: usize = 64;

/// Where a call stands in a distributed trace, in the words of W3C Trace Context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallTrace {
    /// The whole trace; not zero.
    pub trace_id: u128,
    /// The span that the call belongs to; not zero.
    pub span_id: u64,
    /// Bit 0: the trace is recorded.
    pub flags: u8,
}

impl CallTrace {
    /// The same trace within another span.
    fn within(self, span_id: u64) -> Self {
        Self { span_id: span_id.max(1), ..self }
    }
}

/// The value of a `traceparent`.
impl fmt::Display for CallTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

/// One exchange with a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderCall {
    /// The target.
    pub target: Arc<str>,
    /// Its provider.
    pub provider: Arc<str>,
    /// The model in the provider's words.
    pub upstream_model: Arc<str>,
    /// When it began, counted from the beginning of the call.
    pub at: Duration,
    /// How long it took; of a stream until its end.
    pub took: Duration,
    /// The stable name of what went wrong.
    pub error: Option<&'static str>,
    /// The status of the provider's answer, where it was an error.
    pub http_status: Option<u16>,
    /// The span that the provider was told, when the call is traced.
    pub span_id: Option<u64>,
}

/// What a call has asked so far.
#[derive(Debug, Default)]
pub(crate) struct Asked {
    trace: Option<Traced>,
    calls: Mutex<Vec<Call>>,
}

#[derive(Debug, Clone, Copy)]
struct Traced {
    /// What the call belongs to.
    above: CallTrace,
    /// The call's own span; none: nobody records it, so what is above is passed on as it is.
    own: Option<u64>,
}

#[derive(Debug)]
struct Call {
    by: Arc<Served>,
    began: Tick,
    ended: Option<Tick>,
    error: Option<&'static str>,
    http_status: Option<u16>,
    span_id: Option<u64>,
}

/// How an exchange is told that was cut off.
const CUT: &str = "cut";

/// How one is told that was under way when the caller left.
const CANCELLED: &str = "cancelled";

impl Asked {
    /// Of a call that belongs to a trace; `own` is its span, where somebody records it.
    pub(crate) fn traced(above: Option<CallTrace>, own: impl FnOnce() -> Option<u64>) -> Self {
        let trace = above.map(|above| Traced { above, own: own() });
        Self { trace, calls: Mutex::default() }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Call>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A provider is about to be asked.
    pub(crate) fn begin(&self, cx: &Cx<'_>, by: &Arc<Served>, http: &mut HttpRequest) {
        let began = cx.renew();
        let mut calls = self.lock();
        let own = self.trace.and_then(|trace| trace.own);
        // Different for each: the golden ratio spreads small numbers over all bits.
        let number = calls.len() as u64 + 1;
        let span_id = own.map(|own| (own ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15)).max(1));
        if let Some(trace) = self.trace {
            let told = span_id.map_or(trace.above, |span_id| trace.above.within(span_id));
            // Digits and dashes are a header's value.
            if let Ok(value) = HeaderValue::try_from(told.to_string()) {
                http.headers.insert(TRACEPARENT, value);
            }
        }
        if calls.len() < CALLS_MOST {
            calls.push(Call { by: Arc::clone(by), began, ended: None, error: None, http_status: None, span_id });
        }
    }

    /// What was asked last has ended.
    pub(crate) fn end(&self, now: Tick, error: Option<&CallError>) {
        let told = error.map(CallError::error);
        self.close(now, told.map(|error| error.code.as_str()), told.and_then(|error| error.http_status));
    }

    /// What was asked last was cut off, or given up.
    pub(crate) fn cut(&self, now: Tick) {
        self.close(now, Some(CUT), None);
    }

    /// Whether an exchange was begun and not seen to its end.
    pub(crate) fn was_cut(&self) -> bool {
        self.lock().iter().any(|call| call.ended.is_none() || call.error == Some(CUT))
    }

    fn close(&self, now: Tick, error: Option<&'static str>, http_status: Option<u16>) {
        if let Some(last) = self.lock().last_mut().filter(|last| last.ended.is_none()) {
            (last.ended, last.error, last.http_status) = (Some(now), error, http_status);
        }
    }

    /// Puts it into the record of the call.
    pub(crate) fn tell(&self, record: &mut CallRecord, cx: &Cx<'_>, began: Tick) {
        let ended = began.after(record.took);
        let told = |call: &Call| ProviderCall {
            target: Arc::clone(&call.by.target),
            provider: Arc::clone(&call.by.provider),
            upstream_model: Arc::clone(&call.by.upstream),
            at: call.began.since(began),
            took: call.ended.unwrap_or(ended).since(call.began),
            error: call.error,
            http_status: call.http_status,
            span_id: call.span_id,
        };
        let calls = self.lock();
        record.calls = calls.iter().map(told).collect();
        if record.cancelled
            && let (Some(last), Some(told)) = (calls.last(), record.calls.last_mut())
            && (last.ended.is_none() || last.error == Some(CUT))
        {
            told.error = Some(CANCELLED);
        }
        drop(calls);
        if let Some(Traced { above, own: Some(own) }) = self.trace {
            record.trace = Some((above, own.max(1)));
            record.began_at = cx.unix_time_at(began);
        }
    }
}
