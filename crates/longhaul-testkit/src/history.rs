//! What a load did, what it was answered, what it saw, and whether a server that keeps its promises could have done so.
//!
//! A load process appends a [`Record`] for everything: an [`Record::Invoke`] that is durable before the request is
//! sent, then exactly one of `ok` (answered), `fail` (certainly did not happen) or `info` (nobody knows: the
//! connection died, or the time was up). [`check`] is a pure function over such records.
//!
//! Order is the only clock. One operation is known to be before another only when its answer was recorded before the
//! other was invoked; operations that overlap are never compared, so a correct server is never accused because an
//! answer was slow.

mod check;
mod evidence;
mod life;
mod record;
mod recorder;
mod rules;
mod violation;

pub use check::{Demands, Verdict, check};
pub use life::Phase;
pub use record::{Answer, AttemptSeen, Call, EventSeen, JobSeen, LeaseSeen, Listed, Record, Sighting, View};
pub use recorder::{HistoryError, Recorder, read};
pub use violation::{Rule, Violation};
