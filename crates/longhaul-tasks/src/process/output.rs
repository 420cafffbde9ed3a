//! The output of `process`.

use std::sync::Arc;

use longhaul_core::Span;
use longhaul_gateway::{ErrorClass, ModelError};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use super::answers::Answer;
use crate::TaskError;

/// What the items gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessOutput {
    /// One for each item, in their order.
    pub results: Vec<ItemResult>,
    /// How many succeeded.
    pub succeeded: usize,
    /// How many failed.
    pub failed: usize,
    /// The model that was asked.
    pub model: String,
    /// How long all of it took, in milliseconds.
    pub latency_ms: u64,
}

/// What one item gave.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemResult {
    /// As the client named the item.
    pub id: String,
    /// Whether there is an answer.
    pub status: ItemStatus,
    /// The answer, in the shape of its task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<TaskError>,
    /// The answer was in the cache.
    pub cached: bool,
    /// Where the answer came from, in more detail.
    pub cache: Served,
    /// Another than the first target answered.
    pub degraded: bool,
    /// How long it took, in milliseconds.
    pub latency_ms: u64,
}

/// Whether an item has an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemStatus {
    /// It has.
    Succeeded,
    /// It has not.
    Failed,
}

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Served {
    /// The cache had it.
    Hit,
    /// The model was asked.
    Miss,
    /// The same question was just being asked; its answer is this one's.
    Coalesced,
    /// The cache was not to be used.
    Bypass,
}

impl Served {
    /// The word in results and in the header `Longhaul-Cache`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Served::Hit => "hit",
            Served::Miss => "miss",
            Served::Coalesced => "coalesced",
            Served::Bypass => "bypass",
        }
    }
}

impl ProcessOutput {
    pub(super) fn of(results: Vec<ItemResult>, model: &str, took: Span) -> Self {
        let succeeded = results.iter().filter(|result| result.status == ItemStatus::Succeeded).count();
        Self {
            failed: results.len() - succeeded,
            succeeded,
            results,
            model: model.to_owned(),
            latency_ms: took.as_millis(),
        }
    }

    /// Where the answer as a whole came from: the slowest way that any of its items took.
    pub fn served(&self) -> Served {
        let any = |served| self.results.iter().any(|result| result.cache == served);
        [Served::Bypass, Served::Miss, Served::Coalesced].into_iter().find(|served| any(*served)).unwrap_or(Served::Hit)
    }
}

impl ItemResult {
    pub(super) fn answered(id: &str, answer: Answer, served: Served, took: Span) -> Self {
        Self {
            id: id.to_owned(),
            status: ItemStatus::Succeeded,
            output: Some(answer.output),
            error: None,
            cached: served == Served::Hit,
            cache: served,
            degraded: answer.degraded,
            latency_ms: took.as_millis(),
        }
    }

    pub(super) fn failed(id: &str, error: TaskError, took: Span) -> Self {
        Self {
            id: id.to_owned(),
            status: ItemStatus::Failed,
            output: None,
            error: Some(error),
            cached: false,
            cache: Served::Miss,
            degraded: false,
            latency_ms: took.as_millis(),
        }
    }
}

/// A JSON text that is passed on without being looked into. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Json(Arc<RawValue>);

impl Json {
    pub(super) fn of<T: Serialize>(value: &T) -> Result<Self, ModelError> {
        let text = serde_json::value::to_raw_value(value).map_err(|error| ModelError {
            code: "answer_unserialisable",
            class: ErrorClass::Permanent,
            message: format!("the model's answer is no JSON: {error}"),
        })?;
        Ok(Self(text.into()))
    }

    /// The text.
    pub fn get(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Box::<RawValue>::deserialize(deserializer)?.into()))
    }
}
