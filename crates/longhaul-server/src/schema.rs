//! JSON Schemas of registered kinds, for the engine.

use std::sync::Arc;

use longhaul_engine::{Check, FieldError, SchemaCompiler};
use serde_json::Value;

use crate::json::CompiledSchema;

/// Compiles the schemas of registered kinds; never looks anything up outside of them.
#[derive(Debug, Clone, Copy, Default)]
pub struct Schemas;

struct BySchema(CompiledSchema);

impl Check for BySchema {
    fn check(&self, input: &str) -> Vec<FieldError> {
        let value: Value = match serde_json::from_str(input) {
            Ok(value) => value,
            Err(error) => {
                return vec![FieldError { pointer: String::new(), message: format!("is not JSON: {error}") }];
            }
        };
        if self.0.is_valid(&value) {
            return Vec::new();
        }
        let errors = self.0.errors(&value, "").into_iter();
        errors.map(|error| FieldError { pointer: error.pointer, message: error.message }).collect()
    }
}

impl SchemaCompiler for Schemas {
    fn compile(&self, schema: &Value) -> Result<Arc<dyn Check>, String> {
        match CompiledSchema::compile(schema) {
            Ok(schema) => Ok(Arc::new(BySchema(schema))),
            Err(error) => Err(format!("is no JSON Schema: {} {}", error.pointer, error.reason)),
        }
    }
}
