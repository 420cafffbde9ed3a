//! A job server of a few hundred lines that keeps the promises, until `FAKE_BUG` tells it which to break.
//!
//! It exists to test the crash harness: a log that is appended before any answer, replayed at start, and a thread that
//! runs `echo` jobs. It speaks just enough of the HTTP contract for the harness, one thread per connection.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program speaks on its standard streams")]
#![allow(clippy::disallowed_methods, reason = "a stand-in for a real process: its threads really sleep")]

mod http;
mod jobs;

use jobs::{Bug, Jobs};
use std::net::TcpListener;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn main() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("error: {reason}");
            ExitCode::from(2)
        }
    }
}

fn serve() -> Result<(), String> {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let place = arguments.iter().position(|argument| argument == name);
        place.and_then(|place| arguments.get(place + 1)).ok_or(format!("{name} is missing"))
    };
    let data_dir = std::path::PathBuf::from(value("--data-dir")?);
    let bug = std::env::var("FAKE_BUG").ok().map(|name| Bug::named(&name)).transpose()?;
    let jobs = Arc::new(Mutex::new(Jobs::open(&data_dir, bug).map_err(|e| format!("{}: {e}", data_dir.display()))?));
    let listener = TcpListener::bind(value("--listen")?).map_err(|e| e.to_string())?;
    let address = listener.local_addr().map_err(|e| e.to_string())?;

    let worker = Arc::clone(&jobs);
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(2));
            worker.lock().unwrap_or_else(std::sync::PoisonError::into_inner).work();
        }
    });
    println!("listening on http://{address}");
    for connection in listener.incoming().flatten() {
        let jobs = Arc::clone(&jobs);
        std::thread::spawn(move || http::converse(&connection, &jobs));
    }
    Ok(())
}
