//! The servers on one database: each says from time to time that it lives.
//!
//! A server that has not said so for a while is dead, and the leases that were held in its own process are with it: a
//! sweep of another ends them before they run out, unless that one has had no database itself meanwhile. A server that
//! only seems dead loses leases and nothing else, since every write carries its own.

use std::time::Duration;

use longhaul_core::Span;

use super::{
    load::TimeSource,
    session::{Connections, Session},
};
use crate::StoreError;

/// How long a server is taken to live after it has said so.
pub(super) const ALIVE_FOR: Span = Span::from_secs(15);

/// How often it says so.
const SAY_EVERY: Span = Span::from_secs(4);

/// How soon it says so again when it could not.
const SAY_AGAIN: Duration = Duration::from_millis(500);

/// Says that this server lives.
pub(super) async fn say(session: &Session, time: &TimeSource, node: i64, name: &str) -> Result<(), StoreError> {
    let until = (time.now(session).await? + ALIVE_FOR).as_micros();
    session.rows(include_str!("queries/node_lives.sql"), &[&node, &name, &until]).await?;
    Ok(())
}

/// Says so for as long as it is polled.
pub(super) async fn keep_saying(
    connections: &Connections,
    time: &TimeSource,
    clock: &dyn longhaul_core::Clock,
    node: i64,
    name: &str,
) {
    loop {
        clock.sleep(SAY_EVERY).await;
        while let Err(error) = say_once(connections, time, node, name).await {
            tracing::warn!(%error, "this server could not say that it lives");
            tokio::time::sleep(SAY_AGAIN).await;
        }
    }
}

async fn say_once(connections: &Connections, time: &TimeSource, node: i64, name: &str) -> Result<(), StoreError> {
    say(&connections.session().await?, time, node, name).await
}

/// Says that this server has ended: whoever sweeps next ends the leases that it has left.
pub(super) async fn leave(connections: &Connections, node: i64) -> Result<(), StoreError> {
    let session = connections.session().await?;
    session.rows(include_str!("queries/node_leaves.sql"), &[&node]).await?;
    Ok(())
}
