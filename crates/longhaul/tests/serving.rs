//! A server that starts, reads its configuration again and stops, as its operator sees it.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "tests; the shared module is compiled into each")]

mod support;

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use rustix::process::Signal;
use support::{Fake, Ran, Reply, Served};

const BOOTSTRAP: &str = "lh_first_Zm9yLXRlc3RzLW9ubHktMzItYnl0ZXMtb2Ytc2VjcmV0";
const ANOTHER: &str = "lh_first_YW5vdGhlci1zZWNyZXQtb2YtMzItYnl0ZXMtYW5kLW1vcmU";

fn model(name: &str) -> String {
    format!("[models.{name}]\ntargets = [{{ provider = \"sim\", model = \"m\" }}]\n")
}

/// What a line of the log says was reloaded, without its quotes.
fn reloaded(line: &str) -> String {
    line.split("models reloaded ").nth(1).unwrap_or_default().replace(['"', '\\'], "")
}

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

#[test]
fn a_bootstrap_key_that_was_revoked_stays_so_and_stops_no_start() {
    let directory = tempfile::tempdir().unwrap();
    let variables = [("LONGHAUL_BOOTSTRAP_KEY", BOOTSTRAP)];
    let server = Served::start(directory.path(), &[], &variables);
    let made = server.ask(BOOTSTRAP, &["keys", "create", "--name", "ops", "--scope", "admin"]);
    let own = made.out.trim().to_owned();
    let revoked = server.ask(&own, &["keys", "revoke", "lh_first"]);
    assert_eq!(revoked.code, 0, "{}", revoked.err);
    server.stop();
    let mut server = Served::start(directory.path(), &[], &variables);
    server.wait_for("the bootstrap key was revoked");
    assert_eq!(server.ask(BOOTSTRAP, &["keys", "list"]).code, 4);
    assert_eq!(server.ask(&own, &["keys", "list"]).code, 0);
    server.stop();
    let ran = refused(directory.path(), "127.0.0.1:0", &[("LONGHAUL_BOOTSTRAP_KEY", ANOTHER)]);
    assert!(ran.code != 0 && ran.err.contains("another secret"), "{}", ran.err);
}

#[test]
fn a_file_that_lost_its_models_is_taken_when_somebody_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("longhaul.toml");
    std::fs::write(&file, model("one")).unwrap();
    let mut server = Served::start(directory.path(), &[], &[]);
    // What `command > longhaul.toml` does before the command has anything to say.
    std::fs::write(&file, "").unwrap();
    let line = server.wait_for("configuration not reloaded");
    assert!(line.contains("names no model any more"), "{line}");
    std::fs::write(&file, format!("{}{}", model("one"), model("second"))).unwrap();
    let line = server.wait_for("models reloaded");
    assert_eq!(reloaded(&line), "added=[second] removed=[] changed=[]");
    std::fs::write(&file, "").unwrap();
    server.signal(Signal::HUP);
    let line = server.wait_for("models reloaded");
    assert_eq!(reloaded(&line), "added=[] removed=[one, second] changed=[]");
}

#[test]
fn a_discovered_file_that_is_gone_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("longhaul.toml");
    std::fs::write(&file, model("one")).unwrap();
    let mut server = Served::start(directory.path(), &[], &[]);
    std::fs::remove_file(&file).unwrap();
    server.signal(Signal::HUP);
    let line = server.wait_for("configuration not reloaded");
    assert!(line.contains("cannot be read"), "{line}");
    // The model is still there: another one is added to it.
    std::fs::write(&file, format!("{}{}", model("one"), model("second"))).unwrap();
    server.signal(Signal::HUP);
    let line = server.wait_for("models reloaded");
    assert_eq!(reloaded(&line), "added=[second] removed=[] changed=[]");
}

#[test]
fn a_reload_keeps_the_models_that_kinds_ask() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("longhaul.toml");
    let kind = "[kinds.analysis]\nmodel = \"smart\"\n";
    std::fs::write(&file, format!("{}{}{kind}", model("smart"), model("other"))).unwrap();
    let mut server = Served::start(directory.path(), &[], &[]);
    std::fs::write(&file, format!("{}{kind}", model("other"))).unwrap();
    server.signal(Signal::HUP);
    let line = server.wait_for("configuration not reloaded");
    assert!(line.contains("`kinds.analysis.model` names the model `smart`, which is not configured"), "{line}");
    // The file would do for a start; the kind that runs has been told another model.
    std::fs::write(&file, model("other")).unwrap();
    server.signal(Signal::HUP);
    let line = server.wait_for("configuration not reloaded");
    assert!(line.contains("`smart`, which the kind `analysis` asks until the next start"), "{line}");
    let ran = server.ask("", &["submit", "analysis", "--input", r#"{"text": "a", "analyses": ["summary"]}"#]);
    assert_eq!(ran.code, 0, "{}", ran.err);
}

#[test]
fn nobody_else_on_the_machine_can_look_into_the_data_directory() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let mut server = Served::start(directory.path(), &["--data-dir", "data"], &[]);
    let long = format!("{{\"text\": \"{}\"}}", "a".repeat(100_000));
    let ran = server.ask("", &["submit", "echo", "--input", &long, "--wait"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    let mut files = 0;
    let mut folders = vec![data.clone()];
    while let Some(folder) = folders.pop() {
        assert_eq!(mode(&folder), 0o700, "{}", folder.display());
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                assert_eq!(mode(&path), 0o600, "{}", path.display());
                files += 1;
            }
        }
    }
    assert!(files >= 4, "database, log of it, lock, blob");
    let (_, log) = server.stop();
    assert!(!log.contains("can look into the data directory"), "{log}");
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o755)).unwrap();
    server = Served::start(directory.path(), &["--data-dir", "data"], &[]);
    let line = server.wait_for("can look into the data directory");
    assert!(line.contains("mode=755"), "{line}");
}

/// An upstream that refuses the key, and repeats it.
fn refusing() -> Fake {
    Fake::answering(|seen| {
        let key = seen.header("authorization").unwrap_or_default();
        let body =
            format!(r#"{{"error": {{"message": "Incorrect API key provided: {key}", "code": "invalid_api_key"}}}}"#);
        Reply::Json(401, vec![("content-type", "application/json")], body)
    })
}

#[test]
fn what_a_provider_says_of_the_account_is_for_the_operator() {
    let upstream = refusing();
    let directory = tempfile::tempdir().unwrap();
    let config = format!(
        "[providers.up]\nprotocol = \"openai\"\nbase_url = \"{}/v1\"\napi_key = {{ env = \"UP_KEY\" }}\n\
         [models.m]\ntargets = [{{ provider = \"up\", model = \"x\" }}]\n",
        upstream.url()
    );
    std::fs::write(directory.path().join("longhaul.toml"), config).unwrap();
    let variables = [("UP_KEY", "sk-live-hunter2")];
    let mut server = Served::start(directory.path(), &[], &variables);
    let input = r#"{"model": "m", "messages": [{"role": "user", "content": "hi"}]}"#;
    let ran = server.ask("", &["submit", "llm.chat", "--input", input, "--max-attempts", "1", "--wait"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    assert!(ran.err.contains("does not serve this gateway's account"), "{}", ran.err);
    assert!(!ran.whole(None).contains("hunter2"), "{}", ran.whole(None));
    let jobs = server.ask("", &["jobs", "list", "--all", "--json"]).out;
    let job: serde_json::Value = serde_json::from_str(jobs.lines().next().unwrap()).unwrap();
    let id = job["job_id"].as_str().unwrap();
    for what in ["show", "events", "attempts", "explain"] {
        let told = server.ask("", &["jobs", what, id, "--json"]).whole(None);
        assert!(!told.contains("hunter2"), "{what}: {told}");
    }
    let line = server.wait_for("refuses this installation's account");
    assert!(line.contains("WARN") && line.contains("provider_authentication") && line.contains("401"), "{line}");
    let line = server.wait_for("a job failed");
    assert!(line.contains("INFO") && line.contains(id) && line.contains("provider_authentication"), "{line}");
    let (_, log) = server.stop();
    assert!(!log.contains("hunter2"), "{log}");
    let checked = support::Program::new(&["models", "check", "m", "--config"])
        .argument(&directory.path().join("longhaul.toml"))
        .env("UP_KEY", "sk-live-hunter2")
        .run();
    assert_eq!(checked.code, 1);
    assert!(checked.out.contains("Incorrect API key provided: Bearer ***"), "{}", checked.out);
    assert!(!checked.whole(None).contains("hunter2"));
}

#[test]
fn a_breaker_that_opens_is_logged_and_so_is_what_got_no_answer() {
    let upstream = Fake::answering(|_| support::json(500, r#"{"error": {"message": "down"}}"#));
    let directory = tempfile::tempdir().unwrap();
    let config = format!(
        "[providers.up]\nprotocol = \"openai\"\nbase_url = \"{}/v1\"\n[models.m]\ntargets = [{{ provider = \"up\", \
         model = \"x\", breaker = {{ failures = 1 }}, retry = {{ max_retries = 0 }} }}]\n",
        upstream.url()
    );
    std::fs::write(directory.path().join("longhaul.toml"), config).unwrap();
    let mut server = Served::start(directory.path(), &[], &[]);
    let input = r#"{"model": "m", "messages": [{"role": "user", "content": "hi"}]}"#;
    let ran = server.ask("", &["submit", "llm.chat", "--input", input, "--max-attempts", "1", "--wait"]);
    assert_eq!(ran.code, 1, "{}", ran.err);
    let line = server.wait_for("a breaker opened");
    assert!(line.contains("WARN") && line.contains("m/x"), "{line}");
    let line = server.wait_for("a call of a model got no answer");
    assert!(line.contains("provider_server_error"), "{line}");
}
