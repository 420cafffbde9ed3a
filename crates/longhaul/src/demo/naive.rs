//! The API that goes wrong: it does the work within the request, as most first versions do.
//!
//! `POST /documents` takes one of so many workers, asks the slow model, and answers when that has answered. Who finds no
//! worker free waits in the connection. A client that gives up is not noticed: its work is done all the same, and paid
//! for, while those behind it wait.

use std::io;
use std::net::SocketAddr;

use memchr::memmem;
use tokio::sync::Semaphore;

use super::http::{Asked, Connection, Service};
use super::server;
use crate::client::{Client, Request};

/// The API.
#[derive(Debug)]
pub(super) struct Naive {
    workers: Semaphore,
    model: Client,
}

impl Naive {
    /// With so many workers, before this provider.
    pub(super) fn new(workers: u32, provider: SocketAddr) -> anyhow::Result<Self> {
        let model = server::client(&format!("http://{provider}/v1"))?;
        Ok(Self { workers: Semaphore::new(workers as usize), model })
    }

    /// The slow part: the model reads the document.
    async fn read(&self, document: &str) -> bool {
        let body = serde_json::json!({"model": "sim-vectors", "input": [document]});
        self.model.send(Request::post(&["embeddings"]).json(&body)).await.is_ok()
    }
}

impl Service for Naive {
    async fn serve(&self, asked: Asked, connection: &mut Connection) -> io::Result<bool> {
        if asked.line != "POST /documents" {
            return connection.answer(404, b"{}").await;
        }
        let Some(document) = file_of(&asked.body) else { return connection.answer(400, b"{}").await };
        // The semaphore is never closed.
        let _worker = self.workers.acquire().await;
        match self.read(&document).await {
            true => connection.answer(200, br#"{"status":"done"}"#).await,
            false => connection.answer(502, br#"{"status":"failed"}"#).await,
        }
    }
}

/// The part `file` of a multipart body.
fn file_of(body: &[u8]) -> Option<String> {
    let part = &body[memmem::find(body, b"name=\"file\"")?..];
    let text = &part[memmem::find(part, b"\r\n\r\n")? + 4..];
    let end = memmem::find(text, b"\r\n--")?;
    Some(String::from_utf8_lossy(&text[..end]).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_is_found_between_its_boundaries() {
        let body = b"--x\r\ncontent-disposition: form-data; name=\"options\"\r\n\r\n{}\r\n--x\r\n\
            content-disposition: form-data; name=\"file\"; filename=\"a.md\"\r\ncontent-type: text/markdown\r\n\r\n\
            # A\r\n\r\ntext\r\n--x--\r\n";
        assert_eq!(file_of(body).as_deref(), Some("# A\r\n\r\ntext"));
        assert_eq!(file_of(b"--x--"), None);
    }
}
