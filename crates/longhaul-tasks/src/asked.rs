//! A configured model's analysis of a text, with `local` to stand in for it.
//!
//! When the model's stack has given up, or no answer had the form that was asked for, the built-in algorithms answer what
//! they can: worse, at once, and marked as degraded. What they cannot (filling a schema) is a failure.

use std::sync::Arc;

use longhaul_core::Usage;
use longhaul_engine::{Check, FieldError, SchemaCompiler};
use longhaul_gateway::{
    Analysed, Analysis, AnalysisResult, CallOptions, CallRecord, Failure as GatewayFailure, Gateway, LOCAL_MODEL,
    NotAnalysed, WhyNot,
};
use serde_json::Value;

use crate::{calls::Calls, llm::call};

/// Complaints about one instance that a model is told.
const COMPLAINTS_MOST: usize = 10;

/// Compiles the schemas that inputs carry.
#[derive(Clone)]
pub(crate) struct Schemas(pub(crate) Arc<dyn SchemaCompiler>);

impl std::fmt::Debug for Schemas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Schemas")
    }
}

impl Schemas {
    /// What is wrong with the schema of an analysis that has one.
    pub(crate) fn complaint(&self, analysis: &Analysis) -> Option<String> {
        match analysis {
            Analysis::Extract { schema } => self.0.compile(schema).err(),
            _ => None,
        }
    }
}

/// What came of asking.
pub(crate) struct Asked {
    /// The answer, or why there is none.
    pub(crate) answer: Result<AnalysisResult, WhyNot>,
    /// Another than the model's first target answered.
    pub(crate) degraded: bool,
    /// Why `local` answered, when it did.
    pub(crate) stood_in_for: Option<WhyNot>,
    /// Every call that was answered.
    pub(crate) records: Vec<CallRecord>,
}

impl Asked {
    /// What the calls took.
    pub(crate) fn spent(&self) -> Usage {
        self.records.iter().map(call::spent).fold(Usage::default(), Usage::and)
    }
}

impl Calls {
    /// Asks a model of the gateway, and `local` when that gives nothing.
    pub(crate) async fn ask_configured(
        &self,
        gateway: &Gateway,
        model: &str,
        text: Arc<str>,
        analysis: &Analysis,
        options: &CallOptions,
    ) -> Asked {
        let check = match analysis {
            Analysis::Extract { schema } => match self.schemas.0.compile(schema) {
                Ok(check) => Some(check),
                Err(why) => {
                    let why = WhyNot::Unfit { answers: 0, reason: format!("the schema {why}") };
                    return Asked { answer: Err(why), degraded: false, stood_in_for: None, records: Vec::new() };
                }
            },
            _ => None,
        };
        let fits = |value: &Value| fits(&**check.as_ref()?, value);
        let judge = |value: &Value| fits(value).map_or(Ok(()), Err);
        let judge: longhaul_gateway::InstanceCheck<'_> = &judge;
        let asked = gateway.analyse(model, &text, analysis, check.is_some().then_some(judge), options).await;
        let NotAnalysed { why, records } = match asked {
            Ok(Analysed { result, records }) => {
                let degraded = records.last().is_some_and(|record| record.degraded);
                return Asked { answer: Ok(result), degraded, stood_in_for: None, records };
            }
            Err(failed) => failed,
        };
        let can_be_replaced = match &why {
            WhyNot::Call(error) => {
                !matches!(error.failure, GatewayFailure::UnknownModel(_) | GatewayFailure::WrongUse { .. })
            }
            WhyNot::Unfit { .. } | WhyNot::Refused { .. } => true,
        };
        let local = match can_be_replaced {
            true => self.locally(text, analysis).await,
            false => None,
        };
        match local {
            Some(result) => Asked { answer: Ok(result), degraded: true, stood_in_for: Some(why), records },
            None => Asked { answer: Err(why), degraded: false, stood_in_for: None, records },
        }
    }

    async fn locally(&self, text: Arc<str>, analysis: &Analysis) -> Option<AnalysisResult> {
        let local = self.models.get_for(Some(LOCAL_MODEL), analysis.operation()).ok()?;
        self.analyse(&local, text, analysis.clone()).await.ok()
    }
}

/// What is wrong with an instance, in a sentence for the model.
fn fits(check: &dyn Check, value: &Value) -> Option<String> {
    let errors = check.check(&value.to_string());
    if errors.is_empty() {
        return None;
    }
    let told = |FieldError { pointer, message }: &FieldError| format!("{pointer} {message}").trim().to_owned();
    let said: Vec<String> = errors.iter().take(COMPLAINTS_MOST).map(told).collect();
    Some(format!("it does not fit the schema: {}", said.join("; ")))
}
