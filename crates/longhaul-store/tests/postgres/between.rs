//! Stands between a store and the database, and is what can happen on the way.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::watch,
};

use crate::server::Database;

/// What becomes of what is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// New connections are closed at once, and those that there were are.
    Cut,
    /// Connections are taken, and nothing is heard on them again.
    Silent,
}

pub(crate) struct Between {
    directory: TempDir,
    listener: UnixListener,
    server: PathBuf,
    url: String,
    way: watch::Sender<Way>,
    /// Connections that were open when this was counted up are silent.
    silenced: watch::Sender<usize>,
    accepted: AtomicUsize,
    swallows: Arc<AtomicBool>,
}

fn percent(path: &Path) -> String {
    path.display().to_string().replace('/', "%2F")
}

impl Between {
    pub(crate) fn new(database: &Database) -> Self {
        let directory = TempDir::new().unwrap();
        let listener = UnixListener::bind(directory.path().join(".s.PGSQL.5432")).unwrap();
        let url = database.url().replace(&percent(&database.socket()), &percent(directory.path()));
        let server = database.socket().join(".s.PGSQL.5432");
        let (way, silenced) = (watch::Sender::new(Way::Open), watch::Sender::new(0));
        Self {
            directory,
            listener,
            server,
            url,
            way,
            silenced,
            accepted: AtomicUsize::new(0),
            swallows: Arc::default(),
        }
    }

    pub(crate) fn url(&self) -> &str {
        assert!(self.directory.path().exists());
        &self.url
    }

    pub(crate) async fn serve_during<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            done = work => done,
            _ = self.serve() => panic!("nobody is served any more"),
        }
    }

    pub(crate) fn swallow_the_next_commit(&self) {
        self.swallows.store(true, Ordering::SeqCst);
    }

    pub(crate) fn has_swallowed(&self) -> bool {
        !self.swallows.load(Ordering::SeqCst)
    }

    /// Nothing is heard any more on the connections that there are; new ones are as they should be.
    pub(crate) fn silence_what_is_open(&self) {
        self.silenced.send_modify(|silenced| *silenced += 1);
    }

    /// Nothing is heard on any connection, old or new.
    pub(crate) fn silence(&self) {
        self.way.send_replace(Way::Silent);
    }

    pub(crate) fn cut(&self) {
        self.way.send_replace(Way::Cut);
    }

    pub(crate) fn mend(&self) {
        self.way.send_replace(Way::Open);
    }

    /// How many connections there have been.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }

    async fn serve(&self) -> io::Result<()> {
        let mut connections = tokio::task::JoinSet::new();
        let mut held = Vec::new();
        loop {
            let (client, _) = self.listener.accept().await?;
            self.accepted.fetch_add(1, Ordering::SeqCst);
            let (way, silenced) = (self.way.subscribe(), self.silenced.subscribe());
            let now = *way.borrow();
            match now {
                Way::Open => {
                    let server = UnixStream::connect(&self.server).await?;
                    connections.spawn(pass_on(client, server, self.swallows.clone(), way, silenced));
                }
                Way::Cut => drop(client),
                Way::Silent => held.push(client),
            }
        }
    }
}

async fn pass_on(
    mut client: UnixStream,
    mut server: UnixStream,
    swallows: Arc<AtomicBool>,
    mut way: watch::Receiver<Way>,
    mut silenced: watch::Receiver<usize>,
) -> io::Result<()> {
    let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            biased;
            _ = way.changed() => {
                let now = *way.borrow();
                match now {
                    Way::Open => {}
                    Way::Cut => return Ok(()),
                    Way::Silent => std::future::pending().await,
                }
            }
            _ = silenced.changed() => std::future::pending().await,
            read = client.read(&mut asked) => {
                let said = &asked[..read?];
                server.write_all(said).await?;
                let is_commit = said.windows(7).any(|word| word == b"COMMIT\0");
                if said.is_empty() || (is_commit && swallows.swap(false, Ordering::SeqCst)) {
                    // Once it is answered it is done. The answer goes nowhere.
                    return server.read(&mut answered).await.map(drop);
                }
            }
            read = server.read(&mut answered) => {
                let said = &answered[..read?];
                if said.is_empty() {
                    return Ok(());
                }
                client.write_all(said).await?;
            }
        }
    }
}
