//! The least of an HTTP/1.1 server that the demonstration's own servers need: the naive API and the provider.
//!
//! Requests have a length; answers have one too, or are sent in chunks. A handler owns the connection while it answers,
//! so that it can do what real servers do to their clients: stop in the middle, or never answer at all. What a server has
//! under way ends with its [`Running`].

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::Context as _;
use longhaul_providers::sim::{SimAct, SimPlan, SimStep};
use memchr::memmem;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// The largest request that is taken, in bytes.
const MAX_REQUEST_BYTES: usize = 16 << 20;

/// What a server does with a request. False: the connection is over.
pub(super) trait Service: Send + Sync + 'static {
    fn serve(&self, asked: Asked, connection: &mut Connection) -> impl Future<Output = io::Result<bool>> + Send;
}

/// A request.
#[derive(Debug)]
pub(super) struct Asked {
    /// Method and path, as in `POST /documents`.
    pub(super) line: String,
    pub(super) body: Vec<u8>,
}

/// A server that runs.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) address: SocketAddr,
    _accepting: JoinSet<()>,
}

/// Serves on a free port of this machine.
///
/// # Errors
/// When no port can be had.
pub(super) async fn serve<S: Service>(service: Arc<S>) -> anyhow::Result<Running> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("no port of this machine can be had")?;
    let address = listener.local_addr()?;
    let mut accepting = JoinSet::new();
    accepting.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    // Without a socket there is nobody to answer: the client sees it.
                    let Ok((stream, _)) = accepted else { continue };
                    let service = service.clone();
                    connections.spawn(async move {
                        let mut connection = Connection { stream, buffer: Vec::new() };
                        // What breaks a connection is the client's leaving, or meant to.
                        while let Ok(Some(asked)) = connection.next().await {
                            match service.serve(asked, &mut connection).await {
                                Ok(true) => {}
                                Ok(false) | Err(_) => break,
                            }
                        }
                    });
                }
                Some(_) = connections.join_next() => {}
            }
        }
    });
    Ok(Running { address, _accepting: accepting })
}

/// A client's connection.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    /// The next request; none when the client has left.
    async fn next(&mut self) -> io::Result<Option<Asked>> {
        loop {
            if let Some(end) = memmem::find(&self.buffer, b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                let length = content_length(&head)?;
                let body_at = end + 4;
                if self.buffer.len() >= body_at + length {
                    let line = head.lines().next().unwrap_or_default().trim_end_matches(" HTTP/1.1").to_owned();
                    let body = self.buffer[body_at..body_at + length].to_vec();
                    self.buffer.drain(..body_at + length);
                    return Ok(Some(Asked { line, body }));
                }
            }
            if self.buffer.len() > MAX_REQUEST_BYTES {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// A whole answer in JSON.
    pub(super) async fn answer(&mut self, status: u16, body: &[u8]) -> io::Result<bool> {
        let head =
            format!("HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        self.stream.write_all(&[head.as_bytes(), body].concat()).await?;
        Ok(true)
    }

    /// Does what the simulated provider has planned, when it has planned it.
    pub(super) async fn play(&mut self, plan: SimPlan) -> io::Result<bool> {
        for SimStep { after, act } in plan.steps {
            if !after.is_zero() {
                tokio::time::sleep(after).await;
            }
            match act {
                SimAct::Head { status, headers } => {
                    let mut head = format!("HTTP/1.1 {status} -\r\ntransfer-encoding: chunked\r\n");
                    for (name, value) in headers {
                        head.push_str(&format!("{name}: {value}\r\n"));
                    }
                    head.push_str("\r\n");
                    self.stream.write_all(head.as_bytes()).await?;
                }
                SimAct::Body(bytes) if bytes.is_empty() => {}
                SimAct::Body(bytes) => {
                    let size = format!("{:x}\r\n", bytes.len());
                    self.stream.write_all(&[size.as_bytes(), &bytes, b"\r\n"].concat()).await?;
                }
                SimAct::End => self.stream.write_all(b"0\r\n\r\n").await?,
                SimAct::Reset => return Ok(false),
                SimAct::Hang => {
                    self.left().await?;
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Waits for the client to leave.
    pub(super) async fn left(&mut self) -> io::Result<()> {
        let mut rest = [0; 256];
        while self.stream.read(&mut rest).await? > 0 {}
        Ok(())
    }
}

fn content_length(head: &str) -> io::Result<usize> {
    let value = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().to_owned())
    });
    match value {
        None => Ok(0),
        Some(value) => value.parse().map_err(|_| io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_found_whatever_its_spelling_and_nonsense_is_refused() {
        assert_eq!(content_length("POST / HTTP/1.1\r\nHost: a:1\r\nContent-LENGTH: 12").unwrap(), 12);
        assert_eq!(content_length("GET / HTTP/1.1").unwrap(), 0);
        assert!(content_length("GET / HTTP/1.1\r\ncontent-length: many").is_err());
    }
}
