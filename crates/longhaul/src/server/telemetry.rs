//! What the process says about itself, on standard error.

use anyhow::Context as _;
use tracing_subscriber::{EnvFilter, fmt, util::SubscriberInitExt as _};

use crate::config::{LogFormat, TelemetrySettings};

pub(super) fn start(settings: &TelemetrySettings) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(settings.level.as_str()).context("telemetry.level cannot be used")?;
    // A line that cannot be written is lost. The subscriber would complain about it on standard error, which is what
    // cannot be written to, and panic: on the thread that happened to log.
    let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr).log_internal_errors(false);
    match settings.log {
        LogFormat::Text => {
            use std::io::IsTerminal as _;
            lines.with_ansi(std::io::stderr().is_terminal()).finish().try_init()
        }
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
    }
    .context("starting the log")
}
