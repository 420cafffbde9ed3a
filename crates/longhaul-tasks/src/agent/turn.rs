//! What is kept of a turn, and the conversation that turns make.
//!
//! Kept is what a later call of the model has to be told: words, sealed thoughts, calls; and beside each call what is to
//! be done about it. That is decided once, with the turn, so that a schema that changes under a run changes nothing
//! that has begun.

use longhaul_core::{Report, Usage};
use longhaul_providers::chat::{
    ChatResponse, Content, Dialect, FinishReason, Message, Part, ReasoningContent, Role, ToolCall, ToolResult,
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    calls::Done,
    input::AgentInput,
    limits::is_cut_by,
    output::{Finish, ToolCallReport, ToolStatus},
};

/// Letters of arguments that an event carries.
const ARGUMENTS_SHOWN: usize = 8_000;

/// One call of the model and what came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Turn {
    /// Whose words the sealed thoughts are in.
    dialect: Dialect,
    parts: Vec<Kept>,
    /// What is to be done about each call, in their order.
    pub(super) planned: Vec<Planned>,
    finish: Ended,
    pub(super) usage: Usage,
    /// The tokens that the answer was given.
    #[serde(default)]
    given: Option<u64>,
    pub(super) model: Option<String>,
    pub(super) degraded: bool,
    pub(super) cached: bool,
}

/// A part of an answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kept {
    Text(String),
    Thought(ReasoningContent),
    Call(ToolCall),
}

/// How an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ended {
    Stop,
    Length,
    ContentFilter,
    Refusal,
}

/// What is to be done about a call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Planned {
    /// What the model's call is known by.
    pub(super) call_id: String,
    /// The tool in the words of the input: the kind or the HTTP tool, or whatever the model called.
    pub(super) tool: String,
    pub(super) what: What,
    /// A person is asked first.
    pub(super) approval: bool,
}

/// What a call is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    /// A job of a kind with this input.
    Kind(Value),
    /// A request to a configured address with these arguments.
    Http(Value),
    /// Nothing that could be done, and why: the model is told.
    Bad(String),
}

impl Turn {
    /// `given`: the tokens that the answer was limited to.
    pub(super) fn of(
        response: &ChatResponse,
        report: &Report,
        given: Option<u64>,
        plan: impl Fn(&ToolCall) -> Planned,
    ) -> Self {
        let mut parts = Vec::with_capacity(response.parts.len());
        let mut refused = false;
        for part in &response.parts {
            match &part.content {
                Content::Text(text) => parts.push(Kept::Text(text.clone())),
                Content::Reasoning(thought) => parts.push(Kept::Thought(thought.clone())),
                Content::ToolCall(call) => parts.push(Kept::Call(call.clone())),
                Content::Refusal(text) => {
                    refused = true;
                    parts.push(Kept::Text(text.clone()));
                }
                // Pictures and parts of one vendor alone are nothing that a later turn needs.
                Content::Image(_) | Content::ToolResult(_) | Content::Native(_) => {}
            }
        }
        let finish = match response.finish.reason {
            _ if refused => Ended::Refusal,
            FinishReason::Length => Ended::Length,
            FinishReason::ContentFilter => Ended::ContentFilter,
            FinishReason::Stop | FinishReason::ToolCalls | FinishReason::Other => Ended::Stop,
        };
        let mut planned: Vec<Planned> = response.tool_calls().map(plan).collect();
        let last = planned.last_mut().zip(response.tool_calls().last());
        if let Some((planned, call)) = last
            && response.finish.reason == FinishReason::Length
            && call.arguments.trim().is_empty()
        {
            // A tool that needs none would be called with less than the model was about to say.
            planned.what = What::Bad("the answer was cut off before the arguments of this call".to_owned());
            planned.approval = false;
        }
        Self {
            dialect: response.dialect,
            parts,
            planned,
            finish,
            usage: report.usage,
            given,
            model: report.model.clone(),
            degraded: report.degraded,
            cached: report.cached,
        }
    }

    /// Why the run ends with this turn, which wants no tools.
    pub(super) fn finish(&self) -> Finish {
        match self.finish {
            Ended::Stop => Finish::Stop,
            Ended::Length if is_cut_by(self.given, &self.usage) => Finish::MaxTokens,
            Ended::Length => Finish::Length,
            Ended::ContentFilter => Finish::ContentFilter,
            Ended::Refusal => Finish::Refusal,
        }
    }

    /// All its words.
    pub(super) fn text(&self) -> String {
        let texts = self.parts.iter().filter_map(|part| match part {
            Kept::Text(text) => Some(text.as_str()),
            Kept::Thought(_) | Kept::Call(_) => None,
        });
        texts.collect()
    }

    /// The calls, as those who follow the job see them.
    pub(super) fn items(&self, number: u32) -> Vec<Value> {
        let calls = self.planned.iter().map(|planned| {
            let arguments = match &planned.what {
                What::Kind(input) | What::Http(input) => shortened(input),
                What::Bad(_) => Value::Null,
            };
            let mut item = json!({
                "type": "tool_call", "turn": number, "call_id": planned.call_id, "tool": planned.tool,
                "arguments": arguments,
            });
            if planned.approval {
                item["approval"] = true.into();
            }
            item
        });
        calls.collect()
    }

    /// What the output says of calls that were carried out.
    pub(super) fn reports<'a>(&'a self, number: u32, done: &'a [Done]) -> impl Iterator<Item = ToolCallReport> + 'a {
        self.planned.iter().zip(done).map(move |(planned, done)| planned.report(number, done.status, done.job_id))
    }

    /// What the output says of calls that a limit has kept from being carried out.
    pub(super) fn skipped(&self, number: u32) -> Vec<ToolCallReport> {
        self.planned.iter().map(|planned| planned.report(number, ToolStatus::Skipped, None)).collect()
    }
}

impl Planned {
    fn report(&self, turn: u32, status: ToolStatus, job_id: Option<longhaul_core::JobId>) -> ToolCallReport {
        let is_http = matches!(self.what, What::Http(_));
        ToolCallReport {
            turn,
            call_id: self.call_id.clone(),
            kind: (!is_http).then(|| self.tool.clone()),
            http: is_http.then(|| self.tool.clone()),
            job_id,
            status,
        }
    }
}

fn shortened(value: &Value) -> Value {
    let text = value.to_string();
    if text.len() <= ARGUMENTS_SHOWN {
        return value.clone();
    }
    format!("{}… ({} bytes)", &text[..text.floor_char_boundary(ARGUMENTS_SHOWN)], text.len()).into()
}

/// The conversation up to now.
pub(super) struct Conversation {
    begun: Vec<Message>,
    /// The user's own messages hold what only OpenAI's protocol knows.
    is_native: bool,
    turns: Vec<(Turn, Vec<Done>)>,
}

impl Conversation {
    pub(super) fn of(input: &AgentInput) -> Self {
        let mut begun = Vec::with_capacity(input.messages.len() + 1);
        begun.extend(input.instructions.as_ref().map(|text| Message::text(Role::System, text.as_str())));
        begun.extend(input.messages.iter().cloned());
        let is_native = begun.iter().any(|message| {
            let native = |part: &Part| matches!(part.content, Content::Native(_)) || !part.extra.is_empty();
            !message.extra.is_empty() || message.parts.iter().any(native)
        });
        Self { begun, is_native, turns: Vec::new() }
    }

    pub(super) fn push(&mut self, turn: Turn, done: Vec<Done>) {
        self.turns.push((turn, done));
    }

    /// Whose words what is sealed is in: of the provider that answered last.
    pub(super) fn dialect(&self) -> Dialect {
        match self.turns.last() {
            _ if self.is_native => Dialect::OpenAi,
            Some((turn, _)) => turn.dialect,
            None => Dialect::Neutral,
        }
    }

    pub(super) fn messages(&self) -> Vec<Message> {
        let dialect = self.dialect();
        let mut messages = self.begun.clone();
        for (turn, done) in &self.turns {
            let said = turn.parts.iter().filter_map(|part| match part {
                Kept::Text(text) => (!text.is_empty()).then(|| Part::text(text.as_str())),
                // Another provider can do nothing with a thought that is not its own.
                Kept::Thought(thought) if turn.dialect == dialect => Some(Content::Reasoning(thought.clone()).into()),
                Kept::Thought(_) => None,
                Kept::Call(call) => Some(Content::ToolCall(mended(call)).into()),
            });
            messages.push(Message::of(Role::Assistant, said.collect()));
            let results = turn.planned.iter().zip(done).map(|(planned, done)| {
                let result = ToolResult {
                    call_id: planned.call_id.clone(),
                    parts: vec![Part::text(done.content.as_str())],
                    is_error: done.status != ToolStatus::Succeeded,
                };
                Part::from(Content::ToolResult(result))
            });
            messages.push(Message::of(Role::Tool, results.collect()));
        }
        messages
    }
}

/// A call that can be told again: providers refuse a conversation with arguments that are no JSON object, also when it was
/// their own model that wrote them.
fn mended(call: &ToolCall) -> ToolCall {
    let is_object = serde_json::from_str::<serde_json::Map<String, Value>>(&call.arguments).is_ok();
    let arguments = match is_object {
        true => call.arguments.clone(),
        false if call.arguments.trim().is_empty() => "{}".to_owned(),
        false => json!({ "unreadable": call.arguments }).to_string(),
    };
    ToolCall { arguments, ..call.clone() }
}
