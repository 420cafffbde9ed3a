//! An agent whose server is killed, again and again, while a provider on the outside keeps the books.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::stage::{Stage, ended, field_errors, job, problem, submit, succeeded};
use longhaul_testkit::client::Client;
use longhaul_testkit::script::{Answer, Asked, Scripted};
use serde_json::{Value, json};

/// A server whose model `smart` is the script, and whose tool `clock` is another.
async fn open(provider: &Scripted, tool: Option<&Scripted>) -> Stage {
    open_with("", provider, tool).await
}

/// The same, with more in its configuration.
async fn open_with(more: &str, provider: &Scripted, tool: Option<&Scripted>) -> Stage {
    let mut text = format!(
        "{more}[telemetry]\nlevel = \"error\"\n[providers.scripted]\nprotocol = \"openai\"\nbase_url = \"{}\"\n\
         [models.smart]\n[[models.smart.targets]]\nprovider = \"scripted\"\nmodel = \"scripted\"\n\
         price = {{ input_per_mtok = 1.0, output_per_mtok = 1.0 }}\n\
         retry = {{ max_retries = 0 }}\n",
        provider.base_url()
    );
    if let Some(tool) = tool {
        text.push_str(&format!(
            "[tools.clock]\nurl = \"{}/now\"\ndescription = \"The time.\"\nheaders = {{ authorization = {{ env = \"CLOCK_KEY\" }} }}\n",
            tool.url()
        ));
    }
    Stage::with(|launch| launch.env("CLOCK_KEY", "Bearer tick").config(&text).unwrap()).await
}

async fn register(client: &Client, kind: &str) {
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    let reply = client
        .call("PUT".parse().unwrap(), &format!("/v1/kinds/{kind}"))
        .json(&json!({"description": "The weather of a city.", "input_schema": schema}))
        .send()
        .await
        .unwrap();
    assert!(matches!(reply.status, 200 | 201), "{reply}");
}

/// Claims a call of a kind over the worker protocol; its job, input and lease.
async fn claim(client: &Client, kind: &str) -> (String, Value, String) {
    let body = json!({"worker_id": "w", "kinds": [kind], "max": 1, "wait_s": 20, "lease_s": 60});
    let reply = client.post("/v1/worker/claims").json(&body).send().await.unwrap();
    assert_eq!(reply.status, 200, "{reply}");
    let job = &reply.json()["jobs"][0];
    let text = |name: &str| job[name].as_str().unwrap().to_owned();
    (text("job_id"), job["input"].clone(), text("lease_token"))
}

async fn complete(client: &Client, job_id: &str, lease: &str, output: Value) {
    let path = format!("/v1/worker/jobs/{job_id}/complete");
    let reply =
        client.post(&path).header("longhaul-lease", lease).json(&json!({"output": output})).send().await.unwrap();
    assert_eq!(reply.status, 200, "{reply}");
}

async fn serve(client: &Client, kind: &str, output: Value) -> Value {
    let (job_id, input, lease) = claim(client, kind).await;
    complete(client, &job_id, &lease, output).await;
    input
}

/// Waits until the job stands so.
async fn stands(client: &Client, job_id: &str, reason: &str) -> Value {
    let mut etag = String::new();
    for _ in 0..200 {
        let reply =
            client.get(&format!("/v1/jobs/{job_id}?wait=5")).header("if-none-match", &etag).send().await.unwrap();
        if reply.status == 200 {
            etag = reply.header("etag").to_owned();
            let job = reply.json();
            if job["status_reason"] == reason {
                return job;
            }
            assert!(!matches!(job["status"].as_str(), Some("failed" | "cancelled" | "succeeded")), "{job}");
        }
    }
    panic!("{job_id} was never {reason}");
}

/// How many results of tools a request tells.
fn told(asked: &Asked) -> usize {
    asked.messages().iter().filter(|message| message["role"] == "tool").count()
}

fn weather(city: &str) -> Answer {
    Answer::call("weather_now", &json!({"city": city}))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_survives_a_kill_in_every_state_and_no_finished_call_is_paid_twice() {
    // The second turn is cut in mid-air once; every other call is answered.
    let cut = Mutex::new(false);
    let provider = Scripted::start(move |asked, _| match told(asked) {
        0 => weather("Lisbon"),
        1 if !std::mem::replace(&mut *cut.lock().unwrap(), true) => Answer::Stall("Then".into()),
        1 => Answer::Calls(vec![
            ("weather_now".into(), json!({"city": "Porto"}).to_string()),
            ("clock".into(), "{}".into()),
        ]),
        3 => Answer::call("refund", &json!({"city": "Porto"})),
        _ => Answer::text("All is done."),
    })
    .await
    .unwrap();
    let tool = Scripted::start(|_, _| Answer::Json(200, json!({"time": "nine"}))).await.unwrap();
    let stage = open(&provider, Some(&tool)).await;
    let client = stage.client();
    register(&client, "weather.now").await;
    register(&client, "refund").await;
    let tools = json!([{"kind": "weather.now"}, {"http": "clock"}, {"kind": "refund", "approval": true}]);
    let body =
        json!({"kind": "agent", "input": {"model": "smart", "input": "Weather, then a refund.", "tools": tools}});
    let id = submit(&client, body).await;

    // Killed while it waits for a tool.
    stands(&client, &id, "waiting_children").await;
    let stage = stage.crash_and_restart().await;
    let client = stage.client();
    assert_eq!(serve(&client, "weather.now", json!("sunny")).await, json!({"city": "Lisbon"}));

    // Killed while the model speaks.
    provider.called(2).await;
    let stage = stage.crash_and_restart().await;
    let client = stage.client();

    // Killed while a worker holds the second call; the worker goes on as if nothing had happened.
    let (job_id, input, lease) = claim(&client, "weather.now").await;
    assert_eq!(input, json!({"city": "Porto"}));
    // By then what the clock has said is kept: a call that a kill cuts off would be made again.
    stands(&client, &id, "waiting_children").await;
    let stage = stage.crash_and_restart().await;
    let client = stage.client();
    complete(&client, &job_id, &lease, json!("windy")).await;

    // Killed while a person thinks.
    let waiting = stands(&client, &id, "waiting_input").await;
    assert!(waiting.to_string().contains("May the agent call refund"), "{waiting}");
    let stage = stage.crash_and_restart().await;
    let client = stage.client();
    stands(&client, &id, "waiting_input").await;
    let reply = client.post(&format!("/v1/jobs/{id}/input")).json(&json!({"approve": true})).send().await.unwrap();
    assert_eq!(reply.status, 202, "{reply}");
    serve(&client, "refund", json!("refunded")).await;

    let job = succeeded(&client, &id).await;
    let output = &job["output"];
    assert_eq!((&output["output"], &output["turns"]), (&json!("All is done."), &json!(4)), "{job}");
    let statuses: Vec<&Value> = output["tool_calls"].as_array().unwrap().iter().map(|call| &call["status"]).collect();
    assert_eq!(statuses, ["succeeded"; 4], "{job}");
    assert_eq!(job["usage"]["cost_microusd"], 4 * 120, "{job}");

    // The provider's own books: each turn was answered once, and one call was cut.
    let mut answered: BTreeMap<usize, usize> = BTreeMap::new();
    let mut unanswered = 0;
    for asked in provider.ledger() {
        match asked.answered {
            true => *answered.entry(told(&asked)).or_default() += 1,
            false => unanswered += 1,
        }
    }
    assert_eq!((answered, unanswered), (BTreeMap::from([(0, 1), (1, 1), (3, 1), (4, 1)]), 1));
    assert_eq!(tool.calls(), 1, "a finished call of an HTTP tool is not made again");
    assert_eq!(tool.ledger()[0].header("authorization"), "Bearer tick");

    let attempts = client.get(&format!("/v1/jobs/{id}/attempts")).send().await.unwrap().json();
    let crashed: Vec<&Value> =
        attempts["data"].as_array().unwrap().iter().filter(|attempt| attempt["outcome"] == "crashed").collect();
    assert!(!crashed.is_empty() && crashed.iter().all(|attempt| attempt["ambiguous"] == true), "{attempts}");
    let again = job_events(&client, &id).await;
    let seqs: Vec<u64> = again.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "no event is missing");
}

async fn job_events(client: &Client, id: &str) -> Vec<Value> {
    let reply = client.get(&format!("/v1/jobs/{id}/events?limit=1000")).send().await.unwrap();
    reply.json()["data"].as_array().unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_agents_under_kills_at_any_moment_pay_for_nothing_twice_that_was_kept() {
    const AGENTS: usize = 24;
    const TURNS: usize = 4;
    // Which agent asks is in its question; it calls `echo` until it has had enough.
    let provider = Scripted::start(|asked, _| match told(asked) {
        told if told + 1 < TURNS => Answer::call("echo", &json!({"input": told})),
        _ => Answer::Late(Duration::from_millis(20), "enough".into()),
    })
    .await
    .unwrap();
    let provider = Arc::new(provider);
    let mut stage = open(&provider, None).await;
    let mut ids = Vec::new();
    for number in 0..AGENTS {
        let input = json!({"model": "smart", "input": format!("agent {number}"), "tools": [{"kind": "echo"}]});
        ids.push(submit(&stage.client(), json!({"kind": "agent", "input": input})).await);
    }
    // Two kills: three would give up a job that has been running each time.
    for calls in [10, 50] {
        provider.called(calls).await;
        stage = stage.crash_and_restart().await;
    }
    let client = stage.client();
    let (mut ambiguous, mut children) = (0, 0);
    for id in &ids {
        let job = ended(&client, id).await;
        assert_eq!((&job["status"], &job["output"]["output"]), (&json!("succeeded"), &json!("enough")), "{job}");
        assert_eq!(job["output"]["turns"], TURNS, "{job}");
        children += job["children"]["total"].as_u64().unwrap();
        let attempts = client.get(&format!("/v1/jobs/{id}/attempts")).send().await.unwrap().json();
        let attempts = attempts["data"].as_array().unwrap().clone();
        ambiguous += attempts.iter().filter(|attempt| attempt["ambiguous"] == true).count();
    }
    let mut calls: BTreeMap<(String, usize), usize> = BTreeMap::new();
    for asked in provider.ledger() {
        let agent = asked.messages()[0]["content"].as_str().unwrap().to_owned();
        *calls.entry((agent, told(&asked))).or_default() += 1;
    }
    assert_eq!(calls.len(), AGENTS * TURNS, "every turn of every agent was asked for");
    let more: usize = calls.values().map(|count| count - 1).sum();
    println!("{} calls for {} turns; {more} again, {ambiguous} attempts ambiguous", provider.calls(), AGENTS * TURNS);
    assert!(more <= ambiguous, "a call was made again that no attempt was cut in: {more} of {ambiguous}");
    assert_eq!(children, (AGENTS * (TURNS - 1)) as u64, "each call was one job");
}

#[tokio::test]
async fn a_shutdown_that_cuts_a_call_off_says_so_and_the_next_process_makes_it_again() {
    let provider = Scripted::start(|_, number| match number {
        0 => Answer::Stall("So".into()),
        _ => Answer::text("So be it."),
    })
    .await
    .unwrap();
    let mut stage = open_with("[server]\ndrain = \"0s\"\n", &provider, None).await;
    let id = submit(&stage.client(), json!({"kind": "agent", "input": {"model": "smart", "input": "x"}})).await;
    provider.called(1).await;
    stage.server.terminate().unwrap();
    let status = stage.server.exited(Duration::from_secs(30)).await.unwrap();
    assert_eq!(status.code(), Some(0), "{}", stage.server.log_tail());

    let server = stage.launch.start().await.unwrap();
    let client = server.client();
    assert_eq!(succeeded(&client, &id).await["output"]["output"], "So be it.");
    let attempts = client.get(&format!("/v1/jobs/{id}/attempts")).send().await.unwrap().json();
    let ends: Vec<(&str, bool)> = attempts["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|attempt| (attempt["outcome"].as_str().unwrap(), attempt["ambiguous"].as_bool().unwrap()))
        .collect();
    assert_eq!((ends, provider.calls()), (vec![("released", true), ("succeeded", false)], 2), "{attempts}");
}

#[tokio::test]
async fn what_an_agent_cannot_have_is_a_422_that_names_it() {
    let provider = Scripted::start(|_, _| Answer::text("x")).await.unwrap();
    let stage = open(&provider, None).await;
    let tools = json!([{"kind": "weather.now"}, {"http": "clock"}, {"url": "http://169.254.169.254/"}]);
    let body = json!({"kind": "agent", "input": {"model": "smart", "input": "x", "tools": tools}});
    let reply = stage.client().post("/v1/jobs").json(&body).send().await.unwrap();
    let problem = problem(&reply, 422, "invalid_request");
    let errors = field_errors(&problem);
    let at =
        |pointer: &str| errors.iter().find(|(at, _)| at == pointer).map(|(_, said)| said.as_str()).unwrap_or_default();
    assert!(at("/input/tools/0/kind").contains("no known kind"), "{problem}");
    assert!(at("/input/tools/1/http").contains("no tools are configured"), "{problem}");
    assert!(at("/input/tools/2/url").contains("not a known field"), "{problem}");
    assert_eq!(provider.calls(), 0);
}

#[tokio::test]
async fn an_agent_in_the_background_can_be_looked_at_while_it_speaks() {
    let provider = Scripted::start(|_, _| Answer::Stall("So it be".into())).await.unwrap();
    let stage = open(&provider, None).await;
    let client = stage.client();
    let id = submit(&client, json!({"kind": "agent", "input": {"model": "smart", "input": "x"}})).await;
    provider.called(1).await;
    for _ in 0..500 {
        let seen = job(&client, &id).await;
        if seen["partial"]["text"] == "So it be" {
            assert_eq!(seen["partial"]["items"][0], json!({"type": "turn", "turn": 1}), "{seen}");
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing was told");
}
