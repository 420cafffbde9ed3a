//! A server that starts, reads its configuration again and stops, as its operator sees it.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "tests; the shared module is compiled into each")]

mod support;

use std::net::TcpListener;
use std::path::Path;

use support::{Ran, Served};

/// Starts a server that is expected to end by itself.
fn refused(directory: &Path, listen: &str, variables: &[(&str, &str)]) -> Ran {
    Ran::new(Served::command(directory, listen, &[], variables).output().unwrap())
}

#[test]
fn a_server_that_cannot_bind_leases_no_job() {
    let directory = tempfile::tempdir().unwrap();
    let server = Served::start(directory.path(), &["--no-builtin"], &[]);
    let jobs: Vec<String> = (0..5).map(|_| server.ask("", &["submit", "echo"]).out.trim().to_owned()).collect();
    server.stop();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    for _ in 0..16 {
        let ran = refused(directory.path(), &taken.local_addr().unwrap().to_string(), &[]);
        assert!(ran.code != 0 && ran.err.contains("cannot listen on"), "{}", ran.err);
    }
    let server = Served::start(directory.path(), &["--no-builtin"], &[]);
    for job in jobs {
        let shown = server.ask("", &["jobs", "show", &job, "--json"]);
        let view: serde_json::Value = serde_json::from_str(&shown.out).unwrap();
        assert_eq!((&view["status"], &view["attempt"]), (&"queued".into(), &0.into()), "{view}");
    }
}
