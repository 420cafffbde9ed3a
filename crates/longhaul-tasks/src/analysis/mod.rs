//! `analysis`: several questions about one text, each a step of its own, asked at the same time.
//!
//! An analysis that has succeeded is not asked again on a later attempt. One that fails is an entry of `errors`
//! (`on_failure: "partial"`) or the failure of the job (`"fail"`, and always when nothing has succeeded).
//!
//! A configured model is asked through its stack, for an answer of a form that is checked; when that gives nothing, `local`
//! answers what it can, and the analysis stands in `degraded`. A provider that says when to come again puts the job aside
//! until then, with what has been answered. A model without a stack is asked again by the attempts of the job: a failure
//! that may pass fails the attempt, as long as another follows.

pub(crate) mod input;
mod output;
pub(crate) mod schema;

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use futures::future::join_all;
use longhaul_core::{DocumentId, JobError, KindSpec, LogLevel, Report, RetryPlan, Span, StepName};
use longhaul_engine::{Check, Completed, Executor, Failure, FieldError, JobContext};
use longhaul_gateway::{Analysis, Gateway, Model, WhyNot};
use serde::{Deserialize, Serialize};

use crate::{
    TaskSettings,
    calls::{Calls, TaskError, failure as model_failure},
    documents::DocumentText,
    llm::{call, failure},
    spec,
    text::MAX_TEXT_CHARS,
};

pub use input::{AnalysisInput, OnFailure, Source};
pub use output::{AnalysisOutput, AnalysisResults};

/// How long a job is put aside whose document is still being taken in.
const DOCUMENT_PAUSE: Span = Span::from_secs(2);

/// What can be done about a text that is too long.
const TOO_LONG: &str = " (a text is sent whole: send it in parts, or give the model a target that takes longer ones)";

/// The executor of `analysis`.
#[derive(Debug)]
pub struct Analyses {
    kind: KindSpec,
    calls: Calls,
    default_model: Option<String>,
}

impl Analyses {
    pub(crate) fn new(calls: Calls, settings: &TaskSettings) -> Self {
        let description = "Summary, keywords, sentiment, entities, language, classification or extraction of one \
                           text, each a durable step; they run at the same time.";
        let kind = spec::kind("analysis", description, schema::input(), schema::output());
        Self { kind, calls, default_model: settings.analysis_model.clone() }
    }

    /// Reads an input, or names everything that is wrong with it.
    pub fn read(&self, input: &str) -> Result<AnalysisInput, Vec<FieldError>> {
        AnalysisInput::read(input, &self.calls, self.default_model.as_deref())
    }
}

impl Check for Analyses {
    fn check(&self, input: &str) -> Vec<FieldError> {
        self.read(input).err().unwrap_or_default()
    }
}

#[async_trait]
impl Executor for Analyses {
    fn kind(&self) -> &KindSpec {
        &self.kind
    }

    fn check(&self) -> Option<&dyn Check> {
        Some(self)
    }

    async fn run(&self, job: &JobContext) -> Result<Completed, Failure> {
        let input = self.read(&String::from_utf8_lossy(job.input())).map_err(unfit)?;
        let model = self
            .calls
            .model(input.model.as_deref(), self.default_model.as_deref())
            .map_err(|error| Failure::permanent("unknown_model", error.to_string()))?;
        let text: Arc<str> = match &input.source {
            Source::Text(text) => text.as_str().into(),
            Source::Document(document) => document_text(job, *document).await?.into(),
        };
        let done = AtomicUsize::new(0);
        let count = input.analyses.len();
        let asked = input.analyses.iter().map(|analysis| {
            let (model, text, done) = (&model, text.clone(), &done);
            async move {
                let result = self.ask(job, model, text, analysis).await?;
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                #[allow(clippy::cast_precision_loss, reason = "there are seven analyses")]
                job.progress(done as f64 / count as f64, format!("{done} of {count} analyses")).await?;
                Ok(result)
            }
        });
        let answers = join_all(asked).await;
        let names = input.analyses.iter().map(Analysis::name);
        let policy = Policy {
            on_failure: input.on_failure,
            tries_again: !job.is_last_attempt() && self.calls.models.gateway_of(model.name()).is_none(),
        };
        let output = gather(names.zip(answers), policy, model.name())?;
        let mut completed = Completed::json(&output)?;
        let degraded = !output.degraded.is_empty();
        completed.report = Report { model: Some(output.model), degraded, ..Report::default() };
        Ok(completed)
    }
}

impl Analyses {
    async fn ask(
        &self,
        job: &JobContext,
        model: &Arc<dyn Model>,
        text: Arc<str>,
        analysis: &Analysis,
    ) -> Result<Given, Failure> {
        let step = StepName::new(analysis.name()).map_err(|error| Failure::permanent("internal", error.to_string()))?;
        job.step(step, async {
            let asked = self.calls.models.get_for(Some(model.name()), analysis.operation());
            let asked = asked.map_err(|error| model_failure(model, error))?;
            if let Some(gateway) = self.calls.models.gateway_of(asked.name()) {
                return self.ask_configured(job, gateway, asked.name(), text, analysis).await;
            }
            let answer = self.calls.analyse(&asked, text, analysis.clone()).await;
            let results = AnalysisResults::of(answer.map_err(|error| model_failure(model, error))?);
            Ok(Given { results, degraded: false })
        })
        .await
    }
}

impl Analyses {
    async fn ask_configured(
        &self,
        job: &JobContext,
        gateway: &Gateway,
        model: &str,
        text: Arc<str>,
        analysis: &Analysis,
    ) -> Result<Given, Failure> {
        let asked = self.calls.ask_configured(gateway, model, text, analysis, &call::options(job)).await;
        for record in &asked.records {
            call::tell(job, record).await?;
        }
        if let Some(why) = &asked.stood_in_for {
            if let WhyNot::Call(error) = why {
                call::tell(job, &error.record).await?;
            }
            let mut told = format!("{}: answered by `local` in place of `{model}`: {why}", analysis.name());
            if why.is_too_long() {
                told.push_str(TOO_LONG);
            }
            job.log(LogLevel::Warn, told).await?;
        }
        match asked.answer {
            Ok(result) => Ok(Given { results: AnalysisResults::of(result), degraded: asked.degraded }),
            Err(WhyNot::Call(error)) => Err(failure::of_call(job, &error).await),
            Err(why @ (WhyNot::Unfit { .. } | WhyNot::Refused { .. })) => {
                Err(Failure::permanent(why.code(), why.to_string()))
            }
        }
    }
}

/// What one analysis gave, as its step keeps it.
#[derive(Serialize, Deserialize)]
struct Given {
    #[serde(flatten)]
    results: AnalysisResults,
    #[serde(default)]
    degraded: bool,
}

/// What failures mean.
struct Policy {
    on_failure: OnFailure,
    /// Another attempt of the job follows, and may mend what may pass.
    tries_again: bool,
}

/// An analysis that gave nothing.
struct Missed {
    name: &'static str,
    error: JobError,
    plan: RetryPlan,
    ambiguous: bool,
}

impl Missed {
    fn into_failure(self) -> Failure {
        let error = JobError { message: format!("{}: {}", self.name, self.error.message), ..self.error };
        Failure::Job { error: Box::new(error), plan: self.plan, ambiguous: self.ambiguous }
    }
}

/// Puts the answers together, or says what follows from those that are missing.
fn gather(
    answers: impl Iterator<Item = (&'static str, Result<Given, Failure>)>,
    policy: Policy,
    model: &str,
) -> Result<AnalysisOutput, Failure> {
    let mut output = AnalysisOutput::of_model(model);
    let mut missed: Vec<Missed> = Vec::new();
    let mut succeeded = 0;
    for (name, answer) in answers {
        match answer {
            Ok(given) => {
                output.results.add(given.results);
                output.degraded.extend(given.degraded.then(|| name.to_owned()));
                succeeded += 1;
            }
            Err(Failure::Job { error, plan, ambiguous }) => {
                missed.push(Missed { name, error: *error, plan, ambiguous });
            }
            Err(given_up @ (Failure::Waiting(_) | Failure::Interrupted)) => return Err(given_up),
        }
    }
    let comes_again = |missed: &Missed| match missed.plan {
        // Somebody has said when: that costs nothing, and what has been answered is kept.
        RetryPlan::Park(_) => true,
        RetryPlan::Backoff | RetryPlan::After(_) => missed.error.retryable && policy.tries_again,
    };
    if let Some(at) = missed.iter().position(comes_again) {
        return Err(missed.swap_remove(at).into_failure());
    }
    if !missed.is_empty() && (policy.on_failure == OnFailure::Fail || succeeded == 0) {
        return Err(missed.swap_remove(0).into_failure());
    }
    output.errors = missed.iter().map(|missed| (missed.name.to_owned(), TaskError::from(&missed.error))).collect();
    Ok(output)
}

/// The stored text of a document.
async fn document_text(job: &JobContext, id: DocumentId) -> Result<String, Failure> {
    let Some(document) = job.document(id).await? else {
        return Err(Failure::permanent("document_not_found", format!("there is no document {id}")));
    };
    if let Some(stored) = job.document_part(id, DocumentText::PART).await? {
        let text = DocumentText::read(&stored).map_err(|error| {
            Failure::permanent("internal", format!("the stored text of {id} is unreadable: {error}"))
        })?;
        let text = text.joined();
        if text.chars().count() > MAX_TEXT_CHARS {
            let message = format!("{id} has more than {MAX_TEXT_CHARS} characters, the most that is analysed at once");
            return Err(Failure::permanent("document_too_long", message));
        }
        return Ok(text);
    }
    match job.status_of(document.job).await? {
        Some(status) if !status.is_terminal() => {
            let message = format!("the text of {id} is not ready yet: {} is {}", document.job, status.as_str());
            // Waiting for another job is no failure of this one: it is put aside, at no cost.
            let plan = RetryPlan::Park(job.clock().now() + DOCUMENT_PAUSE);
            let error = Box::new(JobError::transient("document_not_ready", message));
            Err(Failure::Job { error, plan, ambiguous: false })
        }
        Some(status) => {
            let message = format!("{id} has no text: {}, which took it in, has {}", document.job, status.as_str());
            Err(Failure::permanent("document_without_text", message))
        }
        None => Err(Failure::permanent("document_without_text", format!("{id} has no text"))),
    }
}

/// What was accepted once and is refused now: the models have changed since.
pub(crate) fn unfit(errors: Vec<FieldError>) -> Failure {
    let said: Vec<String> = errors.iter().map(|error| format!("{} {}", error.pointer, error.message)).collect();
    Failure::permanent("input_unfit", format!("the input cannot be worked on any more: {}", said.join("; ")))
}
