//! How the built-in kinds are set, and how they are made.

use std::{fmt, sync::Arc};

use longhaul_core::{Backoff, Clock, Span};
use longhaul_engine::{Executor, SchemaCompiler, SystemClock};
use longhaul_gateway::{Models, UnknownModel};
use longhaul_resilience::Dice;

use crate::{
    Agent, Analyses, Echo, HttpTools, Ingest, Process, calls::Calls, documents::Extractor, documents::InProcess,
    documents::Ocr, documents::Tesseract, documents::TesseractOptions, schemas::BySchema,
};

/// What can be set about the built-in kinds.
#[derive(Clone)]
pub struct TaskSettings {
    /// The model of `analysis` jobs that name none; none: the default of the models.
    pub analysis_model: Option<String>,
    /// The model of `process` jobs that name none; none: the default of the models.
    pub process_model: Option<String>,
    /// The model of `document.ingest` jobs that name none; none: the default of the models.
    pub document_model: Option<String>,
    /// The model of `agent` jobs that name none; none: the default of the models.
    pub agent_model: Option<String>,
    /// What agents may call beside kinds.
    pub http_tools: Arc<HttpTools>,
    /// Compiles the schemas that inputs carry.
    pub schemas: Arc<dyn SchemaCompiler>,
    /// How long an answer of `process` is kept.
    pub cache_ttl: Span,
    /// How many answers are kept at most.
    pub cache_entries: usize,
    /// How many bytes of answers are kept at most.
    pub cache_bytes: usize,
    /// How many items of one `process` job are worked on at once.
    pub process_concurrency: usize,
    /// How long an item of `process` waits before another try.
    pub process_backoff: Backoff,
    /// How many pieces of a document one call for vectors takes.
    pub embed_batch: usize,
    /// How many calls for vectors of one document run at once.
    pub embed_concurrency: usize,
    /// How many pages of one document are read at once.
    pub page_concurrency: usize,
    /// How many documents are open at once, over all jobs of this process: each is in memory as a whole.
    pub open_documents: usize,
    /// How many `document.ingest` jobs run at once, over all servers that share a store, unless the configuration limits
    /// the kind otherwise. The others wait in their queue, where they keep nobody else's job from a place.
    pub ingest_concurrency: u32,
    /// How many bytes of documents searches have in memory at once.
    pub search_bytes: usize,
    /// Calls to models that compute in this process, over all jobs, at once.
    pub cpu_concurrency: usize,
    /// What reads documents.
    pub extractor: Arc<dyn Extractor>,
    /// What reads pictures of text; none: [`Tesseract`], where it is installed, by `clock`.
    pub ocr: Option<Arc<dyn Ocr>>,
    /// Where `process` takes the time from, to know how old an answer is. The engine's own clock, in a server.
    pub clock: Arc<dyn Clock>,
    /// Places waits within their backoff.
    pub dice: Arc<Dice>,
}

impl Default for TaskSettings {
    /// Answers are kept for 300 s, 20,000 of them in 64 MiB; 16 items at once with waits of up to 250 ms and 500 ms;
    /// 32 pieces a call, four calls and four pages at once, 16 documents worked on, four of them open; searches in 512 MiB;
    /// one computing call for each core.
    fn default() -> Self {
        Self {
            analysis_model: None,
            process_model: None,
            document_model: None,
            agent_model: None,
            http_tools: Arc::default(),
            schemas: Arc::new(BySchema),
            cache_ttl: Span::from_secs(300),
            cache_entries: 20_000,
            cache_bytes: 64 * 1024 * 1024,
            process_concurrency: 16,
            process_backoff: Backoff { initial_ms: 250, max_ms: 2_000 },
            embed_batch: 32,
            embed_concurrency: 4,
            page_concurrency: 4,
            open_documents: 4,
            ingest_concurrency: 16,
            search_bytes: 512 * 1024 * 1024,
            cpu_concurrency: std::thread::available_parallelism().map_or(2, usize::from),
            extractor: Arc::new(InProcess::default()),
            ocr: None,
            clock: Arc::new(SystemClock::start()),
            dice: Arc::new(Dice::unpredictable()),
        }
    }
}

impl TaskSettings {
    /// Says which default model is none, so that a server can refuse to start rather than refuse every input.
    ///
    /// # Errors
    /// The first name that no model has.
    pub fn validate(&self, models: &Models) -> Result<(), UnknownModel> {
        let named = [&self.analysis_model, &self.process_model, &self.document_model, &self.agent_model];
        named.into_iter().flatten().try_for_each(|name| models.get(Some(name)).map(drop))
    }
}

impl TaskSettings {
    pub(crate) fn ocr(&self) -> Arc<dyn Ocr> {
        let tesseract = || Arc::new(Tesseract::new(TesseractOptions::default(), self.clock.clone())) as Arc<dyn Ocr>;
        self.ocr.clone().unwrap_or_else(tesseract)
    }
}

impl fmt::Debug for TaskSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskSettings")
            .field("cache_ttl", &self.cache_ttl)
            .field("cache_entries", &self.cache_entries)
            .field("cache_bytes", &self.cache_bytes)
            .finish_non_exhaustive()
    }
}

/// The built-in kinds.
#[derive(Clone)]
pub struct BuiltIn {
    /// All of them, for the engine.
    pub executors: Vec<Arc<dyn Executor>>,
    /// `process`, which can also answer without a job.
    pub process: Arc<Process>,
    /// `analysis`.
    pub analysis: Arc<Analyses>,
    /// `agent`.
    pub agent: Arc<Agent>,
    /// `document.ingest`, and what can be done with what it has stored.
    pub documents: Arc<Ingest>,
}

impl fmt::Debug for BuiltIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.executors.iter().map(|executor| executor.kind().name.as_str());
        f.debug_list().entries(names).finish()
    }
}

/// Makes the built-in kinds over these models.
///
/// ```
/// use longhaul_tasks::{TaskSettings, built_in};
/// # use std::sync::Arc;
/// let kinds = built_in(Arc::default(), TaskSettings::default());
/// assert_eq!(kinds.executors.len(), 5);
/// ```
pub fn built_in(models: Arc<Models>, settings: TaskSettings) -> BuiltIn {
    let calls = Calls::new(models, settings.cpu_concurrency, settings.schemas.clone());
    let process = Arc::new(Process::new(calls.clone(), &settings));
    let analysis = Arc::new(Analyses::new(calls.clone(), &settings));
    let agent = Arc::new(Agent::new(calls.clone(), &settings));
    let documents = Arc::new(Ingest::new(calls, &settings));
    let executors: Vec<Arc<dyn Executor>> =
        vec![Arc::new(Echo::default()), process.clone(), analysis.clone(), agent.clone(), documents.clone()];
    BuiltIn { executors, process, analysis, agent, documents }
}
