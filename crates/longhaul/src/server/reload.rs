//! The configuration read again while the server runs: on SIGHUP, and when its file has changed.
//!
//! Providers and models go into force at once, and keep what they learned: breakers, limits, connections, cached answers.
//! The other sections are read when the server starts; if they changed, the log says that they wait for a restart. A
//! file with problems changes nothing. The files of HTTPS are read again when they have changed, too: certificates are
//! renewed every few weeks, and nobody wants to restart for that.
//!
//! Programs that write a file empty it first, and an empty file is a valid configuration. So a change counts when the file
//! was the same at two looks running and while it was read, and a file that names no model any more is put in force for a
//! SIGHUP only.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use longhaul_gateway::Gateway;
use longhaul_server::listener::TlsIdentity;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::{BUILT_IN_MODELS, FileSource, Loaded, Settings, Sources, load};

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

/// The looks at a file that tell when a change of it is complete.
#[derive(Debug, Default)]
struct Looks {
    /// The state that was read last.
    read: Stamp,
    /// The state at the last look.
    last: Stamp,
}

impl Looks {
    /// Whether the file is to be read: it is another than the one that was read, and the same as at the last look. One that
    /// is gone for a moment is being replaced.
    fn is_settled(&mut self, now: Stamp) -> bool {
        let is_same = now == self.last;
        self.last = now;
        is_same && now.is_some() && now != self.read
    }
}

/// Watches for a new configuration.
pub(super) struct Reload {
    sources: Sources,
    gateway: Gateway,
    tls: Option<Tls>,
    /// What the server was started with, and the models that are in force.
    current: Settings,
    file: Option<PathBuf>,
    /// The first is taken before the server says that it listens, so that whoever changes the file then is heard.
    looks: Looks,
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
        let looks = Looks { read: seen, last: seen };
        let tls = identity.map(|identity| Tls { seen: identity.files().map(look), identity });
        Ok(Self { sources, gateway, tls, current, file, looks, hangups: signal(SignalKind::hangup())? })
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
            if self.looks.is_settled(stamp) || asked {
                self.reload(stamp, asked).await;
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

    /// Reads the file, whose state is `stamp`, and puts it in force.
    async fn reload(&mut self, stamp: Stamp, asked: bool) {
        let mut sources = self.sources.clone();
        // A file that was found when the server started must not be missing now.
        if let Some(file) = &self.file {
            sources.file = FileSource::Named(file.clone());
        }
        let Ok(loaded) = tokio::task::spawn_blocking(move || load(sources)).await else { return };
        let Loaded { settings, problems, file, .. } = loaded;
        if !asked && self.stamp().await != stamp {
            // It changed while it was read, and will be read again.
            return;
        }
        self.looks.read = stamp;
        if !problems.is_empty() {
            for problem in &problems {
                tracing::error!(place = %problem.place, "configuration not reloaded: {}", problem.message);
            }
            return;
        }
        if !asked && configured(&self.current) > 0 && configured(&settings) == 0 {
            tracing::error!(
                "configuration not reloaded: the file names no model any more; if that is meant, send SIGHUP or restart"
            );
            return;
        }
        // Kinds keep the models that they were started with.
        let missing = self.current.models_of_kinds().find(|(_, model)| !settings.gateway.models.contains_key(*model));
        if let Some((kind, model)) = missing {
            tracing::error!(
                "configuration not reloaded: it has no model `{model}`, which the kind `{kind}` asks until the next start"
            );
            return;
        }
        self.file = file;
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

/// How many models the configuration names, beside those that are built in.
fn configured(settings: &Settings) -> usize {
    settings.gateway.models.keys().filter(|name| !BUILT_IN_MODELS.contains(&name.as_str())).count()
}

fn same_but_models(one: &Settings, other: &Settings) -> bool {
    *one == Settings { gateway: one.gateway.clone(), ..other.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_when_the_file_is_the_same_at_two_looks() {
        let state = |seconds, bytes| Some((SystemTime::UNIX_EPOCH + Duration::from_secs(seconds), bytes));
        let mut looks = Looks { read: state(1, 100), last: state(1, 100) };
        let mut settled = |stamp| looks.is_settled(stamp);
        assert!(!settled(state(1, 100)), "nothing has changed");
        assert!(!settled(state(2, 0)), "emptied to be written");
        assert!(!settled(state(3, 60)), "half written");
        assert!(!settled(state(4, 120)), "written, but who knows");
        assert!(settled(state(4, 120)));
        assert!(!settled(None), "being replaced");
        assert!(!settled(None));
        assert!(!settled(state(5, 120)));
        assert!(settled(state(5, 120)));
        looks.read = state(5, 120);
        assert!(!looks.is_settled(state(5, 120)));
    }
}
