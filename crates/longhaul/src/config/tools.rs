//! `[tools.NAME]`: what agents may call over HTTP beside kinds.
//!
//! An address is called because it stands here, and for no other reason: requests and models name a tool, never a URL.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use longhaul_engine::SchemaCompiler as _;
use longhaul_gateway::{HttpCaller, PoolSettings};
use longhaul_server::Schemas;
use tokio_util::task::TaskTracker;
use toml::de::DeValue;

use super::environment::Environment;
use super::model_values::{HeaderText, Headers, Text, inline, json};
use super::section::section;
use super::setting::{Setting, named};
use super::size::ByteSize;

section! {
    /// One tool that agents may call over HTTP. The name is part of the section, `[tools.search]`, and is what an agent's
    /// input says: `{"http": "search"}`. A model writes the arguments and nothing else; redirects are not followed.
    pub struct ToolSection {
        /// The address, with its path and, if it has one, its query.
        url("url"): Option<Text> = None;
        /// How it is called. With `POST`, `PUT` and `PATCH` the arguments are the JSON body; with `GET` and `DELETE` each
        /// is a value of the query.
        method("method"): ToolMethod = ToolMethod(Method::POST);
        /// Headers that go with every call. The text of one that carries credentials (`authorization`, `x-api-key`, …)
        /// is named as a secret, `{ env = "NAME" }`.
        headers("headers"): Headers = Headers::default();
        /// What a model is told that it does.
        description("description"): Option<Text> = None;
        /// The JSON Schema of its arguments, an object. Unset: any object.
        input_schema("input_schema"): Option<SchemaTable> = None;
        /// How long one call may take.
        timeout("timeout"): Duration = Duration::from_secs(30);
        /// The longest answer.
        max_answer("max_answer"): ByteSize = ByteSize::mib(1);
        /// PEM file with certificates that are trusted beside the system's.
        ca("ca"): Option<PathBuf> = None;
    }
}

impl ToolSection {
    /// What calls the tool. Opens no connection.
    ///
    /// # Errors
    /// What is wrong with the section, to be read after its name.
    pub fn caller(&self, tracker: &TaskTracker) -> Result<HttpCaller, String> {
        let Some(Text(url)) = &self.url else { return Err("has no `url`".to_owned()) };
        if self.timeout.is_zero() {
            return Err("has a `timeout` of zero".to_owned());
        }
        if self.input_schema.as_ref().is_some_and(|schema| schema.0["type"] != "object") {
            return Err("has an `input_schema` that is not of an object: write type = \"object\"".to_owned());
        }
        let mut headers = HeaderMap::new();
        for (name, text) in &self.headers.0 {
            let (text, secret) = match text {
                HeaderText::Plain(text) => (text.as_str(), false),
                HeaderText::Secret(secret) => (secret.expose(), true),
            };
            let header: HeaderName =
                name.parse().map_err(|_| format!("has a header `{name}`, which is no name of a header"))?;
            let mut value: HeaderValue =
                text.parse().map_err(|_| format!("has a header `{name}` whose text no header can hold"))?;
            value.set_sensitive(secret);
            headers.insert(header, value);
        }
        let extra_roots = match &self.ca {
            None => None,
            Some(path) => {
                let pem = std::fs::read(path).map_err(|error| format!("has `ca` = {}: {error}", path.display()))?;
                Some(pem.into())
            }
        };
        let settings = PoolSettings {
            max_answer_bytes: usize::try_from(self.max_answer.bytes()).unwrap_or(usize::MAX),
            extra_roots,
            ..PoolSettings::default()
        };
        HttpCaller::new(self.method.0.clone(), url, headers, settings, tracker.clone())
            .map_err(|why| format!("has a `url` that {why}"))
    }

    /// Whether inputs can be checked by its schema.
    ///
    /// # Errors
    /// A sentence that follows the name of the tool's section.
    pub fn check_schema(&self) -> Result<(), String> {
        let Some(SchemaTable(schema)) = &self.input_schema else { return Ok(()) };
        let compiled = Schemas.compile(schema);
        compiled.map(drop).map_err(|why| format!("has an `input_schema` that {why}"))
    }
}

/// How a tool is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolMethod(pub Method);

impl Setting for ToolMethod {
    const FORM: &'static str = "GET, POST, PUT, PATCH or DELETE";

    fn from_text(text: &str) -> Result<Self, String> {
        let known = [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];
        let wanted = text.trim().to_ascii_uppercase();
        let found = known.into_iter().find(|method| method.as_str() == wanted);
        found.map(Self).ok_or_else(|| format!("must be {}, not `{text}`", Self::FORM))
    }

    fn to_toml(&self) -> String {
        super::setting::quoted(self.0.as_str())
    }
}

/// A JSON Schema, written as a table or as a JSON text.
#[derive(Debug, Clone, PartialEq)]
pub struct SchemaTable(pub serde_json::Value);

impl Setting for SchemaTable {
    const FORM: &'static str =
        "a JSON Schema as a table, such as { type = \"object\", properties = { city = { type = \"string\" } } }";

    fn from_toml(value: &DeValue<'_>, _: &Environment) -> Result<Self, String> {
        match value {
            DeValue::Table(_) => Ok(Self(json(value))),
            DeValue::String(text) => Self::from_text(text),
            other => Err(format!("must be {}, not {}", Self::FORM, named(other))),
        }
    }

    fn from_text(text: &str) -> Result<Self, String> {
        match serde_json::from_str::<serde_json::Value>(text) {
            Ok(schema) if schema.is_object() => Ok(Self(schema)),
            Ok(_) => Err(format!("must be {}", Self::FORM)),
            Err(error) => Err(format!("is no JSON: {error}")),
        }
    }

    fn to_toml(&self) -> String {
        inline(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FileSource, Settings, Sources, load};

    fn loaded(text: &str) -> (Settings, Vec<String>) {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let environment = Environment::from_pairs([("SEARCH_KEY", "hunter2")]);
        let loaded = load(Sources { file: FileSource::Named(file.path().into()), environment, flags: Vec::new() });
        let problems = loaded.problems.iter().map(|problem| problem.message.clone()).collect();
        (loaded.settings, problems)
    }

    #[test]
    fn a_tool_is_read_with_its_secret_and_its_schema() {
        let (settings, problems) = loaded(
            "[tools.search]\nurl = \"https://search.example/v1/find?lang=en\"\nmethod = \"get\"\n\
             headers = { authorization = { env = \"SEARCH_KEY\" } }\ndescription = \"Finds pages.\"\ntimeout = \"5s\"\n\
             [tools.search.input_schema]\ntype = \"object\"\nrequired = [\"q\"]\nproperties = { q = { type = \"string\" } }\n",
        );
        assert_eq!(problems, [""; 0]);
        let tool = &settings.tools["search"];
        assert_eq!((&tool.method.0, tool.timeout), (&Method::GET, Duration::from_secs(5)));
        assert_eq!(tool.input_schema.as_ref().unwrap().0["required"][0], "q");
        let schema = tool.input_schema.as_ref().unwrap();
        assert_eq!(
            SchemaTable::from_toml(DeValue::parse(&schema.to_toml()).unwrap().get_ref(), &Environment::default()),
            Ok(schema.clone())
        );
        let caller = tool.caller(&TaskTracker::new()).unwrap();
        assert!(!format!("{caller:?}{tool:?}").contains("hunter2"));
    }

    #[test]
    fn what_is_wrong_with_a_tool_is_told_with_its_name() {
        for (text, said) in [
            ("[tools.a]\n", "[tools.a] has no `url`"),
            ("[tools.a]\nurl = \"ftp://x\"\n", "[tools.a] has a `url` that must begin with http://"),
            ("[tools.a]\nurl = \"http://x\"\ntimeout = \"0s\"\n", "[tools.a] has a `timeout` of zero"),
            ("[tools.a]\nurl = \"http://x\"\nmethod = \"RUN\"\n", "must be GET, POST"),
            ("[tools.a]\nurl = \"http://x\"\ninput_schema = { type = \"string\" }\n", "not of an object"),
            (
                "[tools.a]\nurl = \"http://x\"\ninput_schema = { type = \"object\", required = 1 }\n",
                "`input_schema` that",
            ),
            ("[tools.a]\nurl = \"http://x\"\ncommand = \"ls\"\n", "unknown key `command` in [tools.a]"),
            ("[tools.a]\nurl = \"http://x\"\nheaders = { \"a b\" = \"c\" }\n", "no name of a header"),
        ] {
            let (_, problems) = loaded(text);
            assert!(problems.len() == 1 && problems[0].contains(said), "{text}: {problems:?}");
        }
    }
}
