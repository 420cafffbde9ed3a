//! What every handler shares.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use longhaul_core::{DocumentId, Tenant, Timestamp};
use longhaul_engine::{Engine, store::StoreError};
use longhaul_gateway::Gateway;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    auth::KeyRing,
    metrics::Telemetry,
    problem::{Code, Problem},
    routes::{events::stats::Latest, openai::responses::RecentCreates},
};

/// What every handler shares. Cheap to clone.
#[derive(Clone)]
pub struct App(pub(crate) Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) gateway: Gateway,
    pub(crate) started_at: Timestamp,
    pub(crate) keys: KeyRing,
    pub(crate) limits: Limits,
    pub(crate) uploads: Uploads,
    pub(crate) recent: RecentCreates,
    /// What everybody who watches the figures is sent.
    pub(crate) latest_stats: Latest,
    pub(crate) tasks: Arc<dyn Tasks>,
    /// Changes that are carried to their end whoever waits for them.
    pub(crate) changes: TaskTracker,
    /// Origins that `server.cors` lets in.
    pub(crate) origins: Vec<String>,
    /// Set when the server stops: connections that have no end of their own are closed.
    pub(crate) stopping: CancellationToken,
    /// Whether the server speaks TLS itself: then its cookies are for TLS alone.
    pub(crate) is_secure: bool,
    pub(crate) telemetry: Arc<Telemetry>,
}

/// What routes ask of the built-in kinds besides submitting their jobs.
#[async_trait]
pub trait Tasks: Send + Sync + 'static {
    /// The output of a `process` input whose items are all in the cache; None: a job has to be made.
    fn processed(&self, tenant: &Tenant, input: &[u8]) -> Option<Bytes>;

    /// Passages of a document that answer a query, as JSON. None: the document has not been read yet.
    async fn search(
        &self,
        tenant: &Tenant,
        document: DocumentId,
        query: &str,
        limit: usize,
    ) -> Result<Option<Bytes>, StoreError>;
}

impl App {
    /// Over a running engine and the models of `gateway`. `origins` are those that `server.cors` lets in.
    pub fn new(
        engine: Engine,
        gateway: Gateway,
        keys: KeyRing,
        limits: Limits,
        tasks: Arc<dyn Tasks>,
        origins: Vec<String>,
    ) -> Self {
        Self(Arc::new(Shared {
            started_at: engine.clock().now(),
            engine,
            gateway,
            keys,
            limits,
            uploads: Uploads::default(),
            recent: RecentCreates::default(),
            latest_stats: Latest::default(),
            tasks,
            changes: TaskTracker::new(),
            origins,
            stopping: CancellationToken::new(),
            is_secure: false,
            telemetry: Arc::default(),
        }))
    }

    /// Cancelled when the server begins to stop.
    pub fn stopping(&self) -> &CancellationToken {
        &self.0.stopping
    }

    /// The server speaks TLS itself. Called before the application is made.
    #[must_use]
    pub fn secured(mut self, is_secure: bool) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.is_secure = is_secure;
        }
        self
    }

    /// What is observed goes to `telemetry`, which the store and the gateway tell, too. Called before the application is
    /// made.
    #[must_use]
    pub fn observed(mut self, telemetry: Arc<Telemetry>) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.0) {
            shared.telemetry = telemetry;
        }
        self
    }

    pub(crate) fn telemetry(&self) -> &Arc<Telemetry> {
        &self.0.telemetry
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.0.engine
    }

    pub(crate) fn gateway(&self) -> &Gateway {
        &self.0.gateway
    }
}

/// How much a request may bring.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a JSON body.
    pub json_body: usize,
    /// Bytes of a bulk submit.
    pub bulk_body: usize,
    /// Bytes of a request to an API of another vendor's shape: pictures travel in it.
    pub facade_body: usize,
    /// Bytes of an uploaded document.
    pub upload: u64,
    /// How deep JSON may nest.
    pub json_depth: usize,
    /// How much metadata a job may have.
    pub metadata: MetadataLimits,
}

/// How much metadata a job may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataLimits {
    /// Pairs.
    pub pairs: usize,
    /// Characters of a key.
    pub key_chars: usize,
    /// Characters of a value.
    pub value_chars: usize,
}

impl Default for Limits {
    /// 1 MiB, 32 MiB, 32 MiB, 512 MiB; 64 levels; 16 pairs of 64 and 512 characters.
    fn default() -> Self {
        Self {
            json_body: 1 << 20,
            bulk_body: 32 << 20,
            facade_body: 32 << 20,
            upload: 512 << 20,
            json_depth: crate::json::MAX_DEPTH,
            metadata: MetadataLimits { pairs: 16, key_chars: 64, value_chars: 512 },
        }
    }
}

/// Uploads under an idempotency key that have not ended: a repeat meanwhile is told to wait.
#[derive(Default)]
pub(crate) struct Uploads(Mutex<HashSet<(Tenant, [u8; 32])>>);

pub(crate) struct Upload<'a>(&'a Uploads, (Tenant, [u8; 32]));

impl Uploads {
    pub(crate) fn begin(&self, tenant: Tenant, key: [u8; 32]) -> Result<Upload<'_>, Problem> {
        let name = (tenant, key);
        if self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone()) {
            return Ok(Upload(self, name));
        }
        Err(Problem::new(Code::IdempotencyInProgress, "An upload with this Idempotency-Key is still under way."))
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}
