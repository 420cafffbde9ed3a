//! `/metrics`: what it counts, who sees it, and that rules and boards ask for nothing that it does not tell.

use crate::keys::{client_for, guarded_at};
use crate::stage::{Stage, echo, ended, problem, submit, succeeded};
use longhaul_testkit::client::Client;
use longhaul_testkit::collector::{Collector, Manner};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The page, as samples by name and labels.
struct Page {
    text: String,
    samples: BTreeMap<String, f64>,
}

impl Page {
    async fn of(client: &Client) -> Self {
        let reply = client.get("/metrics").send().await.unwrap();
        assert_eq!(reply.status, 200, "{reply}");
        assert_eq!(reply.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
        let text = reply.text();
        let mut samples = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line:?}"));
            let value = value.parse().unwrap_or_else(|_| panic!("no number: {line:?}"));
            assert!(samples.insert(name.to_owned(), value).is_none(), "told twice: {name}");
        }
        Self { text, samples }
    }

    fn get(&self, sample: &str) -> f64 {
        *self.samples.get(sample).unwrap_or_else(|| panic!("no {sample} in\n{}", self.text))
    }

    /// The names of all families, with those of their parts.
    fn names(&self) -> BTreeSet<String> {
        let mut names = BTreeSet::new();
        for line in self.text.lines() {
            if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
                names.insert(name.to_owned());
                if kind == "histogram" {
                    names.extend(["_bucket", "_sum", "_count"].map(|part| format!("{name}{part}")));
                }
            }
        }
        names
    }
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A model whose provider refuses its first call, with a cache and a price.
fn configuration(collector: &Collector) -> String {
    format!(
        "[providers.shaky]\nprotocol = \"openai\"\nbase_url = \"{}\"\n\
         [models.smart]\ncache = {{ ttl = \"1h\", max_entries = 100, key = \"exact\" }}\n\
         [[models.smart.targets]]\nname = \"only\"\nprovider = \"shaky\"\nmodel = \"m-1\"\n\
         retry = {{ max_retries = 2, initial = \"10ms\", max = \"20ms\" }}\n\
         price = {{ input_per_mtok = 1_000_000, output_per_mtok = 2_000_000 }}\n",
        collector.provider_url(1)
    )
}

async fn chat(client: &Client, words: &str) {
    let body = json!({"model": "smart", "messages": [{"role": "user", "content": words}]});
    let reply = client.post("/v1/chat/completions").json(&body).send().await.unwrap();
    assert_eq!(reply.status, 200, "{reply}");
}

#[tokio::test]
async fn requests_jobs_and_calls_are_each_counted_once_and_the_page_is_well_formed() {
    let collector = Collector::start(Manner::Willing).await.unwrap();
    let stage = Stage::with(|launch| launch.config(&configuration(&collector)).unwrap()).await;
    let client = stage.client();
    for number in 0..3 {
        succeeded(&client, &submit(&client, echo(json!(number))).await).await;
    }
    let failing =
        json!({"kind": "llm.chat", "input": {"model": "nobody", "messages": [{"role": "user", "content": "?"}]}});
    assert_eq!(ended(&client, &submit(&client, failing).await).await["status"], "failed");
    // The provider refuses the first exchange; the second call is answered from the cache.
    chat(&client, "hello").await;
    chat(&client, "hello").await;
    assert_eq!(client.get("/v1/jobs/job_none").send().await.unwrap().status, 404);
    assert_eq!(client.get("/nowhere").send().await.unwrap().status, 404);

    let page = Page::of(&client).await;
    let of = |name: &str, labels: &str| page.get(&format!("{name}{{{labels}}}"));
    assert_eq!(of("longhaul_jobs_submitted_total", r#"kind="echo""#), 3.0);
    assert_eq!(of("longhaul_jobs_ended_total", r#"kind="echo",status="succeeded""#), 3.0);
    assert_eq!(of("longhaul_jobs_ended_total", r#"kind="llm.chat",status="failed""#), 1.0);
    assert_eq!(of("longhaul_job_attempts_ended_total", r#"kind="echo",ending="succeeded""#), 3.0);
    assert_eq!(of("longhaul_job_run_seconds_count", r#"kind="echo""#), 3.0);
    assert_eq!(of("longhaul_queue_attempts_ended_total", r#"queue="default""#), 4.0);
    assert_eq!(of("longhaul_queue_jobs", r#"queue="default",state="queued""#), 0.0);
    assert_eq!(of("longhaul_queue_oldest_ready_seconds", r#"queue="default""#), 0.0);
    assert!(page.get("longhaul_store_commit_seconds_count") >= 4.0);
    let posts = r#"http_request_method="POST",http_route="/v1/jobs",status_class="2xx""#;
    assert_eq!(of("http_server_request_duration_seconds_count", posts), 4.0);
    let unknown = r#"http_request_method="GET",http_route="(none)",status_class="4xx""#;
    assert_eq!(of("http_server_request_duration_seconds_count", unknown), 1.0);

    assert_eq!(of("longhaul_model_calls_total", r#"model="smart",outcome="answered""#), 2.0);
    assert_eq!(of("longhaul_model_cache_total", r#"model="smart",result="hit""#), 1.0);
    assert_eq!(of("longhaul_model_cache_total", r#"model="smart",result="miss""#), 1.0);
    assert_eq!(of("longhaul_model_retries_total", r#"model="smart""#), 1.0);
    // 4 tokens at a dollar, 5 at two.
    assert_eq!(of("longhaul_model_cost_usd_total", r#"model="smart""#), 14.0);
    let call = r#"gen_ai_operation_name="chat",gen_ai_request_model="smart",gen_ai_provider_name="shaky",gen_ai_response_model="m-1""#;
    assert_eq!(of("gen_ai_client_operation_duration_seconds_count", call), 2.0);
    assert_eq!(of("gen_ai_client_token_usage_sum", &format!(r#"{call},gen_ai_token_type="output""#)), 5.0);
    let asked = |error: &str| format!(r#"model="smart",target="only",provider="shaky",error_type="{error}""#);
    assert_eq!(of("longhaul_target_attempt_duration_seconds_count", &asked("")), 1.0);
    assert_eq!(of("longhaul_target_attempt_duration_seconds_count", &asked("provider_server_error")), 1.0);
    let scheduled = r#"stack="smart/only",layer="retry",decision="retry.scheduled""#;
    assert_eq!(of("longhaul_layer_decisions_total", scheduled), 1.0);
    assert_eq!(of("longhaul_breaker_state", r#"model="smart",target="only",state="closed""#), 1.0);
    let retry = r#"model="smart",target="only",mode="whole",layer="retry""#;
    assert_eq!(of("longhaul_layer_duration_seconds_count", retry), 1.0);
    assert_eq!(of("longhaul_layer_calls_total", &format!(r#"{retry},outcome="answered""#)), 1.0);
    let cache = r#"model="smart",target="",mode="whole",layer="cache",outcome="answered""#;
    assert_eq!(of("longhaul_layer_calls_total", cache), 2.0);
    assert_eq!(page.get("longhaul_store_up"), 1.0);
    assert!(page.get("process_resident_memory_bytes") > 1e6 && page.get("longhaul_disk_free_bytes") > 0.0);
    assert!(page.get("longhaul_connections_accepted_total") >= 1.0);
    checked_by_promtool(&page.text);
}

/// By Prometheus's own tool, where there is one.
fn checked_by_promtool(page: &str) {
    let started = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut promtool) = started else {
        println!("NOT CHECKED: there is no promtool, so nobody else has read the page");
        return;
    };
    std::io::Write::write_all(&mut promtool.stdin.take().unwrap(), page.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[tokio::test]
async fn the_page_does_not_grow_with_jobs_nor_with_the_names_that_clients_make_up() {
    let stage = Stage::with(|launch| launch.config("[queues.mine]\nconcurrency = 2\n").unwrap()).await;
    let client = stage.client();
    let jobs = |from: usize| -> Value {
        let job = |number| json!({"kind": "echo", "input": number, "queue": format!("q{}", number % 300)});
        json!({"jobs": (from..from + 1_000).map(job).collect::<Vec<_>>()})
    };
    let taken_in = |from| {
        let (client, jobs) = (client.clone(), jobs(from));
        async move {
            let reply = client.post("/v1/jobs/bulk").json(&jobs).send().await.unwrap();
            assert_eq!(reply.status, 202, "{reply}");
        }
    };
    taken_in(0).await;
    let before = Page::of(&client).await;
    for from in [1_000, 2_000, 3_000] {
        taken_in(from).await;
    }
    let after = Page::of(&client).await;
    assert!(after.samples.len() <= before.samples.len() + 40, "{} → {}", before.samples.len(), after.samples.len());
    let queues = |page: &Page, name: &str| -> BTreeSet<String> {
        page.samples.keys().filter_map(|sample| sample.strip_prefix(name).map(str::to_owned)).collect()
    };
    // A hundred that were made up, the rest of those, and the two of the configuration.
    let named = queues(&after, "longhaul_queue_submitted_total{");
    assert_eq!(named.len(), 103);
    assert!(after.get(r#"longhaul_queue_submitted_total{queue="other"}"#) > 2_000.0);
    assert_eq!(after.get(r#"longhaul_jobs_submitted_total{kind="echo"}"#), 4_000.0);
    assert_eq!(queues(&after, "longhaul_queue_paused{"), named, "gauges have the names that counters have");
    // Whoever thinks of names does not push the operator's out.
    submit(&client, json!({"kind": "echo", "input": 1, "queue": "mine"})).await;
    let last = Page::of(&client).await;
    assert_eq!(last.get(r#"longhaul_queue_submitted_total{queue="mine"}"#), 1.0);
    assert_eq!(last.get(r#"longhaul_queue_concurrency_limit{queue="mine"}"#), 2.0);
}

#[tokio::test]
async fn away_from_loopback_the_page_needs_a_key_that_may_read_the_installation() {
    let (stage, admin) = guarded_at("0.0.0.0:0").await;
    let asked = |client: Client| async move { client.get("/metrics").send().await.unwrap() };
    problem(&asked(stage.client()).await, 401, "unauthorized");
    assert_eq!(asked(admin.clone()).await.status, 200);
    assert_eq!(asked(client_for(&admin, "default", &["jobs:read"]).await).await.status, 200);
    problem(&asked(client_for(&admin, "default", &["llm"]).await).await, 403, "forbidden");
    problem(&asked(client_for(&admin, "acme", &["jobs:read"]).await).await, 403, "forbidden");
}

/// Names of metrics in an expression. Labels that begin like one would be found, too; there is none.
fn named(expression: &str) -> BTreeSet<String> {
    let code = expression.lines().filter(|line| !line.trim_start().starts_with('#'));
    let code = code.collect::<Vec<_>>().join("\n");
    let words = code.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
    let beginnings = ["longhaul_", "gen_ai_client_", "gen_ai_server_", "http_server_", "process_"];
    let is_metric = |word: &&str| beginnings.iter().any(|beginning| word.starts_with(beginning));
    words.filter(is_metric).map(str::to_owned).collect()
}

#[tokio::test]
async fn rules_and_boards_ask_for_nothing_that_the_page_does_not_tell() {
    let collector = Collector::start(Manner::Willing).await.unwrap();
    let stage = Stage::with(|launch| launch.config(&configuration(&collector)).unwrap()).await;
    let told = Page::of(&stage.client()).await.names();
    let ops = repository().join("ops");
    let rules = std::fs::read_to_string(ops.join("prometheus/longhaul.rules.yml")).unwrap();
    let tests = std::fs::read_to_string(ops.join("prometheus/longhaul_test.yml")).unwrap();
    let board: Value = serde_json::from_slice(&std::fs::read(ops.join("grafana/longhaul.json")).unwrap()).unwrap();
    let panels =
        board["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let expressions: String = panels.map(|target| target["expr"].as_str().unwrap()).collect::<Vec<_>>().join("\n");
    for (place, text) in [("rules", &rules), ("their tests", &tests), ("board", &expressions)] {
        let wanted = named(text);
        assert!(wanted.len() >= 10, "{place}: {wanted:?}");
        let missing: Vec<&String> = wanted.difference(&told).collect();
        assert!(missing.is_empty(), "{place} want {missing:?}, which the page does not tell");
    }
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let runbooks: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("runbook: ")).collect();
    assert_eq!(alerts.len(), runbooks.len(), "each alert has a runbook");
    for runbook in runbooks {
        assert!(repository().join(runbook).is_file(), "{runbook} does not exist");
    }
    for alert in alerts {
        assert!(tests.contains(&format!("alertname: {alert}")), "{alert} has no test");
    }
}
