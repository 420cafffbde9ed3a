//! The benchmark's driver against a server that behaves, and against ones that do not.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "tests; the shared module is compiled into each")]

mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use support::{Fake, Program, Reply, Seen, json};

/// A way for the server to be wrong about one job in ten.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fault {
    None,
    /// The output is somebody else's.
    WrongOutput,
    /// The history has a gap.
    MissingEvent,
    /// It was run twice.
    SecondAttempt,
}

/// A server that runs echo jobs: the first look finds a job running, the next finds it done.
fn echo_server(fault: Fault) -> Fake {
    let jobs: Arc<Mutex<HashMap<String, (String, u32)>>> = Arc::default();
    let number = AtomicU64::new(0);
    Fake::answering(move |seen| {
        let (method, path) = seen.line.split_once(' ').unwrap();
        let mut jobs = jobs.lock().unwrap();
        if method == "POST" {
            let id = format!("job_{}", number.fetch_add(1, Ordering::Relaxed));
            jobs.insert(id.clone(), (input_of(seen), 0));
            return json(202, &format!(r#"{{"job_id":"{id}","status":"queued"}}"#));
        }
        let mut parts = path.trim_start_matches("/v1/jobs/").split(['/', '?']);
        let id = parts.next().unwrap();
        let faulty = id.ends_with('7');
        match parts.next() {
            Some("events") if faulty && fault == Fault::MissingEvent => {
                json(200, r#"{"data":[{"seq":1,"type":"job.queued"},{"seq":3,"type":"job.succeeded"}]}"#)
            }
            Some("events") => json(
                200,
                r#"{"data":[{"seq":1,"type":"job.queued"},{"seq":2,"type":"job.running"},{"seq":3,"type":"job.succeeded"}]}"#,
            ),
            Some("attempts") if faulty && fault == Fault::SecondAttempt => json(200, r#"{"data":[{},{}]}"#),
            Some("attempts") => json(200, r#"{"data":[{}]}"#),
            _ => {
                let (input, looks) = jobs.get_mut(id).unwrap();
                *looks += 1;
                if *looks == 1 {
                    return json(200, &format!(r#"{{"job_id":"{id}","status":"running","output":null}}"#));
                }
                let wrong = faulty && fault == Fault::WrongOutput;
                let output = if wrong { input.replace("\":\"0", "\":\"9") } else { input.clone() };
                json(
                    200,
                    &format!(
                        r#"{{"job_id":"{id}","status":"succeeded","attempt":1,"input":{input},"output":{output}}}"#
                    ),
                )
            }
        }
    })
}

fn input_of(seen: &Seen) -> String {
    let body: serde_json::Value = serde_json::from_str(&seen.body).unwrap();
    body["input"].to_string()
}

fn bench(server: &Fake) -> Program {
    let target = server.url();
    Program::new(&["bench", "jobs", "--clients", "4", "--jobs", "40", "--json", "--quiet", "--target", &target])
}

#[test]
fn every_job_is_followed_to_its_result_and_looked_at() {
    let server = echo_server(Fault::None);
    let ran = bench(&server).run();
    assert_eq!(ran.code, 0, "{}", ran.err);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&report["jobs"], &report["errors"], &report["checked"]), (&40.into(), &0.into(), &40.into()));
    assert_eq!(report["mismatches"], serde_json::json!([]));
    assert!(report["end_to_end"]["p50_ms"].as_f64() >= report["submit"]["p50_ms"].as_f64());
    // Submissions carry different inputs, so a mix-up would be seen.
    let mut inputs: Vec<String> =
        server.seen().iter().filter(|seen| seen.line.starts_with("POST")).map(input_of).collect();
    inputs.sort();
    inputs.dedup();
    assert_eq!(inputs.len(), 40);
}

#[test]
fn a_history_with_a_gap_is_found_and_the_job_named() {
    let ran = bench(&echo_server(Fault::MissingEvent)).run();
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("wrong: job_7: its events are"), "{}", ran.err);
}

#[test]
fn a_second_attempt_is_found() {
    let ran = bench(&echo_server(Fault::SecondAttempt)).run();
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("job_7: it has 2 attempts"), "{}", ran.err);
}

#[test]
fn an_output_that_is_not_the_input_counts_as_an_error() {
    let ran = bench(&echo_server(Fault::WrongOutput)).run();
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["errors"], 4);
    assert_eq!(report["jobs"], 36);
    assert_eq!(ran.code, 1);
}

#[test]
fn an_overloaded_server_is_given_time() {
    let busy = Reply::Json(503, vec![("retry-after", "0")], "{}".to_owned());
    let server = echo_server(Fault::None).on("POST /v1/jobs", busy.clone()).on("POST /v1/jobs", busy);
    let receipt = json(202, r#"{"job_id":"job_0","status":"queued"}"#);
    let server = server.on("POST /v1/jobs", receipt);
    let target = server.url();
    let arguments =
        ["bench", "jobs", "--clients", "1", "--jobs", "3", "--submit-only", "--json", "--quiet", "--target", &target];
    let ran = Program::new(&arguments).run();
    assert_eq!(ran.code, 0, "{}", ran.err);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&report["jobs"], &report["refused"]), (&3.into(), &2.into()));
}

#[test]
fn a_server_that_refuses_the_first_job_ends_the_run_with_its_words() {
    let server = Fake::new();
    let ran = bench(&server).run();
    assert_eq!(ran.code, 1);
    assert!(ran.err.contains("a submission got 404") && ran.err.contains("no such thing"), "{}", ran.err);
}
