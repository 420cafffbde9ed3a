//! Configured models behind the port that tasks speak to.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use longhaul_gateway::settings::{ModelSettings, Preset, ProviderSettings, Serves, TargetSettings, Wire};
use longhaul_gateway::{ErrorClass, Models, Operation};
use longhaul_providers::embeddings::{EmbeddingsInput, EmbeddingsRequest};
use support::{Play, Provider, answer, ask, error, gateway, json_reply, smart};

#[tokio::test]
async fn tasks_see_the_models_of_the_gateway_and_local_beside_them() {
    let server = Provider::start(|_| answer("hello")).await;
    let (settings, model) = smart(&[&server]);
    let (gateway, _) = gateway(settings.clone(), model.clone());
    let models = Models::over(gateway.clone());
    assert_eq!(models.names(), ["local", "smart"]);
    assert_eq!(models.able(Operation::Chat), ["smart"]);
    let smart = models.get_for(Some("smart"), Operation::Chat).unwrap();
    assert_eq!((smart.provider(), smart.chat(ask("hi")).await.unwrap().text), ("a", "hello".to_owned()));
    let refused = models.get_for(Some("smart"), Operation::Embed).unwrap_err();
    assert!(refused.message.ends_with("of this configuration these can: local"), "{refused}");
    let mut next = settings;
    next.models.insert("other".to_owned(), model);
    gateway.reload(next).unwrap();
    assert_eq!(models.names(), ["local", "other"], "a reload is seen at once");
    assert!(models.get(Some("smart")).is_err());
}

#[tokio::test]
async fn vectors_come_from_a_provider_or_from_here() {
    let body = r#"{"object":"list","model":"e-1","data":[{"object":"embedding","index":0,"embedding":[1.0,0.5]}],"usage":{"prompt_tokens":3,"total_tokens":3}}"#;
    let server = Provider::start(move |_| Play::Keep(json_reply(200, "", body))).await;
    let (mut settings, mut model) = smart(&[&server]);
    model.serves = Serves::Embeddings;
    settings.providers.insert("here".to_owned(), ProviderSettings::new(Wire::Local));
    let own = TargetSettings::of(Preset::Standard, "here", "local-hashed-ngrams");
    let own = ModelSettings { serves: Serves::Embeddings, ..ModelSettings::of(Preset::Standard, vec![own]) };
    settings.models.insert("own".to_owned(), own);
    let (gateway, _) = gateway(settings, model);
    let models = Models::over(gateway);
    let vectors = models.get(Some("smart")).unwrap().embed(&["x".to_owned()]).await.unwrap();
    assert_eq!((vectors.model.as_str(), vectors.vectors), ("m-1", vec![vec![1.0, 0.5]]));
    let own = models.get(Some("own")).unwrap().embed(&["x".to_owned(), "y".to_owned()]).await.unwrap();
    assert_eq!((own.dimensions, own.vectors.len()), (512, 2));
}

#[tokio::test]
async fn vectors_are_of_the_length_that_the_model_is_set_to_whoever_asks() {
    let body = r#"{"object":"list","model":"e-1","data":[{"object":"embedding","index":0,"embedding":[1.0,0.5]}],"usage":{"prompt_tokens":3,"total_tokens":3}}"#;
    let server = Provider::start(move |_| Play::Keep(json_reply(200, "", body))).await;
    let (settings, mut model) = smart(&[&server]);
    (model.serves, model.dimensions) = (Serves::Embeddings, Some(64));
    let (gateway, _) = gateway(settings, model);
    let asked = |dimensions| EmbeddingsRequest {
        input: EmbeddingsInput::Texts(vec!["x".to_owned()]),
        dimensions,
        ..EmbeddingsRequest::default()
    };
    for request in [asked(None), asked(Some(32))] {
        gateway.embed("smart", std::sync::Arc::new(request), &support::options()).await.unwrap();
    }
    Models::over(gateway).get(Some("smart")).unwrap().embed(&["x".to_owned()]).await.unwrap();
    let sent = |at| serde_json::from_str::<serde_json::Value>(&server.body(at)).unwrap()["dimensions"].clone();
    assert_eq!([sent(0), sent(1), sent(2)], [64, 32, 64]);
}

#[tokio::test]
async fn a_failure_keeps_its_class() {
    let server = Provider::start(|_| error(401, "")).await;
    let (settings, model) = smart(&[&server]);
    let (gateway, _) = gateway(settings, model);
    let failed = Models::over(gateway).get(Some("smart")).unwrap().chat(ask("hi")).await.unwrap_err();
    assert_eq!((failed.class, failed.code), (ErrorClass::Permanent, "provider_authentication"));
}
