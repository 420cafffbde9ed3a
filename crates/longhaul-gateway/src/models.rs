//! Which models there are, by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use longhaul_providers::{ErrorClass, Operation};

use crate::configured::GatewayModel;
use crate::gateway::Gateway;
use crate::local::{LOCAL_MODEL, LocalModel};
use crate::nearest::nearest;
use crate::port::{Model, ModelError};

/// Names that an error lists.
const MAX_LISTED: usize = 20;
/// Letters of an unknown name that are quoted back.
const MAX_QUOTED: usize = 80;

/// The models of a configuration. `local` is always among them, and the default until another is named.
///
/// Those of a gateway are looked up when they are asked for, so a reload of the gateway is seen at once. `local` and what
/// was inserted go before them.
#[derive(Debug, Clone)]
pub struct Models {
    by_name: BTreeMap<String, Arc<dyn Model>>,
    gateway: Option<Gateway>,
    default: String,
}

impl Default for Models {
    fn default() -> Self {
        let local: Arc<dyn Model> = Arc::new(LocalModel::default());
        let by_name = BTreeMap::from([(LOCAL_MODEL.to_owned(), local)]);
        Self { by_name, gateway: None, default: LOCAL_MODEL.to_owned() }
    }
}

/// No model has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no model `{name}`;{} known are {}", hint(nearest.as_deref()), known.join(", "))]
pub struct UnknownModel {
    /// The name that was asked for, cut to 80 letters.
    pub name: String,
    /// The first twenty names that there are, in alphabetical order.
    pub known: Vec<String>,
    /// The name that was probably meant.
    pub nearest: Option<String>,
}

impl UnknownModel {
    pub(crate) fn among<'a>(name: &str, known: impl Iterator<Item = &'a str> + Clone) -> Self {
        Self {
            name: name.chars().take(MAX_QUOTED).collect(),
            known: known.clone().take(MAX_LISTED).map(str::to_owned).collect(),
            nearest: nearest(name, known).map(str::to_owned),
        }
    }
}

fn hint(nearest: Option<&str>) -> String {
    nearest.map(|name| format!(" did you mean `{name}`?")).unwrap_or_default()
}

impl From<UnknownModel> for ModelError {
    fn from(error: UnknownModel) -> Self {
        Self { code: "unknown_model", class: ErrorClass::Caller, message: error.to_string() }
    }
}

impl Models {
    /// The models of a gateway, and `local`.
    pub fn over(gateway: Gateway) -> Self {
        Self { gateway: Some(gateway), ..Self::default() }
    }

    /// Adds a model under its name, in the place of one that has the name already. Returns what was replaced.
    pub fn insert(&mut self, model: Arc<dyn Model>) -> Option<Arc<dyn Model>> {
        self.by_name.insert(model.name().to_owned(), model)
    }

    /// Makes this the model for those who name none.
    pub fn set_default(&mut self, name: &str) -> Result<(), UnknownModel> {
        self.default = self.get(Some(name))?.name().to_owned();
        Ok(())
    }

    /// The model of this name, or the default.
    pub fn get(&self, name: Option<&str>) -> Result<Arc<dyn Model>, UnknownModel> {
        let name = name.unwrap_or(&self.default);
        if let Some(model) = self.by_name.get(name) {
            return Ok(Arc::clone(model));
        }
        let configured = self.gateway.as_ref().and_then(|gateway| GatewayModel::find(gateway, name));
        configured.map(|model| Arc::new(model) as Arc<dyn Model>).ok_or_else(|| {
            let names = self.names();
            UnknownModel::among(name, names.iter().map(String::as_str))
        })
    }

    /// The model of this name, or the default, if it can do this. Else the error names the models that can, or says
    /// that one must be configured.
    pub fn get_for(&self, name: Option<&str>, operation: Operation) -> Result<Arc<dyn Model>, ModelError> {
        let model = self.get(name)?;
        let Err(mut error) = model.require(operation) else { return Ok(model) };
        let mut able = self.able(operation);
        able.truncate(MAX_LISTED);
        error.message.push_str("; ");
        error.message.push_str(&match able.as_slice() {
            [] => format!("no model of this configuration can {}", operation.verb()),
            names => format!("of this configuration these can: {}", names.join(", ")),
        });
        Err(error)
    }

    /// The gateway, if this is one of its models: asked through it, a call keeps its tenant, its record and its cost.
    pub fn gateway_of(&self, name: &str) -> Option<&Gateway> {
        if self.by_name.contains_key(name) {
            return None;
        }
        self.gateway.as_ref().filter(|gateway| GatewayModel::find(gateway, name).is_some())
    }

    /// The names of the models, in alphabetical order.
    pub fn names(&self) -> Vec<String> {
        let mut names: BTreeSet<String> = self.by_name.keys().cloned().collect();
        names.extend(self.gateway.iter().flat_map(Gateway::models).map(|model| model.name));
        names.into_iter().collect()
    }

    /// The names of the models that can do this, in alphabetical order.
    pub fn able(&self, operation: Operation) -> Vec<String> {
        let can = |name: &String| self.get(Some(name)).is_ok_and(|model| model.capabilities().can(operation));
        self.names().into_iter().filter(can).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::{Analysis, AnalysisResult, Capabilities, Embeddings, ModelFuture};

    /// A model that chats and does nothing else.
    #[derive(Debug)]
    struct Talker(Capabilities);

    impl Talker {
        fn shared() -> Arc<dyn Model> {
            let operations = vec![Operation::Chat];
            Arc::new(Self(Capabilities {
                operations,
                embedding_dimensions: None,
                max_embed_texts: 0,
                cpu_bound: false,
            }))
        }
    }

    impl Model for Talker {
        fn name(&self) -> &str {
            "talker"
        }
        fn provider(&self) -> &str {
            "test"
        }
        fn capabilities(&self) -> &Capabilities {
            &self.0
        }
        fn embed<'a>(&'a self, _: &'a [String]) -> ModelFuture<'a, Embeddings> {
            Box::pin(async { Err(ModelError::unsupported("no")) })
        }
        fn analyse<'a>(&'a self, _: &'a str, _: &'a Analysis) -> ModelFuture<'a, AnalysisResult> {
            Box::pin(async { Err(ModelError::unsupported("no")) })
        }
    }

    /// The answer of a model that computes: its future is ready when first polled.
    fn now<T>(mut future: ModelFuture<'_, T>) -> Result<T, ModelError> {
        match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(answer) => answer,
            Poll::Pending => panic!("the local model waits for nothing"),
        }
    }

    #[test]
    fn local_is_there_and_default_without_configuration() {
        let models = Models::default();
        let model = models.get(None).unwrap();
        assert_eq!((model.name(), model.provider()), ("local", "local"));
        assert!(model.capabilities().cpu_bound);
        let embeddings = now(model.embed(&["a word".to_owned()])).unwrap();
        assert_eq!((embeddings.model.as_str(), embeddings.dimensions), ("local-hashed-ngrams", 512));
        assert_eq!(embeddings.vectors[0].len(), 512);
    }

    #[test]
    fn every_analysis_is_answered_in_its_own_shape() {
        let model = Models::default().get(None).unwrap();
        let text = "Rosa Lindner loved the bright harbour of Lisbon. The harbour was wonderful.";
        let list = serde_json::json!([
            "summary", "keywords", "sentiment", "entities", "language", {"classify": {"labels": ["harbour", "tax"]}}
        ]);
        let results: serde_json::Map<String, serde_json::Value> = Analysis::parse_list(&list)
            .unwrap()
            .iter()
            .map(|analysis| {
                let result = now(model.analyse(text, analysis)).unwrap();
                (analysis.name().to_owned(), serde_json::to_value(result).unwrap())
            })
            .collect();
        assert_eq!(results["summary"], text);
        assert!(results["keywords"][0]["term"].is_string() && results["keywords"][0]["score"].is_f64());
        assert_eq!(results["sentiment"]["label"], "positive");
        assert_eq!(results["entities"][0]["type"], "person");
        assert_eq!(results["language"]["code"], "en");
        assert_eq!(results["classify"]["label"], "harbour");
    }

    #[test]
    fn an_unknown_model_is_answered_with_the_known_ones() {
        let mut models = Models::default();
        models.insert(Talker::shared());
        let error = models.get(Some("locl")).unwrap_err();
        assert_eq!(error.to_string(), "there is no model `locl`; did you mean `local`? known are local, talker");
        let error = ModelError::from(models.get(Some("gpt-4o")).unwrap_err());
        assert_eq!((error.code, error.class), ("unknown_model", ErrorClass::Caller));
        assert_eq!(error.message, "there is no model `gpt-4o`; known are local, talker");
    }

    #[test]
    fn what_a_model_cannot_do_says_what_to_do_instead() {
        let mut models = Models::default();
        let error = models.get_for(None, Operation::Chat).unwrap_err();
        assert_eq!((error.code, error.class), ("unsupported_operation", ErrorClass::Unsupported));
        assert_eq!(
            error.message,
            "the local provider cannot chat: it has no language model; configure a provider and a model that have one, \
             and name that model; no model of this configuration can chat"
        );
        models.insert(Talker::shared());
        let error = models.get_for(None, Operation::Chat).unwrap_err();
        assert!(error.message.ends_with("of this configuration these can: talker"), "{error}");
        assert_eq!(models.get_for(Some("talker"), Operation::Chat).unwrap().name(), "talker");
        let error = models.get_for(Some("talker"), Operation::Extract).unwrap_err();
        assert!(error.message.starts_with("the model `talker` cannot extract data by a schema"), "{error}");
        let extract = Analysis::Extract { schema: serde_json::json!({}) };
        let error = now(models.get(None).unwrap().analyse("text", &extract)).unwrap_err();
        assert_eq!(error.class, ErrorClass::Unsupported);
    }

    #[test]
    fn the_default_can_be_another_and_follows_its_replacement() {
        let mut models = Models::default();
        assert!(models.set_default("talker").is_err());
        models.insert(Talker::shared());
        models.set_default("talker").unwrap();
        assert_eq!(models.get(None).unwrap().name(), "talker");
        let replacement = Talker::shared();
        assert!(models.insert(Arc::clone(&replacement)).is_some());
        assert!(Arc::ptr_eq(&models.get(None).unwrap(), &replacement));
        assert_eq!(models.names(), ["local", "talker"]);
    }
}
