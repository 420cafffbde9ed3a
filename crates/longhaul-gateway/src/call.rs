//! One call on its way through the layers: what is asked, for whom, and what came of it.

use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longhaul_providers::chat::{ChatRequest, ChatResponse, Content, Message, Part, Role, StreamEvent, Usage};
use longhaul_providers::embeddings::{EmbeddingsRequest, EmbeddingsResponse};
use longhaul_providers::relay::{RelayTo, RelayedAnswer};
use longhaul_providers::tokens::{estimate_embeddings, estimate_request};
use longhaul_resilience::cache::normalised;
use longhaul_resilience::{Attempts, Clock, CorrelationId, Cx, Tick};
use sha2::{Digest as _, Sha256};

use crate::exchanges::{Asked, CallTrace};
use crate::http::Place;
use crate::record::CallRecord;
use crate::served::Served;
use crate::settings::{KeyOf, Serves};

/// Who asks, and how much patience there is.
///
/// ```
/// use longhaul_gateway::CallOptions;
/// let options = CallOptions::for_tenant("acme").correlation("req-1").skip_cache(true);
/// # let _ = options;
/// ```
#[derive(Debug, Clone)]
pub struct CallOptions {
    pub(crate) tenant: Arc<str>,
    pub(crate) correlation: CorrelationId,
    pub(crate) timeout: Option<Duration>,
    pub(crate) skip_cache: bool,
    pub(crate) trace: Option<CallTrace>,
    pub(crate) attempts: Option<Attempts>,
    pub(crate) relay: Option<RelayTo>,
}

impl Default for CallOptions {
    /// For the tenant `default`.
    fn default() -> Self {
        Self::for_tenant("default")
    }
}

impl CallOptions {
    /// For this tenant: no other is ever given an answer that was cached for it.
    pub fn for_tenant(tenant: impl Into<Arc<str>>) -> Self {
        Self {
            tenant: tenant.into(),
            correlation: CorrelationId::NONE,
            timeout: None,
            skip_cache: false,
            attempts: None,
            trace: None,
            relay: None,
        }
    }

    /// The id of the request, as it stands in records.
    pub fn correlation(self, id: impl Into<CorrelationId>) -> Self {
        Self { correlation: id.into(), ..self }
    }

    /// The call may take no longer than this; an earlier end of the model's own stays.
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }

    /// A fresh answer is wanted. It is kept as usual.
    pub fn skip_cache(self, skip: bool) -> Self {
        Self { skip_cache: skip, ..self }
    }

    /// The call belongs to a trace, which its providers are told of.
    pub fn trace(self, trace: Option<CallTrace>) -> Self {
        Self { trace, ..self }
    }

    /// An answer is passed on as the provider wrote it, where the provider speaks what `to` speaks. Who asks so must be
    /// able to read [`StreamEvent::Relayed`](longhaul_providers::chat::StreamEvent::Relayed).
    pub fn relay(self, to: RelayTo) -> Self {
        Self { relay: Some(to), ..self }
    }

    /// Providers are asked so often at most, over all that is asked with these options and clones of them: every retry of
    /// every target counts, and so does asking again because an answer was of no use. A target that follows another has
    /// one attempt kept for it, while there are enough. Targets repeat less often if their own settings say so.
    pub fn max_attempts(self, most: u32) -> Self {
        Self { attempts: Some(Attempts::new(most)), ..self }
    }

    /// Whether nothing more can be asked with these options.
    pub(crate) fn is_spent(&self) -> bool {
        self.attempts.as_ref().is_some_and(|attempts| attempts.left() == 0)
    }

    pub(crate) fn context(&self, clock: Option<&Arc<dyn Clock>>) -> Cx<'static> {
        let mut cx = Cx::new(self.correlation);
        if let Some(clock) = clock {
            cx = cx.clock(Arc::clone(clock));
        }
        if let Some(timeout) = self.timeout {
            cx = cx.timeout(timeout);
        }
        if let Some(attempts) = &self.attempts {
            cx = cx.attempts(attempts.clone());
        }
        if self.skip_cache { cx.skip_cache() } else { cx }
    }
}

/// What is asked.
#[derive(Debug, Clone)]
pub(crate) enum Question {
    Chat(Arc<ChatRequest>),
    Embeddings(Arc<EmbeddingsRequest>),
}

/// What names the same question in a cache.
pub(crate) type Key = [u8; 32];

/// A question with what the layers want to know of it.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) question: Question,
    /// Zeros where nothing is cached.
    pub(crate) key: Key,
    /// Tokens of the request and the answer together, guessed, to be reserved and set right afterwards.
    pub(crate) tokens: u64,
    /// How often a provider was asked.
    attempts: AtomicU32,
    /// Who wants the answer as the provider wrote it.
    pub(crate) relay: Option<RelayTo>,
    pub(crate) asked: Arc<Asked>,
    /// The place among a provider's connections that the attempt under way has and has not used yet. An ask has one
    /// attempt at a time.
    place: Mutex<Option<Place>>,
}

/// What an answer may cost when the request does not say: most are shorter, and what was too much is given back.
const TOKENS_OF_AN_ANSWER: u64 = 512;

impl Ask {
    /// The key is made only where something is cached: of what makes two questions the same, and of who would answer. The
    /// tokens are counted only where they are limited.
    pub(crate) fn new(question: Question, cached: Option<(KeyOf, &Key)>, tenant: &str, counted: bool) -> Self {
        let key = cached.map_or([0; 32], |(of, by)| question.key(of, by, tenant));
        let tokens = if counted { question.tokens() } else { 0 };
        let (attempts, place) = (AtomicU32::new(0), Mutex::default());
        Self { question, key, tokens, attempts, relay: None, asked: Arc::default(), place }
    }

    /// An attempt has got a place among the provider's connections.
    pub(crate) fn sit_down(&self, place: Place) {
        *self.place.lock().unwrap_or_else(PoisonError::into_inner) = Some(place);
    }

    /// The place of the attempt, for the exchange that it is for.
    pub(crate) fn stand_up(&self) -> Option<Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The same, for who wants the answer as the provider writes it.
    pub(crate) fn relayed(self, relay: Option<RelayTo>) -> Self {
        Self { relay, ..self }
    }

    /// The same, in a trace.
    pub(crate) fn traced(self, asked: Asked) -> Self {
        Self { asked: Arc::new(asked), ..self }
    }

    /// The same call with another question.
    pub(crate) fn going_on(&self, question: Question) -> Self {
        let counted = self.tokens > 0;
        let (attempts, asked) = (AtomicU32::new(self.attempts()), Arc::clone(&self.asked));
        Self { attempts, asked, ..Self::new(question, None, "", counted) }
    }

    /// Puts into a record who was asked.
    pub(crate) fn tell(&self, record: &mut CallRecord, cx: &Cx<'_>, began: Tick) {
        record.serves = self.question.serves().name();
        record.attempts = self.attempts();
        self.asked.tell(record, cx, began);
    }

    /// A provider is being asked.
    pub(crate) fn count_attempt(&self) {
        self.attempts.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn attempts(&self) -> u32 {
        self.attempts.load(Ordering::Relaxed)
    }
}

impl Question {
    pub(crate) fn serves(&self) -> Serves {
        match self {
            Self::Chat(_) => Serves::Chat,
            Self::Embeddings(_) => Serves::Embeddings,
        }
    }

    /// The last thing that the person said.
    pub(crate) fn last_words(&self) -> &str {
        let Self::Chat(request) = self else { return "" };
        let said = request.messages.iter().rev().find(|message| message.role == Role::User);
        said.and_then(|message| {
            message.parts.iter().rev().find_map(|part| match &part.content {
                Content::Text(text) => Some(text.as_str()),
                _ => None,
            })
        })
        .unwrap_or_default()
    }

    fn tokens(&self) -> u64 {
        match self {
            Self::Chat(request) => {
                estimate_request(request).saturating_add(request.max_output_tokens.unwrap_or(TOKENS_OF_AN_ANSWER))
            }
            Self::Embeddings(request) => estimate_embeddings(request),
        }
    }

    fn key(&self, of: KeyOf, by: &Key, tenant: &str) -> Key {
        let mut hash = Hashing::default();
        hash.0.update(by);
        hash.put(self.serves().name());
        hash.put(tenant);
        match self {
            Self::Chat(request) => hash.put_chat(request, of),
            Self::Embeddings(request) => hash.put_json(&**request),
        }
        hash.finish()
    }
}

/// A hash that things are written to, each with its length and lists with their count, so that no two sequences look
/// alike.
#[derive(Default)]
pub(crate) struct Hashing(Sha256);

impl Hashing {
    pub(crate) fn put(&mut self, text: &str) {
        self.count(text.len());
        self.0.update(text);
    }

    pub(crate) fn count(&mut self, number: usize) {
        self.0.update((number as u64).to_le_bytes());
    }

    pub(crate) fn finish(self) -> Key {
        self.0.finalize().into()
    }

    /// JSON ends by itself. It is buffered, because the serialiser writes it crumb by crumb.
    fn put_json(&mut self, value: &impl serde::Serialize) {
        let mut buffered = std::io::BufWriter::with_capacity(4096, &mut *self);
        // Neither writing to a hash nor these types can fail; a key that lacked something would be refused by no test.
        let written = serde_json::to_writer(&mut buffered, value).is_ok() && buffered.flush().is_ok();
        debug_assert!(written, "a request can be written as JSON");
    }

    fn put_chat(&mut self, request: &ChatRequest, of: KeyOf) {
        // Taken apart, so that a field that is new is not forgotten.
        let ChatRequest {
            messages,
            tools,
            tool_choice,
            parallel_tool_calls,
            response_format,
            max_output_tokens,
            temperature,
            top_p,
            top_k,
            stop,
            seed,
            frequency_penalty,
            presence_penalty,
            logprobs,
            reasoning,
            user,
            dialect,
            extra,
            goes_on,
        } = request;
        self.count(messages.len());
        for message in messages {
            self.put_message(message, of);
        }
        let numbers = (max_output_tokens, temperature, top_p, top_k, seed, frequency_penalty, presence_penalty);
        let wishes = (tools, tool_choice, parallel_tool_calls, response_format, stop, logprobs, reasoning);
        self.put_json(&(numbers, wishes, user, dialect, extra, goes_on));
    }

    /// Texts as they are, which a conversation is mostly made of; what is rare as JSON.
    fn put_message(&mut self, message: &Message, of: KeyOf) {
        let Message { role, parts, name, extra } = message;
        self.put(role.name());
        self.count(usize::from(name.is_some()));
        self.put(name.as_deref().unwrap_or_default());
        self.count(parts.len());
        for part in parts {
            let Part { content, extra } = part;
            // Of each kind its own sign: what follows cannot be taken for another's.
            match content {
                Content::Text(text) if extra.is_empty() => {
                    self.count(0);
                    self.put_text(text, of);
                }
                Content::Text(text) => {
                    self.count(1);
                    self.put_text(text, of);
                    self.put_json(extra);
                }
                _ => {
                    self.count(2);
                    self.put_json(part);
                }
            }
        }
        self.count(usize::from(!extra.is_empty()));
        if !extra.is_empty() {
            self.put_json(extra);
        }
    }

    fn put_text(&mut self, text: &str, of: KeyOf) {
        match of {
            KeyOf::Exact => self.put(text),
            KeyOf::Normalised => self.put(&normalised(text)),
        }
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// What was answered.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    Chat(Arc<ChatResponse>),
    /// As the provider wrote it.
    Relayed(RelayedAnswer),
    Embeddings(Arc<EmbeddingsResponse>),
}

impl Reply {
    /// The answer to a conversation, in nobody's JSON.
    pub(crate) fn chat(&self) -> Option<Arc<ChatResponse>> {
        match self {
            Self::Chat(response) => Some(Arc::clone(response)),
            Self::Relayed(relayed) => Some(relayed.response()),
            Self::Embeddings(_) => None,
        }
    }

    /// About how many bytes of memory it takes. An answer that is kept as its provider wrote it is counted so; read, for
    /// a client of another vendor's, it takes about as much again.
    pub(crate) fn weight(&self) -> usize {
        /// What there is besides the words.
        const FRAME: usize = 512;
        FRAME
            + match self {
                Self::Chat(response) => {
                    let logprobs = response.logprobs.as_ref().map_or(0, |json| json.as_str().len());
                    response.parts.iter().map(size_of_part).sum::<usize>() + logprobs
                }
                Self::Relayed(relayed) => relayed.len(),
                Self::Embeddings(response) => {
                    let vector = |vector: &Vec<f32>| size_of_val(vector.as_slice()) + size_of::<Vec<f32>>();
                    response.vectors.iter().map(vector).sum()
                }
            }
    }

    /// The pieces of an answer to a conversation.
    pub(crate) fn to_events(&self) -> Vec<StreamEvent> {
        self.chat().map(|response| response.to_events()).unwrap_or_default()
    }
}

fn size_of_part(part: &Part) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let content = match &part.content {
        Content::Text(text) | Content::Refusal(text) => text.len(),
        Content::ToolCall(call) => call.id.len() + call.name.len() + call.arguments.len() + text(&call.signature),
        Content::Reasoning(thought) => {
            thought.text.len() + text(&thought.signature) + text(&thought.encrypted) + text(&thought.id)
        }
        Content::Native(json) => json.as_str().len(),
        // A model answers with neither pictures nor results of tools in any protocol known here.
        Content::Image(_) | Content::ToolResult(_) => 0,
    };
    let extra: usize = part.extra.iter().map(|(name, json)| name.len() + json.as_str().len()).sum();
    content + extra + size_of::<Part>()
}

/// About how many bytes a piece of an answer adds to it.
pub(crate) fn size_of_piece(event: &StreamEvent) -> usize {
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    match event {
        StreamEvent::TextDelta { text } | StreamEvent::RefusalDelta { text } | StreamEvent::ReasoningDelta { text } => {
            text.len()
        }
        StreamEvent::Relayed(relayed) => relayed.text.len(),
        StreamEvent::ReasoningStarted { id } => text(id),
        StreamEvent::ReasoningEnded { signature, encrypted, id } => text(signature) + text(encrypted) + text(id),
        StreamEvent::ToolCallStarted { id, name, signature, .. } => {
            id.len() + name.len() + text(signature) + size_of::<Part>()
        }
        StreamEvent::ToolCallArguments { delta, .. } => delta.len(),
        StreamEvent::Native { value, .. } | StreamEvent::Logprobs { value } => value.as_str().len(),
        StreamEvent::PartEnded
        | StreamEvent::Started { .. }
        | StreamEvent::Usage(_)
        | StreamEvent::Finished(_)
        | StreamEvent::Error(_) => 0,
    }
}

/// An answer with where it came from. Cheap to clone: caches and those who wait together get the same one.
#[derive(Debug, Clone)]
pub(crate) struct Answered {
    pub(crate) reply: Reply,
    pub(crate) by: Arc<Served>,
    pub(crate) usage: Option<Usage>,
    pub(crate) notes: Arc<ReplyNotes>,
}

/// What is worth keeping of one exchange with a provider.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ReplyNotes {
    /// The provider's name for the call.
    pub(crate) request_id: Option<String>,
    /// What the target could not be told and did not need to be.
    pub(crate) ignored: Vec<String>,
}

#[cfg(test)]
mod tests {
    use longhaul_providers::json::{Extra, Json};

    use super::*;

    fn chat(text: &str) -> Question {
        let messages = vec![Message::text(Role::System, "be brief"), Message::text(Role::User, text)];
        Question::Chat(Arc::new(ChatRequest { messages, ..ChatRequest::default() }))
    }

    #[test]
    fn the_same_question_of_the_same_tenant_has_the_same_key() {
        let by = [7; 32];
        let key = |question: &Question, of, tenant| Ask::new(question.clone(), Some((of, &by)), tenant, false).key;
        let (one, other) = (chat("What is Rust?"), chat("what is  RUST"));
        assert_eq!(key(&one, KeyOf::Exact, "a"), key(&chat("What is Rust?"), KeyOf::Exact, "a"));
        assert_ne!(key(&one, KeyOf::Exact, "a"), key(&one, KeyOf::Exact, "b"), "tenants share nothing");
        assert_ne!(key(&one, KeyOf::Exact, "a"), key(&other, KeyOf::Exact, "a"));
        assert_eq!(key(&one, KeyOf::Normalised, "a"), key(&other, KeyOf::Normalised, "a"));
        assert_ne!(key(&one, KeyOf::Normalised, "a"), key(&chat("What is C?"), KeyOf::Normalised, "a"));
    }

    #[test]
    fn what_changes_the_answer_changes_the_key() {
        let Question::Chat(request) = chat("hi") else { panic!() };
        let cold = ChatRequest { temperature: Some(0.0), ..(*request).clone() };
        for of in [KeyOf::Exact, KeyOf::Normalised] {
            let key = |request: &ChatRequest| Question::Chat(Arc::new(request.clone())).key(of, &[0; 32], "a");
            assert_ne!(key(&request), key(&cold), "{of:?}");
        }
    }

    #[test]
    fn no_two_conversations_look_alike_though_their_words_are_the_same() {
        let of = |role, parts: &[&str]| Message::of(role, parts.iter().copied().map(Part::text).collect());
        let with_extra = |extra_of_part, extra_of_message| {
            let mut message = of(Role::User, &["a"]);
            let mut field = Extra::new();
            field.insert("cache_control", Json::parse("{}").unwrap());
            if extra_of_part {
                message.parts[0].extra = field.clone();
            }
            if extra_of_message {
                message.extra = field;
            }
            vec![message]
        };
        let conversations = [
            vec![of(Role::User, &["a", "assistant", "", "b"])],
            vec![of(Role::User, &["a"]), of(Role::Assistant, &["b"])],
            vec![of(Role::User, &["a"]), of(Role::Assistant, &[""]), of(Role::Assistant, &["b"])],
            vec![Message { name: Some(String::new()), ..of(Role::User, &["a"]) }],
            with_extra(false, false),
            with_extra(true, false),
            with_extra(false, true),
            with_extra(true, true),
        ];
        let key = |messages: &Vec<Message>, of| {
            let request = ChatRequest { messages: messages.clone(), ..ChatRequest::default() };
            Question::Chat(Arc::new(request)).key(of, &[0; 32], "a")
        };
        for of in [KeyOf::Exact, KeyOf::Normalised] {
            let keys: std::collections::HashSet<Key> = conversations.iter().map(|messages| key(messages, of)).collect();
            assert_eq!(keys.len(), conversations.len(), "{of:?}");
        }
    }

    #[test]
    fn tokens_are_guessed_from_the_text_and_the_limit_of_the_answer() {
        let Question::Chat(request) = chat(&"word ".repeat(100)) else { panic!() };
        let guess = |request: &ChatRequest| Ask::new(Question::Chat(Arc::new(request.clone())), None, "", true).tokens;
        let asked = guess(&request) - TOKENS_OF_AN_ANSWER;
        assert!((90..300).contains(&asked), "{asked}");
        assert_eq!(guess(&ChatRequest { max_output_tokens: Some(10), ..(*request).clone() }), asked + 10);
        assert_eq!(Ask::new(Question::Chat(request), None, "", false).tokens, 0, "nobody limits them");
    }

    #[test]
    fn the_last_words_are_the_persons() {
        let Question::Chat(request) = chat("open?") else { panic!() };
        let mut request = (*request).clone();
        request.messages.push(Message::text(Role::Assistant, "yes"));
        assert_eq!(Question::Chat(Arc::new(request)).last_words(), "open?");
    }
}
