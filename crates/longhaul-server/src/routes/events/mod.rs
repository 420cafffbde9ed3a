//! What jobs tell while they run: as a stream, over a WebSocket, as figures.

pub(super) mod socket;
pub(crate) mod sse;
pub(crate) mod stats;
