//! How tools are shown to a model, and how its calls are read.
//!
//! A model is shown functions: a name of letters, digits, `-` and `_`, and the schema of an object. Kinds have freer names
//! and may take anything, so names are translated, and an input that is no object stands in a field `input`. What a model
//! wrote is held to the kind's own check before a job is made of it; complaints go back to the model.

use std::sync::Arc;

use bytes::Bytes;
use longhaul_engine::{Failure, FieldError, JobContext};
use longhaul_gateway::nearest;
use longhaul_providers::{
    chat::{Tool, ToolCall},
    json::Json,
};
use serde_json::{Map, Value, json};

use super::{
    AgentInput, HttpTools, Uses,
    http::HttpTool,
    turn::{Planned, What},
};

/// The longest name of a function that every provider takes.
const NAME_MOST: usize = 64;
/// Complaints about one call that a model is told.
const COMPLAINTS_MOST: usize = 20;
/// The largest arguments that are looked at.
const ARGUMENTS_MOST: usize = 1 << 20;
/// The field of an input that is no object.
const FIELD: &str = "input";

/// The tools of a run.
pub(super) struct Toolbox(Vec<Entry>);

struct Entry {
    /// As the model knows it.
    shown: String,
    uses: Uses,
    approval: bool,
    description: Option<String>,
    parameters: Json,
    /// The input stands in a field.
    wrapped: bool,
    http: Option<Arc<HttpTool>>,
}

impl Toolbox {
    pub(super) fn of(job: &JobContext, input: &AgentInput, http: &HttpTools) -> Result<Self, Failure> {
        let mut entries: Vec<Entry> = Vec::with_capacity(input.tools.len());
        for spec in &input.tools {
            let missing = || {
                let message = format!("the tool `{}` is not there any more", spec.uses.name());
                Failure::permanent("unknown_tool", message)
            };
            let (schema, description, http) = match &spec.uses {
                Uses::Kind(name) => {
                    let kind = job.kind(name).ok_or_else(missing)?;
                    (kind.input_schema.clone(), kind.description.clone(), None)
                }
                Uses::Http(name) => {
                    let tool = http.get(name).ok_or_else(missing)?;
                    (Some(tool.schema().clone()), tool.description().map(str::to_owned), Some(tool.clone()))
                }
            };
            let (parameters, wrapped) = shown_schema(schema.as_ref());
            let shown = shown_name(spec.uses.name(), |name| entries.iter().any(|entry| entry.shown == name));
            let parameters = Json::of(&parameters);
            let uses = spec.uses.clone();
            entries.push(Entry { shown, uses, approval: spec.approval, description, parameters, wrapped, http });
        }
        Ok(Self(entries))
    }

    /// As a request has them.
    pub(super) fn shown(&self) -> Vec<Tool> {
        let function =
            |entry: &Entry| Tool::function(&entry.shown, entry.description.clone(), Some(entry.parameters.clone()));
        self.0.iter().map(function).collect()
    }

    /// The HTTP tool of this name.
    pub(super) fn http(&self, name: &str) -> Option<&Arc<HttpTool>> {
        let is_meant = |entry: &&Entry| matches!(&entry.uses, Uses::Http(known) if known == name);
        self.0.iter().find(is_meant)?.http.as_ref()
    }

    /// Decides what is to be done about a call.
    pub(super) fn plan(&self, job: &JobContext, call: &ToolCall) -> Planned {
        let planned = |tool: &str, what: What, approval: bool| Planned {
            call_id: call.id.clone(),
            tool: tool.to_owned(),
            what,
            approval,
        };
        let Some(entry) = self.0.iter().find(|entry| entry.shown == call.name) else {
            return planned(&call.name, What::Bad(self.unknown(&call.name)), false);
        };
        match entry.read(job, &call.arguments) {
            Ok(what) => planned(entry.uses.name(), what, entry.approval),
            Err(why) => planned(entry.uses.name(), What::Bad(why), false),
        }
    }

    fn unknown(&self, name: &str) -> String {
        let known: Vec<&str> = self.0.iter().map(|entry| entry.shown.as_str()).collect();
        if known.is_empty() {
            return "there are no tools".to_owned();
        }
        let hint = nearest(name, known.iter().copied()).map(|meant| format!("; did you mean {meant}?"));
        format!("there is no such tool{}; there are: {}", hint.unwrap_or_default(), known.join(", "))
    }
}

impl Entry {
    /// The arguments as an input, or what is wrong with them, for the model.
    fn read(&self, job: &JobContext, arguments: &str) -> Result<What, String> {
        if arguments.len() > ARGUMENTS_MOST {
            return Err(format!("the arguments are longer than {ARGUMENTS_MOST} bytes"));
        }
        let written = if arguments.trim().is_empty() { "{}" } else { arguments };
        let fields: Map<String, Value> =
            serde_json::from_str(written).map_err(|error| format!("the arguments are not a JSON object: {error}"))?;
        let input = match self.wrapped {
            false => Value::Object(fields),
            true => wrapped_input(fields)?,
        };
        let text = input.to_string();
        let errors = match &self.http {
            Some(tool) => tool.check(&text),
            None => job.examine(self.uses.name(), &Bytes::from(text)),
        };
        if !errors.is_empty() {
            return Err(complaint(&errors, self.wrapped));
        }
        Ok(if self.http.is_some() { What::Http(input) } else { What::Kind(input) })
    }
}

fn wrapped_input(mut fields: Map<String, Value>) -> Result<Value, String> {
    match (fields.remove(FIELD), fields.keys().next()) {
        (Some(input), None) => Ok(input),
        (None, _) => Err(format!("/{FIELD} is required")),
        (Some(_), Some(other)) => Err(format!("/{other} is not a known field; {FIELD} is the only one")),
    }
}

fn complaint(errors: &[FieldError], wrapped: bool) -> String {
    let above = if wrapped { format!("/{FIELD}") } else { String::new() };
    let said: Vec<String> = errors
        .iter()
        .take(COMPLAINTS_MOST)
        .map(|error| format!("{above}{} {}", error.pointer, error.message).trim().to_owned())
        .collect();
    let more = errors.len().saturating_sub(COMPLAINTS_MOST);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("the arguments do not fit: {}{more}", said.join("; "))
}

/// A name that every provider takes and that no other tool has.
fn shown_name(name: &str, taken: impl Fn(&str) -> bool) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    let shown: String = name.chars().map(plain).take(NAME_MOST).collect();
    if !taken(&shown) {
        return shown;
    }
    // Bounded: there are no more tools than numbers.
    (2_usize..)
        .map(|number| format!("{}_{number}", &shown[..shown.len().min(NAME_MOST - 6)]))
        .find(|name| !taken(name))
        .unwrap_or(shown)
}

/// The schema that a model is shown, and whether the input stands in a field of it.
///
/// Providers want an object, and none of them takes a choice at its top. What is left out here is checked all the same.
fn shown_schema(schema: Option<&Value>) -> (Value, bool) {
    let Some(schema) = schema else { return (json!({"type": "object"}), false) };
    let is_object = schema["type"] == "object" || schema.get("properties").is_some();
    if is_object {
        let mut shown = schema.clone();
        if let Some(fields) = shown.as_object_mut() {
            for name in ["$schema", "$id", "oneOf", "anyOf", "allOf", "not", "if", "then", "else", "enum", "const"] {
                fields.remove(name);
            }
            fields.insert("type".to_owned(), "object".into());
        }
        return (shown, false);
    }
    let mut inner = schema.clone();
    let mut shown = json!({"type": "object", "required": [FIELD], "additionalProperties": false});
    if let Some(fields) = inner.as_object_mut() {
        fields.remove("$schema");
        // References lead to the top.
        for name in ["$defs", "definitions"] {
            if let Some(definitions) = fields.remove(name) {
                shown[name] = definitions;
            }
        }
    }
    shown["properties"] = json!({ FIELD: inner });
    (shown, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_names_of_functions_and_stay_apart() {
        let mut taken: Vec<String> = Vec::new();
        for (name, shown) in [("document.ingest", "document_ingest"), ("document:ingest", "document_ingest_2")] {
            let made = shown_name(name, |name| taken.iter().any(|taken| taken == name));
            assert_eq!(made, shown);
            taken.push(made);
        }
        let long = "a".repeat(100);
        assert_eq!(shown_name(&long, |_| false).len(), 64);
        assert_eq!(shown_name(&long, |name| name.len() == 64), format!("{}_2", "a".repeat(58)));
    }

    #[test]
    fn an_objects_schema_is_shown_without_a_choice_at_its_top() {
        let schema = json!({
            "$schema": "x", "type": "object", "properties": {"a": {"type": "string"}}, "oneOf": [{"required": ["a"]}]
        });
        let (shown, wrapped) = shown_schema(Some(&schema));
        assert_eq!((shown, wrapped), (json!({"type": "object", "properties": {"a": {"type": "string"}}}), false));
        assert_eq!(shown_schema(None), (json!({"type": "object"}), false));
    }

    #[test]
    fn what_is_no_object_stands_in_a_field_and_its_references_still_lead_somewhere() {
        let schema = json!({"type": "array", "items": {"$ref": "#/$defs/city"}, "$defs": {"city": {"type": "string"}}});
        let (shown, wrapped) = shown_schema(Some(&schema));
        assert!(wrapped);
        assert_eq!(shown["properties"]["input"], json!({"type": "array", "items": {"$ref": "#/$defs/city"}}));
        assert_eq!(shown.pointer("/$defs/city/type").unwrap(), "string");
        let fields = |json: Value| json.as_object().unwrap().clone();
        assert_eq!(wrapped_input(fields(json!({"input": [1]}))), Ok(json!([1])));
        assert!(wrapped_input(fields(json!({}))).unwrap_err().contains("/input is required"));
        assert!(wrapped_input(fields(json!({"input": 1, "x": 2}))).unwrap_err().contains("/x"));
    }
}
