//! Providers and models in the configuration: what is understood, what is refused, what is shown.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "tests; the shared module is compiled into each")]

mod support;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use longhaul::config::{Environment, FileSource, Loaded, Sources, load};
use longhaul_gateway::settings::{Choose, KeyOf, OnInterrupt, Trip, Wire};
use support::Program;

fn loaded(file: &str, variables: &[(&str, &str)]) -> Loaded {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("longhaul.toml");
    std::fs::write(&path, file).unwrap();
    let environment = Environment::from_pairs(variables.iter().copied());
    load(Sources { file: FileSource::Named(path), environment, flags: Vec::new() })
}

fn messages(loaded: &Loaded) -> Vec<String> {
    loaded.problems.iter().map(|problem| format!("{}: {}", problem.place, problem.message)).collect()
}

const WHOLE: &str = r#"
[providers.openai]
protocol = "openai"
base_url = "https://api.openai.com/v1"
api_key = { env = "OPENAI_API_KEY" }
max_connections = 64
headers = { "openai-organization" = "org-1" }

[models.smart]
preset = "standard"
timeout = "90s"
cache = { ttl = "1h", max_entries = 5_000, key = "normalised", stale_if_error = "24h" }
choose = "first"

[[models.smart.targets]]
name = "big"
provider = "openai"
model = "gpt-4o"
attempt_timeout = "30s"
retry = { max_retries = 3, initial = "1s", max = "10s", jitter = "full" }
breaker = { rate = 0.5, window = "30s", min_calls = 20 }
limit = { rpm = 600, tpm = 90_000, concurrency = 64 }
price = { input_per_mtok = 2.5, output_per_mtok = 10.0 }

[[models.smart.targets]]
provider = "openai"
model = "gpt-4o-mini"
attempt_timeout = "10s"
retry = { max_retries = 2 }

[[models.smart.targets]]
canned = [ { contains = ["help"], reply = "I'm here to help!" }, { contains = ["hours", "open"], reply = "9am-5pm." } ]
otherwise = "Please try again in a few minutes."

[models.smart.background]
on_interrupt = "continue"
"#;

const KEY: [(&str, &str); 1] = [("OPENAI_API_KEY", "sk-hunter2")];

#[test]
fn a_whole_model_is_understood() {
    let loaded = loaded(WHOLE, &KEY);
    assert_eq!(messages(&loaded), Vec::<String>::new());
    let gateway = &loaded.settings.gateway;
    let provider = &gateway.providers["openai"];
    assert_eq!((provider.wire, provider.pool.max_connections), (Wire::OpenAi, 64));
    assert_eq!(provider.access.api_key.as_ref().unwrap().expose(), "sk-hunter2");
    assert_eq!(provider.access.headers[0].0, "openai-organization");
    let model = &gateway.models["smart"];
    assert_eq!(
        (model.timeout, model.choose, model.on_interrupt),
        (Duration::from_secs(90), Choose::First, OnInterrupt::Continue)
    );
    let cache = model.cache.as_ref().unwrap();
    assert_eq!(
        (cache.max_entries, cache.key, cache.stale_if_error),
        (5_000, KeyOf::Normalised, Duration::from_secs(86_400))
    );
    let [big, small] = &model.targets[..] else { panic!() };
    assert_eq!((big.name.as_str(), big.rank, small.name.as_str(), small.rank), ("big", 0, "gpt-4o-mini", 1));
    assert_eq!(big.breaker.trip, Trip::Rate { rate: 0.5, window: Duration::from_secs(30), min_calls: 20 });
    assert_eq!((big.limit.rpm, big.limit.tpm, big.limit.concurrency), (Some(600), Some(90_000), Some(64)));
    assert_eq!((small.attempt_timeout, small.retry.max_retries), (Duration::from_secs(10), 2));
    assert_eq!(small.breaker.trip, Trip::Consecutive(5));
    assert_eq!(model.canned.as_ref().unwrap().reply("when are you open?"), Some("9am-5pm."));
    assert!(!format!("{loaded:?}").contains("hunter2"), "a key is never shown");
}

#[test]
fn three_lines_make_a_useful_model() {
    let file = "[models.smart]\npreset = \"claude\"\ntargets = [{ provider = \"sim\", model = \"sim-small\" }]\n";
    let loaded = loaded(file, &[("LONGHAUL__MODELS__SMART__TIMEOUT", "1m")]);
    assert_eq!(messages(&loaded), Vec::<String>::new());
    let model = &loaded.settings.gateway.models["smart"];
    assert_eq!((model.timeout, model.targets[0].attempt_timeout), (Duration::from_secs(60), Duration::from_secs(45)));
    assert_eq!((model.targets[0].retry.max_retries, model.cache.unwrap().ttl), (3, Duration::from_secs(3_600)));
}

#[test]
fn without_a_file_there_are_the_built_in_and_the_simulated_model() {
    let loaded = loaded("", &[]);
    let names: Vec<&String> = loaded.settings.gateway.models.keys().collect();
    assert_eq!(names, ["local", "sim"]);
    assert!(loaded.settings.gateway.models["sim"].cache.is_none());
}

#[test]
fn what_does_not_fit_together_is_refused_at_its_place() {
    let file = r#"
[providers.mine]
base_url = "http://127.0.0.1:1/v1"
[providers.ok]
protocol = "openai"
base_url = "http://127.0.0.1:1/v1"
[providers.local]
base_url = "http://127.0.0.1:1/v1"
[models.local]
targets = [{ provider = "ok", model = "m" }]
[models.empty]
timeout = "10s"
[models.a]
cache = { max_entries = 5 }
targets = [
    { provider = "okk", model = "m" },
    { provider = "ok" },
    { otherwise = "hm", provider = "ok" },
    { provider = "ok", model = "m", breaker = { failures = 1, rate = 0.5 } },
]
"#;
    let loaded = loaded(file, &[]);
    let problems: Vec<String> = loaded
        .problems
        .iter()
        .map(|problem| format!("{} {}", problem.place.to_string().rsplit(':').next().unwrap(), problem.message))
        .collect();
    assert_eq!(
        problems,
        [
            "3 [providers.mine] needs a `protocol`; most providers speak `openai`",
            "8 [providers.local] is `local`, which is called over no network: it has no `base_url` and no `api_key`",
            "10 [models.local] cannot be set: that model is built in",
            "12 [models.empty] has no targets",
            "14 [models.a] says how to cache and not for how long, so nothing is cached",
            "16 target 1 of [models.a] names the provider `okk`, which is not configured; did you mean `ok`?",
            "17 target 2 of [models.a] names no `model` for the provider `ok` to be asked for",
            "18 target 3 of [models.a] has canned replies and a provider; it is one or the other",
            "18 target 3 of [models.a] has canned replies, which never fail: nothing after it is ever asked",
            "19 target 4 of [models.a] has `breaker.failures` and `breaker.rate`; keep one of the two",
        ]
    );
}

#[test]
fn a_cache_without_a_time_is_no_silent_nothing() {
    for key in [
        "stale_if_error = \"24h\"",
        "key = \"normalised\"",
        "stale_while_revalidate = \"1m\"",
        "max_bytes = \"1MiB\"",
        "max_entries = 5",
        "degraded_ttl = \"1m\"",
    ] {
        let targets = "targets = [{ provider = \"sim\", model = \"m\" }]";
        let told = messages(&loaded(&format!("[models.\"a/b\"]\n{targets}\ncache = {{ {key} }}\n"), &[]));
        assert_eq!(told.len(), 1, "{key}: {told:?}");
        assert!(told[0].contains("longhaul.toml:3: ") && told[0].contains("nothing is cached"), "{key}: {told:?}");
        for wanted in ["cache.ttl = \"0s\"", "cache.ttl = \"1h\"", "cache.scenario = \"faq\"", "preset = \"standard\""]
        {
            let file = format!("[models.a]\n{targets}\n{wanted}\ncache.{key}\n");
            assert_eq!(messages(&loaded(&file, &[])), Vec::<String>::new(), "{file}");
        }
    }
}

#[test]
fn equals_share_a_rank_when_they_are_chosen_among_and_names_are_unique() {
    let file = r#"
[providers.a]
protocol = "openai"
base_url = "http://127.0.0.1:1/v1"
[models."meta/llama3:8b"]
choose = "weighted"
targets = [{ provider = "a", model = "m", weight = 3 }, { provider = "sim", model = "m" }, { provider = "a", model = "m", rank = 1 }]
"#;
    let loaded = loaded(file, &[]);
    assert_eq!(messages(&loaded), Vec::<String>::new());
    let targets = &loaded.settings.gateway.models["meta/llama3:8b"].targets;
    let told: Vec<(&str, u32, u32)> =
        targets.iter().map(|target| (target.name.as_str(), target.rank, target.weight)).collect();
    assert_eq!(told, [("m", 0, 3), ("m@sim", 0, 1), ("m@a", 1, 1)]);
}

#[test]
fn config_check_explains_each_stack_and_its_worst_case() {
    let ran = Program::new(&["config", "check"]).file("longhaul.toml", WHOLE).env("OPENAI_API_KEY", "sk-hunter2").run();
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert!(!ran.out.contains("hunter2"));
    let stacks = &ran.out[ran.out.find("\nmodel ").unwrap()..];
    insta::assert_snapshot!(stacks);
}

#[test]
fn config_check_warns_of_a_call_that_ends_before_an_attempt_may() {
    let file = |timeout| {
        format!(
            "[providers.s]\nprotocol = \"sim\"\n[models.smart]\ntimeout = \"{timeout}\"\n[[models.smart.targets]]\nprovider = \"s\"\nmodel = \"m\"\nattempt_timeout = \"3s\"\n"
        )
    };
    let check = |timeout| Program::new(&["config", "check"]).file("longhaul.toml", &file(timeout)).run();
    for (timeout, warns) in [("2s", true), ("3s", true), ("4s", false)] {
        let ran = check(timeout);
        let warning = format!("warning: `timeout` ({timeout}) ends a call before one attempt at m may (3s)");
        assert_eq!((ran.code, ran.out.contains(&warning)), (0, warns), "{}{}", ran.out, ran.err);
        assert_eq!(ran.out.contains("warning"), warns);
    }
}

#[test]
fn models_check_asks_every_target() {
    let file = r#"
[providers.quick]
protocol = "sim"
sim = "quick"
[providers.gone]
protocol = "openai"
base_url = "http://127.0.0.1:1/v1"
[models.smart]
targets = [{ provider = "quick", model = "sim-small" }, { provider = "gone", model = "m" }]
"#;
    let ran = Program::new(&["models", "check", "smart", "--json"]).file("longhaul.toml", file).run();
    assert_eq!(ran.code, 1, "{}", ran.err);
    let lines: Vec<serde_json::Value> = ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines[0]["said"].as_str().unwrap().starts_with("[simulated"), "{lines:?}");
    assert_eq!((&lines[0]["error"], &lines[1]["code"]), (&serde_json::Value::Null, &"provider_connect_failed".into()));
    let ran = Program::new(&["models", "check", "smrt"]).file("longhaul.toml", file).run();
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("did you mean `smart`?"), "{}", ran.err);
}

/// Waits for lines of the log, not for time.
#[test]
fn a_changed_file_and_a_hangup_put_new_models_in_force() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("longhaul.toml");
    let write = |text: &str| {
        let new = directory.path().join("new.toml");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &file).unwrap();
    };
    let model = |name: &str| format!("[models.{name}]\ntargets = [{{ provider = \"sim\", model = \"m\" }}]\n");
    write(&model("one"));
    let mut server = Command::new(env!("CARGO_BIN_EXE_longhaul"))
        .args(["serve", "--listen", "127.0.0.1:0", "--config"])
        .arg(&file)
        .current_dir(directory.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(server.stdout.take().unwrap()).lines();
    assert!(out.next().unwrap().unwrap().starts_with("listening on"));
    let mut log = BufReader::new(server.stderr.take().unwrap()).lines();
    let mut wait_for = |words: &str| loop {
        let line = log.next().expect("the log ended").unwrap();
        if line.contains(words) {
            return line;
        }
    };
    write(&format!("{}{}", model("one"), model("second")));
    let line = wait_for("models reloaded");
    assert!(line.contains("second") && !line.contains("wait for a restart"), "{line}");
    write("[models.one]\ntargets = [{ provider = \"nobody\", model = \"m\" }]\n");
    let line = wait_for("not reloaded");
    assert!(line.contains("`nobody`, which is not configured"), "{line}");
    let pid = rustix::process::Pid::from_child(&server);
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    wait_for("not reloaded");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    wait_for("stopped");
    assert!(server.wait().unwrap().success());
}
