//! One exchange with a provider: encode, send, read, decode, and heed what the headers say.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use longhaul_providers::chat::{ChatResponse, Content};
use longhaul_providers::exchange::{Head, HttpRequest, Reply as HttpReply};
use longhaul_providers::protocol::{Delivery, Encoded, Protocol, StreamHead};
use longhaul_providers::{ErrorCode, ProviderError};
use longhaul_resilience::{Attempts, Cx};

use super::state::TargetState;
use crate::call::{Answered, Ask, Question, Reply, ReplyNotes};
use crate::error::CallError;
use crate::http::{AnswerBody, Incoming};
use crate::provider::{Channel, Link, Provider};
use crate::served::Served;
use crate::settings::Serves;

/// A provider that asks for more patience than this is asked again after it, once: it may have changed its mind, and
/// whoever is told to come back later is told the whole time.
const HOLD_MOST: Duration = Duration::from_secs(3600);

/// Of an answer that is an error, so much is read: enough for every vendor's words.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// What is needed to speak to one upstream model.
#[derive(Debug)]
pub(crate) struct Exchange {
    pub(crate) provider: Arc<Provider>,
    pub(crate) served: Arc<Served>,
    pub(crate) state: Arc<TargetState>,
}

/// A streamed answer whose head was good.
pub(crate) enum Judged {
    /// Events follow.
    Events { body: AnswerBody, notes: Arc<ReplyNotes> },
    /// It came whole although a stream was asked for.
    Whole(Answered),
}

impl Exchange {
    /// Asks for a whole answer.
    pub(crate) async fn whole(&self, cx: &Cx<'_>, ask: &Ask) -> Result<Answered, CallError> {
        match &self.provider.link {
            Link::Spoken { protocol, channel } => self.whole_spoken(cx, &**protocol, channel, ask).await,
            Link::Local(local) => local.whole(&self.served, &ask.question).await,
        }
    }

    async fn whole_spoken(
        &self,
        cx: &Cx<'_>,
        protocol: &dyn Protocol,
        channel: &Channel,
        ask: &Ask,
    ) -> Result<Answered, CallError> {
        let model = &self.served.upstream;
        let encoded = match &ask.question {
            Question::Chat(request) => protocol.encode_chat(model, request, Delivery::Whole),
            Question::Embeddings(request) => protocol.encode_embeddings(model, request),
        };
        let Encoded { http, ignored } = encoded.map_err(|error| CallError::unfit(error, &self.served))?;
        let incoming = self.send(cx, channel, ask, http, Delivery::Whole).await?;
        self.read(cx, protocol, channel, ask, incoming, ignored).await
    }

    /// Asks for a streamed answer and judges its head.
    pub(crate) async fn streamed(
        &self,
        cx: &Cx<'_>,
        protocol: &dyn Protocol,
        channel: &Channel,
        ask: &Ask,
    ) -> Result<Judged, CallError> {
        let Question::Chat(request) = &ask.question else { unreachable!("only conversations are streamed") };
        let encoded = protocol.encode_chat(&self.served.upstream, request, Delivery::Streamed);
        let Encoded { http, ignored } = encoded.map_err(|error| CallError::unfit(error, &self.served))?;
        let incoming = self.send(cx, channel, ask, http, Delivery::Streamed).await?;
        let head = head(cx, &incoming.head);
        self.heed(cx, protocol, head);
        if let Some(error) = compressed(head) {
            return Err(CallError::answered(error, &self.served));
        }
        match protocol.check_stream(head) {
            StreamHead::Events => {
                let notes = Arc::new(ReplyNotes { request_id: request_id(head), ignored });
                Ok(Judged::Events { body: incoming.body, notes })
            }
            StreamHead::Whole => self.read(cx, protocol, channel, ask, incoming, ignored).await.map(Judged::Whole),
            StreamHead::Error => Err(self.error(cx, protocol, incoming).await),
        }
    }

    async fn send(
        &self,
        cx: &Cx<'_>,
        channel: &Channel,
        ask: &Ask,
        mut http: HttpRequest,
        delivery: Delivery,
    ) -> Result<Incoming, CallError> {
        ask.count_attempt();
        if let Some(attempts) = cx.get::<Attempts>() {
            attempts.count();
        }
        ask.asked.begin(cx, &self.served, &mut http);
        let place = ask.stand_up();
        let sent = channel.send(cx, place, http, &self.served.upstream, &ask.question, delivery).await;
        sent.map_err(|error| CallError::lost(error, &self.served))
    }

    async fn read(
        &self,
        cx: &Cx<'_>,
        protocol: &dyn Protocol,
        channel: &Channel,
        ask: &Ask,
        incoming: Incoming,
        ignored: Vec<String>,
    ) -> Result<Answered, CallError> {
        let judged = head(cx, &incoming.head);
        self.heed(cx, protocol, judged);
        if let Some(error) = compressed(judged) {
            return Err(CallError::answered(error, &self.served));
        }
        if !judged.status.is_success() {
            return Err(self.error(cx, protocol, incoming).await);
        }
        let Incoming { head: parts, body } = incoming;
        let body = body.whole(cx, channel.max_answer_bytes()).await;
        let body: Bytes = body.map_err(|error| CallError::lost(error, &self.served))?;
        let reply = HttpReply { head: head(cx, &parts), body: &body };
        let notes = Arc::new(ReplyNotes { request_id: request_id(reply.head), ignored });
        let relay = ask.relay.as_ref().filter(|_| ask.question.serves() == Serves::Chat);
        if let Some(relayed) = relay.and_then(|to| protocol.relay_chat(to, &body)) {
            let usage = relayed.usage();
            return Ok(Answered { reply: Reply::Relayed(relayed), by: Arc::clone(&self.served), usage, notes });
        }
        let (reply, usage) = match &ask.question {
            Question::Chat(request) => {
                let mut response = protocol.decode_chat(reply).map_err(|error| self.answered(error))?;
                if let Some(beginning) = request.beginning().filter(|_| protocol.repeats_beginning()) {
                    leave_out(beginning, &mut response);
                }
                let usage = response.usage;
                (Reply::Chat(Arc::new(response)), usage)
            }
            Question::Embeddings(request) => {
                let expected = request.input.len();
                let response = protocol.decode_embeddings(reply, expected).map_err(|error| self.answered(error))?;
                let usage = response.usage;
                (Reply::Embeddings(Arc::new(response)), usage)
            }
        };
        Ok(Answered { reply, by: Arc::clone(&self.served), usage, notes })
    }

    fn answered(&self, error: ProviderError) -> CallError {
        CallError::answered(error, &self.served)
    }

    /// Reads the beginning of an answer that is an error.
    async fn error(&self, cx: &Cx<'_>, protocol: &dyn Protocol, incoming: Incoming) -> CallError {
        let Incoming { head: parts, body } = incoming;
        let body = body.beginning(cx, MAX_ERROR_BYTES).await;
        let error = protocol.decode_error(HttpReply { head: head(cx, &parts), body: &body });
        if let (Some(wait), ErrorCode::RateLimited | ErrorCode::Overloaded) = (error.retry_after, error.code) {
            // Whoever comes next would hear the same: they wait here, or are told how long. Of any other error it says
            // when this request may be tried again, and nothing about the next.
            self.hold(cx, wait);
        }
        self.answered(error)
    }

    /// An allowance that is used up holds the next call until it is whole again.
    fn heed(&self, cx: &Cx<'_>, protocol: &dyn Protocol, head: Head<'_>) {
        if let Some(wait) = protocol.rate_limits(head).hold() {
            self.hold(cx, wait);
        }
    }

    fn hold(&self, cx: &Cx<'_>, wait: Duration) {
        self.state.limit.hold_until(cx.renew().after(wait.min(HOLD_MOST)));
    }
}

/// Takes the beginning of an answer out that was known and is told once more.
fn leave_out(beginning: &str, response: &mut ChatResponse) {
    let first = response.parts.iter_mut().find_map(|part| match &mut part.content {
        Content::Text(text) => Some(text),
        _ => None,
    });
    if let Some(text) = first
        && let Some(rest) = text.strip_prefix(beginning)
    {
        *text = rest.to_owned();
    }
}

fn head<'a>(cx: &Cx<'_>, parts: &'a http::response::Parts) -> Head<'a> {
    Head { status: parts.status, headers: &parts.headers, received_at: wall(cx) }
}

fn wall(cx: &Cx<'_>) -> SystemTime {
    UNIX_EPOCH + cx.unix_time()
}

/// The name under which the provider's support finds the call.
fn request_id(head: Head<'_>) -> Option<String> {
    const NAMES: [&str; 4] = ["x-request-id", "request-id", "apim-request-id", "x-goog-request-id"];
    NAMES.into_iter().find_map(|name| head.header(name)).map(|id| id.chars().take(128).collect())
}

/// Nothing compressed was asked for, and what nobody asked for is not unpacked.
fn compressed(head: Head<'_>) -> Option<ProviderError> {
    let encoding = head.headers.get(CONTENT_ENCODING)?;
    if encoding.as_bytes().eq_ignore_ascii_case(b"identity") || !head.status.is_success() {
        return None;
    }
    let encoding = encoding.to_str().unwrap_or("something");
    let message = format!("the answer is compressed ({encoding}), which was not asked for");
    Some(ProviderError {
        http_status: Some(head.status.as_u16()),
        ..ProviderError::new(ErrorCode::MalformedResponse, message)
    })
}
