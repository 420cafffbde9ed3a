//! What the process says about itself: lines on standard error, and spans to a collector.
//!
//! - [`lines`] writes the log, as text or as JSON; each line carries the ids of the request, the job and the trace that it
//!   belongs to.
//! - [`environment`] reads OpenTelemetry's standard variables; without them there are no traces.
//! - [`otlp`] sends spans over OTLP/HTTP. What the house knows of spans is `longhaul_server::spans`; only here it is known
//!   how they travel.

mod environment;
mod lines;
mod otlp;

use std::{io::IsTerminal as _, sync::Arc};

use anyhow::Context as _;
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

pub(super) use self::otlp::Exporter;
use self::{environment::Found, lines::Lines};
use crate::config::{LogFormat, TelemetrySettings};

/// Begins to write the log.
pub(super) fn start(settings: &TelemetrySettings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(settings.level.as_str()).context("telemetry.level cannot be used")?;
    let lines = match settings.log {
        LogFormat::Text => Lines::text(std::io::stderr().is_terminal()),
        LogFormat::Json => Lines::json(),
    };
    tracing_subscriber::registry().with(filter).with(lines).try_init().context("starting the log")
}

/// Where spans go, when OpenTelemetry's variables say so.
///
/// A variable that cannot be used turns traces off and is named in the log: a server that does its work without being
/// watched is better than one that does not start.
pub(super) fn traces() -> Option<Arc<Exporter>> {
    let Found { settings, warnings } = environment::read(|name| std::env::var(name).ok());
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    let settings = settings?;
    let endpoint = environment::shown(&settings.endpoint);
    match Exporter::new(settings) {
        Ok(exporter) => {
            tracing::info!(endpoint, "traces are recorded");
            Some(Arc::new(exporter))
        }
        Err(error) => {
            tracing::warn!(endpoint, %error, "traces are not recorded");
            None
        }
    }
}
