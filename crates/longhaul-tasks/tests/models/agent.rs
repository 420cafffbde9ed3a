//! An agent's turns: what the model is shown and told, what is kept, and where a run ends.

use longhaul_core::{EventKind, OutputData, Status, StatusReason};
use longhaul_testkit::script::{Answer, INPUT_TOKENS, OUTPUT_TOKENS};
use serde_json::{Value, json};

use crate::kit::{Stage, results};

const TOKENS: u64 = INPUT_TOKENS + OUTPUT_TOKENS;

#[tokio::test]
async fn an_agent_without_tools_answers_in_one_turn() {
    let stage = Stage::new(|_, _| Answer::text("Lisbon, at nine.")).await;
    let job = stage.agent(json!({"instructions": "Be brief.", "input": "Where does the night train go?"})).await;
    let output = stage.output(job).await;
    assert_eq!(
        output,
        json!({
            "output": "Lisbon, at nine.", "finish": "stop", "turns": 1, "tool_calls": [], "model": "smart",
            "usage": {"input_tokens": INPUT_TOKENS, "output_tokens": OUTPUT_TOKENS, "cost_microusd": TOKENS},
            "degraded": false,
        })
    );
    let ledger = stage.provider.ledger();
    assert_eq!(ledger.len(), 1);
    assert_eq!(ledger[0].messages()[0], json!({"role": "system", "content": "Be brief."}));
    assert_eq!(ledger[0].last_text(), "Where does the night train go?");
    assert!(ledger[0].body.get("tools").is_none() && ledger[0].body["stream"] == true, "{}", ledger[0].body);
    let view = stage.view(job).await;
    assert_eq!((view.job.report.usage.cost_microusd, view.job.attempt), (TOKENS, 1));
    assert_eq!(view.job.report.model.as_deref(), Some("scripted"));
}

#[tokio::test]
async fn a_tool_is_a_job_that_a_worker_serves_while_the_agent_holds_none() {
    let stage = Stage::new(|asked, _| match results(asked).len() {
        0 => Answer::call("weather_now", &json!({"city": "Lisbon"})),
        _ => Answer::text("It is sunny."),
    })
    .await;
    stage.register_weather().await;
    let job = stage.agent(json!({"input": "Weather?", "tools": [{"kind": "weather.now"}]})).await;
    stage.waits(job, StatusReason::WaitingChildren).await;
    assert!(stage.view(job).await.job.lease().is_none(), "who waits holds nothing");
    let input = stage.serve("weather.now", json!({"sky": "sunny"})).await;
    assert_eq!(input, json!({"city": "Lisbon"}));

    let output = stage.output(job).await;
    assert_eq!((&output["output"], &output["turns"]), (&json!("It is sunny."), &json!(2)));
    assert_eq!(output["usage"]["cost_microusd"], 2 * TOKENS);
    let call = &output["tool_calls"][0];
    assert_eq!(
        (&call["kind"], &call["status"], &call["turn"]),
        (&json!("weather.now"), &json!("succeeded"), &json!(1))
    );
    assert!(call["job_id"].as_str().unwrap().starts_with("job_"), "{output}");

    let ledger = stage.provider.ledger();
    assert_eq!(ledger.len(), 2, "each turn is paid for once");
    let shown = &ledger[0].body["tools"][0]["function"];
    assert_eq!((&shown["name"], &shown["description"]), (&json!("weather_now"), &json!("What weather.now does.")));
    assert_eq!(shown["parameters"]["required"], json!(["city"]));
    let messages = ledger[1].messages();
    assert_eq!(messages[1]["tool_calls"][0]["function"]["name"], "weather_now");
    assert_eq!(results(&ledger[1])["call_0_0"], "{\"sky\":\"sunny\"}");
    assert_eq!(stage.steps(job).await, ["turn:1", "turn:1:calls", "turn:1:result:0", "turn:2"]);
}

#[tokio::test]
async fn every_turn_is_streamed_and_nothing_of_it_is_void() {
    let stage = Stage::new(|asked, _| match results(asked).len() {
        0 => Answer::call("weather_now", &json!({"city": "Lisbon"})),
        _ => Answer::text("It is sunny."),
    })
    .await;
    stage.register_weather().await;
    let job = stage.agent(json!({"input": "Weather?", "tools": [{"kind": "weather.now"}]})).await;
    stage.serve("weather.now", json!("sunny")).await;
    stage.output(job).await;
    let items = stage.items(job).await;
    let kinds: Vec<&str> = items.iter().map(|item| item["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["turn", "tool_call", "tool_result", "turn"]);
    assert_eq!(items[1]["arguments"], json!({"city": "Lisbon"}));
    assert_eq!((&items[2]["content"], &items[2]["status"]), (&json!("sunny"), &json!("succeeded")));
    let events = stage.events(job).await;
    let text: String = events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::OutputDelta { data: OutputData::Text(text) } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(text, "It is sunny.");
    assert!(!events.iter().any(|event| matches!(event.kind, EventKind::OutputReset { .. })), "{events:?}");
    assert!(events.iter().any(|event| matches!(&event.kind, EventKind::Layer { .. })), "what the layers did is told");
}

#[tokio::test]
async fn calls_of_one_turn_run_at_once_and_their_results_keep_their_places() {
    let two = vec![
        ("weather_now".to_owned(), json!({"city": "Lisbon"}).to_string()),
        ("weather_now".to_owned(), json!({"city": "Porto"}).to_string()),
    ];
    let stage = Stage::new(move |asked, _| match results(asked).len() {
        0 => Answer::Calls(two.clone()),
        _ => Answer::text("done"),
    })
    .await;
    stage.register_weather().await;
    let job = stage.agent(json!({"input": "Weather?", "tools": [{"kind": "weather.now"}]})).await;
    // Both are there before either is served; the second ends first.
    let claimed = stage.claim("weather.now", 2).await;
    let city = |job: &longhaul_engine::RemoteJob| -> Value { serde_json::from_slice(&job.input).unwrap() };
    for job in claimed.iter().rev() {
        let output = json!({"of": city(job)["city"]});
        stage.complete(job, output).await;
    }
    stage.output(job).await;
    let told = results(&stage.provider.ledger()[1]);
    assert_eq!((told["call_0_0"].as_str(), told["call_0_1"].as_str()), ("{\"of\":\"Lisbon\"}", "{\"of\":\"Porto\"}"));
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_asked_for_again_and_no_turn_before_it_is() {
    let stage = Stage::new(|_, number| match number {
        0 => Answer::call("weather_now", &json!({"city": "Lisbon"})),
        1 => Answer::Cut("It is su".into()),
        _ => Answer::text("It is sunny."),
    })
    .await;
    stage.register_weather().await;
    let job = stage.agent(json!({"input": "Weather?", "tools": [{"kind": "weather.now"}]})).await;
    stage.serve("weather.now", json!("sunny")).await;
    let output = stage.output(job).await;
    assert_eq!((&output["output"], stage.provider.calls()), (&json!("It is sunny."), 3));
    let attempts = stage.engine.attempts(&stage.tenant, job).await.unwrap();
    let cut = attempts.iter().find(|attempt| attempt.error.is_some()).unwrap();
    assert!(cut.ambiguous, "nobody knows what the cut call has cost: {attempts:?}");
    let events = stage.events(job).await;
    let reset = events.iter().find_map(|event| match event.kind {
        EventKind::OutputReset { keep_through } => Some(keep_through),
        _ => None,
    });
    let result =
        events.iter().find(|event| matches!(&event.kind, EventKind::Step { name } if name == "turn:1:result:0"));
    assert_eq!(reset, Some(result.unwrap().seq), "what finished steps have told stands");
}

#[tokio::test]
async fn a_request_that_the_provider_turns_down_fails_the_run_with_its_error() {
    let stage = Stage::new(|_, _| Answer::Json(400, json!({"error": {"message": "no such thing"}}))).await;
    let job = stage.agent(json!({"input": "x"})).await;
    let error = stage.error(job).await;
    assert_eq!((error.code.as_str(), error.retryable), ("provider_invalid_request", false));
    assert!(error.message.contains("no such thing"), "{error:?}");
    assert_eq!(stage.provider.calls(), 1, "what is wrong with a request no attempt mends");
}

#[tokio::test]
async fn a_run_that_fails_has_cost_what_its_turns_took() {
    let stage = Stage::new(|asked, _| match results(asked).is_empty() {
        true => Answer::call("weather_now", &json!({"city": "Lisbon"})),
        false => Answer::Json(400, json!({"error": {"message": "no more"}})),
    })
    .await;
    stage.register_weather().await;
    let job = stage.agent(json!({"input": "Weather?", "tools": [{"kind": "weather.now"}]})).await;
    stage.serve("weather.now", json!("sunny")).await;
    stage.error(job).await;
    assert_eq!(stage.view(job).await.job.report.usage.cost_microusd, TOKENS);
}

#[tokio::test]
async fn the_limit_of_turns_ends_the_run_with_an_output_that_says_so() {
    let stage = Stage::new(|_, _| Answer::call("weather_now", &json!({"city": "Lisbon"}))).await;
    stage.register_weather().await;
    let input = json!({"input": "Weather?", "tools": [{"kind": "weather.now"}], "max_turns": 2});
    let job = stage.agent(input).await;
    stage.serve("weather.now", json!("sunny")).await;
    let output = stage.output(job).await;
    assert_eq!((&output["finish"], &output["turns"]), (&json!("max_turns"), &json!(2)));
    let statuses: Vec<&str> =
        output["tool_calls"].as_array().unwrap().iter().map(|call| call["status"].as_str().unwrap()).collect();
    assert_eq!(statuses, ["succeeded", "skipped"], "what no turn would see is not done");
    assert_eq!(stage.provider.calls(), 2);
}

#[tokio::test]
async fn limits_of_tokens_and_cost_end_the_run_before_the_next_call() {
    // Of tokens there must also be enough for the next question and an answer to it.
    let limits = [("max_tokens", "max_tokens", 2 * TOKENS + 50), ("max_cost_microusd", "max_cost", TOKENS + 1)];
    for (limit, finish, most) in limits {
        let stage = Stage::new(|_, _| Answer::call("weather_now", &json!({"city": "Lisbon"}))).await;
        stage.register_weather().await;
        let mut input = json!({"input": "Weather?", "tools": [{"kind": "weather.now"}]});
        input[limit] = most.into();
        let job = stage.agent(input).await;
        stage.serve("weather.now", json!("sunny")).await;
        let output = stage.output(job).await;
        assert_eq!((&output["finish"], stage.provider.calls()), (&json!(finish), 2), "{limit}");
        let first = &stage.provider.ledger()[0].body;
        let given = first["max_tokens"].as_u64().or(first["max_completion_tokens"].as_u64());
        assert_eq!(given.is_some(), limit == "max_tokens", "{first}");
        assert!(given.is_none_or(|given| given < most && given > TOKENS), "the question takes its part: {first}");
    }
}

#[tokio::test]
async fn a_tool_that_spends_what_is_left_is_the_last_thing_that_is_paid_for() {
    for (limit, finish) in [("max_tokens", "max_tokens"), ("max_cost_microusd", "max_cost")] {
        let stage = Stage::new(|asked, _| match asked.last_text() {
            "inner" => Answer::text("done within"),
            _ => Answer::call("agent", &json!({"model": "smart", "input": "inner"})),
        })
        .await;
        let mut input = json!({"input": "outer", "tools": [{"kind": "agent"}]});
        input[limit] = (2 * TOKENS).into();
        let output = stage.output(stage.agent(input).await).await;
        assert_eq!((&output["finish"], &output["turns"]), (&json!(finish), &json!(1)), "{output}");
        assert_eq!(output["tool_calls"][0]["status"], "succeeded", "what was done is told");
        assert_eq!(stage.provider.calls(), 2, "{limit}: one turn and its tool");
    }
}

#[tokio::test]
async fn a_result_that_leaves_no_room_for_an_answer_is_not_paid_for() {
    let stage = Stage::new(|_, _| Answer::call("weather_now", &json!({"city": "Lisbon"}))).await;
    stage.register_weather().await;
    let input = json!({"input": "Weather?", "tools": [{"kind": "weather.now"}], "max_tokens": 1_000});
    let job = stage.agent(input).await;
    stage.serve("weather.now", json!("rain and wind ".repeat(1_000))).await;
    let output = stage.output(job).await;
    assert_eq!((&output["finish"], stage.provider.calls()), (&json!("max_tokens"), 1), "{output}");
}

#[tokio::test]
async fn an_answer_that_is_cut_by_the_limit_of_the_run_ends_it_by_that_name() {
    // The model says all that it may, or stops at a limit of its own.
    for (own_limit, finish) in [(u64::MAX, "max_tokens"), (40, "length")] {
        let stage = Stage::new(move |asked, _| {
            let given = asked.body["max_tokens"].as_u64().or(asked.body["max_completion_tokens"].as_u64()).unwrap();
            let said = json!({"role": "assistant", "content": "And then"});
            Answer::Json(
                200,
                json!({
                    "id": "c", "object": "chat.completion", "created": 1, "model": "scripted",
                    "choices": [{"index": 0, "message": said, "finish_reason": "length"}],
                    "usage": {"prompt_tokens": 9, "completion_tokens": given.min(own_limit), "total_tokens": 9},
                }),
            )
        })
        .await;
        let output = stage.output(stage.agent(json!({"input": "Tell.", "max_tokens": 500})).await).await;
        assert_eq!((&output["finish"], &output["output"]), (&json!(finish), &json!("And then")), "{output}");
    }
}

#[tokio::test]
async fn a_call_that_is_cut_off_before_its_arguments_is_not_made() {
    let stage = Stage::new(|asked, _| match results(asked).into_values().next() {
        Some(result) => Answer::Text(result),
        None => {
            let call = json!({"id": "c", "type": "function", "function": {"name": "wipe", "arguments": ""}});
            let said = json!({"role": "assistant", "content": null, "tool_calls": [call]});
            Answer::Json(
                200,
                json!({
                    "id": "c", "object": "chat.completion", "created": 1, "model": "scripted",
                    "choices": [{"index": 0, "message": said, "finish_reason": "length"}],
                    "usage": {"prompt_tokens": 9, "completion_tokens": 9, "total_tokens": 18},
                }),
            )
        }
    })
    .await;
    stage.register("wipe", json!({"type": "object"})).await;
    let output = stage.output(stage.agent(json!({"input": "Wipe.", "tools": [{"kind": "wipe"}]})).await).await;
    assert!(output["output"].as_str().unwrap().contains("cut off before the arguments"), "{output}");
    assert_eq!(output["tool_calls"][0]["status"], "invalid", "{output}");
}

#[tokio::test]
async fn an_answer_within_the_limits_counts_even_if_it_meets_them() {
    let stage = Stage::new(|_, _| Answer::text("Yes.")).await;
    let job = stage.agent(json!({"input": "x", "max_turns": 1, "max_tokens": 1})).await;
    assert_eq!(stage.output(job).await["finish"], "stop");
}

#[tokio::test]
async fn what_a_tool_that_is_an_agent_spends_counts_against_the_limit_of_the_agent_above() {
    let stage = Stage::new(|asked, _| match (asked.last_text(), results(asked).len()) {
        ("inner", _) => Answer::text("done within"),
        (_, 0) => Answer::call("agent", &json!({"model": "smart", "input": "inner"})),
        _ => Answer::call("agent", &json!({"model": "smart", "input": "inner"})),
    })
    .await;
    let input = json!({"input": "outer", "tools": [{"kind": "agent"}], "max_cost_microusd": 3 * TOKENS});
    let job = stage.agent(input).await;
    let output = stage.output(job).await;
    // outer, inner, outer: that is the limit.
    assert_eq!((&output["finish"], stage.provider.calls()), (&json!("max_cost"), 3));
    assert_eq!(output["usage"]["cost_microusd"], 2 * TOKENS, "its own calls only");
    assert!(results(&stage.provider.ledger()[2])["call_0_0"].contains("done within"));
}

#[tokio::test]
async fn what_was_spent_two_agents_below_counts_also_when_the_one_between_failed() {
    for fails in [false, true] {
        let stage = Stage::new(move |asked, _| {
            let told = !results(asked).is_empty();
            match asked.messages()[0]["content"].as_str().unwrap() {
                "inner" => Answer::text("done within"),
                "middle" if told && fails => Answer::Json(400, json!({"error": {"message": "no more"}})),
                "middle" if told => Answer::text("done between"),
                "middle" => Answer::call("agent", &json!({"model": "smart", "input": "inner"})),
                _ => Answer::call("agent", &json!({"model": "smart", "input": "middle", "tools": [{"kind": "agent"}]})),
            }
        })
        .await;
        // The outer turn, one or two in the middle, the inner one: that is the limit.
        let most = if fails { 3 * TOKENS } else { 4 * TOKENS };
        let input = json!({"input": "outer", "tools": [{"kind": "agent"}], "max_cost_microusd": most});
        let output = stage.output(stage.agent(input).await).await;
        assert_eq!((&output["finish"], &output["turns"]), (&json!("max_cost"), &json!(1)), "{output}");
        assert_eq!(output["tool_calls"][0]["status"], if fails { "failed" } else { "succeeded" });
        assert_eq!(stage.provider.calls(), 4, "outer, middle, inner, middle");
    }
}

#[tokio::test]
async fn cancelling_an_agent_cancels_what_it_waits_for() {
    let stage = Stage::new(|_, _| Answer::call("weather_now", &json!({"city": "Lisbon"}))).await;
    stage.register_weather().await;
    let job = stage.agent(json!({"input": "Weather?", "tools": [{"kind": "weather.now"}]})).await;
    stage.waits(job, StatusReason::WaitingChildren).await;
    let child = stage.engine.children(&stage.tenant, job, None, 10).await.unwrap()[0].job;
    stage.engine.cancel(&stage.tenant, job).await.unwrap();
    let ended = stage.ended(job).await;
    assert_eq!((ended.job.status(), ended.job.report.usage.cost_microusd), (Status::Cancelled, TOKENS));
    assert_eq!(stage.ended(child).await.job.status(), Status::Cancelled);
}
