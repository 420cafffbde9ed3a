//! Reads a JSON value field by field and collects everything that is wrong with it.
//!
//! A reader that stops at the first mistake makes a client send the same request five times. This one goes on: each
//! [`Place`] knows where it stands and takes down its own complaint, so that one answer names every bad field by its
//! JSON Pointer. Messages are predicates ("must be a string, not a number"), to be read after the pointer.
//!
//! What is read is typed at once; nobody looks at the raw value again.

use std::{cell::RefCell, ops::RangeInclusive};

use longhaul_engine::FieldError;
use longhaul_gateway::nearest;
use serde_json::{Map, Value};

/// Complaints that one answer carries: a hostile input must not earn an answer as long as itself.
const MAX_PROBLEMS: usize = 50;
/// Letters of a bad value that are quoted back.
const MAX_QUOTED: usize = 40;

/// Reads `json` with `read`, which gives nothing only where it has complained.
pub(crate) fn read<T>(json: &str, read: impl FnOnce(Place<'_>) -> Option<T>) -> Result<T, Vec<FieldError>> {
    let value: Value = serde_json::from_str(json)
        .map_err(|error| vec![FieldError { pointer: String::new(), message: format!("is not JSON: {error}") }])?;
    let problems = Problems::default();
    let result = read(Place { problems: &problems, pointer: String::new(), value: &value });
    let problems = problems.0.into_inner();
    match result {
        Some(result) if problems.is_empty() => Ok(result),
        _ => Err(problems),
    }
}

#[derive(Default)]
struct Problems(RefCell<Vec<FieldError>>);

impl Problems {
    fn add(&self, pointer: String, message: String) {
        let mut problems = self.0.borrow_mut();
        if problems.len() < MAX_PROBLEMS {
            problems.push(FieldError { pointer, message });
        }
    }
}

/// A value and where it stands.
pub(crate) struct Place<'a> {
    problems: &'a Problems,
    pointer: String,
    value: &'a Value,
}

impl<'a> Place<'a> {
    /// Takes down what is wrong here.
    pub(crate) fn refuse(&self, message: impl Into<String>) {
        self.problems.add(self.pointer.clone(), message.into());
    }

    /// Takes down what is wrong at a place below this one; `below` is a pointer that begins here.
    pub(crate) fn refuse_below(&self, below: &str, message: impl Into<String>) {
        self.problems.add(format!("{}{below}", self.pointer), message.into());
    }

    pub(crate) fn value(&self) -> &'a Value {
        self.value
    }

    fn wrong_type<T>(&self, wanted: &str) -> Option<T> {
        self.refuse(format!("must be {wanted}, not {}", described(self.value)));
        None
    }

    /// An object.
    pub(crate) fn fields(&self) -> Option<Fields<'a>> {
        let Value::Object(object) = self.value else { return self.wrong_type("an object") };
        Some(Fields { problems: self.problems, pointer: self.pointer.clone(), object, known: RefCell::default() })
    }

    /// A string that holds more than white space and at most `max` characters.
    pub(crate) fn text(&self, max: usize) -> Option<&'a str> {
        let Value::String(text) = self.value else { return self.wrong_type("a string") };
        if text.trim().is_empty() {
            self.refuse("is empty; it needs at least one character that is not white space");
            return None;
        }
        // Bytes bound characters from above, so that most texts need not be counted.
        let chars = if text.len() <= max { 0 } else { text.chars().count() };
        if chars > max {
            self.refuse(format!("has {chars} characters; the most it can have is {max}"));
            return None;
        }
        Some(text)
    }

    /// A whole number within `range`.
    pub(crate) fn integer(&self, range: RangeInclusive<u64>) -> Option<u64> {
        let Value::Number(number) = self.value else { return self.wrong_type("an integer") };
        // 5.0 is an integer to JSON Schema, and to us.
        let fraction = number.as_f64().filter(|_| !number.is_i64() && !number.is_u64());
        if fraction.is_some_and(|number| number.fract() != 0.0) {
            return self.wrong_type("an integer");
        }
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole, and within the range of u64"
        )]
        let whole = number.as_u64().or(fraction.filter(|n| (0.0..1e15).contains(n)).map(|n| n as u64));
        match whole {
            Some(whole) if range.contains(&whole) => Some(whole),
            Some(whole) if whole > *range.end() => {
                self.refuse(format!("is {whole}; the most it can be is {}", range.end()));
                None
            }
            _ if number.as_f64().is_some_and(|number| number > 0.0 && whole.is_none()) => {
                self.refuse(format!("is {number}; the most it can be is {}", range.end()));
                None
            }
            _ => {
                self.refuse(format!("is {number}; the least it can be is {}", range.start()));
                None
            }
        }
    }

    /// True or false.
    pub(crate) fn boolean(&self) -> Option<bool> {
        let Value::Bool(value) = self.value else { return self.wrong_type("true or false") };
        Some(*value)
    }

    /// A list of `range` values.
    pub(crate) fn list(&self, range: RangeInclusive<usize>) -> Option<Vec<Place<'a>>> {
        let Value::Array(entries) = self.value else { return self.wrong_type("a list") };
        if entries.len() < *range.start() {
            self.refuse(match range.start() {
                1 => "is empty; it needs at least one item".to_owned(),
                least => format!("has {} items; the least it can have is {least}", entries.len()),
            });
            return None;
        }
        if entries.len() > *range.end() {
            self.refuse(format!("has {} items; the most it can have is {}", entries.len(), range.end()));
            return None;
        }
        let place = |(index, value)| Place { problems: self.problems, pointer: self.child(index), value };
        Some(entries.iter().enumerate().map(place).collect())
    }

    fn child(&self, index: usize) -> String {
        format!("{}/{index}", self.pointer)
    }

    /// One of these words.
    pub(crate) fn word(&self, words: &[&'static str]) -> Option<&'static str> {
        let Value::String(written) = self.value else { return self.wrong_type("a string") };
        if let Some(word) = words.iter().find(|word| *word == written) {
            return Some(word);
        }
        let hint = nearest(written, words.iter().copied());
        let hint = hint.map(|meant| format!("; did you mean \"{meant}\"?")).unwrap_or_default();
        let options: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        self.refuse(format!("is {}; it can be {}{hint}", quoted(written), or_list(&options)));
        None
    }
}

/// The fields of an object. [`Fields::finish`] complains about those that nobody asked for.
pub(crate) struct Fields<'a> {
    problems: &'a Problems,
    pointer: String,
    object: &'a Map<String, Value>,
    known: RefCell<Vec<&'static str>>,
}

impl<'a> Fields<'a> {
    /// The value of a field that may be left out.
    pub(crate) fn optional(&self, name: &'static str) -> Option<Place<'a>> {
        self.known.borrow_mut().push(name);
        let value = self.object.get(name)?;
        Some(Place { problems: self.problems, pointer: format!("{}/{name}", self.pointer), value })
    }

    /// The value of a field that must be there.
    pub(crate) fn required(&self, name: &'static str) -> Option<Place<'a>> {
        let place = self.optional(name);
        if place.is_none() {
            self.refuse(name, "is required");
        }
        place
    }

    /// Takes down what is wrong with the field of this name, there or not.
    pub(crate) fn refuse(&self, name: &str, message: impl Into<String>) {
        self.problems.add(format!("{}/{name}", self.pointer), message.into());
    }

    /// Whether the field is there.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.object.contains_key(name)
    }

    /// Names every field that was not asked for.
    pub(crate) fn finish(self) {
        let known = self.known.into_inner();
        for name in self.object.keys().filter(|name| !known.contains(&name.as_str())) {
            let message = match nearest(name, known.iter().copied()) {
                Some(meant) => format!("is not a known field; did you mean `{meant}`?"),
                None => format!("is not a known field; known here: {}", known.join(", ")),
            };
            let shown: String = name.chars().take(MAX_QUOTED).collect();
            self.problems.add(format!("{}/{}", self.pointer, shown.replace('~', "~0").replace('/', "~1")), message);
        }
    }
}

fn described(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(MAX_QUOTED).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("{:?}{more}", cut)
}

fn or_list(options: &[String]) -> String {
    match options {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(json: &str) -> Vec<String> {
        let result = read(json, |place| {
            let fields = place.fields()?;
            let name = fields.required("name").and_then(|place| place.text(5).map(str::to_owned));
            let size = fields.optional("size").and_then(|place| place.integer(1..=10));
            let tags = fields.optional("tags").and_then(|place| place.list(1..=2));
            let sort = fields.optional("sort").and_then(|place| place.word(&["fast", "slow"]));
            fields.finish();
            Some((name?, size, tags.map(|tags| tags.len()), sort))
        });
        let said = |error: FieldError| format!("{} {}", error.pointer, error.message);
        result.err().unwrap_or_default().into_iter().map(said).collect()
    }

    #[test]
    fn every_bad_field_is_named_in_one_answer() {
        let found = problems(r#"{"nmae": "x", "size": 11, "tags": [], "sort": "fats"}"#);
        assert_eq!(
            found,
            [
                "/name is required",
                "/size is 11; the most it can be is 10",
                "/tags is empty; it needs at least one item",
                "/sort is \"fats\"; it can be \"fast\" or \"slow\"; did you mean \"fast\"?",
                "/nmae is not a known field; did you mean `name`?",
            ]
        );
    }

    #[test]
    fn wrong_types_and_lengths_are_told_apart() {
        let cases = [
            ("[]", " must be an object, not a list"),
            (r#"{"name": 1}"#, "/name must be a string, not a number"),
            (r#"{"name": " \n"}"#, "/name is empty; it needs at least one character that is not white space"),
            (r#"{"name": "éééééé"}"#, "/name has 6 characters; the most it can have is 5"),
            (r#"{"name": "a", "size": 1.5}"#, "/size must be an integer, not a number"),
            (r#"{"name": "a", "size": -1}"#, "/size is -1; the least it can be is 1"),
            (r#"{"name": "a", "size": 1e300}"#, "/size is 1e300; the most it can be is 10"),
            (r#"{"name": "a", "tags": [1, 2, 3]}"#, "/tags has 3 items; the most it can have is 2"),
        ];
        for (json, said) in cases {
            let found = problems(json);
            assert!(found.len() == 1 && (found[0] == said || json.contains("e300")), "{json}: {found:?}");
        }
        assert!(problems("{")[0].starts_with(" is not JSON"), "{:?}", problems("{"));
        assert_eq!(problems(r#"{"name": "ééééé", "size": 5.0}"#), [""; 0]);
    }

    #[test]
    fn the_answer_to_a_hostile_input_stays_short() {
        let names: Vec<String> = (0..10_000).map(|n| format!("\"{n}{}\":1", "x".repeat(500))).collect();
        let found = problems(&format!("{{{}}}", names.join(",")));
        assert_eq!(found.len(), MAX_PROBLEMS);
        assert!(found.iter().all(|line| line.len() < 200));
    }
}
