//! What happened, as spans of distributed traces: request → job → attempt → call of a model → layer → provider.
//!
//! Spans are made after the fact, out of what the house knows anyway, with the times that stand there: a request's from the
//! layer around the routes ([`crate::observe`]), a job's and its attempts' from the commits that ended them ([`jobs`]), a
//! call's from its record ([`calls`]). So nothing has to be held open while a job waits for a day, a job that another
//! process began is told as well as one of our own, and an attempt whose worker died is told by whoever noticed.
//!
//! Where they go is the [`SpanSink`]'s affair. Without one, a request that brings a `traceparent` has it passed on as it
//! is, to workers and to providers, and nothing else is done.
//!
//! Prompts and answers are never told, nor are keys.

pub(crate) mod calls;
pub(crate) mod jobs;

use std::borrow::Cow;

use longhaul_core::{Timestamp, TraceContext};

/// Takes spans. Called on the way of requests and commits: it returns at once and never waits, and leaves out what it has
/// no room for.
pub trait SpanSink: Send + Sync + 'static {
    /// Whether a trace is recorded: one that begins here, or one that goes on from `parent`.
    fn records(&self, trace_id: u128, parent: Option<TraceContext>) -> bool;

    /// Takes a span that has ended.
    fn take(&self, span: Span);
}

/// What somebody did, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// The trace, and the span's own id.
    pub context: TraceContext,
    /// The span that it is a part of.
    pub parent: Option<u64>,
    /// What it is, in few words, of which there are few.
    pub name: Cow<'static, str>,
    /// On which side of what.
    pub kind: SpanKind,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What is known of it.
    pub attributes: Vec<Attribute>,
    /// What happened in it.
    pub events: Vec<SpanEvent>,
    /// Why it failed, when it did.
    pub error: Option<Cow<'static, str>>,
}

/// On which side of an exchange a span stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpanKind {
    /// Within the house.
    Internal,
    /// Answers a request.
    Server,
    /// Makes one.
    Client,
    /// Works on what was handed over earlier.
    Consumer,
}

/// A name and a value.
pub type Attribute = (&'static str, Value);

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Words.
    Text(Cow<'static, str>),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
}

/// A moment in a span.
#[derive(Debug, Clone, PartialEq)]
pub struct SpanEvent {
    /// When.
    pub at: Timestamp,
    /// What.
    pub name: Cow<'static, str>,
    /// What is known of it.
    pub attributes: Vec<Attribute>,
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(number.into())
    }
}

impl From<u16> for Value {
    fn from(number: u16) -> Self {
        Self::Int(number.into())
    }
}

impl From<bool> for Value {
    fn from(is: bool) -> Self {
        Self::Bool(is)
    }
}

impl Span {
    /// A span about which nothing more is known yet.
    pub(crate) fn new(
        context: TraceContext,
        parent: Option<u64>,
        name: impl Into<Cow<'static, str>>,
        kind: SpanKind,
        (began, ended): (Timestamp, Timestamp),
    ) -> Self {
        let (attributes, events) = (Vec::new(), Vec::new());
        Self {
            context,
            parent,
            name: name.into(),
            kind,
            began,
            ended: ended.max(began),
            attributes,
            events,
            error: None,
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }

    /// As [`Span::with`], when there is something to tell.
    pub(crate) fn with_some(self, name: &'static str, value: Option<impl Into<Value>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// It failed, for this reason.
    pub(crate) fn failed(self, error: Option<impl Into<Cow<'static, str>>>) -> Self {
        match error.map(Into::into) {
            Some(error) => {
                let mut span = self.with("error.type", Value::Text(error.clone()));
                span.error = Some(error);
                span
            }
            None => self,
        }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// Keeps what it takes.
    #[derive(Debug, Default)]
    pub(crate) struct Kept(Mutex<Vec<Span>>);

    impl Kept {
        pub(crate) fn spans(&self) -> Vec<Span> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
        }
    }

    impl SpanSink for Kept {
        fn records(&self, _: u128, parent: Option<TraceContext>) -> bool {
            parent.is_none_or(TraceContext::is_sampled)
        }

        fn take(&self, span: Span) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(span);
        }
    }
}
