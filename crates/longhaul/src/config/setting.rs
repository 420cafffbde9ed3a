//! What a single value may be: how each type is read from TOML and from text, and how it is written back.
//!
//! Every type reads both forms itself, because an environment variable is always text: `LONGHAUL__LIMITS__JSON_BODY=2MiB`
//! and `json_body = "2MiB"` mean the same. Errors are sentences that follow the name of the key.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use toml::de::DeValue;

use super::duration;
use super::environment::Environment;
use super::size::ByteSize;

/// A type that a key of the configuration can have.
pub trait Setting: Sized {
    /// What to write, in a few words for the reference page and for error messages.
    const FORM: &'static str;

    /// Whether the text may hold a password, so that an error must not show the line it stands on.
    const MAY_HOLD_A_SECRET: bool = false;

    /// Whether a variable can set it: what is or holds a secret names its own.
    const HAS_A_VARIABLE: bool = true;

    /// How it is written in a variable, where that differs from the file.
    const IN_A_VARIABLE: Option<&'static str> = None;

    /// Reads a value of the file.
    ///
    /// # Errors
    /// A sentence that says what is wrong, to be put after the name of the key.
    fn from_toml(value: &DeValue<'_>, environment: &Environment) -> Result<Self, String> {
        let _ = environment;
        match value.as_str() {
            Some(text) => Self::from_text(text),
            None => Err(format!("must be {}, not {}", Self::FORM, named(value))),
        }
    }

    /// Reads the text of an environment variable or a flag.
    ///
    /// # Errors
    /// As [`Setting::from_toml`].
    fn from_text(text: &str) -> Result<Self, String>;

    /// Writes the value as TOML; empty when there is none.
    fn to_toml(&self) -> String;
}

/// The TOML type of a value with its article.
pub(super) fn named(value: &DeValue<'_>) -> String {
    match value.type_str() {
        name @ ("integer" | "array") => format!("an {name}"),
        name => format!("a {name}"),
    }
}

/// A text as a TOML literal.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

impl<T: Setting> Setting for Option<T> {
    const FORM: &'static str = T::FORM;
    const MAY_HOLD_A_SECRET: bool = T::MAY_HOLD_A_SECRET;
    const HAS_A_VARIABLE: bool = T::HAS_A_VARIABLE;
    const IN_A_VARIABLE: Option<&'static str> = T::IN_A_VARIABLE;

    fn from_toml(value: &DeValue<'_>, environment: &Environment) -> Result<Self, String> {
        T::from_toml(value, environment).map(Some)
    }

    fn from_text(text: &str) -> Result<Self, String> {
        T::from_text(text).map(Some)
    }

    fn to_toml(&self) -> String {
        self.as_ref().map(T::to_toml).unwrap_or_default()
    }
}

/// A list in the file is a TOML array; in a variable it is separated by commas.
impl<T: Setting> Setting for Vec<T> {
    const FORM: &'static str = T::FORM;
    const MAY_HOLD_A_SECRET: bool = T::MAY_HOLD_A_SECRET;
    const HAS_A_VARIABLE: bool = T::HAS_A_VARIABLE;

    fn from_toml(value: &DeValue<'_>, environment: &Environment) -> Result<Self, String> {
        let DeValue::Array(items) = value else {
            return Err(format!("must be an array, each item {}, not {}", T::FORM, named(value)));
        };
        items.iter().map(|item| T::from_toml(item.get_ref(), environment)).collect()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(T::from_text).collect()
    }

    fn to_toml(&self) -> String {
        let items: Vec<String> = self.iter().map(T::to_toml).collect();
        format!("[{}]", items.join(", "))
    }
}

impl Setting for Duration {
    const FORM: &'static str = "a length of time such as \"30s\" or \"1h30m\"";

    fn from_text(text: &str) -> Result<Self, String> {
        duration::parse(text)
    }

    fn to_toml(&self) -> String {
        quoted(&duration::format(*self))
    }
}

impl Setting for ByteSize {
    const FORM: &'static str = "a size such as \"1MiB\"";

    fn from_toml(value: &DeValue<'_>, environment: &Environment) -> Result<Self, String> {
        match value {
            DeValue::Integer(_) => whole_number(value).map(Self),
            DeValue::String(text) => Self::from_text(text),
            other => {
                let _ = environment;
                Err(format!("must be {}, not {}", Self::FORM, named(other)))
            }
        }
    }

    fn from_text(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Setting for NonZeroU32 {
    const FORM: &'static str = "a whole number from 1";

    fn from_toml(value: &DeValue<'_>, _: &Environment) -> Result<Self, String> {
        let number = whole_number(value)?;
        u32::try_from(number).ok().and_then(Self::new).ok_or_else(|| out_of_range(&number.to_string()))
    }

    fn from_text(text: &str) -> Result<Self, String> {
        let digits = text.trim().replace('_', "");
        digits.parse().map_err(|_| out_of_range(text))
    }

    fn to_toml(&self) -> String {
        self.to_string()
    }
}

fn out_of_range(text: &str) -> String {
    format!("must be a whole number from 1 to {}, not `{text}`", u32::MAX)
}

/// Reads a TOML integer that is not negative.
fn whole_number(value: &DeValue<'_>) -> Result<u64, String> {
    let Some(integer) = value.as_integer() else {
        return Err(format!("must be a whole number, not {}", named(value)));
    };
    u64::from_str_radix(integer.as_str(), integer.radix())
        .map_err(|_| format!("must be a whole number that is not negative, not `{}`", integer.as_str()))
}

impl Setting for SocketAddr {
    const FORM: &'static str = "an address and port such as \"127.0.0.1:8080\"";

    fn from_text(text: &str) -> Result<Self, String> {
        text.trim().parse().map_err(|_| {
            format!("must be an IP address and a port such as \"127.0.0.1:8080\" or \"[::1]:8080\", not `{text}`")
        })
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string())
    }
}

impl Setting for PathBuf {
    const FORM: &'static str = "a path";

    fn from_text(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("must be a path, not an empty text".to_owned()) } else { Ok(text.into()) }
    }

    fn to_toml(&self) -> String {
        quoted(&self.to_string_lossy())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toml<T: Setting>(text: &str) -> Result<T, String> {
        let value = DeValue::parse(text).unwrap();
        T::from_toml(value.get_ref(), &Environment::default())
    }

    #[test]
    fn a_wrong_type_is_named_with_what_is_wanted() {
        assert_eq!(
            toml::<Duration>("30").unwrap_err(),
            "must be a length of time such as \"30s\" or \"1h30m\", not an integer"
        );
        assert_eq!(toml::<NonZeroU32>("\"x\"").unwrap_err(), "must be a whole number, not a string");
        assert!(toml::<NonZeroU32>("0").unwrap_err().contains("from 1"));
        assert!(toml::<NonZeroU32>("-3").unwrap_err().contains("not negative"));
    }

    #[test]
    fn numbers_may_be_grouped_and_hexadecimal() {
        assert_eq!(toml::<NonZeroU32>("16_384").unwrap().get(), 16_384);
        assert_eq!(toml::<NonZeroU32>("0x10").unwrap().get(), 16);
        assert_eq!(NonZeroU32::from_text("16_384").unwrap().get(), 16_384);
    }

    #[test]
    fn a_list_in_text_is_separated_by_commas() {
        let paths = Vec::<PathBuf>::from_text("a, b,,c").unwrap();
        assert_eq!(paths, ["a", "b", "c"].map(PathBuf::from));
        assert_eq!(paths.to_toml(), "[\"a\", \"b\", \"c\"]");
    }
}
