//! From a directory and handlers to a running engine.

use std::{collections::BTreeSet, future::Future, path::PathBuf, sync::Arc};

use longhaul_core::{Clock, IdSource, Ids, KindName, KindSpec, NameError, Span};
use longhaul_engine::{
    Check, Engine, EngineOptions, Executor, Failure, Hub, SchemaCompiler, SystemClock, store::StoreError,
};
use longhaul_store::{SqliteOptions, SqliteStore, StoreClock};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    Handler, Longhaul,
    handler::{Function, Handled},
};

/// Gathers handlers. [`Longhaul::builder`] makes one.
pub struct Builder {
    directory: PathBuf,
    options: EngineOptions,
    executors: Vec<Arc<dyn Executor>>,
    names: BTreeSet<KindName>,
    wrong: Option<StartError>,
}

/// Why nothing runs.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A kind's name cannot be one.
    #[error("the kind {0:?} {1}")]
    Name(String, NameError),
    /// Two handlers were given for one kind.
    #[error("two handlers were given for the kind {0}")]
    Twice(KindName),
    /// The directory cannot be used: it is another program's, is damaged, or cannot be written.
    #[error("the jobs cannot be opened: {0}")]
    Open(String),
    /// What it holds cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Builder {
    pub(crate) fn new(directory: PathBuf) -> Self {
        let options = EngineOptions { worker: format!("embedded:{}", std::process::id()), ..EngineOptions::default() };
        Self { directory, options, executors: Vec::new(), names: BTreeSet::new(), wrong: None }
    }

    /// Jobs of `kind` are run by a function of their input.
    #[must_use]
    pub fn handle<In, Out, F, Fut>(self, kind: &str, function: F) -> Self
    where
        F: Fn(In) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Out, Failure>> + Send + 'static,
        In: DeserializeOwned + Send + 'static,
        Out: Serialize + Send + 'static,
    {
        self.handler(kind, Function::new(function))
    }

    /// Jobs of `kind` are run by a handler that can store steps and tell how far it is.
    #[must_use]
    pub fn handler(mut self, kind: &str, handler: impl Handler) -> Self {
        match KindName::new(kind) {
            Err(why) => drop(self.wrong.get_or_insert(StartError::Name(kind.to_owned(), why))),
            Ok(name) if !self.names.insert(name.clone()) => drop(self.wrong.get_or_insert(StartError::Twice(name))),
            Ok(name) => {
                let spec = KindSpec::named(name);
                self.executors.push(Arc::new(Handled::new(spec, handler)));
            }
        }
        self
    }

    /// How many jobs run at once, 256 unless it is said.
    #[must_use]
    pub fn concurrency(mut self, most: usize) -> Self {
        self.options.concurrency = most;
        self
    }

    /// How many attempts may fail before a job does, 5 unless it is said.
    #[must_use]
    pub fn max_attempts(mut self, most: u32) -> Self {
        self.options.max_attempts = most;
        self
    }

    /// How long ended jobs are kept, seven days unless it is said.
    #[must_use]
    pub fn retention(mut self, kept: Span) -> Self {
        self.options.retention = kept;
        self
    }

    /// Everything else that can be said of an engine.
    #[must_use]
    pub fn options(mut self, change: impl FnOnce(&mut EngineOptions)) -> Self {
        change(&mut self.options);
        self
    }

    /// Opens the directory and goes on with what it holds.
    ///
    /// # Errors
    /// When a handler's name cannot be used, or the directory cannot be opened.
    pub async fn start(self) -> Result<Longhaul, StartError> {
        if let Some(wrong) = self.wrong {
            return Err(wrong);
        }
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
        let ids: Arc<dyn IdSource> = Arc::new(Ids::from_system());
        let hub = Arc::new(Hub::default());
        let time = StoreClock { clock: clock.clone(), ids: ids.clone() };
        let store = SqliteStore::open(&SqliteOptions::at(self.directory), time, hub.clone())
            .map_err(|error| StartError::Open(error.to_string()))?;
        let engine = Engine::start(self.options, store, hub, self.executors, Arc::new(NoSchemas), clock, ids).await?;
        Ok(Longhaul::of(engine))
    }
}

/// Handlers check their inputs by their types, and nobody registers kinds over HTTP here.
struct NoSchemas;

impl SchemaCompiler for NoSchemas {
    fn compile(&self, _: &serde_json::Value) -> Result<Arc<dyn Check>, String> {
        Err("cannot be used: kinds of an embedded engine are checked by their types".into())
    }
}
