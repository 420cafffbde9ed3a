//! The answer to a connection for which there is no place: 503 at once, whatever it was going to ask.
//!
//! The request is not read first: reading is what a flood wants of us. The client gets the answer, because after it
//! the connection is closed in the one direction and read out in the other. The answers themselves are bounded too;
//! past that bound a connection is just closed.

use std::sync::{
    Arc, LazyLock,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tokio_util::task::TaskTracker;

use super::{accept::Shared, drive::linger};
use crate::problem::{Code, PROBLEM_JSON, Problem};

/// Refusals being answered at once. Each costs a descriptor and a few KiB for at most the linger time.
const MAX_REFUSALS: u64 = 256;

static REFUSAL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let body = Problem::new(Code::Overloaded, "The server has no place for another connection.").to_json();
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {PROBLEM_JSON}\r\nretry-after: 1\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
});

/// Answers in a task of its own; closes the connection when too many are being answered already.
pub(super) fn refuse(mut stream: TcpStream, running: &Arc<AtomicU64>, tracker: &TaskTracker, shared: &Arc<Shared>) {
    if running.load(Relaxed) >= MAX_REFUSALS {
        return;
    }
    running.fetch_add(1, Relaxed);
    let (running, shared) = (Arc::clone(running), Arc::clone(shared));
    drop(tracker.spawn(async move {
        let timeout = shared.options.linger_timeout;
        let answer = async {
            // A fresh socket takes these few bytes at once; a peer that is gone is no concern.
            let sent = stream.write_all(&REFUSAL).await.is_ok() && stream.shutdown().await.is_ok();
            if sent {
                linger(stream, timeout).await;
            }
        };
        let _cut = shared.cut.run_until_cancelled(tokio::time::timeout(timeout, answer)).await;
        running.fetch_sub(1, Relaxed);
    }));
}
