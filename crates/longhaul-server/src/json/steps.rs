//! A bound on how long a check takes.
//!
//! A schema of two kilobytes can ask the same question 2^40 times over, by references that go two ways each. So every schema
//! within one counts a step whenever it is applied, and a check that takes more steps than the size of what is checked
//! accounts for is given up.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use jsonschema::{Keyword, ValidationError};
use serde_json::Value;

/// Stands in every schema within one, and counts.
pub(super) const KEYWORD: &str = "$longhaul:step";

/// Steps that any check may take: some 20 ms.
const LEAST: u64 = 200_000;

/// Steps that each value within what is checked adds: alternatives and nested conditions, with room to spare.
const PER_VALUE: u64 = 100;

/// Steps that no check may exceed: some 2 s.
const MOST: u64 = 20_000_000;

thread_local! {
    /// Steps that the check of this thread has left.
    static LEFT: Cell<u64> = const { Cell::new(u64::MAX) };
}

/// What a check that is given up unwinds with.
struct TooManySteps;

pub(super) struct Step;

impl<'i> Keyword<'i> for Step {
    fn validate(&self, _: &'i Value) -> Result<(), ValidationError<'i>> {
        take();
        Ok(())
    }

    fn is_valid(&self, _: &'i Value) -> bool {
        take();
        true
    }
}

fn take() {
    match LEFT.get().checked_sub(1) {
        Some(left) => LEFT.set(left),
        // The checker has no way to be stopped. It keeps nothing that an unwinding could leave in two pieces.
        None => resume_unwind(Box::new(TooManySteps)),
    }
}

/// Runs a check of `instance`; none when it takes too many steps.
pub(super) fn bounded<T>(instance: &Value, check: impl FnOnce() -> T) -> Option<T> {
    let steps = (LEAST + PER_VALUE.saturating_mul(values_in(instance))).min(MOST);
    let before = LEFT.replace(steps);
    let outcome = catch_unwind(AssertUnwindSafe(check));
    LEFT.set(before);
    match outcome {
        Ok(outcome) => Some(outcome),
        Err(cause) if cause.is::<TooManySteps>() => None,
        Err(cause) => resume_unwind(cause),
    }
}

fn values_in(value: &Value) -> u64 {
    match value {
        Value::Object(members) => 1 + members.values().map(values_in).sum::<u64>(),
        Value::Array(items) => 1 + items.iter().map(values_in).sum::<u64>(),
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::json::schema::{CompiledSchema, explain};

    fn doubling(levels: usize, deeper: bool) -> serde_json::Value {
        let both = |next: usize| {
            let part = json!({ "$ref": format!("#/$defs/a{next}") });
            let part = if deeper { json!({ "properties": { "x": part } }) } else { part };
            json!({ "allOf": [part, part] })
        };
        let levels = (0..levels).map(|level| (format!("a{level}"), both(level + 1)));
        let last = [(format!("a{}", levels.len()), json!({ "type": ["integer", "object"] }))];
        json!({ "$ref": "#/$defs/a0", "$defs": levels.chain(last).collect::<serde_json::Map<_, _>>() })
    }

    #[test]
    fn a_schema_that_asks_the_same_over_and_over_is_given_up() {
        let nested = (0..50).fold(json!(1), |inner, _| json!({ "x": inner }));
        for (schema, instance) in [(doubling(40, false), json!(1)), (doubling(40, true), nested)] {
            let schema = CompiledSchema::compile(&schema).expect("a usable schema");
            assert!(!schema.is_valid(&instance));
            let errors = schema.errors(&instance, "/input");
            assert_eq!(errors.len(), 1);
            assert!(errors[0].message.contains("too many steps"), "{:?}", errors[0]);
        }
    }

    #[test]
    fn a_recursive_union_of_reasonable_size_is_checked() {
        let variant = |op: &str| {
            json!({ "type": "object", "required": ["op"], "properties": {
                "op": { "const": op }, "left": { "$ref": "#" }, "right": { "$ref": "#" } } })
        };
        let ops = ["add", "mul", "sub", "div"];
        let schema = json!({ "anyOf": [{ "type": "number" }, variant(ops[0]), variant(ops[1]), variant(ops[2]), variant(ops[3])] });
        let tree = (0..12).fold(json!(1), |inner, level| json!({ "op": ops[level % 4], "left": inner, "right": 2 }));
        assert_eq!(explain(&schema, &tree, "").expect("a usable schema"), []);
    }
}
