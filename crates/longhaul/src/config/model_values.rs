//! The values of `[providers]` and `[models]`: names of a closed list, addresses, keys, numbers, replies.

use std::collections::BTreeMap;

use longhaul_gateway::Endpoint;
use longhaul_gateway::settings::{
    CannedRule, Choose, Flavor, Jitter, KeyOf, OnCut, OnInterrupt, Preset, Scenario, Serves, SimSettings, Wire,
};
use toml::de::DeValue;

use super::environment::Environment;
use super::problem::nearest;
use super::secret::{Reference, Secret};
use super::setting::{Setting, named, quoted};

/// The entry of a closed list, or what there is instead.
fn one_of<T: Copy>(text: &str, all: &[(&str, T)]) -> Result<T, String> {
    let text = text.trim();
    if let Some((_, found)) = all.iter().find(|(name, _)| *name == text) {
        return Ok(*found);
    }
    let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
    let hint = nearest(text, names.iter().copied()).map(|near| format!("; did you mean `{near}`?"));
    Err(format!("must be one of {}, not `{text}`{}", names.join(", "), hint.unwrap_or_default()))
}

/// A type whose values have names.
macro_rules! named_values {
    ($($type:ty, $form:literal, $all:expr, $name:expr;)*) => {$(
        impl Setting for $type {
            const FORM: &'static str = $form;

            fn from_text(text: &str) -> Result<Self, String> {
                one_of(text, &$all)
            }

            fn to_toml(&self) -> String {
                let name: fn(&$type) -> &'static str = $name;
                quoted(name(self))
            }
        }
    )*};
}

named_values! {
    Wire, "openai, openai-responses, anthropic, gemini, local or sim", Wire::ALL.map(|wire| (wire.name(), wire)), |wire| wire.name();
    Choose, "first, weighted or latency", Choose::ALL.map(|choose| (choose.name(), choose)), |choose| choose.name();
    Scenario, "faq, product-info, user-query or real-time", Scenario::ALL.map(|scenario| (scenario.name(), scenario)), |scenario| scenario.name();
    KeyOf, "exact or normalised", [KeyOf::Exact, KeyOf::Normalised].map(|key| (key.name(), key)), |key| key.name();
    OnCut, "fail or continue", [OnCut::Fail, OnCut::Continue].map(|on| (on.name(), on)), |on| on.name();
    OnInterrupt, "restart, continue or fail", OnInterrupt::ALL.map(|on| (on.name(), on)), |on| on.name();
    Serves, "chat or embeddings", [Serves::Chat, Serves::Embeddings].map(|serves| (serves.name(), serves)), |serves| serves.name();
    Jitter, "full, decorrelated or none", JITTERS, |jitter| JITTERS.iter().find(|(_, known)| known == jitter).map_or("", |(name, _)| name);
    Preset, "standard, gpt-3.5, gpt-4, claude, custom-ml, database or external-api", Preset::all().map(|preset| (preset.name(), preset)).collect::<Vec<_>>(), |preset| preset.name();
    Flavor, "openai, azure, vllm, ollama, llama.cpp, groq, mistral or compatible", FLAVORS, |flavor| FLAVORS.iter().find(|(_, known)| known == flavor).map_or("", |(name, _)| name);
}

const JITTERS: [(&str, Jitter); 3] =
    [("full", Jitter::Full), ("decorrelated", Jitter::Decorrelated), ("none", Jitter::None)];
const FLAVORS: &[(&str, Flavor)] = Flavor::NAMES;

impl Setting for Endpoint {
    const FORM: &'static str = "a URL such as \"https://api.example.com/v1\"";
    const MAY_HOLD_A_SECRET: bool = true;

    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text).map_err(|error| error.to_string())
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Setting for Secret {
    const FORM: &'static str = "{ env = \"NAME\" } or { file = \"path\" }";
    const MAY_HOLD_A_SECRET: bool = true;
    const HAS_A_VARIABLE: bool = false;

    fn from_toml(value: &DeValue<'_>, environment: &Environment) -> Result<Self, String> {
        Reference::from_toml(value)?.resolve(environment)
    }

    fn from_text(_: &str) -> Result<Self, String> {
        Err("is a secret: the file names the variable that holds it, as { env = \"NAME\" }".to_owned())
    }

    fn to_toml(&self) -> String {
        match self.origin() {
            Reference::Env(name) => format!("{{ env = {} }}", quoted(name)),
            Reference::File(path) => format!("{{ file = {} }}", quoted(path)),
        }
    }
}

/// A text that is not empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(pub String);

impl Setting for Text {
    const FORM: &'static str = "a text";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() { Err("must not be empty".to_owned()) } else { Ok(Self(text.to_owned())) }
    }

    fn to_toml(&self) -> String {
        quoted(&self.0)
    }
}

/// A whole number, zero included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Count(pub u32);

impl Setting for Count {
    const FORM: &'static str = "a whole number from 0";

    fn from_toml(value: &DeValue<'_>, _: &Environment) -> Result<Self, String> {
        match value {
            DeValue::Integer(integer) if integer.radix() == 10 => Self::from_text(integer.as_str()),
            other => Err(format!("must be {}, not {}", Self::FORM, named(other))),
        }
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let digits = text.trim().replace('_', "");
        digits.parse().map(Self).map_err(|_| format!("must be {}, not `{text}`", Self::FORM))
    }

    fn to_toml(&self) -> String {
        self.0.to_string()
    }
}

/// An amount of money in US dollars.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dollars(pub f64);

impl Setting for Dollars {
    const FORM: &'static str = "an amount in US dollars such as 2.5";

    fn from_toml(value: &DeValue<'_>, _: &Environment) -> Result<Self, String> {
        number(value).map_or_else(|| Err(format!("must be {}, not {}", Self::FORM, named(value))), Self::of)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        text.trim().parse().map_err(|_| format!("must be {}, not `{text}`", Self::FORM)).and_then(Self::of)
    }

    fn to_toml(&self) -> String {
        format!("{:?}", self.0)
    }
}

impl Dollars {
    fn of(amount: f64) -> Result<Self, String> {
        let fits = amount.is_finite() && (0.0..=1e9).contains(&amount);
        if fits { Ok(Self(amount)) } else { Err(format!("must be {}, not `{amount}`", Self::FORM)) }
    }
}

/// A part of a whole.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(pub f64);

impl Setting for Share {
    const FORM: &'static str = "a part of one, above 0 and at most 1, such as 0.5";

    fn from_toml(value: &DeValue<'_>, _: &Environment) -> Result<Self, String> {
        number(value).map_or_else(|| Err(format!("must be {}, not {}", Self::FORM, named(value))), Self::of)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        text.trim().parse().map_err(|_| format!("must be {}, not `{text}`", Self::FORM)).and_then(Self::of)
    }

    fn to_toml(&self) -> String {
        format!("{:?}", self.0)
    }
}

impl Share {
    fn of(share: f64) -> Result<Self, String> {
        let fits = share > 0.0 && share <= 1.0;
        if fits { Ok(Self(share)) } else { Err(format!("must be {}, not `{share}`", Self::FORM)) }
    }
}

fn number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Integer(integer) => integer.as_str().parse().ok(),
        DeValue::Float(float) => float.as_str().parse().ok(),
        _ => None,
    }
}

/// A table as JSON, for types that read themselves. Dates, which no key here has, become texts.
pub(super) fn json(value: &DeValue<'_>) -> serde_json::Value {
    use serde_json::Value;
    match value {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Boolean(flag) => Value::Bool(*flag),
        DeValue::Integer(integer) => integer.as_str().parse::<i64>().map_or(Value::Null, Value::from),
        DeValue::Float(float) => float.as_str().parse::<f64>().map_or(Value::Null, Value::from),
        DeValue::Datetime(time) => Value::String(time.to_string()),
        DeValue::Array(items) => items.iter().map(|item| json(item.get_ref())).collect(),
        DeValue::Table(table) => {
            table.iter().map(|(key, value)| (key.get_ref().to_string(), json(value.get_ref()))).collect()
        }
    }
}

/// Whether a header carries what lets one in: its text is never written in the file, which is shown and shared.
fn is_of_credentials(header: &str) -> bool {
    let holds = |word: &&str| header.contains(word);
    header.ends_with("key")
        || header.ends_with("token")
        || ["authorization", "x-auth", "cookie", "secret", "password"].iter().any(holds)
}

/// Headers that go with every request to a provider.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Headers(pub BTreeMap<String, HeaderText>);

/// The text of a header: written, or kept secret.
#[derive(Debug, Clone, PartialEq)]
pub enum HeaderText {
    /// As it is.
    Plain(String),
    /// Where it lies.
    Secret(Secret),
}

impl Setting for Headers {
    const FORM: &'static str = "a table of texts or secrets, such as { \"x-team\" = \"search\" }";
    const MAY_HOLD_A_SECRET: bool = true;
    const HAS_A_VARIABLE: bool = false;

    fn from_toml(value: &DeValue<'_>, environment: &Environment) -> Result<Self, String> {
        let DeValue::Table(table) = value else {
            return Err(format!("must be {}, not {}", Self::FORM, named(value)));
        };
        let mut headers = BTreeMap::new();
        for (name, value) in table {
            let name = name.get_ref().to_ascii_lowercase();
            let text = match value.get_ref() {
                DeValue::String(text) if !is_of_credentials(&name) => HeaderText::Plain(text.to_string()),
                other => HeaderText::Secret(
                    Secret::from_toml(other, environment).map_err(|error| format!("holds `{name}`, which {error}"))?,
                ),
            };
            headers.insert(name, text);
        }
        Ok(Self(headers))
    }

    fn from_text(_: &str) -> Result<Self, String> {
        Err("can be set in the file only".to_owned())
    }

    fn to_toml(&self) -> String {
        let text = |text: &HeaderText| match text {
            HeaderText::Plain(text) => quoted(text),
            HeaderText::Secret(secret) => secret.to_toml(),
        };
        let headers: Vec<String> =
            self.0.iter().map(|(name, value)| format!("{} = {}", quoted(name), text(value))).collect();
        if headers.is_empty() { String::new() } else { format!("{{ {} }}", headers.join(", ")) }
    }
}

/// The temper of the simulated provider: a name, or a table.
#[derive(Debug, Clone, PartialEq)]
pub struct Temper {
    written: String,
    pub(super) settings: SimSettings,
}

impl Setting for Temper {
    const FORM: &'static str =
        "quick, steady, slow, flaky, or a table such as { first_token = { ms = 50 }, faults = { server_error = 0.1 } }";

    fn from_toml(value: &DeValue<'_>, _: &Environment) -> Result<Self, String> {
        match value {
            DeValue::String(name) => Self::from_text(name),
            DeValue::Table(_) => {
                let json = json(value);
                let settings =
                    serde_json::from_value(json.clone()).map_err(|error| format!("cannot be used: {error}"))?;
                Ok(Self { written: inline(&json), settings })
            }
            other => Err(format!("must be {}, not {}", Self::FORM, named(other))),
        }
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let settings =
            SimSettings::preset(text.trim()).ok_or_else(|| format!("must be {}, not `{text}`", Self::FORM))?;
        Ok(Self { written: quoted(text.trim()), settings })
    }

    fn to_toml(&self) -> String {
        self.written.clone()
    }
}

/// JSON as a TOML literal on one line.
pub(super) fn inline(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::Object(fields) => {
            let fields: Vec<String> =
                fields.iter().map(|(name, value)| format!("{} = {}", quoted(name), inline(value))).collect();
            format!("{{ {} }}", fields.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(inline).collect::<Vec<_>>().join(", ")),
        Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

/// Replies that need no model.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Replies(pub Vec<CannedRule>);

impl Setting for Replies {
    const FORM: &'static str = "an array of tables such as { contains = [\"help\"], reply = \"How can I help?\" }";

    fn from_toml(value: &DeValue<'_>, _: &Environment) -> Result<Self, String> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Rule {
            contains: Vec<String>,
            reply: String,
        }
        let DeValue::Array(_) = value else {
            return Err(format!("must be {}, not {}", Self::FORM, named(value)));
        };
        let rules: Vec<Rule> =
            serde_json::from_value(json(value)).map_err(|error| format!("must be {}: {error}", Self::FORM))?;
        if rules.iter().any(|rule| rule.contains.is_empty()) {
            return Err("has a reply whose `contains` is empty, which would never be given".to_owned());
        }
        Ok(Self(rules.into_iter().map(|rule| CannedRule { contains: rule.contains, reply: rule.reply }).collect()))
    }

    fn from_text(_: &str) -> Result<Self, String> {
        Err("can be set in the file only".to_owned())
    }

    fn to_toml(&self) -> String {
        let rule = |rule: &CannedRule| {
            let words: Vec<String> = rule.contains.iter().map(|word| quoted(word)).collect();
            format!("{{ contains = [{}], reply = {} }}", words.join(", "), quoted(&rule.reply))
        };
        if self.0.is_empty() {
            return String::new();
        }
        format!("[{}]", self.0.iter().map(rule).collect::<Vec<_>>().join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toml<T: Setting>(text: &str) -> Result<T, String> {
        let value = DeValue::parse(text).unwrap();
        T::from_toml(value.get_ref(), &Environment::from_pairs([("KEY", "hunter2")]))
    }

    #[test]
    fn a_misspelt_name_is_told_the_nearest() {
        assert_eq!(
            Choose::from_text("latncy").unwrap_err(),
            "must be one of first, weighted, latency, not `latncy`; did you mean `latency`?"
        );
        assert!(Preset::from_text("gpt-4").is_ok());
    }

    #[test]
    fn a_secret_is_named_and_never_written() {
        let secret: Secret = toml("{ env = \"KEY\" }").unwrap();
        assert_eq!((secret.expose(), secret.to_toml().as_str()), ("hunter2", "{ env = \"KEY\" }"));
        assert!(toml::<Secret>("\"hunter2\"").unwrap_err().contains("must not be written here"));
        let headers: Headers = toml("{ x-team = \"search\", authorization = { env = \"KEY\" } }").unwrap();
        assert!(!format!("{headers:?}{}", headers.to_toml()).contains("hunter2"));
        assert_eq!(toml::<Headers>(&headers.to_toml()).unwrap(), headers);
        for name in ["authorization", "X-Api-Key", "cookie", "cf-aig-token", "ocp-apim-subscription-key"] {
            let complaint = toml::<Headers>(&format!("{{ {name} = \"hunter2\" }}")).unwrap_err();
            assert!(complaint.contains("must not be written here") && !complaint.contains("hunter2"), "{complaint}");
        }
    }

    #[test]
    fn what_is_written_back_reads_the_same() {
        let replies: Replies = toml("[{ contains = [\"a\", \"b\"], reply = \"it's \\\"c\\\"\" }]").unwrap();
        assert_eq!(toml::<Replies>(&replies.to_toml()).unwrap(), replies);
        let temper: Temper = toml("{ first_token = { ms = 5 }, faults = { hang = 0.5 } }").unwrap();
        assert_eq!(toml::<Temper>(&temper.to_toml()).unwrap(), temper);
        assert!(toml::<Temper>("{ first = 1 }").unwrap_err().contains("unknown field `first`"));
        assert!(toml::<Replies>("[{ contains = [], reply = \"x\" }]").unwrap_err().contains("never be given"));
        for dollars in ["2.5", "10", "0.15"] {
            let read: Dollars = toml(dollars).unwrap();
            assert_eq!(toml::<Dollars>(&read.to_toml()).unwrap(), read);
        }
        assert!(toml::<Dollars>("-1").is_err() && toml::<Share>("0").is_err() && toml::<Share>("1.5").is_err());
    }
}
