//! The built program as a child process: started on a directory, killed, started again, watched.
//!
//! The harness knows the program only by its command line, by the line `listening on http://…` that it prints when it
//! is ready to be asked, and by its signals. Output goes to files, and their ends are printed when a test fails while
//! the server is alive.

mod launch;
mod process;

pub use launch::{Exit, HarnessError, Launch, Program};
pub use process::Server;
