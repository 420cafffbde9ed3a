//! The summary of a document: the step `summary`, and `summary:<level>:<part>` where the text is long.
//!
//! A configured model is sent no more than [`PART_TOKENS`] at once: what it takes is not known here, and a request that is
//! too long is refused as a whole. A longer text is summarised part by part, and then the summaries of its parts. The
//! built-in algorithms compute, and take the text as it is.
//!
//! A summary that cannot be made is told in the output and does not fail what has been reached.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use longhaul_core::{LogLevel, RetryPlan};
use longhaul_documents::{ChunkOptions, InvalidChunkOptions, Page, chunk_at_most};
use longhaul_engine::Failure;
use longhaul_gateway::{Analysed, Analysis, AnalysisResult, Model, NotAnalysed, Operation, WhyNot};
use serde::{Deserialize, Serialize};

use super::{
    Timings,
    run::{Run, Timed, VECTORS_DONE, part},
    together::together,
};
use crate::{
    TaskError,
    calls::failure as model_failure,
    llm::{call, failure},
};

/// Tokens of a text that are sent to a model at once, as they are estimated: half of the smallest context (16,384) that
/// models are sold with, since estimates err, and the question and the answer take room.
pub(super) const PART_TOKENS: usize = 8_000;
/// Parts that a text is summarised in: each is a call. So many are half a million tokens, a book of a thousand pages.
const MAX_PARTS: usize = 64;
/// Times that summaries are summarised. A model that does not shorten would be asked for ever.
const MAX_LEVELS: usize = 4;

/// A summary, or why there is none.
#[derive(Debug)]
pub(super) struct Summarised {
    pub(super) text: Option<String>,
    pub(super) error: Option<TaskError>,
    /// Another than the model's first target has answered.
    pub(super) degraded: bool,
}

/// A summary as its step keeps it. The last is as degraded as its parts are.
#[derive(Debug, Serialize, Deserialize)]
#[serde(from = "Kept")]
struct Summary {
    text: String,
    degraded: bool,
}

/// Earlier versions of this program kept the text alone.
#[derive(Deserialize)]
#[serde(untagged)]
enum Kept {
    Text(String),
    Whole {
        text: String,
        #[serde(default)]
        degraded: bool,
    },
}

impl From<Kept> for Summary {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Text(text) => Self { text, degraded: false },
            Kept::Whole { text, degraded } => Self { text, degraded },
        }
    }
}

impl Run<'_> {
    /// The summary of a text.
    pub(super) async fn summarise(
        &self,
        model: &str,
        text: String,
        timings: &mut Timings,
    ) -> Result<Summarised, Failure> {
        let model = self.model(model, Operation::Summary)?;
        let made = match self.stored::<Summary>("summary").await? {
            Some(known) => Ok(known),
            None => self.make_summary(&model, text).await,
        };
        match made {
            Ok(Timed { ms, value: Summary { text, degraded } }) => {
                timings.summary = ms;
                Ok(Summarised { text: Some(text), error: None, degraded })
            }
            // Somebody has said when: until then the job is put aside, with all that it has.
            Err(failure @ Failure::Job { plan: RetryPlan::Park(_), .. }) => Err(failure),
            Err(Failure::Job { error, .. }) if !error.retryable || self.job.is_last_attempt() => {
                self.job.log(LogLevel::Warn, format!("no summary: {}", error.message)).await?;
                Ok(Summarised { text: None, error: Some(TaskError::from(&*error)), degraded: false })
            }
            Err(failure) => Err(failure),
        }
    }

    /// The last step, its own time including that of the steps before it.
    async fn make_summary(&self, model: &Arc<dyn Model>, text: String) -> Result<Timed<Summary>, Failure> {
        let (mut text, mut ms, mut degraded) = (text, 0, false);
        if self.ingest.calls.models.gateway_of(model.name()).is_some() {
            for level in 1.. {
                let mut parts = self.parts_of(text).await?;
                if parts.len() <= 1 {
                    text = parts.pop().unwrap_or_default();
                    break;
                }
                if level > MAX_LEVELS {
                    let message = "the model's summaries of the document's parts are as long as the parts";
                    return Err(Failure::permanent("summary_too_long", message));
                }
                let summaries = self.summaries_of(model, level, parts).await?;
                degraded |= summaries.iter().any(|summary| summary.value.degraded);
                ms += summaries.iter().map(|summary| summary.ms).sum::<u64>();
                text = summaries.into_iter().map(|summary| summary.value.text).collect::<Vec<_>>().join("\n\n");
            }
        }
        let last = async {
            let last = self.ask_for_summary(model, text).await?;
            Ok(Summary { degraded: last.degraded || degraded, ..last })
        };
        let last = self.step("summary", last).await?;
        Ok(Timed { ms: ms + last.ms, value: last.value })
    }

    /// The text in parts that can be sent, cut where sentences end.
    async fn parts_of(&self, text: String) -> Result<Vec<String>, Failure> {
        let cut = self.ingest.calls.blocking(move || {
            let page = Page { number: 1, text, ..Page::default() };
            let options = ChunkOptions { tokens: PART_TOKENS, overlap: 0 };
            let parts = chunk_at_most(MAX_PARTS, [&page], &options)?;
            Ok::<Vec<String>, InvalidChunkOptions>(parts.into_iter().map(|part| part.text).collect())
        });
        cut.await?.map_err(|_| {
            let most = MAX_PARTS * PART_TOKENS;
            let message = format!("the text is too long for a summary: it has more than some {most} tokens");
            Failure::permanent("summary_text_too_long", message)
        })
    }

    async fn summaries_of(
        &self,
        model: &Arc<dyn Model>,
        level: usize,
        parts: Vec<String>,
    ) -> Result<Vec<Timed<Summary>>, Failure> {
        let mut made: Vec<Option<Timed<Summary>>> = Vec::with_capacity(parts.len());
        for index in 0..parts.len() {
            made.push(self.stored(&name(level, index)).await?);
        }
        let (count, done) = (parts.len(), &AtomicUsize::new(made.iter().flatten().count()));
        let missing = parts.into_iter().enumerate().filter(|(index, _)| made[*index].is_none());
        let calls = missing.map(|(index, text)| async move {
            let summary = self.step(&name(level, index), self.ask_for_summary(model, text)).await?;
            let done = done.fetch_add(1, Ordering::Relaxed) + 1;
            if level == 1 {
                let fraction = VECTORS_DONE + (1.0 - VECTORS_DONE) * part(done, count + 1);
                self.job.progress(fraction, format!("summary {done}/{count}")).await?;
            }
            Ok((index, summary))
        });
        let calls: Vec<_> = calls.collect();
        for (index, summary) in together(self.ingest.embed_concurrency, calls).await? {
            made[index] = Some(summary);
        }
        Ok(made.into_iter().flatten().collect())
    }

    async fn ask_for_summary(&self, model: &Arc<dyn Model>, text: String) -> Result<Summary, Failure> {
        let calls = &self.ingest.calls;
        let Some(gateway) = calls.models.gateway_of(model.name()) else {
            let answer = calls.analyse(model, text.into(), Analysis::Summary).await;
            let text = summary_of(answer.map_err(|error| model_failure(model, error))?)?;
            return Ok(Summary { text, degraded: false });
        };
        let asked = gateway.analyse(model.name(), &text, &Analysis::Summary, None, &self.options()).await;
        let (answer, records) = match asked {
            Ok(Analysed { result, records }) => (Ok(result), records),
            Err(NotAnalysed { why, records }) => (Err(why), records),
        };
        for record in &records {
            call::tell(self.job, record).await?;
        }
        match answer {
            Ok(result) => {
                let degraded = records.last().is_some_and(|record| record.degraded);
                Ok(Summary { text: summary_of(result)?, degraded })
            }
            Err(WhyNot::Call(error)) => Err(failure::of_call(self.job, &error).await),
            Err(why @ (WhyNot::Unfit { .. } | WhyNot::Refused { .. })) => {
                Err(Failure::permanent(why.code(), why.to_string()))
            }
        }
    }
}

fn name(level: usize, index: usize) -> String {
    format!("summary:{level}:{}", index + 1)
}

fn summary_of(result: AnalysisResult) -> Result<String, Failure> {
    match result {
        AnalysisResult::Summary(summary) => Ok(summary),
        _ => Err(Failure::permanent("internal", "the model answered another question")),
    }
}
