//! The inner end of a stream: reads the provider, decodes, and writes into the pipe.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use longhaul_providers::chat::{StreamEvent, Usage};
use longhaul_providers::protocol::{Protocol, StreamDecoder};
use longhaul_providers::{ErrorCode, ProviderError};
use longhaul_resilience::{Cx, Fail, Label, Step, Why};

use super::echo::Echo;
use super::pace::{Late, Pace};
use super::{Pipe, StreamAsk};
use crate::call::{Question, ReplyNotes};
use crate::error::CallError;
use crate::http::{AnswerBody, HttpError};
use crate::provider::Link;
use crate::settings::StreamSettings;
use crate::stats::AttemptEnd;
use crate::target::{CallFail, Exchange, Judged, attempt_end};

/// Pieces that come before the first token (who answers, since when) and are held back until it comes.
const MAX_HELD_BACK: usize = 256;

/// How a stream ended that ended well.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct StreamEnd {
    pub(crate) usage: Option<Usage>,
}

/// One streamed exchange as a step. It answers when the stream has ended.
pub(crate) struct StreamStep {
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) settings: StreamSettings,
}

impl Step<StreamAsk> for StreamStep {
    type Out = StreamEnd;
    type Err = CallFail;

    async fn call(&self, cx: &Cx<'_>, stream: StreamAsk) -> Result<StreamEnd, CallFail> {
        let meter = &self.exchange.state.meter;
        let (_under_way, started) = (meter.begin(), cx.now());
        let result = self.run(cx, &stream).await;
        let now = cx.renew();
        let ended = match &result {
            Ok(_) => AttemptEnd::Ok,
            Err(fail) if fail.error().is_none() => AttemptEnd::Failed,
            Err(fail) => attempt_end(fail.error()),
        };
        match &result {
            Err(fail) if fail.error().is_none() => stream.ask.asked.cut(now),
            _ => stream.ask.asked.end(now, result.as_ref().err().and_then(CallFail::error)),
        }
        meter.attempt(now.since(started), ended, now);
        result
    }
}

impl StreamStep {
    async fn run(&self, cx: &Cx<'_>, stream: &StreamAsk) -> Result<StreamEnd, CallFail> {
        let by = &self.exchange.served;
        let (protocol, channel) = match &self.exchange.provider.link {
            Link::Spoken { protocol, channel } => (protocol, channel),
            Link::Local(_) => {
                let message = "the local provider cannot chat: it has no language model";
                return Err(Fail::inner(CallError::answered(ProviderError::new(ErrorCode::Unsupported, message), by)));
            }
        };
        let attempt = self.exchange.state.attempt_timeout.get();
        let mut pace = Pace::new(cx, attempt, stream.deadline, self.settings.total);
        let judged = {
            let mut asked = pin!(self.exchange.streamed(cx, &**protocol, channel, &stream.ask));
            std::future::poll_fn(|task| match asked.as_mut().poll(task) {
                Poll::Ready(judged) => Poll::Ready(Ok(judged)),
                Poll::Pending => pace.poll_late(task).map(Err),
            })
            .await
        };
        match judged {
            Err(late) => Err(self.late(late)),
            Ok(Err(error)) => Err(Fail::inner(error)),
            Ok(Ok(Judged::Whole(answered))) => {
                let mut events = answered.reply.to_events();
                stream.pipe.open(by, &answered.notes);
                cx.commit();
                stream.pipe.put(&mut events);
                Ok(StreamEnd { usage: answered.usage })
            }
            Ok(Ok(Judged::Events { body, notes })) => {
                let most_bytes = channel.max_answer_bytes();
                let relay = stream.ask.relay.as_ref().and_then(|to| protocol.relay_stream(to));
                let reading = Reading {
                    step: self,
                    echo: echo_of(&**protocol, &stream.ask.question),
                    pipe: &stream.pipe,
                    notes,
                    decoder: relay.unwrap_or_else(|| protocol.stream_decoder()),
                    held_back: Vec::new(),
                    usage: None,
                    most_bytes,
                    left_bytes: most_bytes,
                };
                reading.run(cx, body, pace).await
            }
        }
    }

    fn late(&self, late: Late) -> CallFail {
        match late {
            Late::FirstToken(limit) => Fail::local(Why::Timeout { limit }, Label::NONE, Label::ATTEMPT_TIMEOUT),
            Late::Deadline(took) => Fail::local(Why::Deadline, Label::NONE, Label::ATTEMPT_TIMEOUT)
                .cut_after(took, self.exchange.state.attempt_timeout.get()),
            Late::Idle(limit) => self.broken(format!("the stream was silent for {limit:?}")),
            Late::Total(limit) => self.broken(format!("the stream went on for more than {limit:?}")),
        }
    }

    fn broken(&self, message: String) -> CallFail {
        let error = ProviderError::new(ErrorCode::StreamInterrupted, message);
        Fail::inner(CallError::broken_off(error, &self.exchange.served))
    }
}

/// What a provider tells once more that was asked for the rest of an answer.
fn echo_of(protocol: &dyn Protocol, question: &Question) -> Option<Echo> {
    match question {
        Question::Chat(request) if protocol.repeats_beginning() => request.beginning().map(Echo::of),
        Question::Chat(_) | Question::Embeddings(_) => None,
    }
}

/// A stream that is being read.
struct Reading<'a> {
    step: &'a StreamStep,
    /// What is known already and is told once more.
    echo: Option<Echo>,
    pipe: &'a Pipe,
    notes: Arc<ReplyNotes>,
    decoder: Box<dyn StreamDecoder>,
    /// What came before the first token.
    held_back: Vec<StreamEvent>,
    usage: Option<Usage>,
    /// The longest answer, and what is left of that. Counted on the wire: a provider that floods is not read for ever.
    most_bytes: usize,
    left_bytes: usize,
}

impl Reading<'_> {
    async fn run(mut self, cx: &Cx<'_>, mut body: AnswerBody, mut pace: Pace<'_>) -> Result<StreamEnd, CallFail> {
        let served = &self.step.exchange.served;
        let mut events = Vec::new();
        loop {
            let read = std::future::poll_fn(|task| match body.poll_part(cx, task) {
                Poll::Ready(part) => Poll::Ready(Ok(part)),
                Poll::Pending => pace.poll_late(task).map(Err),
            });
            let (mut lost, mut came) = (None, false);
            match read.await {
                Ok(Some(Ok(bytes))) => match self.left_bytes.checked_sub(bytes.len()) {
                    Some(left) => {
                        self.left_bytes = left;
                        // Not just any byte: who sends one a second, and never a whole line, says nothing.
                        came = bytes.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
                        self.decoder.feed(&bytes, &mut events);
                    }
                    None => {
                        let error = HttpError::TooLarge { limit_bytes: self.most_bytes };
                        lost = Some(Fail::inner(CallError::lost(error, served)));
                    }
                },
                Ok(Some(Err(error))) => lost = Some(Fail::inner(CallError::lost(error, served))),
                Ok(None) => self.decoder.finish(&mut events),
                Err(late) => lost = Some(self.step.late(late)),
            }
            if let Some(echo) = &mut self.echo {
                echo.take_out(&mut events);
            }
            let end = self.sort_out(&mut events);
            if !events.is_empty() {
                self.pass_on(cx, &mut events);
            }
            // Not every sign of life is told: pings, seals, the input of a tool that the provider runs itself.
            if came && self.pipe.is_open() {
                pace.piece(self.step.settings.idle);
            } else if came && !self.held_back.is_empty() {
                pace.sign_of_life(self.step.settings.idle);
            }
            match (end, lost) {
                (Some(Ok(())), _) => {
                    body.drain(cx);
                    return Ok(StreamEnd { usage: self.usage });
                }
                (Some(Err(error)), _) => return Err(Fail::inner(CallError::broken_off(error, served))),
                (None, Some(fail)) => return Err(fail),
                (None, None) => self.pipe.emptied().await,
            }
        }
    }

    /// Notes usage and takes an error out: it is the call's to tell, and may yet be mended.
    fn sort_out(&mut self, events: &mut Vec<StreamEvent>) -> Option<Result<(), ProviderError>> {
        for event in events.iter() {
            if let StreamEvent::Usage(usage) = event {
                self.usage = Some(*usage);
            }
        }
        match events.pop()? {
            StreamEvent::Error(error) => Some(Err(error)),
            last => {
                let end = matches!(last, StreamEvent::Finished(_)).then_some(Ok(()));
                events.push(last);
                end
            }
        }
    }

    /// Into the pipe, from the first token on.
    fn pass_on(&mut self, cx: &Cx<'_>, events: &mut Vec<StreamEvent>) {
        if !self.pipe.is_open() {
            let begins = events.iter().any(|event| event.is_content() || event.is_end());
            self.held_back.append(events);
            if !begins && self.held_back.len() < MAX_HELD_BACK {
                return;
            }
            self.pipe.open(&self.step.exchange.served, &self.notes);
            // A breaker need not wait for the end of the stream to know that the provider is back.
            cx.commit();
            self.pipe.put(&mut self.held_back);
        }
        self.pipe.put(events);
    }
}
