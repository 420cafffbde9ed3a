//! The built program, from outside: over HTTP, by signals, through its command line. One test binary, so it links once.
//!
//! Every test has a server, a port and a directory of its own. The program is the `longhaul` in the same target
//! folder, or the one that `LONGHAUL_BIN` names.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a broken expectation is a failed test")]
#![allow(clippy::print_stdout, reason = "a run tells its seed and its figures")]

mod agent;
mod bad_input;
mod contract;
mod crash;
mod disk_full;
mod documents;
mod gateway;
mod jobs;
mod keys;
mod limits;
mod metrics;
mod presets;
mod process;
mod shutdown;
mod stage;
mod streams;
mod traces;
