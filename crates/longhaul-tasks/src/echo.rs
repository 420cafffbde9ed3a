//! `echo`: gives its input back, byte for byte. For tests and benchmarks; a job like any other, with no short cut.

use async_trait::async_trait;
use longhaul_core::KindSpec;
use longhaul_engine::{Completed, Executor, Failure, JobContext};
use serde_json::json;

use crate::spec;

/// The executor of `echo`.
#[derive(Debug)]
pub struct Echo {
    kind: KindSpec,
}

impl Default for Echo {
    fn default() -> Self {
        let anything = json!({"description": "Any JSON value."});
        Self { kind: spec::kind("echo", "Gives its input back. For tests and benchmarks.", anything.clone(), anything) }
    }
}

#[async_trait]
impl Executor for Echo {
    fn kind(&self) -> &KindSpec {
        &self.kind
    }

    async fn run(&self, job: &JobContext) -> Result<Completed, Failure> {
        Ok(Completed::with(job.input().clone()))
    }
}
