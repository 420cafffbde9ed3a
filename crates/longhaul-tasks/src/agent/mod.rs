//! `agent`: a model that uses tools until it has an answer.
//!
//! A turn is one call of the model and the calls of tools that it asks for. Each call of the model is a step, and so is each
//! result of a tool: what has been paid for or done is never paid for or done again, whatever dies in between.
//!
//! **A tool is a kind.** A call of it is a child job, which whoever serves the kind runs; the agent gives its lease up
//! until all calls of the turn have ended, so it holds no worker while it waits ([`calls`]). Beside kinds there are the
//! HTTP tools of the configuration ([`http`]); neither a command nor an address ever comes from a request or a model.
//!
//! A call of a model is streamed: text as text, the beginning of a turn, calls and results as items of the job's output.
//!
//! **Who retries.** The model's stack does, as for every call. When it has given up, or a stream has broken off after its
//! first words, the job may try the turn again, twice in all: a new job would have to pay for every turn before it.
//!
//! [`limits`] says where a run ends, [`toolbox`] how tools are shown to a model and how its calls are read, [`turn`] what is kept of a turn.

mod approval;
mod calls;
pub mod http;
mod input;
mod limits;
mod output;
mod schema;
mod toolbox;
mod turn;

use std::sync::Arc;

use async_trait::async_trait;
use longhaul_core::{KindSpec, Report, StepName};
use longhaul_engine::{Check, Completed, Executor, Failure, FieldError, JobContext, NamedKind};
use longhaul_gateway::{Gateway, Operation};
use longhaul_providers::{
    chat::{ChatRequest, ToolChoice},
    tokens::estimate_request,
};
use serde_json::json;

use crate::{
    TaskSettings,
    analysis::unfit,
    calls::Calls,
    llm::{call, chat, failure},
    spec,
};
use limits::{Limits, Spent};
use toolbox::Toolbox;
use turn::{Conversation, Turn};

pub use http::HttpTools;
pub(crate) use input::messages;
pub use input::{AgentInput, ToolSpec, Uses};
pub use output::{AgentOutput, Finish, ToolCallReport, ToolStatus};

/// The name of the kind.
const KIND: &str = "agent";

/// Attempts of an agent that may fail: see the [module](self).
const ATTEMPTS: u32 = 3;

/// The executor of `agent`.
#[derive(Debug)]
pub struct Agent {
    kind: KindSpec,
    calls: Calls,
    default_model: Option<String>,
    http: Arc<HttpTools>,
}

impl Agent {
    pub(crate) fn new(calls: Calls, settings: &TaskSettings) -> Self {
        let about = "A model that uses tools, each of them a kind, until it has an answer; every turn and every result is \
                     a durable step.";
        let mut kind = spec::kind(KIND, about, schema::input(), schema::output());
        kind.max_attempts = Some(ATTEMPTS);
        let (default_model, http) = (settings.agent_model.clone(), settings.http_tools.clone());
        Self { kind, calls, default_model, http }
    }

    /// Reads an input, or names everything that is wrong with it but the kinds that there are not.
    pub fn read(&self, input: &str) -> Result<AgentInput, Vec<FieldError>> {
        AgentInput::read(input, &self.calls, self.default_model.as_deref(), &self.http)
    }
}

impl Check for Agent {
    fn check(&self, input: &str) -> Vec<FieldError> {
        self.read(input).err().unwrap_or_default()
    }
}

#[async_trait]
impl Executor for Agent {
    fn kind(&self) -> &KindSpec {
        &self.kind
    }

    fn check(&self) -> Option<&dyn Check> {
        Some(self)
    }

    fn kinds_named(&self, input: &str) -> Vec<NamedKind> {
        input::kinds_named(input)
    }

    async fn run(&self, job: &JobContext) -> Result<Completed, Failure> {
        let input = self.read(&String::from_utf8_lossy(job.input())).map_err(unfit)?;
        let chosen = self.calls.model_for(input.model.as_deref(), self.default_model.as_deref(), Operation::Chat);
        let model = chosen.map_err(|error| Failure::permanent(error.code, error.message))?.name().to_owned();
        let Some(gateway) = self.calls.models.gateway_of(&model) else {
            return Err(Failure::permanent("unsupported_operation", format!("the model `{model}` takes no tools")));
        };
        let (toolbox, limits) = (Toolbox::of(job, &input, &self.http)?, Limits::of(&input));
        let run = Run { job, gateway, model: &model, toolbox, limits, input: &input };
        run.to_its_end().await
    }
}

/// One attempt at a run. It begins at the beginning each time: what an earlier attempt has finished is read back.
struct Run<'a> {
    job: &'a JobContext,
    gateway: &'a Gateway,
    model: &'a str,
    toolbox: Toolbox,
    limits: Limits,
    input: &'a AgentInput,
}

impl Run<'_> {
    async fn to_its_end(&self) -> Result<Completed, Failure> {
        let mut talk = Conversation::of(self.input);
        let mut spent = Spent::default();
        let mut output = AgentOutput::of_model(self.model);
        let mut report = Report { cached: true, ..Report::default() };
        for number in 1..=self.input.max_turns {
            let is_kept = self.job.has_step(&step(&format!("turn:{number}"))?);
            let question = if is_kept { 0 } else { self.question(&talk) };
            // What the tools of the last turn have spent is known only now. What was asked once is read back all the same.
            let limit = self.limits.before_call(&spent, question).filter(|_| number > 1 && !is_kept);
            if let Some(finish) = limit {
                output.finish = finish;
                break;
            }
            let turn = self.ask(number, &talk, self.limits.answer(&spent, question)).await?;
            spent.own = spent.own.and(turn.usage);
            report.degraded |= turn.degraded;
            report.cached &= turn.cached;
            report.model.clone_from(&turn.model);
            output.output = turn.text();
            output.turns = number;
            let finish = match turn.planned.is_empty() {
                true => Some(turn.finish()),
                false => self.limits.before_tools(number, &spent, turn.usage.input_tokens),
            };
            if let Some(finish) = finish {
                output.finish = finish;
                output.tool_calls.extend(turn.skipped(number));
                break;
            }
            let done = self.carry_out(number, &turn).await?;
            spent.tools = done.iter().fold(spent.tools, |sum, done| sum.and(done.usage));
            output.tool_calls.extend(turn.reports(number, &done));
            talk.push(turn, done);
        }
        output.usage = spent.own;
        output.degraded = report.degraded;
        let mut completed = Completed::json(&output)?;
        completed.report = report;
        Ok(completed)
    }

    /// About how many tokens the next question is, where they are limited.
    fn question(&self, talk: &Conversation) -> u64 {
        if self.limits.count_tokens() { estimate_request(&self.request(talk, None)) } else { 0 }
    }

    /// One call of the model, as a step. Its answer is no longer than `given`.
    async fn ask(&self, number: u32, talk: &Conversation, given: Option<u64>) -> Result<Turn, Failure> {
        let job = self.job;
        let asked = job.step(step(&format!("turn:{number}"))?, async {
            job.emit_item(&json!({"type": "turn", "turn": number})).await?;
            let request = Arc::new(self.request(talk, given));
            let options = call::options(job);
            let stream = match self.gateway.chat_stream(self.model, request, &options).await {
                Ok(stream) => stream,
                Err(error) => return Err(failure::of_call(job, &error).await),
            };
            let (response, record) = chat::told(job, stream).await?;
            call::tell(job, &record).await?;
            let turn = Turn::of(&response, &call::report(&record), given, |call| self.toolbox.plan(job, call));
            for item in turn.items(number) {
                job.emit_item(&item).await?;
            }
            Ok(turn)
        });
        let is_new = !job.has_step(&step(&format!("turn:{number}"))?);
        let turn = asked.await?;
        if is_new {
            let calls = turn.planned.len();
            let message = match calls {
                0 => format!("turn {number}: an answer"),
                1 => format!("turn {number}: a tool is called"),
                _ => format!("turn {number}: {calls} tools are called"),
            };
            job.progress(f64::from(number) / f64::from(self.input.max_turns), message).await?;
        }
        Ok(turn)
    }

    fn request(&self, talk: &Conversation, given: Option<u64>) -> ChatRequest {
        let tools = self.toolbox.shown();
        ChatRequest {
            messages: talk.messages(),
            dialect: talk.dialect(),
            tool_choice: (!tools.is_empty()).then_some(ToolChoice::Auto),
            tools,
            max_output_tokens: given,
            ..ChatRequest::default()
        }
    }
}

fn step(name: &str) -> Result<StepName, Failure> {
    StepName::new(name).map_err(|error| Failure::permanent("internal", format!("{name}: {error}")))
}
