//! The input of `analysis`, read.

use longhaul_core::DocumentId;
use longhaul_engine::FieldError;
use longhaul_gateway::Analysis;
use serde::Serialize;

use crate::{
    calls::Calls,
    fields::{self, Fields, Place},
    text::{MAX_MODEL_CHARS, MAX_TEXT_CHARS},
};

/// What to ask about which text.
#[derive(Debug, Clone, PartialEq)]
pub struct AnalysisInput {
    /// The text.
    pub source: Source,
    /// What to ask, at least one thing, none twice.
    pub analyses: Vec<Analysis>,
    /// Whom to ask; none: the default of the kind.
    pub model: Option<String>,
    /// What an analysis that fails does to the job.
    pub on_failure: OnFailure,
}

/// Where the text is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Here.
    Text(String),
    /// In a document that is or will be taken in.
    Document(DocumentId),
}

/// What an analysis that fails does to the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It is listed, and the job gives the other results.
    #[default]
    Partial,
    /// The job fails.
    Fail,
}

impl AnalysisInput {
    pub(crate) fn read(json: &str, calls: &Calls, default_model: Option<&str>) -> Result<Self, Vec<FieldError>> {
        fields::read(json, |place| {
            let fields = place.fields()?;
            let source = source(&fields);
            let analyses = match fields.optional("analyses") {
                Some(place) => analyses(&place, calls),
                None => Some(Analysis::defaults()),
            };
            let model = model(&fields, "model", calls, default_model);
            let on_failure = fields.optional("on_failure").map(|place| place.word(&["partial", "fail"]));
            fields.finish();
            let on_failure = match on_failure {
                Some(word) if word? == "fail" => OnFailure::Fail,
                _ => OnFailure::Partial,
            };
            Some(Self { source: source?, analyses: analyses?, model: model?, on_failure })
        })
    }
}

fn source(fields: &Fields<'_>) -> Option<Source> {
    let (text, document) = (fields.optional("text"), fields.optional("document_id"));
    match (text, document) {
        (Some(text), None) => text.text(MAX_TEXT_CHARS).map(|text| Source::Text(text.to_owned())),
        (None, Some(document)) => document_id(&document).map(Source::Document),
        (Some(_), Some(document)) => {
            document.refuse("cannot be given together with `text`: one of the two is analysed");
            None
        }
        (None, None) => {
            fields.refuse("text", "is required, or `document_id` in its place");
            None
        }
    }
}

pub(crate) fn document_id(place: &Place<'_>) -> Option<DocumentId> {
    let text = place.text(100)?;
    text.parse().map_err(|error| place.refuse(format!("{error}"))).ok()
}

fn analyses(place: &Place<'_>, calls: &Calls) -> Option<Vec<Analysis>> {
    match Analysis::parse_list(place.value()) {
        Ok(analyses) => {
            let mut fine = true;
            for (at, analysis) in analyses.iter().enumerate() {
                if let Some(why) = calls.schemas.complaint(analysis) {
                    place.refuse_below(&format!("/{at}/extract/schema"), why);
                    fine = false;
                }
            }
            fine.then_some(analyses)
        }
        Err(problems) => {
            problems.into_iter().for_each(|problem| place.refuse_below(&problem.pointer, problem.message));
            None
        }
    }
}

/// The name of a model that there is; `Some(None)` when none is named.
pub(crate) fn model(
    fields: &Fields<'_>,
    field: &'static str,
    calls: &Calls,
    default: Option<&str>,
) -> Option<Option<String>> {
    let given = match fields.optional(field) {
        Some(place) => Some(place.text(MAX_MODEL_CHARS)?),
        None => None,
    };
    match calls.model(given, default) {
        Ok(_) => Some(given.map(str::to_owned)),
        Err(unknown) => {
            fields.refuse(field, unknown.to_string());
            None
        }
    }
}
