//! What is refused of an agent at the submit, by its place.

use longhaul_testkit::script::Answer;
use serde_json::{Value, json};

use crate::kit::Stage;

async fn refused(stage: &Stage, input: Value) -> Vec<String> {
    stage.try_submit("agent", &input).await.unwrap_err()
}

#[tokio::test]
async fn tools_that_are_not_there_are_named_by_their_places() {
    let stage = Stage::new(|_, _| Answer::text("x")).await;
    stage.register_weather().await;
    let tools = json!([{"kind": "weather.now"}, {"kind": "wether.now"}, {"http": "search"}, {"kind": "weather.now"}]);
    let found = refused(&stage, json!({"model": "smart", "input": "x", "tools": tools})).await;
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with("/tools/2/http is \"search\"; no tools are configured"), "{found:?}");
    assert_eq!(found[1], "/tools/3 is \"weather.now\", which another entry is, too");
    assert!(
        found[2].starts_with("/tools/1/kind is \"wether.now\", which is no known kind; known are agent, "),
        "{found:?}"
    );
    assert!(found[2].ends_with(", weather.now"), "{found:?}");
}

#[tokio::test]
async fn a_model_that_cannot_chat_is_refused_with_those_that_can() {
    let stage = Stage::new(|_, _| Answer::text("x")).await;
    for (model, said) in [
        (json!({"model": "local"}), "/model the local provider cannot chat"),
        (json!({"model": "vectors"}), "/model the model `vectors` cannot chat"),
        (json!({"model": "smrat"}), "/model there is no model `smrat`; did you mean `smart`?"),
        (json!({}), "/model the local provider cannot chat"),
    ] {
        let mut input = json!({"input": "x"});
        input.as_object_mut().unwrap().extend(model.as_object().unwrap().clone());
        let found = refused(&stage, input).await;
        assert!(found.len() == 1 && found[0].starts_with(said) && found[0].contains("smart"), "{found:?}");
    }
}

#[tokio::test]
async fn every_bad_field_is_named_at_once_and_the_schema_refuses_it_too() {
    let stage = Stage::new(|_, _| Answer::text("x")).await;
    let kind = stage.engine.kind(&stage.tenant, "agent").unwrap();
    let schema = kind.input_schema.as_ref().unwrap();
    jsonschema::meta::validate(schema).unwrap();
    jsonschema::meta::validate(kind.output_schema.as_ref().unwrap()).unwrap();
    let schema = jsonschema::validator_for(schema).unwrap();
    let cases: [(Value, &[&str]); 9] = [
        (json!({}), &["/input"]),
        (json!({"input": "x", "messages": [{"role": "user", "content": "x"}]}), &["/messages"]),
        (json!({"input": " ", "max_turns": 0, "max_tokens": "many"}), &["/input", "/max_turns", "/max_tokens"]),
        (json!({"input": "x", "max_turns": 129}), &["/max_turns"]),
        (json!({"messages": []}), &["/messages"]),
        (json!({"input": "x", "tools": [{}]}), &["/tools/0"]),
        (json!({"input": "x", "tools": [{"kind": "echo", "http": "x"}]}), &["/tools/0/http"]),
        (json!({"input": "x", "tools": [{"kind": "echo", "url": "http://x"}]}), &["/tools/0/url"]),
        (json!({"input": "x", "tools": [{"command": "ls"}], "turns": 3}), &["/tools/0/command", "/tools/0", "/turns"]),
    ];
    for (mut input, places) in cases {
        input["model"] = "smart".into();
        let found = refused(&stage, input.clone()).await;
        let found: Vec<&str> = found.iter().map(|line| line.split(' ').next().unwrap()).collect();
        assert_eq!(found, places, "{input}");
        assert!(!schema.is_valid(&input), "the schema takes {input}");
    }
    let good = [
        json!({"model": "smart", "input": "x"}),
        json!({"model": "smart", "messages": [{"role": "user", "content": "x"}], "tools": [{"kind": "echo", "approval": true}],
               "max_turns": 128, "max_tokens": 1, "max_cost_microusd": 1, "instructions": "x"}),
    ];
    for input in good {
        assert!(schema.is_valid(&input), "{input}");
        stage.try_submit("agent", &input).await.unwrap();
    }
}

#[tokio::test]
async fn a_bad_message_is_named_by_its_place() {
    let stage = Stage::new(|_, _| Answer::text("x")).await;
    let messages = json!([{"role": "user", "content": "x"}, {"role": "nobody", "content": "x"}]);
    let found = refused(&stage, json!({"model": "smart", "messages": messages})).await;
    assert!(found.len() == 1 && found[0].starts_with("/messages/1/role "), "{found:?}");
}
