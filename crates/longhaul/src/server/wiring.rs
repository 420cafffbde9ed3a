//! Settings in the words of the configuration, turned into options in the words of each part of the house.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use longhaul_core::{DocumentId, KindName, QueueName, Span, Tenant};
use longhaul_engine::{Completed, EngineOptions, Executor, Failure, JobContext, KindOverride, store::StoreError};
use longhaul_server::{
    Limits, Tasks,
    cors::CorsOptions,
    listener::{BodyFloor, ListenerOptions, TrustedProxies, tls_from_pem_files},
};
use longhaul_store::JobStore;

use crate::config::Settings;

/// How many jobs run in this process at once when the queues' limits add up to less.
const CONCURRENCY_LEAST: usize = 256;

pub(super) fn engine_options(settings: &Settings) -> anyhow::Result<EngineOptions> {
    let queues = settings.queues.iter().map(|(name, queue)| {
        let name = QueueName::new(name).with_context(|| format!("queue {name:?}"))?;
        Ok((name, queue.concurrency.get()))
    });
    let queues = queues.collect::<anyhow::Result<std::collections::BTreeMap<_, _>>>()?;
    let kinds = settings.kinds.iter().map(|(name, kind)| {
        let name = KindName::new(name).with_context(|| format!("kind {name:?}"))?;
        let queue = kind.queue.as_ref().map(|queue| QueueName::new(queue.as_str())).transpose()?;
        let max_attempts = kind.max_attempts.map(std::num::NonZeroU32::get);
        Ok((name, KindOverride { queue, timeout: kind.timeout.map(Span::from), max_attempts }))
    });
    let all_queues: usize = queues.values().map(|concurrency| *concurrency as usize).sum();
    Ok(EngineOptions {
        concurrency: all_queues.max(CONCURRENCY_LEAST),
        retention: settings.store.retention.into(),
        kinds: kinds.collect::<anyhow::Result<_>>()?,
        queues,
        worker: format!("built-in:{}", std::process::id()),
        ..EngineOptions::default()
    })
}

pub(super) fn listener_options(settings: &Settings, drain: Duration) -> anyhow::Result<ListenerOptions> {
    let (limits, server) = (&settings.limits, &settings.server);
    let bytes = |size: crate::config::ByteSize| usize::try_from(size.bytes()).unwrap_or(usize::MAX);
    let tls = match (&server.tls_cert, &server.tls_key) {
        (Some(cert), Some(key)) => Some(tls_from_pem_files(cert, key)?),
        _ => None,
    };
    Ok(ListenerOptions {
        max_connections: limits.connections.get() as usize,
        first_byte_timeout: limits.first_byte,
        tls_handshake_timeout: limits.first_byte,
        head_timeout: limits.headers_within,
        max_head_bytes: bytes(limits.header_bytes),
        body_floor: BodyFloor {
            min_bytes_per_s: u32::try_from(limits.body_rate.bytes()).unwrap_or(u32::MAX),
            window: limits.body_rate_window,
        },
        drain_timeout: drain,
        trusted_proxies: TrustedProxies::parse(server.trusted_proxies.iter().map(ToString::to_string))?,
        tls,
        ..ListenerOptions::default()
    })
}

pub(super) fn limits(settings: &Settings) -> Limits {
    let limits = &settings.limits;
    let bytes = |size: crate::config::ByteSize| usize::try_from(size.bytes()).unwrap_or(usize::MAX);
    Limits { json_body: bytes(limits.json_body), bulk_body: bytes(limits.bulk_body), upload: limits.upload.bytes() }
}

pub(super) fn cors(settings: &Settings) -> CorsOptions {
    let origins = settings.server.cors_origins.iter().map(|origin| origin.as_str().to_owned()).collect();
    CorsOptions { origins, credentials: false }
}

struct Echo(longhaul_core::KindSpec);
#[async_trait]
impl Executor for Echo {
    fn kind(&self) -> &longhaul_core::KindSpec { &self.0 }
    async fn run(&self, job: &JobContext) -> Result<Completed, Failure> { Ok(Completed::with(job.input().clone())) }
}

/// The built-in kinds, and what routes ask of them directly.
pub(super) fn tasks(_settings: &Settings, _store: &Arc<dyn JobStore>) -> (Vec<Arc<dyn Executor>>, Arc<dyn Tasks>) {
    let spec = longhaul_core::KindSpec { name: KindName::new("echo").unwrap_or_else(|_| unreachable!()), description: None, input_schema: None, output_schema: None, queue: None, max_attempts: None, backoff: None, timeout_s: None };
    (vec![Arc::new(Echo(spec))], Arc::new(BuiltIn))
}

struct BuiltIn;

#[async_trait]
impl Tasks for BuiltIn {
    fn processed(&self, _tenant: &Tenant, _input: &[u8]) -> Option<Bytes> {
        None
    }

    async fn search(&self, _: &Tenant, _: DocumentId, _: &str, _: usize) -> Result<Option<Bytes>, StoreError> {
        Ok(None)
    }
}
