//! The private server of these tests, and a database of its own for each.
//!
//! The server is the one that `LONGHAUL_TEST_POSTGRES` names. Where nothing is named, the first test of a run starts one,
//! the others find it, and it ends with the run.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use tokio_postgres::NoTls;

/// A database that goes with the last that shares it.
#[derive(Clone)]
pub(crate) struct Database(Arc<Owned>);

struct Owned {
    name: String,
    server: String,
}

impl Database {
    pub(crate) async fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = server();
        let name = format!("t{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        run(&server, &format!("CREATE DATABASE {name}")).await;
        Self(Arc::new(Owned { name, server }))
    }

    pub(crate) fn url(&self) -> String {
        let (server, _) = self.0.server.rsplit_once('/').unwrap();
        format!("{server}/{}", self.0.name)
    }

    /// The directory with the server's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        let (_, host) = self.0.server.split_once('@').unwrap();
        let (host, _) = host.split_once('/').unwrap();
        host.replace("%2F", "/").into()
    }

    /// A connection to it, which ends with the client.
    #[allow(clippy::disallowed_methods, reason = "it ends with the client, which the test holds")]
    pub(crate) async fn connect(&self) -> tokio_postgres::Client {
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await.unwrap();
        tokio::spawn(connection);
        client
    }

    /// Carries out statements in it.
    pub(crate) async fn run(&self, sql: &str) {
        run(&self.url(), sql).await;
    }

    /// The one number that `sql` asks for.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let (client, connection) = tokio_postgres::connect(&self.url(), NoTls).await.unwrap();
        let work = async {
            let number = client.query_one(sql, &[]).await.unwrap().get(0);
            drop(client);
            number
        };
        let (number, ended) = futures::join!(work, connection);
        ended.unwrap();
        number
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let (server, sql) = (self.server.clone(), format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", self.name));
        // On a thread of its own: the caller's runtime may be ending.
        let dropping = std::thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(run(&server, &sql));
        });
        dropping.join().unwrap();
    }
}

async fn run(url: &str, sql: &str) {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    let work = async {
        client.batch_execute(sql).await.unwrap();
        drop(client);
    };
    let (_, ended) = futures::join!(work, connection);
    ended.unwrap();
}

fn server() -> String {
    std::env::var("LONGHAUL_TEST_POSTGRES").unwrap_or_else(|_| started_once())
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/private-postgres")
}

/// Starts a server for everybody whom the same process has started, unless one of them has already.
fn started_once() -> String {
    // Under nextest every test is a process of its own, and the run is their parent.
    let run =
        if std::env::var_os("NEXTEST").is_some() { std::os::unix::process::parent_id() } else { std::process::id() };
    let directory = std::env::temp_dir().join(format!("longhaul-postgres-{run}"));
    let (lock, written) = (directory.with_extension("lock"), directory.with_extension("url"));
    let lock_file = File::create(&lock).unwrap();
    lock_file.lock().unwrap();
    if let Ok(url) = fs::read_to_string(&written) {
        return url;
    }
    let started = Command::new(script()).arg("start").arg(&directory).stderr(Stdio::inherit()).output().unwrap();
    assert!(started.status.success(), "PostgreSQL did not start");
    let url = String::from_utf8(started.stdout).unwrap().trim().to_owned();
    fs::write(&written, &url).unwrap();
    // The inner shell goes on by itself.
    let end = r#"(while kill -0 "$1" 2> /dev/null; do sleep 0.5; done; "$2" stop "$3"; rm -f "$3.lock" "$3.url") &"#;
    let watch = Command::new("sh")
        .args(["-c", end, "sh", &run.to_string()])
        .args([&script(), &directory])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(watch.unwrap().success());
    url
}
