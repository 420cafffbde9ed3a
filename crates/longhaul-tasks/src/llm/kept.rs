//! `llm.kept`: an answer that was given at once, kept so that it can be read again.

use async_trait::async_trait;
use bytes::Bytes;
use longhaul_core::KindSpec;
use longhaul_engine::{Completed, Executor, Failure, JobContext};
use serde_json::json;

use super::stored;
use crate::spec;

/// The executor of `llm.kept`: its jobs were answered before they were submitted.
#[derive(Debug)]
pub struct Keeper {
    kind: KindSpec,
}

impl Default for Keeper {
    fn default() -> Self {
        let input = json!({
            "type": "object",
            "required": ["request", "response"],
            "additionalProperties": false,
            "properties": {
                "request": {"type": "object", "description": "The body of the request."},
                "response": {"type": "object", "description": "The response."},
                "report": {"type": "object", "description": "What the answer says of itself."},
            },
        });
        let output = json!({"type": "object", "description": "The response."});
        let about = "Keeps a response that was given at once, so that it can be read again.";
        Self { kind: spec::kind(stored::KEPT, about, input, output) }
    }
}

#[async_trait]
impl Executor for Keeper {
    fn kind(&self) -> &KindSpec {
        &self.kind
    }

    async fn run(&self, job: &JobContext) -> Result<Completed, Failure> {
        let stored::Kept { response, report, .. } = job.parse_input()?;
        let output = Bytes::from(String::from(Box::<str>::from(response)));
        Ok(Completed { output, report })
    }
}
