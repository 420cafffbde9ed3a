//! The sections of the configuration: every key, its type, its default and what it is for.
//!
//! The doc text of each key is what the reference page prints. A section that nothing serves yet is not here; the
//! loader refuses it by name and says that it comes later.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use super::limit_values::KindLimits;
use super::secret::Secret;
use super::section::section;
use super::size::ByteSize;
use super::tools::ToolSection;
use super::values::{LogFilter, LogFormat, ModelName, Name, Network, Origin, StoreUrl};

/// Everything that `longhaul serve` needs to know, checked.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Settings {
    /// `[server]`.
    pub server: ServerSettings,
    /// `[store]`.
    pub store: StoreSettings,
    /// `[queues.NAME]`; `default` is always there.
    pub queues: BTreeMap<String, QueueSettings>,
    /// `[limits]`.
    pub limits: LimitSettings,
    /// `[kinds."NAME"]`.
    pub kinds: BTreeMap<String, KindSettings>,
    /// `[tenants.NAME]`.
    pub tenants: BTreeMap<String, TenantSettings>,
    /// `[providers.NAME]` and `[models.NAME]`, with everything filled in that was left out.
    pub gateway: longhaul_gateway::GatewaySettings,
    /// `[tools.NAME]`.
    pub tools: BTreeMap<String, ToolSection>,
    /// `[telemetry]`.
    pub telemetry: TelemetrySettings,
    /// The first administrator's key, from `LONGHAUL_BOOTSTRAP_KEY` or `LONGHAUL_BOOTSTRAP_KEY_FILE`.
    pub bootstrap_key: Option<Secret>,
}

/// The built-in kinds that ask a model when the request names none.
const KINDS_WITH_A_MODEL: [&str; 4] = ["analysis", "process", "document.ingest", "agent"];

impl Settings {
    /// The model that a kind asks when the request names none, where the configuration says so.
    #[must_use]
    pub fn model_of(&self, kind: &str) -> Option<&str> {
        self.kinds.get(kind)?.model.as_ref().map(ModelName::as_str)
    }

    /// All kinds with such a model.
    pub fn models_of_kinds(&self) -> impl Iterator<Item = (&'static str, &str)> {
        KINDS_WITH_A_MODEL.into_iter().filter_map(|kind| Some((kind, self.model_of(kind)?)))
    }
}

const fn nonzero(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

section! {
    /// How clients reach the server.
    pub struct ServerSettings {
        /// The address and port to listen on. Port 0 takes a free one. An address other than loopback needs at least
        /// one API key to exist.
        listen("listen"): SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8080));
        /// Origins whose pages may call the API from a browser, or `"*"` alone for every page. Empty: no CORS headers
        /// are sent.
        cors_origins("cors.origins"): Vec<Origin> = Vec::new();
        /// PEM file with the certificate chain. With `tls.key` it turns HTTPS on. Read again when it has changed, and on
        /// SIGHUP.
        tls_cert("tls.cert"): Option<PathBuf> = None;
        /// PEM file with the private key of the certificate.
        tls_key("tls.key"): Option<PathBuf> = None;
        /// Proxies whose `X-Forwarded-For` header is believed. Anybody else's is ignored.
        trusted_proxies("trusted_proxies"): Vec<Network> = Vec::new();
        /// How long running jobs may go on after a signal to stop, before they are released to run again later. A
        /// release costs a job no attempt.
        drain("drain"): Duration = Duration::from_secs(30);
    }
}

section! {
    /// Where jobs are kept, and for how long.
    pub struct StoreSettings {
        /// The store. `sqlite:DIR` keeps everything in a directory of this machine, made when it is missing.
        /// `postgres://user@host:port/database` keeps it in a PostgreSQL database, 15 or later, which any number of
        /// servers may share; a URL with a password is named as a secret, `{ env = "DATABASE_URL" }`.
        /// `sslmode=require` in it encrypts the connections, and verifies the certificate against the system's roots and
        /// those of the PEM file that `sslrootcert` names.
        url("url"): StoreUrl = StoreUrl::Sqlite("longhaul-data".into());
        /// How long an ended job is kept with its input, output and events, unless the job asks otherwise.
        retention("retention"): Duration = Duration::from_secs(7 * 86_400);
        /// How long a job whose data is gone still answers 410 rather than 404.
        tombstones("tombstones"): Duration = Duration::from_secs(30 * 86_400);
    }
}

section! {
    /// One queue. The name is part of the section: `[queues.default]`, `[queues.ocr]`. A queue that is not named here
    /// has no limit.
    pub struct QueueSettings {
        /// How many of its jobs run at once, on all servers that share a database together.
        concurrency("concurrency"): NonZeroU32 = nonzero(256);
    }
}

section! {
    /// What a request may cost before it is refused.
    pub struct LimitSettings {
        /// The largest JSON body of an ordinary request.
        json_body("json_body"): ByteSize = ByteSize::mib(1);
        /// The largest body of a bulk submission.
        bulk_body("bulk_body"): ByteSize = ByteSize::mib(32);
        /// The largest body of a request to the APIs of OpenAI's and Anthropic's shape; pictures travel in it.
        facade_body("facade_body"): ByteSize = ByteSize::mib(32);
        /// The largest uploaded file.
        upload("upload"): ByteSize = ByteSize::mib(512);
        /// How deep arrays and objects of a JSON body may nest.
        json_depth("json_depth"): NonZeroU32 = nonzero(64);
        /// How many metadata pairs a job may have.
        metadata_pairs("metadata_pairs"): NonZeroU32 = nonzero(16);
        /// The longest metadata key, in characters.
        metadata_key_chars("metadata_key_chars"): NonZeroU32 = nonzero(64);
        /// The longest metadata value, in characters.
        metadata_value_chars("metadata_value_chars"): NonZeroU32 = nonzero(512);
        /// The most that the headers of a request may take.
        header_bytes("header_bytes"): ByteSize = ByteSize::kib(64);
        /// How many connections are held at once.
        connections("connections"): NonZeroU32 = nonzero(16_384);
        /// How long a new connection may stay silent.
        first_byte("first_byte"): Duration = Duration::from_secs(10);
        /// How long the headers may take from the first byte of a request.
        headers_within("headers_within"): Duration = Duration::from_secs(10);
        /// The least that a body must bring per second, measured over `body_rate_window`.
        body_rate("body_rate"): ByteSize = ByteSize::kib(1);
        /// How long a body may stay below `body_rate` before the connection is closed.
        body_rate_window("body_rate_window"): Duration = Duration::from_secs(30);
    }
}

section! {
    /// One kind of job. The name is part of the section, quoted where it has a dot: `[kinds."document.ingest"]`.
    pub struct KindSettings {
        /// The queue of its jobs when the request names none.
        queue("queue"): Option<Name> = None;
        /// How long one attempt may run.
        timeout("timeout"): Option<Duration> = None;
        /// The model it uses when the request names none.
        model("model"): Option<ModelName> = None;
        /// How many attempts a job has when the request does not say.
        max_attempts("max_attempts"): Option<NonZeroU32> = None;
        /// How many of its jobs run at once and how many attempts start in a time, on all servers that share a database
        /// together: at most one limit over all jobs of the kind, and one over those with the same value at `key`, a JSON
        /// Pointer into the input, of the same tenant. For built-in kinds; a worker registers its own with its kind. A limit
        /// that the kind itself comes with (`document.ingest`: 16 at once) stays until one of the same sort is given here.
        limits("limits"): KindLimits = KindLimits::default();
    }
}

section! {
    /// One tenant. The name is part of the section: `[tenants.acme]`. A tenant that is not named here has the defaults.
    pub struct TenantSettings {
        /// Its share of each queue: with twice the weight, twice as many of its jobs go first while others wait, too.
        weight("weight"): NonZeroU32 = nonzero(1);
    }
}

section! {
    /// What the process says about itself.
    pub struct TelemetrySettings {
        /// How log lines are written, on standard error.
        log("log"): LogFormat = LogFormat::Text;
        /// What is logged: a level, or directives per module.
        level("level"): LogFilter = LogFilter::info();
    }
}
