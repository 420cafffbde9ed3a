//! The transport: HTTP/1.1 to configured base URLs, and to nothing else.
//!
//! One [`Pool`] per provider. A connection is driven by the task that uses it, so a call costs no hop between tasks, and
//! a caller who goes away takes the connection along: the provider sees the call end at once.
//!
//! What holds:
//! - At most [`PoolSettings::max_connections`] connections are open, idle ones included; while one is being made, several
//!   addresses of its name may be tried.
//! - A redirect is an answer like any other; nothing is ever called that the configuration does not name.
//! - Nothing is decompressed: none is asked for, and an answer that is compressed all the same is refused.
//! - Whole answers are read up to a bound; what is beyond it is not read.
//!
//! How long things may take is not decided here, except for connecting: a future is dropped by whoever gives up.

mod body;
mod caller;
mod connect;
mod connection;
mod endpoint;
mod error;
mod framing;
mod idle;
mod message;
mod pool;
mod tls;

pub(crate) use body::AnswerBody;
pub use caller::{HttpAnswer, HttpCaller, HttpFailure};
pub use endpoint::{BadBaseUrl, Endpoint};
pub(crate) use error::HttpError;
pub use pool::PoolSettings;
pub(crate) use pool::{Incoming, PLACE_WAIT, Place, Pool};
