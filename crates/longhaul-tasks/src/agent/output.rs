//! The output of `agent`.

use longhaul_core::{JobId, Usage};
use serde::{Deserialize, Serialize};

/// What an agent came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentOutput {
    /// The words of the last turn: the answer, unless a limit ended the run before there was one.
    pub output: String,
    /// Why the run ended.
    pub finish: Finish,
    /// How often the model was called.
    pub turns: u32,
    /// The calls of tools, in the order in which the model made them.
    pub tool_calls: Vec<ToolCallReport>,
    /// What the calls of the model took. What a tool took stands in its own job.
    pub usage: Usage,
    /// The model that was asked.
    pub model: String,
    /// Another than the first target answered in some turn.
    pub degraded: bool,
}

/// Why a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model had an answer.
    Stop,
    /// The model's answer met a limit of its own.
    Length,
    /// The provider held the answer back.
    ContentFilter,
    /// The model declined; the output is what it said.
    Refusal,
    /// `max_turns` was reached while the model still wanted to call tools.
    MaxTurns,
    /// `max_tokens` was reached: the model still wanted to call tools or to read what they gave, or its answer was cut.
    MaxTokens,
    /// `max_cost_microusd` was reached while the model still wanted to call tools or to read what they gave.
    MaxCost,
}

/// What became of a call of a tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ToolCallReport {
    /// The turn that it was made in, from 1.
    pub turn: u32,
    /// What the model knows it by.
    pub call_id: String,
    /// The kind, or what the model called that is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The HTTP tool of the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<String>,
    /// The job that the call was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// How it ended.
    pub status: ToolStatus,
}

/// How a call of a tool ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ToolStatus {
    /// It gave a result.
    Succeeded,
    /// It failed; the model was told why.
    Failed,
    /// Its job was cancelled.
    Cancelled,
    /// A person did not allow it.
    Refused,
    /// There is no such tool, or its arguments do not fit; the model was told.
    Invalid,
    /// A limit of the run ended it before.
    Skipped,
}

impl ToolStatus {
    /// The word in outputs and events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Refused => "refused",
            Self::Invalid => "invalid",
            Self::Skipped => "skipped",
        }
    }
}

impl AgentOutput {
    pub(super) fn of_model(model: &str) -> Self {
        Self {
            output: String::new(),
            finish: Finish::Stop,
            turns: 0,
            tool_calls: Vec::new(),
            usage: Usage::default(),
            model: model.to_owned(),
            degraded: false,
        }
    }
}
