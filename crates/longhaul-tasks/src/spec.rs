//! What is common to the specifications of the built-in kinds.

use longhaul_core::{KindName, KindSpec};
use serde_json::Value;

/// A kind that runs as jobs do, unless configuration says otherwise.
pub(crate) fn kind(name: &str, description: &str, input: Value, output: Value) -> KindSpec {
    KindSpec {
        description: Some(description.to_owned()),
        input_schema: Some(input),
        output_schema: Some(output),
        ..KindSpec::named(name_of(name))
    }
}

#[allow(clippy::expect_used, reason = "the names are constants of this crate; a test makes every one of them")]
fn name_of(name: &str) -> KindName {
    KindName::new(name).expect("the name of a built-in kind is a name")
}
