//! A streamed answer as the caller holds it.

use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use longhaul_providers::chat::{Accumulator, ChatRequest, Content, StreamEvent, Usage};
use longhaul_providers::{ErrorCode, ProviderError};
use longhaul_resilience::{BoxFuture, SharedCx, Tick, Why};

use super::open::{End, Opened};
use super::step::StreamEnd;
use super::watch::{Watch, Watched};
use crate::call::{Answered, Ask, Question, Reply, size_of_piece};
use crate::error::CallError;
use crate::model::{ConfiguredModel, FreshSpot, MAX_KEPT_BYTES};
use crate::record::{CallRecord, RecordedError};
use crate::served::Served;
use crate::settings::{OnCut, StreamSettings};
use crate::target::CallFail;

/// The pieces of an answer, and at the end the record of the call.
///
/// The last piece is [`StreamEvent::Finished`] or [`StreamEvent::Error`]; after it comes nothing, and
/// [`record`](Self::record) has the record. Dropping it before gives the call up: the provider's connection is closed, and
/// every layer gets back what it lent.
pub struct ChatStream {
    source: Source,
    record: Option<Box<CallRecord>>,
}

enum Source {
    Live(Watched),
    /// From the cache, or a canned reply.
    Replay(VecDeque<StreamEvent>),
    Over,
}

impl ChatStream {
    pub(crate) fn live(live: Live, watch: &Arc<Watch>) -> Self {
        Self { source: Source::Live(watch.over(live)), record: None }
    }

    pub(crate) fn replay(events: Vec<StreamEvent>, record: CallRecord) -> Self {
        Self { source: Source::Replay(events.into()), record: Some(Box::new(record)) }
    }

    /// What happened: there once the last piece has been taken, and from the beginning for an answer that was not asked
    /// for anew.
    pub fn record(&self) -> Option<&CallRecord> {
        self.record.as_deref()
    }

    /// What is known at the first piece: for the headers of an HTTP answer, which go before the rest.
    pub fn opening_record(&self) -> CallRecord {
        match &self.source {
            Source::Live(live) => live.record_so_far(),
            Source::Replay(_) | Source::Over => self.record.as_deref().cloned().unwrap_or_default(),
        }
    }

    /// The next piece; `None` after the last.
    pub async fn next(&mut self) -> Option<StreamEvent> {
        std::future::poll_fn(|task| self.poll_event(task)).await
    }

    fn poll_event(&mut self, task: &mut Context<'_>) -> Poll<Option<StreamEvent>> {
        let event = match &mut self.source {
            Source::Over => return Poll::Ready(None),
            Source::Replay(events) => events.pop_front(),
            Source::Live(live) => match live.poll_event(task) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready((event, record)) => {
                    if event.is_end() {
                        self.record = record;
                    }
                    Some(event)
                }
            },
        };
        if event.as_ref().is_none_or(StreamEvent::is_end) {
            self.source = Source::Over;
        }
        Poll::Ready(event)
    }
}

impl Stream for ChatStream {
    type Item = StreamEvent;

    fn poll_next(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<Option<StreamEvent>> {
        self.poll_event(task)
    }
}

impl fmt::Debug for ChatStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = match self.source {
            Source::Live(_) => "live",
            Source::Replay(_) => "replay",
            Source::Over => "over",
        };
        f.debug_struct("ChatStream").field("source", &source).field("record", &self.record).finish()
    }
}

/// What a live stream needs to know of its call.
pub(crate) struct Session {
    pub(crate) model: Arc<ConfiguredModel>,
    pub(crate) cx: SharedCx,
    pub(crate) ask: Arc<Ask>,
    pub(crate) began: Tick,
    /// Where the answer is to be kept.
    pub(crate) keep: Option<FreshSpot>,
}

/// A stream that is being read from a provider.
pub(crate) struct Live {
    session: Session,
    opened: Opened,
    /// The next target is being asked to go on.
    reopening: Option<BoxFuture<'static, Result<Opened, CallFail>>>,
    /// The end of the part before, if the next target does not answer.
    broken: Option<CallFail>,
    /// Targets that have had their part.
    used: Vec<Arc<Served>>,
    /// The answer so far, where it will be needed: for the cache, or to go on from.
    told: Option<Accumulator>,
    /// About how many bytes that are.
    told_bytes: usize,
    /// What was asked at first: whoever goes on is given this, and all that was told.
    question: Question,
    /// What the parts before have cost, as far as their providers said.
    spent: Spent,
    /// What the provider of this part has said that it costs.
    said: Option<Usage>,
    /// When the part that is being read began; while the next target is asked, when that did.
    part_began: Tick,
    first_token: Duration,
    /// Reports of parts that have ended.
    reports: Vec<longhaul_resilience::Report>,
    record: Option<Box<CallRecord>>,
    ended: bool,
}

impl Live {
    pub(crate) fn new(session: Session, opened: Opened) -> Self {
        let now = session.cx.renew();
        let first_token = now.since(session.began);
        let keeps = session.keep.is_some() || session.model.settings.stream.on_cut == OnCut::Continue;
        let question = session.ask.question.clone();
        Self {
            used: vec![Arc::clone(&opened.by)],
            session,
            opened,
            reopening: None,
            broken: None,
            told: keeps.then(Accumulator::new),
            told_bytes: 0,
            question,
            spent: Spent::default(),
            said: None,
            part_began: now,
            first_token,
            reports: Vec::new(),
            record: None,
            ended: false,
        }
    }

    pub(super) fn poll_event(&mut self, task: &mut Context<'_>) -> Poll<StreamEvent> {
        loop {
            if let Some(reopening) = &mut self.reopening {
                match reopening.as_mut().poll(task) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(opened)) => {
                        self.reopening = None;
                        self.broken = None;
                        self.used.push(Arc::clone(&opened.by));
                        self.reports.push(self.opened.report());
                        self.opened = opened;
                        self.part_began = self.session.cx.renew();
                    }
                    Poll::Ready(Err(fail)) => {
                        self.reopening = None;
                        let fail = self.broken.take().unwrap_or(fail);
                        return Poll::Ready(self.fail(&fail));
                    }
                }
            }
            match self.opened.poll_next(task) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(StreamEvent::Started { .. })) if self.used.len() > 1 => {}
                Poll::Ready(Ok(mut event)) => {
                    if let StreamEvent::Usage(usage) = &mut event {
                        self.said = Some(*usage);
                        // The client pays for all parts.
                        *usage = self.spent.with(*usage);
                    }
                    self.take_down(&event);
                    if matches!(event, StreamEvent::Finished(_)) {
                        self.finish_with(task);
                    }
                    return Poll::Ready(event);
                }
                Poll::Ready(Err(End(Err(fail)))) => {
                    if !self.go_on(&fail) {
                        return Poll::Ready(self.fail(&fail));
                    }
                }
                Poll::Ready(Err(End(Ok(end)))) => {
                    // Every way to a good end tells it first; a decoder that did not is mended here.
                    self.finish(end);
                    return Poll::Ready(StreamEvent::Error(ProviderError::new(
                        ErrorCode::StreamInterrupted,
                        "the stream ended without its end",
                    )));
                }
            }
        }
    }

    /// The end was told: the layers settle in the same breath, so nothing hangs on whether the caller polls again.
    fn finish_with(&mut self, task: &mut Context<'_>) {
        let end = match self.opened.poll_next(task) {
            Poll::Ready(Err(End(Ok(end)))) => end,
            _ => StreamEnd::default(),
        };
        self.finish(end);
    }

    fn finish(&mut self, end: StreamEnd) {
        let mut record = self.record_so_far();
        self.said = end.usage.or(self.said);
        self.settle();
        let usage = self.spent.usage;
        (record.usage, record.cost_microusd) = (usage, self.spent.cost_microusd);
        if let (Some(spot), Some(told)) = (self.session.keep.take(), self.told.take())
            && told.is_finished()
            && self.used.len() == 1
        {
            let reply = Reply::Chat(Arc::new(told.into_response()));
            let (by, notes) = (Arc::clone(&self.opened.by), Arc::clone(&self.opened.notes));
            spot.keep(Answered { reply, by, usage, notes }, record.degraded, self.session.cx.now());
        }
        self.close(record);
    }

    fn fail(&mut self, fail: &CallFail) -> StreamEvent {
        let error = match fail.error() {
            Some(error) => error.error().clone(),
            None => ProviderError::new(code_of(fail.why()), fail.to_string()),
        };
        let mut record = self.record_so_far();
        self.settle();
        (record.usage, record.cost_microusd) = (self.spent.usage, self.spent.cost_microusd);
        record.ambiguous = true;
        record.error = Some(RecordedError {
            code: error.code.as_str(),
            message: error.for_clients().to_owned(),
            http_status: error.http_status,
            class: error.class(),
        });
        self.close(record);
        StreamEvent::Error(error)
    }

    fn close(&mut self, record: CallRecord) {
        self.ended = true;
        self.session.model.observe(&record);
        self.record = Some(Box::new(record));
    }

    pub(super) fn record_so_far(&self) -> CallRecord {
        self.recorded(false)
    }

    fn recorded(&self, cancelled: bool) -> CallRecord {
        let Session { model, cx, ask, began, .. } = &self.session;
        let mut record = CallRecord::new(&model.name, *began, cx.renew(), cx.report());
        record.cancelled = cancelled;
        for report in self.reports.iter().cloned().chain([self.opened.report()]) {
            record.add_notes(report);
        }
        record.served_by(&self.opened.by, &self.opened.notes);
        record.streamed = true;
        ask.tell(&mut record, cx, *began);
        record.first_token = Some(self.first_token);
        record
    }

    /// Asks the next target to go on from what was told, if that is wanted and can be said.
    fn go_on(&mut self, fail: &CallFail) -> bool {
        if !self.goes_on() {
            return false;
        }
        let Some(request) = self.told.as_ref().and_then(|told| self.continuation(told)) else { return false };
        self.settle();
        self.part_began = self.session.cx.renew();
        self.broken = Some(fail.clone());
        let (model, cx) = (Arc::clone(&self.session.model), Arc::clone(&self.session.cx));
        let used = self.used.clone();
        let ask = Arc::new(self.session.ask.going_on(Question::Chat(Arc::new(request))));
        self.session.ask = Arc::clone(&ask);
        self.reopening = Some(Box::pin(async move { model.reopen(&cx, ask, &used).await }));
        true
    }

    /// What was asked at first, with all that was told as the beginning of the answer. Only text can be gone on from.
    fn continuation(&self, told: &Accumulator) -> Option<ChatRequest> {
        let Question::Chat(request) = &self.question else { return None };
        let mut text = String::new();
        for part in told.parts() {
            let Content::Text(more) = &part.content else { return None };
            text.push_str(more);
        }
        (!text.is_empty()).then(|| request.going_on_from(&text))
    }

    /// What was told, for the cache and for whoever goes on. What is too large to be kept is not gathered for that.
    fn take_down(&mut self, event: &StreamEvent) {
        let goes_on = self.goes_on();
        let Some(told) = &mut self.told else { return };
        self.told_bytes = self.told_bytes.saturating_add(size_of_piece(event));
        if self.told_bytes > MAX_KEPT_BYTES && self.session.keep.take().is_some() && !goes_on {
            self.told = None;
        } else {
            told.push(event);
        }
    }

    fn goes_on(&self) -> bool {
        self.session.model.settings.stream.on_cut == OnCut::Continue
    }

    /// Adds what this part has cost to those before.
    fn settle(&mut self) {
        if let Some(usage) = self.said.take() {
            let cost = self.opened.by.price.map(|price| price.cost_microusd(usage));
            self.spent.usage = Some(self.spent.with(usage));
            self.spent.cost_microusd = match (self.spent.cost_microusd, cost) {
                (Some(before), Some(cost)) => Some(before.saturating_add(cost)),
                (before, cost) => before.or(cost),
            };
        }
    }

    pub(super) fn limits(&self) -> StreamSettings {
        self.session.model.settings.stream
    }

    pub(super) fn part_began(&self) -> Tick {
        self.part_began
    }

    /// How long the next target may be asked, while it is: as long as any call. Its reader is woken before that is over.
    pub(super) fn reopening_limit(&self) -> Option<Duration> {
        self.reopening.as_ref().map(|_| self.session.model.settings.timeout)
    }

    pub(super) fn take_record(&mut self) -> Option<Box<CallRecord>> {
        self.record.take()
    }

    /// Ends the stream because nobody reads it.
    pub(super) fn give_up(&mut self, limits: StreamSettings) -> StreamEvent {
        let StreamSettings { idle, total, .. } = limits;
        let message = match self.reopening_limit() {
            Some(limit) => format!("nobody read the stream for {limit:?} while another target was asked to go on"),
            None => format!("nobody read the stream for {idle:?}, or it went on for more than {total:?}"),
        };
        let error = ProviderError::new(ErrorCode::StreamInterrupted, message);
        self.fail(&CallFail::inner(CallError::broken_off(error, &self.opened.by)))
    }
}

/// What parts of an answer have cost.
#[derive(Debug, Clone, Copy, Default)]
struct Spent {
    usage: Option<Usage>,
    cost_microusd: Option<u64>,
}

impl Spent {
    fn with(&self, usage: Usage) -> Usage {
        self.usage.map_or(usage, |before| before.plus(usage))
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        if !self.ended {
            // What the provider said so far is owed, though nobody waits for the rest.
            let mut record = self.recorded(true);
            self.settle();
            (record.usage, record.cost_microusd) = (self.spent.usage, self.spent.cost_microusd);
            record.ambiguous = true;
            self.session.model.observe(&record);
        }
    }
}

fn code_of(why: Why) -> ErrorCode {
    match why {
        Why::Timeout { .. } | Why::Deadline => ErrorCode::Timeout,
        Why::Limited { .. } | Why::Park { .. } => ErrorCode::RateLimited,
        _ => ErrorCode::StreamInterrupted,
    }
}
