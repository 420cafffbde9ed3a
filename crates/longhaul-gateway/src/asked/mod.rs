//! Analyses asked of a chat model: a question with the form of its answer, the answer read and held to that form.
//!
//! An answer that does not fit is told what is wrong with it and asked for again, [`MOST_ANSWERS`] times in all. What
//! comes out has the shape that every other analyst gives ([`AnalysisResult`]): scores within their bounds, labels among
//! those that were given, entities at places where the text really has them.
//!
//! The text is data. It stands in a message of its own, and the model is told that nothing in it is meant for it.

mod question;
mod reading;

use std::sync::Arc;

use longhaul_providers::chat::{ChatRequest, ChatResponse, Content, FinishReason, Message, ResponseFormat, Role};
use longhaul_providers::{ErrorClass, ErrorCode};

use crate::analysis::{Analysis, AnalysisResult};
use crate::call::CallOptions;
use crate::error::GatewayError;
use crate::gateway::Gateway;
use crate::port::ModelError;
use crate::record::CallRecord;
use question::Question;

/// How many answers are looked at: the first, and two more that were told what was wrong.
pub const MOST_ANSWERS: usize = 3;

/// Letters of an answer that are shown back to the model that gave it.
const MOST_SHOWN: usize = 8_000;

/// Says what is wrong with an instance of a schema that somebody asked to be filled.
pub type InstanceCheck<'a> = &'a (dyn Fn(&serde_json::Value) -> Result<(), String> + Send + Sync);

/// What a chat model made of a text.
#[derive(Debug, Clone)]
pub struct Analysed {
    /// The answer.
    pub result: AnalysisResult,
    /// Every call that it took, the last one last: answers that did not fit have been paid for, too.
    pub records: Vec<CallRecord>,
}

/// Why a chat model made nothing of a text.
#[derive(Debug, Clone)]
pub struct NotAnalysed {
    /// Why.
    pub why: WhyNot,
    /// Calls that were answered and are to be paid for. The one that failed has its record in its error.
    pub records: Vec<CallRecord>,
}

/// Why there is no analysis.
#[derive(Debug, Clone)]
pub enum WhyNot {
    /// There was no answer.
    Call(Box<GatewayError>),
    /// No answer had the form that was asked for.
    Unfit {
        /// What was wrong with the last one.
        reason: String,
    },
    /// The model declined.
    Refused {
        /// In its words.
        said: String,
    },
}

impl WhyNot {
    /// The stable name of the error, for machines.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Call(error) => error.code(),
            Self::Unfit { .. } => "answer_unfit",
            Self::Refused { .. } => "model_refused",
        }
    }
}

impl std::fmt::Display for WhyNot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Call(error) => write!(f, "{error}"),
            Self::Unfit { reason } => {
                write!(f, "the model was asked {MOST_ANSWERS} times and gave no answer of the form asked for: {reason}")
            }
            Self::Refused { said } => write!(f, "the model declined: {said}"),
        }
    }
}

impl From<WhyNot> for ModelError {
    fn from(why: WhyNot) -> Self {
        match why {
            WhyNot::Call(error) => (*error).into(),
            WhyNot::Unfit { .. } | WhyNot::Refused { .. } => {
                Self { code: why.code(), class: ErrorClass::Permanent, message: why.to_string() }
            }
        }
    }
}

/// How the form of the answer is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// By the protocol, which most providers hold their models to.
    Schema,
    /// In words alone, for those that know no schemas.
    Words,
}

impl Gateway {
    /// Asks a chat model for one analysis of a text. `check` judges what was extracted by a schema; who gives none takes
    /// any object.
    ///
    /// # Errors
    /// Why there is none, with the calls that were made.
    pub async fn analyse(
        &self,
        model: &str,
        text: &str,
        analysis: &Analysis,
        check: Option<InstanceCheck<'_>>,
        options: &CallOptions,
    ) -> Result<Analysed, NotAnalysed> {
        let question = Question::of(analysis);
        let mut form = if question.has_object_schema() { Form::Schema } else { Form::Words };
        let mut messages = question.messages(text);
        let mut records: Vec<CallRecord> = Vec::new();
        loop {
            let request = ChatRequest {
                messages: messages.clone(),
                response_format: match form {
                    Form::Schema => question.response_format(),
                    Form::Words => ResponseFormat::Text,
                },
                ..ChatRequest::default()
            };
            let answer = match self.chat(model, Arc::new(request), options).await {
                Ok(answer) => answer,
                Err(error) if form == Form::Schema && knows_no_schemas(&error) => {
                    form = Form::Words;
                    continue;
                }
                Err(error) => return Err(NotAnalysed { why: WhyNot::Call(Box::new(error)), records }),
            };
            records.push(answer.record);
            if let Some(said) = refusal_of(&answer.response) {
                return Err(NotAnalysed { why: WhyNot::Refused { said }, records });
            }
            let said = answer.response.text();
            let read = match answer.response.finish.reason {
                FinishReason::Length => Err("it was cut off at the limit of tokens; be shorter".to_owned()),
                FinishReason::Stop | FinishReason::ToolCalls | FinishReason::ContentFilter | FinishReason::Other => {
                    reading::read(&said, text, analysis, check)
                }
            };
            let reason = match read {
                Ok(result) => return Ok(Analysed { result, records }),
                Err(reason) => reason,
            };
            if records.len() >= MOST_ANSWERS {
                return Err(NotAnalysed { why: WhyNot::Unfit { reason }, records });
            }
            if !said.trim().is_empty() {
                let shown: String = said.chars().take(MOST_SHOWN).collect();
                messages.push(Message::text(Role::Assistant, shown));
            }
            let again = format!("That answer cannot be used: {reason}. Answer again, with the JSON object alone.");
            messages.push(Message::text(Role::User, again));
        }
    }
}

/// Whether a provider has turned the request itself down, which had nothing unusual in it but the schema.
fn knows_no_schemas(error: &GatewayError) -> bool {
    let code = error.provider.as_ref().map(|error| error.code);
    matches!(code, Some(ErrorCode::InvalidRequest | ErrorCode::Unsupported))
}

/// What the model declined with, if it said nothing else.
fn refusal_of(response: &ChatResponse) -> Option<String> {
    let mut said = String::new();
    for part in &response.parts {
        match &part.content {
            Content::Refusal(text) => said.push_str(text),
            Content::Text(text) if !text.trim().is_empty() => return None,
            _ => {}
        }
    }
    if said.is_empty() && response.finish.reason == FinishReason::ContentFilter {
        return Some("the provider held the answer back".to_owned());
    }
    (!said.is_empty()).then_some(said)
}
