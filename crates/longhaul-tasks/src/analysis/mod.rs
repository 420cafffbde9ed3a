//! `analysis`: several questions about one text, each a step of its own, asked at the same time.
//!
//! An analysis that has succeeded is not asked again on a later attempt. One that fails in passing fails the attempt,
//! and is asked again with the next; when no further attempt follows, or when trying again cannot help, it is an entry
//! of `errors` (`on_failure: "partial"`) or the failure of the job (`"fail"`, and always when nothing has succeeded).

pub(crate) mod input;
mod output;
pub(crate) mod schema;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::future::join_all;
use longhaul_core::{DocumentId, JobError, KindSpec, Report, RetryPlan, Span, StepName};
use longhaul_engine::{Check, Completed, Executor, Failure, FieldError, JobContext};
use longhaul_gateway::{Analysis, Model};

use crate::{
    TaskSettings,
    calls::{Calls, TaskError, failure},
    documents::DocumentText,
    spec,
};

pub use input::{AnalysisInput, OnFailure, Source};
pub use output::{AnalysisOutput, AnalysisResults};

/// How long a job is put aside whose document is still being taken in.
const DOCUMENT_PAUSE: Span = Span::from_secs(2);

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
        let output = gather(names.zip(answers), input.on_failure, job.is_last_attempt(), model.name())?;
        let mut completed = Completed::json(&output)?;
        completed.report =
            Report { model: Some(output.model), degraded: !output.degraded.is_empty(), ..Report::default() };
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
    ) -> Result<AnalysisResults, Failure> {
        let step = StepName::new(analysis.name()).map_err(|error| Failure::permanent("internal", error.to_string()))?;
        job.step(step, async {
            let asked = self.calls.models.get_for(Some(model.name()), analysis.operation());
            let asked = asked.map_err(|error| failure(model, error))?;
            let answer = self.calls.analyse(&asked, text, analysis.clone()).await;
            Ok(AnalysisResults::of(answer.map_err(|error| failure(model, error))?))
        })
        .await
    }
}

/// Puts the answers together, or says what follows from those that are missing.
fn gather(
    answers: impl Iterator<Item = (&'static str, Result<AnalysisResults, Failure>)>,
    on_failure: OnFailure,
    is_last_attempt: bool,
    model: &str,
) -> Result<AnalysisOutput, Failure> {
    let mut output = AnalysisOutput::of_model(model);
    let mut failed: Vec<(&str, Box<JobError>)> = Vec::new();
    let mut succeeded = 0;
    for (name, answer) in answers {
        match answer {
            Ok(result) => {
                output.results.add(result);
                succeeded += 1;
            }
            Err(Failure::Job { error, .. }) => failed.push((name, error)),
            Err(given_up @ (Failure::Waiting(_) | Failure::Interrupted)) => return Err(given_up),
        }
    }
    if let Some((name, error)) = failed.iter().find(|(_, error)| error.retryable)
        && !is_last_attempt
    {
        return Err(of_analysis(name, error));
    }
    if let Some((name, error)) = failed.first()
        && (on_failure == OnFailure::Fail || succeeded == 0)
    {
        return Err(of_analysis(name, error));
    }
    output.errors = failed.into_iter().map(|(name, error)| (name.to_owned(), TaskError::from(&*error))).collect();
    Ok(output)
}

fn of_analysis(name: &str, error: &JobError) -> Failure {
    Failure::from(JobError { message: format!("{name}: {}", error.message), ..error.clone() })
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
        return Ok(text.joined());
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
