//! What the configuration accepts, refuses, and how it says so.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "tests; the shared module is compiled into each")]

mod support;

use std::net::SocketAddr;
use std::time::Duration;

use longhaul::config::{Environment, FileSource, Flag, Loaded, Place, Sources, load};
use support::Program;

fn loaded(file: &str, variables: &[(&str, &str)], flags: Vec<Flag>) -> Loaded {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("longhaul.toml");
    std::fs::write(&path, file).unwrap();
    load(Sources {
        file: FileSource::Named(path),
        environment: Environment::from_pairs(variables.iter().copied()),
        flags,
    })
}

fn messages(loaded: &Loaded) -> Vec<&str> {
    loaded.problems.iter().map(|problem| problem.message.as_str()).collect()
}

#[test]
fn flags_win_over_variables_over_the_file_over_defaults() {
    let file = "[server]\nlisten = \"127.0.0.1:1\"\ndrain = \"5s\"\n[store]\nretention = \"1d\"\n";
    let variables = [("LONGHAUL__SERVER__LISTEN", "127.0.0.1:2"), ("LONGHAUL__STORE__RETENTION", "2d")];
    let flag = Flag { flag: "--listen", section: "server", key: "listen", value: "127.0.0.1:3".to_owned() };
    let loaded = loaded(file, &variables, vec![flag]);
    assert_eq!(messages(&loaded), Vec::<&str>::new());
    let settings = loaded.settings;
    assert_eq!(settings.server.listen, "127.0.0.1:3".parse::<SocketAddr>().unwrap());
    assert_eq!(settings.store.retention, Duration::from_secs(2 * 86_400));
    assert_eq!(settings.server.drain, Duration::from_secs(5));
    assert_eq!(settings.store.tombstones, Duration::from_secs(30 * 86_400));
    let place = |key: &str| loaded.effective.iter().find(|line| line.key == key).unwrap().place.clone();
    assert_eq!(place("server.listen"), Place::Flag { name: "--listen".to_owned() });
    assert_eq!(place("store.retention"), Place::Env { name: "LONGHAUL__STORE__RETENTION".to_owned() });
    assert!(matches!(place("server.drain"), Place::File(place) if place.line == 3));
    assert_eq!(place("store.tombstones"), Place::Default);
}

#[test]
fn every_key_has_a_variable_that_sets_it() {
    for section in longhaul::config::sections() {
        for key in &section.keys {
            let own = section.named.then_some(if section.name == "kinds" { "echo" } else { "default" });
            let variable = longhaul::config::variable(section.name, own, key.path);
            let loaded = loaded("", &[(variable.as_str(), "\u{1}")], Vec::new());
            let is_refused = loaded.problems.iter().any(|problem| {
                problem.message.contains("is a secret") || problem.message.contains("can be set in the file only")
            });
            assert_eq!(is_refused, !key.has_a_variable, "{variable}");
            assert!(
                loaded.problems.iter().all(|problem| !problem.message.contains("overrides nothing")),
                "{variable} is not known"
            );
            let listed = match own {
                Some(own) => format!("{}.{own}.{}", section.name, key.path),
                None => format!("{}.{}", section.name, key.path),
            };
            assert!(loaded.effective.iter().any(|line| line.key == listed), "{listed} is not listed");
        }
    }
}

#[test]
fn what_is_printed_as_effective_can_be_written_into_a_file() {
    let first = loaded(
        "[kinds.echo]\nqueue = \"a\"\ntimeout = \"1h30m\"\n[server]\ntrusted_proxies = [\"10.0.0.0/8\"]\n",
        &[],
        Vec::new(),
    );
    let text: String = first
        .effective
        .iter()
        .filter(|line| !line.value.is_empty())
        .map(|line| format!("{} = {}\n", line.key, line.value))
        .collect();
    let second = loaded(&text, &[], Vec::new());
    assert_eq!(messages(&second), Vec::<&str>::new());
    assert_eq!(first.settings, second.settings);
}

#[test]
fn names_in_variables_find_the_names_of_the_file() {
    let loaded = loaded(
        "[queues.my-queue]\nconcurrency = 2\n",
        &[
            ("LONGHAUL__KINDS__LLM_CHAT__QUEUE", "q"),
            ("LONGHAUL__QUEUES__MY_QUEUE__CONCURRENCY", "7"),
            ("LONGHAUL__QUEUES__OCR__CONCURRENCY", "3"),
        ],
        Vec::new(),
    );
    assert_eq!(messages(&loaded), Vec::<&str>::new());
    assert_eq!(loaded.settings.kinds["llm.chat"].queue.as_ref().unwrap().as_str(), "q");
    assert_eq!(loaded.settings.queues["my-queue"].concurrency.get(), 7);
    assert_eq!(loaded.settings.queues["ocr"].concurrency.get(), 3);
    assert_eq!(loaded.settings.queues["default"].concurrency.get(), 256);
}

#[test]
fn a_losing_layer_is_checked_all_the_same() {
    let loaded = loaded("[store]\nretention = \"soon\"\n", &[("LONGHAUL__STORE__RETENTION", "2d")], Vec::new());
    assert_eq!(loaded.problems.len(), 1);
    assert_eq!(loaded.settings.store.retention, Duration::from_secs(2 * 86_400));
}

#[test]
fn values_that_do_not_fit_each_other_are_refused() {
    let loaded = loaded(
        "[server]\ncors.origins = [\"*\", \"http://a\"]\ntls.cert = \"c.pem\"\n[limits]\nheader_bytes = 10\nfirst_byte = \"0s\"\n",
        &[],
        Vec::new(),
    );
    assert_eq!(
        messages(&loaded),
        [
            "`server.cors.origins` has \"*\", which allows every origin, beside others; keep one of the two",
            "`server.tls.cert` is set and `server.tls.key` is not; HTTPS needs both",
            "`limits.header_bytes` must be at least 8KiB",
            "`limits.first_byte` must be longer than zero",
        ]
    );
}

#[test]
fn the_bootstrap_key_is_read_and_never_shown() {
    let loaded = loaded("", &[("LONGHAUL_BOOTSTRAP_KEY", "lh_a_secret")], Vec::new());
    assert_eq!(loaded.settings.bootstrap_key.as_ref().unwrap().expose(), "lh_a_secret");
    assert!(!format!("{loaded:?}").contains("lh_a_secret"));
}

const BROKEN: &str = r#"[server]
listn = "127.0.0.1:8080"
listen = 8080
cors = "everyone"

[store]
retention = "7 days"
url = "postgres://me:hunter2@db/jobs"

[models.smart]
preset = "standrd"

[[models.smart.targets]]
provider = "opanai"
model = "gpt-4o"

[[models.smart.targets]]
provider = "openai"
model = "gpt-4o-mini"
retries = 3

[providers.openai]
api_key = "sk-secret"

[queues]
concurrency = 4

[queues.ocr]
concurrency = 0

[stroe]
"#;

#[test]
fn every_problem_is_shown_at_once_at_its_place() {
    let ran = Program::new(&["serve", "--config", "broken.toml"])
        .file("broken.toml", BROKEN)
        .env("LONGHAUL__LIMITS__JSN_BODY", "1MiB")
        .run();
    insta::assert_snapshot!(ran.whole(None));
}

#[test]
fn a_file_that_is_not_toml_is_shown_where_it_breaks() {
    let ran = Program::new(&["serve", "--config", "f.toml"]).file("f.toml", "[server]\nlisten = \n").run();
    insta::assert_snapshot!(ran.whole(None));
}

#[test]
fn config_check_shows_each_value_with_its_origin() {
    let ran = Program::new(&["config", "check"])
        .file("longhaul.toml", "[store]\nretention = \"14d\"\n\n[kinds.\"document.ingest\"]\nqueue = \"ocr\"\n")
        .env("LONGHAUL__TELEMETRY__LOG", "json")
        .run();
    insta::assert_snapshot!(ran.whole(None));
}

#[test]
fn config_check_as_json_is_one_object_and_ends_with_2_when_something_is_wrong() {
    let ran =
        Program::new(&["config", "check", "--json", "--config", "f.toml"]).file("f.toml", "[store]\nx = 1\n").run();
    assert_eq!(ran.code, 2);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["valid"], false);
    assert_eq!(report["problems"][0]["place"]["line"], 2);
    let retention =
        report["settings"].as_array().unwrap().iter().find(|line| line["key"] == "store.retention").unwrap();
    assert_eq!(retention["value"], "7d");
    assert_eq!(retention["source"]["kind"], "default");
}

#[test]
fn a_named_file_that_is_missing_is_an_error() {
    let ran = Program::new(&["config", "check", "--config", "nowhere.toml"]).run();
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("nowhere.toml") && ran.err.contains("cannot be read"), "{}", ran.err);
}

#[test]
fn a_secret_that_stands_in_a_wrong_place_is_not_shown() {
    for file in [
        "[providers.openai]\napi_kye = \"sk-live-1\"\n",
        "[providers.openai]\napi_key = sk-live-1\n",
        "[providers.openai]\nprotocol = \"openai\"\napi_key = \"sk-live-1\n",
        "[providers]\napi_key = \"sk-live-1\"\n",
        "[providers]\nopenai = { api_key = \"sk-live-1\", protocol = \"opnai\" }\n",
        "api_key = \"sk-live-1\"\n",
        "provider = { openai = { api_key = \"sk-live-1\" } }\n",
        "providers.openai.api_key = sk-live-1\n",
        "[tools.search]\nurl = \"http://127.0.0.1:1\"\nheader = { authorization = \"sk-live-1\" }\n",
        "[store]\nurI = \"postgres://me:sk-live-1@db/x\"\n",
        "[store]\nurl = postgres://me:sk-live-1@db/x\n",
    ] {
        for arguments in [&["config", "check"][..], &["config", "check", "--json"]] {
            let ran = Program::new(arguments).file("longhaul.toml", file).run();
            assert_eq!(ran.code, 2, "{file}");
            assert!(!ran.whole(None).contains("sk-live-1"), "{}", ran.whole(None));
            assert!(ran.whole(None).contains("longhaul.toml"), "its place is told: {}", ran.whole(None));
        }
    }
}

#[test]
fn what_the_next_start_would_refuse_is_refused_by_the_check() {
    let file = "[server.tls]\ncert = \"no.pem\"\nkey = \"no.key\"\n[models.smart]\n\
                targets = [{ provider = \"sim\", model = \"m\" }]\n[kinds.analysis]\nmodel = \"smrt\"\n\
                [kinds.agent]\nmodel = \"smart\"\n[kinds.proces]\ntimeout = \"1m\"\n";
    let ran = Program::new(&["config", "check", "--json"]).file("longhaul.toml", file).run();
    assert_eq!(ran.code, 2);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    let problems = report["problems"].as_array().unwrap().iter();
    let told: Vec<String> = problems
        .map(|problem| {
            let text = |key: &str| problem[key].as_str().unwrap_or_default().to_owned();
            format!("{} {} {}", problem["place"]["line"], text("message"), text("help"))
        })
        .collect();
    assert_eq!(told.len(), 3, "{told:#?}");
    assert_eq!(
        told[..2],
        [
            "7 `kinds.analysis.model` names the model `smrt`, which is not configured did you mean `smart`?",
            "11 [kinds.proces] is about a kind that is not built in; a worker sets up its own kinds did you mean `process`?",
        ]
    );
    assert!(told[2].starts_with("2 certificate no.pem: "), "{told:#?}");
}
