//! The list of models, and the layers around one.

use crate::kit::Stage;
use axum::body::Body;
use http::Request;
use serde_json::json;

#[tokio::test]
async fn models_are_listed_and_shown() {
    let stage = Stage::open().await;
    let list = stage.get("/v1/models").await.json();
    assert_eq!(list["object"], "list");
    assert!(list["data"].as_array().unwrap().iter().any(|model| model["id"] == "sim"), "{list}");
    let model = stage.get("/v1/models/sim").await.json();
    assert_eq!((&model["object"], &model["owned_by"]), (&json!("model"), &json!("sim")));
    let missing = stage.get("/v1/models/smi").await;
    assert_eq!(missing.status, 404);
    assert!(missing.json()["error"]["message"].as_str().unwrap().contains("did you mean `sim`"), "{}", missing.text());
}

#[tokio::test]
async fn a_breaker_obeys_a_hand() {
    let stage = Stage::open().await;
    let set = |state: &'static str| {
        let stage = stage.clone();
        async move {
            let body = json!({"state": state}).to_string();
            let request = Request::put("/v1/models/sim/targets/sim-small/breaker").header("host", "localhost");
            let request = request.header("content-type", "application/json").body(Body::from(body)).unwrap();
            stage.send(request).await
        }
    };
    let chat = json!({"model": "sim", "messages": [{"role": "user", "content": "hi"}]});
    assert_eq!(set("open").await.json()["targets"][0]["breaker_mode"], "forced_open");
    let refused = stage.post("/v1/chat/completions", &chat).await;
    assert_eq!((refused.status, &refused.json()["error"]["code"]), (503, &json!("circuit_open")));
    assert_eq!(set("auto").await.status, 200);
    assert_eq!(stage.post("/v1/chat/completions", &chat).await.status, 200);
    assert_eq!(set("ajar").await.status, 422);
    let stack = stage.get("/v1/models/sim/stack").await.json();
    assert_eq!((&stack["model"], &stack["targets"][0]["breaker_mode"]), (&json!("sim"), &json!("auto")), "{stack}");
    assert_eq!(stage.get("/v1/models/smi/stack").await.json()["code"], "not_found");
}
