//! Vectors of a document's pieces: the steps `embed:<batch>` and the part `vectors`.
//!
//! All vectors of a document are of one maker, or they could not be compared. Which one is settled by the first batch that
//! is made, on whatever attempt. When a model's list of targets moves on to another upstream model in the middle, what that
//! one gives is not kept, and the batch is asked for again by the next attempt.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use longhaul_engine::Failure;
use longhaul_gateway::{Embeddings, Model, Operation};
use serde::{Deserialize, Serialize};

use super::{
    DocumentChunks, DocumentVectors, Embedded, Timings,
    parts::{Fingerprint, Packed, StoredChunk},
    run::{Run, Timed, part},
    together::together,
};
use crate::{
    calls::failure as model_failure,
    llm::{call, failure},
};

/// The vectors of some pieces: the steps `embed:<batch>`.
#[derive(Debug, Serialize, Deserialize)]
struct Batch {
    model: String,
    dimensions: usize,
    vectors: Packed,
    /// Another than the model's first target has made them.
    #[serde(default)]
    degraded: bool,
}

/// What made vectors: its name, and how long they are.
type Maker = (String, usize);

impl Batch {
    fn maker(&self) -> Maker {
        (self.model.clone(), self.dimensions)
    }
}

impl Run<'_> {
    /// Makes a vector of each piece, and stores the part `vectors`. True when another than the model's first target has
    /// made some of them.
    pub(super) async fn embed(
        &self,
        model: &str,
        chunks: &DocumentChunks,
        fingerprint: Fingerprint,
        batch: usize,
        timings: &mut Timings,
    ) -> Result<(Embedded, bool), Failure> {
        let asked = self.model(model, Operation::Embed)?;
        let batches: Vec<&[StoredChunk]> = chunks.chunks.chunks(batch.max(1)).collect();
        let mut made: Vec<Option<Timed<Batch>>> = Vec::with_capacity(batches.len());
        for number in 1..=batches.len() {
            made.push(self.stored(&name(number)).await?);
        }
        let maker = OnceLock::new();
        if let Some(known) = made.iter().flatten().next() {
            maker.get_or_init(|| known.value.maker());
        }
        let (done, count) = (AtomicUsize::new(made.iter().flatten().count()), batches.len());
        let missing = batches.iter().enumerate().filter(|(index, _)| made[*index].is_none());
        let calls = missing.map(|(index, batch)| {
            let (asked, done, maker) = (&asked, &done, &maker);
            async move {
                let texts = batch.iter().map(|stored| stored.chunk.text.clone()).collect();
                let made = self.step(&name(index + 1), self.embed_batch(asked, texts, maker)).await?;
                let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                let before = self.pages_done();
                let fraction = before + (self.vectors_done() - before) * part(done, count);
                self.job.progress(fraction, format!("vectors {done}/{count}")).await?;
                Ok::<_, Failure>((index, made))
            }
        });
        let calls: Vec<_> = calls.collect();
        for (index, batch) in together(self.ingest.embed_concurrency, calls).await? {
            made[index] = Some(batch);
        }
        let made: Vec<Timed<Batch>> = made.into_iter().flatten().collect();
        timings.embed = made.iter().map(|batch| batch.ms).sum();
        let degraded = made.iter().any(|batch| batch.value.degraded);
        let unasked = || (asked.name().to_owned(), asked.capabilities().embedding_dimensions.unwrap_or(1));
        let (model, dimensions) = maker.into_inner().unwrap_or_else(unasked);
        // Steps of an earlier version of this program did not agree on a maker before they were stored.
        if made.iter().any(|batch| batch.value.model != model || batch.value.dimensions != dimensions) {
            return Err(Failure::permanent(
                "embedding_model_changed",
                "the model was replaced while this job ran, and its vectors cannot be compared; submit it again",
            ));
        }
        let mut vectors = Vec::with_capacity(dimensions * chunks.chunks.len());
        for batch in made {
            vectors.extend(batch.value.vectors.0);
        }
        if vectors.len() != dimensions * chunks.chunks.len() {
            return Err(incomplete("the model did not give one vector for each piece"));
        }
        let vectors = Packed(vectors);
        let stored = DocumentVectors {
            asked: asked.name().to_owned(),
            model,
            dimensions,
            of_chunks: Some(fingerprint),
            vectors,
        };
        self.keep(DocumentVectors::PART, &stored).await?;
        let DocumentVectors { model, .. } = stored;
        Ok((Embedded { model, dimensions, count: chunks.chunks.len() }, degraded))
    }

    async fn embed_batch(
        &self,
        asked: &Arc<dyn Model>,
        texts: Arc<[String]>,
        maker: &OnceLock<Maker>,
    ) -> Result<Batch, Failure> {
        let count = texts.len();
        let (made, degraded) = self.vectors_of(asked, texts).await?;
        let Embeddings { model, dimensions, vectors } = made;
        if vectors.len() != count {
            return Err(incomplete("the model did not give one vector for each piece"));
        }
        if vectors.iter().any(|vector| vector.len() != dimensions) {
            return Err(incomplete("the model gave vectors of different lengths"));
        }
        let batch = Batch { vectors: Packed::of(&vectors), model, dimensions, degraded };
        let (settled, length) = maker.get_or_init(|| batch.maker());
        if (settled, length) == (&batch.model, &batch.dimensions) {
            return Ok(batch);
        }
        let Batch { model, dimensions, .. } = batch;
        let message = format!(
            "`{}` answered with vectors of `{model}` ({dimensions} numbers each), and those that this document has are of \
             `{settled}` ({length}): they cannot be compared",
            asked.name()
        );
        Err(Failure::transient("embedding_model_changed", message))
    }

    async fn vectors_of(&self, asked: &Arc<dyn Model>, texts: Arc<[String]>) -> Result<(Embeddings, bool), Failure> {
        let calls = &self.ingest.calls;
        let Some(gateway) = calls.models.gateway_of(asked.name()) else {
            let made = calls.embed(asked, texts).await.map_err(|error| model_failure(asked, error))?;
            return Ok((made, false));
        };
        match calls.embed_configured(gateway, asked, texts, &self.options()).await {
            Ok((made, record)) => {
                call::tell(self.job, &record).await?;
                Ok((made, record.degraded))
            }
            Err(error) => Err(failure::of_call(self.job, &error).await),
        }
    }

    /// Vectors that an earlier job made of the same document go when this one was to make none.
    pub(super) async fn forget_vectors(&self) -> Result<(), Failure> {
        if self.job.has_document_part(self.input.document_id, DocumentVectors::PART).await? {
            self.keep(DocumentVectors::PART, &None::<DocumentVectors>).await?;
        }
        Ok(())
    }
}

fn name(number: usize) -> String {
    format!("embed:{number}")
}

fn incomplete(message: &str) -> Failure {
    Failure::permanent("embedding_incomplete", message)
}
