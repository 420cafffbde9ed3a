//! The configuration read again while the server runs: on SIGHUP, and when its file has changed.
//!
//! Providers and models go into force at once, and keep what they learned: breakers, limits, connections, cached answers.
//! The other sections are read when the server starts; if they changed, the log says that they wait for a restart. A
//! file with problems changes nothing. The files of HTTPS are read again when they have changed, too: certificates are
//! renewed every few weeks, and nobody wants to restart for that.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use longhaul_gateway::Gateway;
use longhaul_server::listener::TlsIdentity;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{Loaded, Settings, Sources, load};

/// How often the file is looked at. Looking costs one system call, and works on every file system; mounted
/// configurations are often swapped by a rename, which watchers of files miss.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What tells one state of a file from another.
type Stamp = Option<(SystemTime, u64)>;

/// The certificate and key of HTTPS, and the state of their files that was last read.
struct Tls {
    identity: Arc<TlsIdentity>,
    seen: [Stamp; 2],
}

/// Watches for a new configuration.
pub(super) struct Reload {
    sources: Sources,
    gateway: Gateway,
    tls: Option<Tls>,
    /// What the server was started with, and the models that are in force.
    current: Settings,
    file: Option<PathBuf>,
    /// The state of the file that is in force: taken before the server says that it listens, so that whoever changes the
    /// file then is heard.
    seen: Stamp,
    hangups: Signal,
}

impl Reload {
    /// From now on SIGHUP does not end the process.
    pub(super) fn new(
        sources: Sources,
        gateway: Gateway,
        identity: Option<Arc<TlsIdentity>>,
        current: Settings,
        file: Option<PathBuf>,
    ) -> std::io::Result<Self> {
        let look = |file: &Path| stamp_of(std::fs::metadata(file));
        let seen = file.as_deref().and_then(look);
        let tls = identity.map(|identity| Tls { seen: identity.files().map(look), identity });
        Ok(Self { sources, gateway, tls, current, file, seen, hangups: signal(SignalKind::hangup())? })
    }

    /// Runs until the server stops.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            let asked = tokio::select! {
                () = stop.cancelled() => return,
                _ = self.hangups.recv() => true,
                () = tokio::time::sleep(LOOK_EVERY) => false,
            };
            let stamp = self.stamp().await;
            // A file that is gone for a moment is being replaced.
            if asked || (stamp != self.seen && stamp.is_some()) {
                self.seen = stamp;
                self.reload().await;
            }
            self.renew(asked).await;
        }
    }

    /// Reads the files of HTTPS again, if they have changed.
    async fn renew(&mut self, asked: bool) {
        let Some(Tls { identity, seen }) = &mut self.tls else { return };
        let [cert, key] = identity.files();
        let stamps = [stamp_of(tokio::fs::metadata(cert).await), stamp_of(tokio::fs::metadata(key).await)];
        if !asked && (stamps == *seen || stamps.contains(&None)) {
            return;
        }
        *seen = stamps;
        let identity = identity.clone();
        match tokio::task::spawn_blocking(move || identity.reload()).await {
            Ok(Ok(true)) => tracing::info!("the certificate was renewed"),
            Ok(Err(error)) => tracing::error!("the certificate in force stays: {error}"),
            Ok(Ok(false)) | Err(_) => {}
        }
    }

    async fn stamp(&self) -> Stamp {
        stamp_of(tokio::fs::metadata(self.file.as_ref()?).await)
    }

    async fn reload(&mut self) {
        let sources = self.sources.clone();
        let Ok(Loaded { settings, problems, .. }) = tokio::task::spawn_blocking(move || load(sources)).await else {
            return;
        };
        if !problems.is_empty() {
            for problem in &problems {
                tracing::error!(place = %problem.place, "configuration not reloaded: {}", problem.message);
            }
            return;
        }
        match self.gateway.reload(settings.gateway.clone()) {
            Err(bad) => tracing::error!("configuration not reloaded: {bad}"),
            Ok(reloaded) => {
                let (added, removed, changed) = (&reloaded.added, &reloaded.removed, &reloaded.changed);
                tracing::info!(?added, ?removed, ?changed, "models reloaded");
                if !same_but_models(&self.current, &settings) {
                    tracing::warn!("other sections of the configuration changed too; they wait for a restart");
                }
                self.current.gateway = settings.gateway;
            }
        }
    }
}

fn stamp_of(metadata: std::io::Result<std::fs::Metadata>) -> Stamp {
    let metadata = metadata.ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn same_but_models(one: &Settings, other: &Settings) -> bool {
    *one == Settings { gateway: one.gateway.clone(), ..other.clone() }
}
