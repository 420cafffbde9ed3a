//! The ways that a call can take: directly, through nginx, through Longhaul.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::{GatewayPlan, Shape};
use crate::bench::process::{Usage, usage_of};

/// How long a contender may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(30);

/// A way to the provider.
#[derive(Debug)]
pub(super) struct Contender {
    pub(super) name: &'static str,
    pub(super) address: SocketAddr,
    /// The process and its children; none for the direct way.
    pid: Option<u32>,
}

impl Contender {
    /// What it has used so far.
    pub(super) fn usage(&self) -> Usage {
        let Some(pid) = self.pid else { return Usage::default() };
        let mut pids = vec![pid];
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        pids.extend(children.split_ascii_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        usage_of(&pids)
    }
}

/// All of them, until it is dropped.
pub(super) struct Contenders {
    pub(super) list: Vec<Contender>,
    /// Why one is missing.
    pub(super) missing: Option<String>,
    _processes: Vec<Child>,
    _nginx: Option<Nginx>,
    _directory: TempDir,
}

/// nginx, until it is dropped.
struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        // Told to end and not killed: its workers outlive a master that is.
        let pid = self.0.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed()));
        if let Some(pid) = pid {
            // It may have ended by itself.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
    }
}

/// Starts the provider and what stands before it.
pub(super) async fn start(plan: &GatewayPlan, shapes: &[Shape]) -> anyhow::Result<Contenders> {
    let directory = tempfile::Builder::new().prefix("longhaul-bench-").tempdir_in(&plan.directory)?;
    let own = std::env::current_exe().context("cannot find this program's own file")?;
    let mut provider = Command::new(&own);
    provider.args(["bench", "gateway-upstream"]);
    let (provider, upstream) = announced(provider, directory.path(), "provider").await?;
    let mut processes = vec![provider];
    let mut list = vec![Contender { name: "direct", address: upstream, pid: None }];
    let (mut missing, mut plain) = (None, None);
    match plan.nginx.clone().or_else(find_nginx) {
        Some(program) => {
            let (started, address) = nginx(&program, directory.path(), upstream).await?;
            list.push(Contender { name: "nginx", address, pid: started.0.id() });
            plain = Some(started);
        }
        None => {
            missing = Some("nginx is not installed (Debian: apt-get install nginx-light), so it is left out".into())
        }
    }
    let config = directory.path().join("longhaul.toml");
    std::fs::write(&config, configuration(upstream, shapes))?;
    let mut server = Command::new(&own);
    server.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(&config);
    server.arg("--data-dir").arg(directory.path().join("data"));
    let (child, address) = announced(server, directory.path(), "longhaul").await?;
    list.push(Contender { name: "longhaul", address, pid: child.id() });
    processes.push(child);
    Ok(Contenders { list, missing, _processes: processes, _nginx: plain, _directory: directory })
}

/// Starts a process that says where it listens.
async fn announced(mut command: Command, home: &Path, name: &str) -> anyhow::Result<(Child, SocketAddr)> {
    let log = home.join(format!("{name}.log"));
    command.current_dir(home).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(std::fs::File::create(&log)?);
    for variable in ["LONGHAUL_CONFIG", "LONGHAUL_BOOTSTRAP_KEY", "LONGHAUL_BOOTSTRAP_KEY_FILE"] {
        command.env_remove(variable);
    }
    let mut child = command.kill_on_drop(true).spawn().with_context(|| format!("cannot start the {name}"))?;
    let stdout = child.stdout.take().context("no standard output")?;
    let mut line = String::new();
    let read = tokio::time::timeout(READY_WITHIN, BufReader::new(stdout).read_line(&mut line)).await;
    match (read, line.trim().strip_prefix("listening on http://")) {
        (Ok(Ok(_)), Some(address)) => Ok((child, address.parse()?)),
        _ => bail!("the {name} did not start; it said:\n{}", std::fs::read_to_string(&log).unwrap_or_default()),
    }
}

/// Every shape as a model of its own, with everything on: a cache that is looked up, retry, breaker, limits that are
/// counted and never met, time-outs, prices, and the record of each call.
fn configuration(upstream: SocketAddr, shapes: &[Shape]) -> String {
    let mut text = format!(
        "[telemetry]\nlevel = \"warn\"\n\n[providers.bench]\nprotocol = \"openai\"\nbase_url = \"http://{upstream}/v1\"\n\
         max_connections = 512\n"
    );
    let mut known = Vec::new();
    for shape in shapes {
        let name = shape.model();
        if known.contains(&name) {
            continue;
        }
        let _ = write!(
            text,
            "\n[models.{name}]\ntimeout = \"60s\"\ncache = {{ ttl = \"1h\", max_entries = 500 }}\n\n\
             [[models.{name}.targets]]\nprovider = \"bench\"\nmodel = \"{name}\"\nattempt_timeout = \"30s\"\n\
             retry = {{ max_retries = 2 }}\nbreaker = {{ failures = 5 }}\n\
             limit = {{ rpm = 1_000_000_000, tpm = 4_000_000_000, concurrency = 512 }}\n\
             price = {{ input_per_mtok = 1.0, output_per_mtok = 2.0 }}\n"
        );
        known.push(name);
    }
    text
}

fn find_nginx() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin"), PathBuf::from("/usr/local/sbin")]);
    places.map(|place| place.join("nginx")).find(|program| program.is_file())
}

/// nginx as a plain proxy with connections kept on both sides.
async fn nginx(program: &Path, home: &Path, upstream: SocketAddr) -> anyhow::Result<(Nginx, SocketAddr)> {
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let folder = home.join("nginx");
    std::fs::create_dir_all(&folder)?;
    let at = folder.display();
    let user = if rustix::process::geteuid().is_root() { "user root;\n" } else { "" };
    let config = format!(
        "{user}daemon off;\nworker_processes auto;\npid {at}/pid;\nerror_log {at}/error.log;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n  access_log off;\n  client_body_temp_path {at}/body;\n  proxy_temp_path {at}/proxy;\n\
         fastcgi_temp_path {at}/fastcgi;\n  uwsgi_temp_path {at}/uwsgi;\n  scgi_temp_path {at}/scgi;\n\
         keepalive_requests 100000000;\n  tcp_nodelay on;\n\
         upstream provider {{ server {upstream}; keepalive 512; keepalive_requests 100000000; }}\n\
         server {{\n    listen {address};\n    location / {{\n      proxy_pass http://provider;\n\
         proxy_http_version 1.1;\n      proxy_set_header Connection \"\";\n      proxy_buffers 8 16k;\n    }}\n  }}\n}}\n"
    );
    let path = folder.join("nginx.conf");
    std::fs::write(&path, config)?;
    let mut command = Command::new(program);
    command.arg("-p").arg(&folder).arg("-c").arg(&path).arg("-e").arg(folder.join("error.log"));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = Nginx(command.spawn().context("cannot start nginx")?);
    for _ in 0..500 {
        if TcpStream::connect(address).await.is_ok() {
            return Ok((child, address));
        }
        if child.0.try_wait()?.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bail!("nginx did not start; it said:\n{}", std::fs::read_to_string(folder.join("error.log")).unwrap_or_default())
}
