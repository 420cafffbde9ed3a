//! A kind of job that a user's worker serves, as it is registered.

use serde::{Deserialize, Serialize};

use crate::{Backoff, KindName, Limit, QueueName};

/// What is known of a kind: how its jobs are checked and run unless a submit says otherwise.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KindSpec {
    /// Its name.
    pub name: KindName,
    /// What it does, for people.
    #[serde(default)]
    pub description: Option<String>,
    /// JSON Schema of its input.
    #[serde(default)]
    pub input_schema: Option<serde_json::Value>,
    /// JSON Schema of its output.
    #[serde(default)]
    pub output_schema: Option<serde_json::Value>,
    /// Where its jobs wait.
    #[serde(default)]
    pub queue: Option<QueueName>,
    /// How many attempts may fail before the job does.
    #[serde(default)]
    pub max_attempts: Option<u32>,
    /// How long a failed job waits.
    #[serde(default)]
    pub backoff: Option<Backoff>,
    /// How long one attempt may take, in seconds.
    #[serde(default)]
    pub timeout_s: Option<u64>,
    /// How many of its jobs run at once and start in a time: at most one limit over all of them, and one by key.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limit>,
}

impl KindSpec {
    /// A kind of that name, of which nothing else is said: any input, any output, and what configuration gives every kind.
    ///
    /// ```
    /// use longhaul_core::{KindName, KindSpec};
    ///
    /// let resize = KindSpec { timeout_s: Some(60), ..KindSpec::named(KindName::new("resize")?) };
    /// assert_eq!(resize.limits, []);
    /// # Ok::<(), longhaul_core::NameError>(())
    /// ```
    pub const fn named(name: KindName) -> Self {
        Self {
            name,
            description: None,
            input_schema: None,
            output_schema: None,
            queue: None,
            max_attempts: None,
            backoff: None,
            timeout_s: None,
            limits: Vec::new(),
        }
    }
}
