//! Values that must not be seen: named in the configuration by where they lie, never written into it.
//!
//! A secret is `{ env = "NAME" }` or `{ file = "path" }`. Its `Debug` shows where it came from and not what it is; it
//! has no `Display`. The text leaves through [`Secret::expose`] alone, so that every use can be found by searching.

use std::fmt;

use toml::de::DeValue;

use super::environment::Environment;

/// Where a secret lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reference {
    /// An environment variable.
    Env(String),
    /// A file; trailing line ends are cut off.
    File(String),
}

impl Reference {
    /// Reads `{ env = "NAME" }` or `{ file = "path" }`.
    ///
    /// # Errors
    /// A sentence that says what stands there instead. It never repeats a value, which might be the secret itself.
    pub fn from_toml(value: &DeValue<'_>) -> Result<Self, String> {
        let form = "a secret is { env = \"NAME\" } or { file = \"path\" }";
        let DeValue::Table(table) = value else {
            return Err(format!("must not be written here: {form}"));
        };
        let mut entries = table.iter();
        let (Some((key, value)), None) = (entries.next(), entries.next()) else {
            return Err(format!("needs exactly one of `env` and `file`: {form}"));
        };
        let name = value.get_ref().as_str().filter(|name| !name.is_empty());
        match (key.get_ref().as_ref(), name) {
            ("env", Some(name)) => Ok(Self::Env(name.to_owned())),
            ("file", Some(path)) => Ok(Self::File(path.to_owned())),
            ("env" | "file", None) => Err(format!("needs a text that is not empty: {form}")),
            (other, _) => Err(format!("has the unknown key `{other}`: {form}")),
        }
    }

    /// Fetches the secret.
    ///
    /// # Errors
    /// A sentence that names the place where nothing usable was found.
    pub fn resolve(&self, environment: &Environment) -> Result<Secret, String> {
        let text = match self {
            Self::Env(name) => environment
                .get(name)
                .map(str::to_owned)
                .ok_or_else(|| format!("names the environment variable {name}, which is not set"))?,
            Self::File(path) => {
                std::fs::read_to_string(path).map_err(|error| format!("names the file {path}: {error}"))?
            }
        };
        let text = text.trim_end_matches(['\r', '\n']).to_owned();
        if text.is_empty() {
            return Err(format!("names {self}, which is empty"));
        }
        Ok(Secret { text, from: self.clone() })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::File(path) => write!(f, "the file {path}"),
        }
    }
}

/// A secret together with where it came from.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    text: String,
    from: Reference,
}

impl Secret {
    /// The secret itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// Where it came from; safe to print.
    #[must_use]
    pub fn origin(&self) -> &Reference {
        &self.from
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret(from {})", self.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_the_place_and_not_the_secret() {
        let environment = Environment::from_pairs([("KEY", "hunter2")]);
        let secret = Reference::Env("KEY".to_owned()).resolve(&environment).unwrap();
        assert_eq!(secret.expose(), "hunter2");
        assert_eq!(format!("{secret:?}"), "Secret(from the environment variable KEY)");
    }

    #[test]
    fn a_missing_place_is_named() {
        let error = Reference::Env("NO_SUCH".to_owned()).resolve(&Environment::default()).unwrap_err();
        assert!(error.contains("NO_SUCH"), "{error}");
    }
}
