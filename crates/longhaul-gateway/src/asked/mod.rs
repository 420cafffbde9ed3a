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
use longhaul_providers::{ErrorClass, ErrorCode, ProviderError};

use crate::analysis::{Analysis, AnalysisResult};
use crate::call::CallOptions;
use crate::error::GatewayError;
use crate::gateway::Gateway;
use crate::port::ModelError;
use crate::record::CallRecord;
use question::Question;

/// How many answers are looked at: the first, and two more that were told what was wrong. Fewer where the options of the
/// call do not allow so many attempts.
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
        /// How many there were.
        answers: usize,
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
            Self::Unfit { answers: 0, reason } => f.write_str(reason),
            Self::Unfit { answers: 1, reason } => {
                write!(f, "the model's answer was not of the form asked for: {reason}")
            }
            Self::Unfit { answers, reason } => {
                write!(f, "the model was asked {answers} times and gave no answer of the form asked for: {reason}")
            }
            Self::Refused { said } => write!(f, "the model declined: {said}"),
        }
    }
}

impl WhyNot {
    /// Whether the text is longer than any target takes.
    pub fn is_too_long(&self) -> bool {
        let Self::Call(error) = self else { return false };
        let code = error.provider.as_deref().map(|error| error.code);
        matches!(code, Some(ErrorCode::ContextLengthExceeded | ErrorCode::RequestTooLarge))
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
                Err(error) if form == Form::Schema && knows_no_schemas(&error) && !options.is_spent() => {
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
            let answers = records.len();
            if answers >= MOST_ANSWERS || options.is_spent() {
                return Err(NotAnalysed { why: WhyNot::Unfit { answers, reason }, records });
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

/// Whether a provider has turned down the form of the answer, or will not say what it has turned down. What it says of
/// anything else, of the text above all, would be no better in words: that is not sent a second time.
fn knows_no_schemas(error: &GatewayError) -> bool {
    let Some(error) = error.provider.as_deref() else { return false };
    match error.code {
        ErrorCode::Unsupported => true,
        ErrorCode::InvalidRequest => {
            error.param.as_deref().is_some_and(speaks_of_form) || speaks_of_form(&error.message) || is_vague(error)
        }
        _ => false,
    }
}

/// Whether the words that a provider refuses with are about structured answers, by whatever name its fields have.
fn speaks_of_form(said: &str) -> bool {
    let said = said.to_lowercase();
    let mut words = said.split(|c: char| !c.is_alphanumeric());
    let is_about_form = |word: &str| matches!(word, "format" | "json" | "structured" | "grammar" | "mime");
    words.any(|word| is_about_form(word) || word.contains("schema") || word.contains("mimetype"))
        || said.contains("output_config")
}

/// Whether a refusal says no more than that it is one, as some do of whatever they do not know.
fn is_vague(error: &ProviderError) -> bool {
    const VAGUE: [&str; 5] = ["no message", "bad request", "invalid request", "invalid argument", "unprocessable"];
    const VAGUE_MOST: usize = 80;
    let said = error.message.to_lowercase();
    error.param.is_none() && said.len() <= VAGUE_MOST && VAGUE.iter().any(|vague| said.contains(vague))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn turned_down(message: &str, param: Option<&str>) -> GatewayError {
        let error =
            ProviderError { param: param.map(str::to_owned), ..ProviderError::new(ErrorCode::InvalidRequest, message) };
        GatewayError {
            failure: crate::error::Failure::Provider,
            provider: Some(Box::new(error)),
            record: Box::default(),
        }
    }

    #[test]
    fn a_refusal_of_the_form_is_a_reason_to_ask_in_words() {
        for message in [
            "response_format is not supported",
            "Invalid schema for response_format 'keywords'",
            "Unknown name \"responseSchema\" at 'generation_config'",
            "this server was built without grammar support",
            "the provider answered with status 400 and no message",
            "Request contains an invalid argument.",
            "Bad Request",
        ] {
            assert!(knows_no_schemas(&turned_down(message, None)), "{message}");
        }
        assert!(knows_no_schemas(&turned_down("is not permitted", Some("text.format"))));
    }

    #[test]
    fn a_refusal_of_anything_else_is_not_met_with_the_same_text_again() {
        for message in [
            "the document has more than 100000 characters",
            "Invalid 'messages[1].content': string too long",
            "messages.1: information that cannot be read",
            "max_tokens must be at least 16",
        ] {
            assert!(!knows_no_schemas(&turned_down(message, None)), "{message}");
        }
        assert!(!knows_no_schemas(&turned_down("Invalid request", Some("messages"))));
    }

    #[test]
    fn how_often_a_model_was_asked_is_told_as_it_was() {
        let told = |answers| WhyNot::Unfit { answers, reason: "it is empty".into() }.to_string();
        assert_eq!(told(0), "it is empty");
        assert_eq!(told(1), "the model's answer was not of the form asked for: it is empty");
        assert!(told(2).starts_with("the model was asked 2 times "));
    }
}
