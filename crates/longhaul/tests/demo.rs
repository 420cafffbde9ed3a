//! The demonstration as a person runs it, in its short form: what it promises is seen, and nothing is left behind.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "tests; the shared module is compiled into each")]

mod support;

use std::fs::DirEntry;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::Program;

fn figure(value: &Value, path: &str) -> f64 {
    value.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no figure at {path}: {value}"))
}

fn left_in(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn what_the_demonstration_promises_is_measured_and_seen() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().to_str().unwrap();
    // A server of somebody's that must not be met.
    let ran = Program::new(&["demo", "--quick", "--no-wait", "--json", "--directory", place])
        .env("LONGHAUL__STORE__URL", "sqlite:/nowhere/else")
        .env("LONGHAUL_BOOTSTRAP_KEY", "lh_first_0123456789abcdef0123456789abcdef")
        .run();
    assert_eq!(ran.code, 0, "{}\n{}", ran.out, ran.err);
    assert_eq!(left_in(directory.path()), Vec::<String>::new());
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["broken"], serde_json::json!([]));
    assert_eq!(report["seed"], 7);

    let uploads = figure(&report, "/naive/uploads");
    assert!(figure(&report, "/naive/answered") < uploads, "{report}");
    let ends = ["answered", "gave_up", "failed"].map(|end| figure(&report, &format!("/naive/{end}")));
    assert!((ends.iter().sum::<f64>() - uploads).abs() < 0.5, "{report}");
    for all in ["accepted", "succeeded", "model_calls"] {
        assert_eq!(report["longhaul"][all], report["naive"]["uploads"], "{all}: {report}");
    }
    assert!(figure(&report, "/longhaul/receipt/p95_ms") < figure(&report, "/naive/wait/p95_ms"), "{report}");

    let ladder = report["ladder"].as_array().unwrap();
    let rungs: Vec<&str> = ladder.iter().map(|rung| rung["rung"].as_str().unwrap()).collect();
    assert_eq!(rungs, ["bare", "retry", "timeout", "fallback", "cache"]);
    let availability: Vec<f64> = ladder.iter().map(|rung| figure(rung, "/availability")).collect();
    assert!(availability.is_sorted() && availability[0] < 0.95 && availability[4] >= 0.999, "{availability:?}");
    for rung in ladder {
        let known = ["answered", "failed", "gave_up"].map(|end| figure(rung, &format!("/{end}"))).iter().sum::<f64>();
        assert!((known - figure(rung, "/questions")).abs() < 0.5, "{rung}");
        assert!(figure(rung, "/wait/p50_ms") <= figure(rung, "/wait/p95_ms"), "{rung}");
        assert!(figure(rung, "/cost_usd") > 0.0, "{rung}");
    }
    assert_eq!(ladder[3]["cached"], 0);
    let (calls, cost) = (figure(&ladder[4], "/provider_calls"), figure(&ladder[4], "/cost_usd"));
    assert!(calls < 0.5 * figure(&ladder[3], "/provider_calls"), "{ladder:?}");
    assert!(cost < 0.5 * figure(&ladder[3], "/cost_usd"), "{ladder:?}");

    let documents = &report["documents"];
    let rows = documents["documents"].as_array().unwrap();
    assert_eq!(rows.len(), 6);
    assert!(rows.iter().all(|row| row["status"] == "succeeded"), "{documents}");
    assert!(rows.iter().any(|row| figure(row, "/attempts") > 1.5), "{documents}");
    assert!(figure(documents, "/steps_before") > 0.5 && figure(documents, "/steps_after") > 0.5, "{documents}");
    assert_eq!(documents["steps_twice"], 0);
    assert_eq!(documents["calls_after"], documents["calls_needed_after"], "{documents}");
    assert!(figure(documents, "/calls_again") <= figure(documents, "/calls_cut"), "{documents}");
    assert_eq!(documents["found"]["page"], 4, "{documents}");
    // The story is told beside the figures, without colours where no terminal watches.
    assert!(ran.err.contains("dashboard") && !ran.err.contains('\u{1b}'), "{}", ran.err);
}

#[test]
fn an_interrupted_demonstration_leaves_neither_a_process_nor_a_file() {
    let directory = tempfile::tempdir().unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_longhaul"))
        .env_clear()
        .args(["demo", "--quick", "--no-wait", "--directory"])
        .arg(directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    until(|| left_in(directory.path()).iter().any(|name| directory.path().join(name).join("data/lock").exists()));
    let server = children_of(&demo);
    assert_eq!(server.len(), usize::from(cfg!(target_os = "linux")), "the server: {server:?}");
    let process = i32::try_from(demo.id()).ok().and_then(rustix::process::Pid::from_raw).unwrap();
    rustix::process::kill_process(process, rustix::process::Signal::INT).unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(demo.stderr.as_mut().unwrap(), &mut said).unwrap();
    assert_eq!(demo.wait().unwrap().code(), Some(1));
    assert!(said.contains("interrupted: the server was ended and its data removed"), "{said}");
    assert_eq!(left_in(directory.path()), Vec::<String>::new());
    for process in server {
        assert!(!Path::new(&format!("/proc/{process}")).exists(), "{process} is left");
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ran = Program::new(&["demo", "--quick", "--no-wait", "--listen", &address]).run();
    assert_eq!((ran.code, ran.out.as_str()), (1, ""), "{}", ran.err);
    assert!(ran.err.contains(&address) && ran.err.contains("in use"), "{}", ran.err);
}

#[test]
fn an_address_that_others_reach_is_refused() {
    let ran = Program::new(&["demo", "--listen", "0.0.0.0:0"]).run();
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("loopback only"), "{}", ran.err);
}

#[test]
fn a_place_that_is_not_there_is_named() {
    let ran = Program::new(&["demo", "--directory", "/not/there"]).run();
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("cannot make a directory in /not/there"), "{}", ran.err);
}

/// The processes that a process has started, where the system tells.
fn children_of(parent: &Child) -> Vec<String> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{}/task", parent.id())) else { return Vec::new() };
    // A thread may end meanwhile, and has none then.
    let of_thread = |thread: DirEntry| std::fs::read_to_string(thread.path().join("children")).unwrap_or_default();
    let children: Vec<String> = threads.map(|thread| of_thread(thread.unwrap())).collect();
    children.iter().flat_map(|children| children.split_ascii_whitespace()).map(str::to_owned).collect()
}

#[allow(clippy::disallowed_methods, reason = "waits for another process, which no clock of ours drives")]
fn until(condition: impl Fn() -> bool) {
    for _ in 0..3_000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("it did not come about within 30 s");
}
