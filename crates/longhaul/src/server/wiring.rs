//! Settings in the words of the configuration, turned into options in the words of each part of the house.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use async_trait::async_trait;
use bytes::Bytes;
use longhaul_core::{Clock, DocumentId, IdSource, KindName, QueueName, Span, Tenant};
use longhaul_engine::{Engine, EngineOptions, Executor, Hub, KindOverride, store::StoreError};
use longhaul_gateway::{Gateway, GatewayOptions, Models, Observer};
use longhaul_server::{
    Limits, MetadataLimits, Schemas, Tasks,
    cors::CorsOptions,
    listener::{BodyFloor, ListenerOptions, TlsIdentity, TrustedProxies},
    metrics::{Beside, Telemetry},
};
use longhaul_store::{JobStore, PostgresOptions, PostgresStore, SqliteOptions, SqliteStore, StoreClock};
use longhaul_tasks::{
    BuiltIn, HttpTools, TaskSettings,
    agent::http::HttpToolSettings,
    built_in,
    documents::{Isolated, SearchError},
};
use tokio_util::task::TaskTracker;

use crate::config::{Settings, StoreUrl};
use crate::reading;

/// How many jobs run in this process at once when the queues' limits add up to less.
const CONCURRENCY_LEAST: usize = 256;

pub(super) fn engine_options(
    settings: &Settings,
    runs_built_in: bool,
    records_traces: bool,
) -> anyhow::Result<EngineOptions> {
    let queues = settings.queues.iter().map(|(name, queue)| {
        let name = QueueName::new(name).with_context(|| format!("queue {name:?}"))?;
        Ok((name, queue.concurrency.get()))
    });
    let queues = queues.collect::<anyhow::Result<std::collections::BTreeMap<_, _>>>()?;
    let kinds = settings.kinds.iter().map(|(name, kind)| {
        let name = KindName::new(name).with_context(|| format!("kind {name:?}"))?;
        let queue = kind.queue.as_ref().map(|queue| QueueName::new(queue.as_str())).transpose()?;
        let max_attempts = kind.max_attempts.map(std::num::NonZeroU32::get);
        let limits = (!kind.limits.0.is_empty()).then(|| kind.limits.0.clone());
        Ok((name, KindOverride { queue, timeout: kind.timeout.map(Span::from), max_attempts, limits }))
    });
    let tenants = settings.tenants.iter().map(|(name, tenant)| {
        let name = Tenant::new(name).with_context(|| format!("tenant {name:?}"))?;
        Ok((name, tenant.weight.get()))
    });
    let tenants = tenants.collect::<anyhow::Result<std::collections::BTreeMap<_, _>>>()?;
    let all_queues: usize = queues.values().map(|concurrency| *concurrency as usize).sum();
    Ok(EngineOptions {
        concurrency: if runs_built_in { all_queues.max(CONCURRENCY_LEAST) } else { 0 },
        retention: settings.store.retention.into(),
        kinds: kinds.collect::<anyhow::Result<_>>()?,
        queues,
        tenants,
        worker: format!("built-in:{}", std::process::id()),
        records_traces,
        ..EngineOptions::default()
    })
}

/// The queues that the configuration names.
pub(super) fn queues_named(settings: &Settings) -> impl Iterator<Item = &str> {
    let of_kinds = settings.kinds.values().filter_map(|kind| Some(kind.queue.as_ref()?.as_str()));
    settings.queues.keys().map(String::as_str).chain(of_kinds)
}

/// The built-in kinds, and the queues that they go to, have labels of their own in the figures.
pub(super) fn name_built_in(engine: &Engine, telemetry: &Telemetry) {
    let kinds = engine.kinds(&Tenant::default_tenant());
    let built_in = || kinds.iter().filter(|kind| kind.built_in).map(|kind| &kind.spec);
    let queues = built_in().filter_map(|spec| Some(spec.queue.as_ref()?.as_str()));
    telemetry.reserve(queues, built_in().map(|spec| spec.name.as_str()));
}

/// Opens the store that the configuration names.
pub(super) async fn store(
    settings: &Settings,
    clock: &Arc<dyn Clock>,
    ids: &Arc<dyn IdSource>,
    observer: Arc<Beside<Hub>>,
) -> anyhow::Result<Arc<dyn JobStore>> {
    let time = StoreClock { clock: clock.clone(), ids: ids.clone() };
    let tombstones_for = settings.store.tombstones.into();
    match &settings.store.url {
        StoreUrl::Sqlite(directory) => {
            let options = SqliteOptions { tombstones_for, ..SqliteOptions::at(directory) };
            let store = SqliteStore::open(&options, time, observer)?;
            warn_if_others_can_read(directory);
            Ok(store)
        }
        StoreUrl::Postgres(url) => {
            let name = format!("{} (process {})", settings.server.listen, std::process::id());
            let options = PostgresOptions { tombstones_for, name, ..PostgresOptions::at(url.expose()) };
            Ok(PostgresStore::open(&options, time, observer).await?)
        }
    }
}

/// A directory that was made by hand, or by an older version, may be open to everybody on the machine.
fn warn_if_others_can_read(directory: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let Ok(metadata) = std::fs::metadata(directory) else { return };
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        let (directory, mode) = (directory.display(), format_args!("{mode:o}"));
        tracing::warn!(%directory, %mode, "others on this machine can look into the data directory: chmod 700");
    }
}

/// The certificate and key of HTTPS, when it is switched on.
pub(super) fn tls_identity(settings: &Settings) -> anyhow::Result<Option<Arc<TlsIdentity>>> {
    match (&settings.server.tls_cert, &settings.server.tls_key) {
        (Some(cert), Some(key)) => Ok(Some(TlsIdentity::from_pem_files(cert, key)?)),
        _ => Ok(None),
    }
}

pub(super) fn listener_options(
    settings: &Settings,
    tls: Option<&Arc<TlsIdentity>>,
    drain: Duration,
) -> anyhow::Result<ListenerOptions> {
    let (limits, server) = (&settings.limits, &settings.server);
    let bytes = |size: crate::config::ByteSize| usize::try_from(size.bytes()).unwrap_or(usize::MAX);
    let tls = tls.map(TlsIdentity::server_config).transpose()?;
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
    Limits {
        json_body: bytes(limits.json_body),
        bulk_body: bytes(limits.bulk_body),
        facade_body: bytes(limits.facade_body),
        upload: limits.upload.bytes(),
        json_depth: limits.json_depth.get() as usize,
        metadata: MetadataLimits {
            pairs: limits.metadata_pairs.get() as usize,
            key_chars: limits.metadata_key_chars.get() as usize,
            value_chars: limits.metadata_value_chars.get() as usize,
        },
    }
}

pub(super) fn cors(settings: &Settings) -> CorsOptions {
    let origins = settings.server.cors_origins.iter().map(|origin| origin.as_str().to_owned()).collect();
    CorsOptions { origins, credentials: false }
}

/// The models of the configuration, behind their layers.
pub(super) fn gateway(
    settings: &Settings,
    tracker: &TaskTracker,
    telemetry: &Arc<Telemetry>,
) -> anyhow::Result<Gateway> {
    let (told, records_traces) = (telemetry.clone(), telemetry.records_traces());
    let observer: Observer = Arc::new(move |record| told.called(record));
    let (tracker, observer) = (tracker.clone(), Some(observer));
    let options = GatewayOptions { tracker, observer, records_traces, ..GatewayOptions::default() };
    Gateway::new(settings.gateway.clone(), options).context("the models of the configuration cannot be used")
}

/// The built-in kinds: for the engine, and for routes that ask them directly.
type Kinds = (Vec<Arc<dyn Executor>>, Arc<dyn Tasks>);

/// What agents may call over HTTP.
fn http_tools(settings: &Settings, tracker: &TaskTracker) -> anyhow::Result<HttpTools> {
    let tools = settings.tools.iter().map(|(name, tool)| {
        let caller = tool.caller(tracker).map_err(|why| anyhow::anyhow!("[tools.{name}] {why}"))?;
        let ready = HttpToolSettings {
            caller,
            description: tool.description.as_ref().map(|text| text.0.clone()),
            input_schema: tool.input_schema.as_ref().map(|schema| schema.0.clone()),
            timeout: tool.timeout.into(),
        };
        Ok((name.clone(), ready))
    });
    let tools = tools.collect::<anyhow::Result<_>>()?;
    HttpTools::new(tools, &Schemas)
        .map_err(|(name, why)| anyhow::anyhow!("[tools.{name}] has an `input_schema` that {why}"))
}

/// Makes the built-in kinds as the configuration has them.
pub(super) fn tasks(
    settings: &Settings,
    tracker: &TaskTracker,
    gateway: &Gateway,
    store: &Arc<dyn JobStore>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<Kinds> {
    let model_of = |kind| settings.model_of(kind).map(str::to_owned);
    let settings = TaskSettings {
        analysis_model: model_of("analysis"),
        process_model: model_of("process"),
        document_model: model_of("document.ingest"),
        agent_model: model_of("agent"),
        http_tools: Arc::new(http_tools(settings, tracker)?),
        schemas: Arc::new(Schemas),
        clock: clock.clone(),
        extractor: Arc::new(Isolated::new(reading::options()?, clock.clone())),
        ..TaskSettings::default()
    };
    let models = Arc::new(Models::over(gateway.clone()));
    settings.validate(&models)?;
    let built_in = built_in(models, settings);
    let executors = built_in.executors.clone();
    Ok((executors, Arc::new(Direct { store: store.clone(), built_in })))
}

/// Answers routes without a job.
struct Direct {
    store: Arc<dyn JobStore>,
    built_in: BuiltIn,
}

#[async_trait]
impl Tasks for Direct {
    fn processed(&self, tenant: &Tenant, input: &[u8]) -> Option<Bytes> {
        let input = self.built_in.process.read(std::str::from_utf8(input).ok()?).ok()?;
        let output = self.built_in.process.try_cached(tenant, &input)?;
        serde_json::to_vec(&output).ok().map(Bytes::from)
    }

    async fn search(
        &self,
        tenant: &Tenant,
        document: DocumentId,
        query: &str,
        limit: usize,
    ) -> Result<Option<Bytes>, StoreError> {
        let found = self.built_in.documents.search(&self.store, tenant, document, query, limit).await;
        let found = found.map_err(|error| match error {
            SearchError::Store(error) => error,
            SearchError::Stopped(_) => StoreError::Unavailable(error.to_string()),
            SearchError::Query(_) | SearchError::Damaged(_) => StoreError::Corrupt(error.to_string()),
        })?;
        let Some(found) = found else { return Ok(None) };
        serde_json::to_vec(&found).map(|json| Some(json.into())).map_err(|error| StoreError::Corrupt(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use longhaul_engine::SystemClock;

    use super::*;
    use crate::config::BUILT_IN_KINDS;

    #[tokio::test]
    async fn the_configuration_knows_every_kind_that_is_built_in() {
        let settings = Settings::default();
        let telemetry = Arc::new(Telemetry::new(None));
        let gateway = gateway(&settings, &TaskTracker::new(), &telemetry).unwrap();
        let clock = Arc::new(SystemClock::start());
        let tasks = TaskSettings { clock, ..TaskSettings::default() };
        let mut executors = built_in(Arc::new(Models::over(gateway.clone())), tasks).executors;
        executors.extend(longhaul_tasks::llm::executors(&gateway));
        let mut built_in: Vec<String> =
            executors.iter().map(|executor| executor.kind().name.as_str().to_owned()).collect();
        built_in.push("flow".to_owned());
        built_in.sort();
        let mut known = BUILT_IN_KINDS;
        known.sort_unstable();
        assert_eq!(built_in, known);
    }
}
