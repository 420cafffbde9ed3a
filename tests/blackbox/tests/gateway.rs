//! The gateway under faults: providers that are broken in every way that providers are, over real sockets.

#![allow(clippy::disallowed_methods, reason = "real calls are timed, on tasks of the tests' own")]

mod faults;
mod many;

use longhaul_testkit::server::{Launch, Server};
use longhaul_testkit::upstream::{Fault, Upstream};
use std::fmt::Write as _;
use tempfile::TempDir;

/// A server with a model for each fault, and the providers behind them.
pub(crate) struct GatewayStage {
    pub(crate) server: Server,
    pub(crate) upstream: Upstream,
    _home: TempDir,
}

/// How long a call may take at most, in the configuration.
pub(crate) const TIMEOUT_MS: u64 = 2_000;

impl GatewayStage {
    pub(crate) async fn open() -> Self {
        let home = tempfile::tempdir().unwrap();
        let upstream = Upstream::start().await.unwrap();
        let launch = Launch::new(home.path()).unwrap().config(&configuration(&upstream)).unwrap();
        Self { server: launch.start().await.unwrap(), upstream, _home: home }
    }
}

/// Retries on, and no breaker that would spare the provider most of the calls: what bounds them here is the budget of
/// retries alone.
fn configuration(upstream: &Upstream) -> String {
    let mut text = "[telemetry]\nlevel = \"error\"\n".to_owned();
    for fault in Fault::ALL {
        let (name, url) = (fault.name(), upstream.base_url(fault));
        let (timeout, attempt) = match fault {
            // What is sound is not to fail because the machine is busy with what is not.
            Fault::Sound | Fault::Slow => ("60s".to_owned(), "50s"),
            _ => (format!("{TIMEOUT_MS}ms"), "400ms"),
        };
        write!(
            text,
            "\n[providers.{name}]\nprotocol = \"openai\"\nbase_url = \"{url}\"\nmax_connections = 12_000\nmax_answer = \"1MiB\"\n\
             [models.{name}]\ntimeout = \"{timeout}\"\nstream = {{ idle = \"400ms\", total = \"1s\" }}\n\
             [[models.{name}.targets]]\nprovider = \"{name}\"\nmodel = \"faulty\"\nattempt_timeout = \"{attempt}\"\n\
             retry = {{ max_retries = 2, initial = \"20ms\", max = \"100ms\" }}\nbreaker = {{ failures = 1_000_000 }}\n\
             limit = {{ concurrency = 12_000 }}\n"
        )
        .unwrap();
    }
    // And one with the breaker on, as it is for everybody who leaves the key out.
    let url = upstream.base_url(Fault::ServerError);
    write!(
        text,
        "\n[models.guarded]\ntimeout = \"2s\"\n[[models.guarded.targets]]\nprovider = \"server-error\"\nmodel = \"faulty\"\n\
         attempt_timeout = \"400ms\"\nretry = {{ max_retries = 2, initial = \"20ms\", max = \"100ms\" }}\n# {url}\n"
    )
    .unwrap();
    text
}
