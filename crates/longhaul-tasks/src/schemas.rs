//! JSON Schemas, where nobody brings a compiler of their own.
//!
//! A server brings one that explains itself better and bounds what a schema from outside can cost. This one is for
//! programs that run the kinds themselves.

use std::sync::Arc;

use jsonschema::Validator;
use longhaul_engine::{Check, FieldError, SchemaCompiler};
use serde_json::Value;

/// Complaints about one value.
const MOST: usize = 50;

/// Compiles schemas, and looks nothing up outside of them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct BySchema;

struct Compiled(Validator);

impl SchemaCompiler for BySchema {
    fn compile(&self, schema: &Value) -> Result<Arc<dyn Check>, String> {
        match jsonschema::options().offline().build(schema) {
            Ok(validator) => Ok(Arc::new(Compiled(validator))),
            Err(error) => Err(format!("is no JSON Schema: {error}")),
        }
    }
}

impl Check for Compiled {
    fn check(&self, input: &str) -> Vec<FieldError> {
        match serde_json::from_str::<Value>(input) {
            Err(error) => vec![FieldError { pointer: String::new(), message: format!("is not JSON: {error}") }],
            Ok(value) => self
                .0
                .iter_errors(&value)
                .take(MOST)
                .map(|error| FieldError {
                    pointer: error.instance_path().as_str().to_owned(),
                    message: format!("does not fit: {error}"),
                })
                .collect(),
        }
    }
}
