//! Names that people give: tenants, kinds, queues and steps.
//!
//! All are short, printable and safe in a path, a log line and a metric label, and checked once, where they come in.

use std::{fmt, ops::Deref, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, de};

/// Why a name was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing was given.
    #[error("must not be empty")]
    Empty,
    /// It is longer than allowed.
    #[error("must not be longer than {limit} characters")]
    TooLong {
        /// The most characters there may be.
        limit: usize,
    },
    /// It holds a character that names may not have.
    #[error("must not contain {found:?}: only {allowed} are allowed")]
    Character {
        /// The first character refused.
        found: char,
        /// In words, what is allowed.
        allowed: &'static str,
    },
}

fn check(text: &str, limit: usize, extra: &[char], allowed: &'static str) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > limit {
        return Err(NameError::TooLong { limit });
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || extra.contains(c))) {
        Some(found) => Err(NameError::Character { found, allowed }),
        None => Ok(()),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $limit:expr, $extra:expr, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text` and keeps it.
            pub fn new(text: &str) -> Result<Self, NameError> {
                check(text, $limit, &$extra, $allowed)?;
                Ok(Self(Arc::from(text)))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl Deref for $name {
            type Target = str;
            fn deref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
                Self::new(&text).map_err(de::Error::custom)
            }
        }
    };
}

name!(
    /// Whose data it is. Comes from the API key and from nowhere else.
    Tenant, 64, ['-', '_', '.'], "letters, digits, '-', '_' and '.'"
);
name!(
    /// What a job does: `echo`, `document.ingest`, or a kind of the user's own.
    KindName, 100, ['-', '_', '.', ':'], "letters, digits, '-', '_', '.' and ':'"
);
name!(
    /// Where a job waits for its turn.
    QueueName, 100, ['-', '_', '.', ':'], "letters, digits, '-', '_', '.' and ':'"
);
name!(
    /// A named checkpoint inside a job: `extract`, `page:3`.
    StepName, 200, ['-', '_', '.', ':', '/'], "letters, digits, '-', '_', '.', ':' and '/'"
);

impl Tenant {
    /// The tenant of an installation without keys.
    pub fn default_tenant() -> Self {
        Self(Arc::from("default"))
    }
}

impl QueueName {
    /// The queue of a job whose kind names no other.
    pub fn default_queue() -> Self {
        Self(Arc::from("default"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_name_says_which_character_is_wrong() {
        let refused = KindName::new("my kind").unwrap_err();
        assert_eq!(
            refused.to_string(),
            "must not contain ' ': only letters, digits, '-', '_', '.' and ':' are allowed"
        );
        assert_eq!(QueueName::new(""), Err(NameError::Empty));
        assert_eq!(Tenant::new(&"a".repeat(65)), Err(NameError::TooLong { limit: 64 }));
    }

    #[test]
    fn paths_are_no_names() {
        assert!(QueueName::new("../etc").is_err());
        assert!(StepName::new("page:3").is_ok());
    }
}
