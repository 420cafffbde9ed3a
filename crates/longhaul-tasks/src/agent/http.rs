//! HTTP tools: addresses that the configuration lists, for a model to call by name.
//!
//! Where a call goes, by which method and with which headers, stands in the configuration and nowhere else. What a model
//! writes becomes a JSON body, or the values of a query; it cannot change a host, a path or a header, and a redirect is
//! not followed. Each call carries an `Idempotency-Key` that is the same on every attempt, for effects that must happen
//! once.

use std::{collections::BTreeMap, fmt, sync::Arc};

use bytes::Bytes;
use longhaul_core::{Clock, Span};
use longhaul_engine::{Check, FieldError, SchemaCompiler};
use longhaul_gateway::{HttpAnswer, HttpCaller};
use serde_json::{Value, json};

/// A tool as it is configured.
#[derive(Debug, Clone)]
pub struct HttpToolSettings {
    /// What calls the address.
    pub caller: HttpCaller,
    /// What a model is told that it does.
    pub description: Option<String>,
    /// The JSON Schema of its arguments, of an object; none: any object.
    pub input_schema: Option<Value>,
    /// How long one call may take.
    pub timeout: Span,
}

/// A tool, ready to be called.
pub struct HttpTool {
    settings: HttpToolSettings,
    schema: Value,
    check: Arc<dyn Check>,
}

/// The tools of the configuration, by name.
#[derive(Debug, Default)]
pub struct HttpTools(BTreeMap<String, Arc<HttpTool>>);

impl HttpTools {
    /// Compiles the schemas of the tools.
    ///
    /// # Errors
    /// Which tool has a schema that cannot be used, and why.
    pub fn new(
        tools: BTreeMap<String, HttpToolSettings>,
        schemas: &dyn SchemaCompiler,
    ) -> Result<Self, (String, String)> {
        let ready = tools.into_iter().map(|(name, settings)| {
            let schema = settings.input_schema.clone().unwrap_or_else(|| json!({"type": "object"}));
            match schemas.compile(&schema) {
                Ok(check) => Ok((name, Arc::new(HttpTool { settings, schema, check }))),
                Err(why) => Err((name, why)),
            }
        });
        ready.collect::<Result<_, _>>().map(Self)
    }

    /// The tool of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<HttpTool>> {
        self.0.get(name)
    }

    /// All names, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> + Clone {
        self.0.keys().map(String::as_str)
    }
}

/// What a call came to, in words for the model.
pub(super) enum Called {
    /// A result.
    Answered(String),
    /// None, and why.
    Failed(String),
}

impl HttpTool {
    pub(super) fn schema(&self) -> &Value {
        &self.schema
    }

    pub(super) fn description(&self) -> Option<&str> {
        self.settings.description.as_deref()
    }

    pub(super) fn check(&self, input: &str) -> Vec<FieldError> {
        self.check.check(input)
    }

    /// One call. `key` is the same for the same call on every attempt.
    pub(super) async fn call(&self, clock: &dyn Clock, input: &Value, key: &str) -> Called {
        let caller = &self.settings.caller;
        let mut headers = vec![("idempotency-key", key), ("accept", "application/json, text/*;q=0.9, */*;q=0.1")];
        let (query, body) = match caller.sends_body() {
            true => {
                headers.push(("content-type", "application/json"));
                (Vec::new(), Bytes::from(input.to_string()))
            }
            false => (query_of(input), Bytes::new()),
        };
        let answered = tokio::select! {
            biased;
            answered = caller.call(&query, &headers, body) => answered,
            () = clock.sleep(self.settings.timeout) => {
                let seconds = self.settings.timeout.as_millis() as f64 / 1_000.0;
                return Called::Failed(format!(
                    "no answer within {seconds} s; it is not known whether the call has taken effect"
                ));
            }
        };
        match answered {
            Ok(answer) if (200..300).contains(&answer.status) => Called::Answered(text_of(&answer)),
            Ok(answer) => Called::Failed(format!("HTTP {}: {}", answer.status, text_of(&answer))),
            Err(failure) if failure.may_have_arrived => {
                Called::Failed(format!("{failure}; it is not known whether the call has taken effect"))
            }
            Err(failure) => Called::Failed(failure.to_string()),
        }
    }
}

/// Arguments as pairs: texts as they are, everything else as JSON.
fn query_of(input: &Value) -> Vec<(String, String)> {
    let fields = input.as_object().into_iter().flatten();
    let pair = |(name, value): (&String, &Value)| match value {
        Value::Null => None,
        Value::String(text) => Some((name.clone(), text.clone())),
        other => Some((name.clone(), other.to_string())),
    };
    fields.filter_map(pair).collect()
}

fn text_of(answer: &HttpAnswer) -> String {
    let kind = answer.content_type.as_deref().unwrap_or("text/plain").to_ascii_lowercase();
    let is_text =
        ["text/", "json", "xml", "javascript", "yaml", "form-urlencoded"].iter().any(|part| kind.contains(part));
    match std::str::from_utf8(&answer.body) {
        Ok(text) if is_text => text.to_owned(),
        _ => format!("({} bytes of {kind})", answer.body.len()),
    }
}

impl fmt::Debug for HttpTool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpTool").field("settings", &self.settings).finish_non_exhaustive()
    }
}
