//! The answer to a connection for which there is no place: 503 at once, whatever it was going to ask.
//!
//! The request is not read first: reading is what a flood wants of us. The client gets the answer, because after it
//! the connection is closed in the one direction and read out in the other for a moment. These moments are bounded in
//! number, since each holds a descriptor; past the bound the answer is sent and the connection closed at once, and it
//! is left to the client's system whether the answer or the reset reaches it first.

use std::{
    io::Write as _,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tokio_util::task::TaskTracker;

use super::{accept::Shared, drive::linger};
use crate::problem::{Code, PROBLEM_JSON, Problem};

/// Refused connections kept open to be read out, at most; fewer where the cap, and so the number of descriptors to
/// spare, is small.
const MAX_REFUSALS: usize = 64;

/// How long a refused connection is read out: enough for a request that was sent along with the connect.
const REFUSAL_LINGER: Duration = Duration::from_millis(250);

static REFUSAL: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let body = Problem::new(Code::Overloaded, "The server has no place for another connection.").to_json();
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: {PROBLEM_JSON}\r\nretry-after: 1\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat()
});

/// Answers and closes: in a task of its own that reads the client out, while there are few of them.
pub(super) fn refuse(mut stream: TcpStream, running: &Arc<AtomicU64>, tracker: &TaskTracker, shared: &Arc<Shared>) {
    let most = MAX_REFUSALS.min(shared.options.max_connections / 8);
    if running.load(Relaxed) >= most as u64 {
        if let Ok(mut stream) = stream.into_std() {
            // A fresh socket takes these few bytes at once; a peer that is gone is no concern.
            let _sent = stream.write(&REFUSAL);
        }
        return;
    }
    running.fetch_add(1, Relaxed);
    let (running, shared) = (Arc::clone(running), Arc::clone(shared));
    drop(tracker.spawn(async move {
        let answer = async {
            if stream.write_all(&REFUSAL).await.is_ok() && stream.shutdown().await.is_ok() {
                linger(stream, REFUSAL_LINGER).await;
            }
        };
        let _cut = shared.cut.run_until_cancelled(tokio::time::timeout(REFUSAL_LINGER, answer)).await;
        running.fetch_sub(1, Relaxed);
    }));
}
