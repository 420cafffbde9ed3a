//! Limits of a kind, as the configuration writes them.

use longhaul_core::{Limit, LimitFlaw, Rate, check_limits};
use toml::de::DeValue;

use super::environment::Environment;
use super::setting::{Setting, named, quoted};

/// A rate: `"100/min"`, `"5/s"`, `"1000/h"`, `"10/30s"`.
fn rate(text: &str) -> Result<Rate, String> {
    let refuse = || format!("has the rate `{text}`; write it like \"100/min\", \"5/s\", \"1000/h\" or \"10/30s\"");
    let (count, window) = text.split_once('/').ok_or_else(refuse)?;
    let window = window.trim();
    let digits = window.len() - window.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = window.split_at(digits);
    let number: u32 = if number.is_empty() { 1 } else { number.parse().map_err(|_| refuse())? };
    let seconds = match unit.trim() {
        "s" | "sec" | "second" => 1,
        "m" | "min" | "minute" => 60,
        "h" | "hour" => 3_600,
        "d" | "day" => 86_400,
        _ => return Err(refuse()),
    };
    let per_s = number.checked_mul(seconds).ok_or_else(refuse)?;
    Ok(Rate { count: count.trim().parse().map_err(|_| refuse())?, per_s })
}

/// One limit of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindLimit(pub Limit);

/// All limits of a kind: at most one over all of its jobs and one by key.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KindLimits(pub Vec<Limit>);

impl KindLimits {
    fn checked(limits: Vec<KindLimit>) -> Result<Self, String> {
        let limits: Vec<Limit> = limits.into_iter().map(|limit| limit.0).collect();
        match check_limits(&limits).into_iter().next() {
            None => Ok(Self(limits)),
            Some(LimitFlaw { index, pointer, message }) => {
                let field = pointer.trim_start_matches('/').replace('/', ".");
                let field = if field.is_empty() { String::new() } else { format!(": `{field}`") };
                Err(format!("has a limit (number {}){field} that {message}", index + 1).replace("that must", "must"))
            }
        }
    }
}

impl Setting for KindLimit {
    const FORM: &'static str =
        "a limit such as { concurrency = 8, rate = \"100/min\" } or { key = \"/customer\", concurrency = 2 }";

    fn from_toml(value: &DeValue<'_>, _: &Environment) -> Result<Self, String> {
        let DeValue::Table(fields) = value else {
            return match value.as_str() {
                Some(text) => Self::from_text(text),
                None => Err(format!("must be {}, not {}", Self::FORM, named(value))),
            };
        };
        let mut pairs = Vec::new();
        for (name, value) in fields {
            let text = match value.get_ref() {
                DeValue::String(text) => text.to_string(),
                DeValue::Integer(number) => number.as_str().replace('_', ""),
                other => return Err(format!("has `{}` of {}", name.get_ref(), named(other))),
            };
            pairs.push((name.get_ref().to_string(), text));
        }
        Self::of(pairs)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let pair = |pair: &str| match pair.split_once('=') {
            Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
            None => Err(format!("must be pairs such as `key=/customer concurrency=2 rate=10/min`, not `{text}`")),
        };
        Self::of(text.split_whitespace().map(pair).collect::<Result<_, _>>()?)
    }

    fn to_toml(&self) -> String {
        let Limit { key, concurrency, rate } = &self.0;
        let mut fields = Vec::new();
        fields.extend(key.as_ref().map(|key| format!("key = {}", quoted(key))));
        fields.extend(concurrency.map(|most| format!("concurrency = {most}")));
        fields.extend(rate.map(|rate| format!("rate = \"{}/{}s\"", rate.count, rate.per_s)));
        format!("{{ {} }}", fields.join(", "))
    }
}

impl KindLimit {
    fn of(pairs: Vec<(String, String)>) -> Result<Self, String> {
        let mut limit = Limit { key: None, concurrency: None, rate: None };
        for (name, value) in pairs {
            match name.as_str() {
                "key" => limit.key = Some(value),
                "rate" => limit.rate = Some(rate(&value)?),
                "concurrency" => {
                    let most =
                        value.parse().map_err(|_| format!("has `concurrency` of `{value}`, which is no number"))?;
                    limit.concurrency = Some(most);
                }
                other => return Err(format!("has `{other}`; a limit has `key`, `concurrency` and `rate`")),
            }
        }
        Ok(Self(limit))
    }
}

impl Setting for KindLimits {
    const FORM: &'static str =
        "a list of limits such as { concurrency = 8, rate = \"100/min\" } or { key = \"/customer\", concurrency = 2 }";
    const IN_A_VARIABLE: Option<&'static str> =
        Some("limits between commas, such as `concurrency=8 rate=100/min, key=/customer concurrency=2`");

    fn from_toml(value: &DeValue<'_>, environment: &Environment) -> Result<Self, String> {
        Self::checked(Vec::from_toml(value, environment)?)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Self::checked(Vec::from_text(text)?)
    }

    fn to_toml(&self) -> String {
        if self.0.is_empty() {
            return String::new();
        }
        self.0.iter().cloned().map(KindLimit).collect::<Vec<_>>().to_toml()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toml(text: &str) -> Result<KindLimits, String> {
        KindLimits::from_toml(DeValue::parse(text).unwrap().get_ref(), &Environment::default())
    }

    #[test]
    fn limits_read_the_same_from_the_file_and_from_a_variable() {
        let all = toml("[{ concurrency = 8, rate = \"100/min\" }, { key = \"/a/b\", rate = \"10/30s\" }]").unwrap();
        assert_eq!(all.0[0].rate, Some(Rate { count: 100, per_s: 60 }));
        assert_eq!(all.0[1].key.as_deref(), Some("/a/b"));
        let text = "concurrency=8 rate=100/min, key=/a/b rate=10/30s";
        assert_eq!(KindLimits::from_text(text).unwrap(), all);
        assert_eq!(toml(&all.to_toml()).unwrap(), all);
    }

    #[test]
    fn what_is_wrong_with_a_limit_is_said() {
        for (text, why) in [
            ("[8]", "must be a limit such as"),
            ("[{ concurency = 8 }]", "has `concurency`; a limit has"),
            ("[{ rate = \"fast\" }]", "has the rate `fast`"),
            ("[{ rate = \"1/fortnight\" }]", "100/min"),
            ("[{ concurrency = 0 }]", "`concurrency` must be from 1"),
            ("[{ key = \"customer\", concurrency = 1 }]", "`key` must be a JSON Pointer"),
            ("[{ concurrency = 1 }, { concurrency = 2 }]", "is the second without a `key`"),
            ("[{ key = \"/a\" }]", "limits nothing"),
        ] {
            let error = toml(text).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
