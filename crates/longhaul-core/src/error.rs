//! Why an attempt or a job failed, as it is kept and shown.

use serde::{Deserialize, Serialize};

/// What went wrong, in words for a person and in a code for a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobError {
    /// A stable word for programs: `worker_crash_loop`, `document_encrypted`.
    pub code: String,
    /// A sentence for people.
    pub message: String,
    /// Whether another attempt may succeed.
    pub retryable: bool,
    /// The attempt that failed so.
    #[serde(default)]
    pub attempt: u32,
    /// The provider that was called, when one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<ProviderError>,
}

/// What a provider answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProviderError {
    /// The provider's name in the configuration.
    pub name: String,
    /// Its HTTP status, when it answered at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_status: Option<u16>,
    /// Its own id of the request, for its support.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

impl JobError {
    /// An error that no further attempt can mend.
    pub fn permanent(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), retryable: false, attempt: 0, provider: None }
    }

    /// An error that another attempt may not meet.
    pub fn transient(code: &str, message: impl Into<String>) -> Self {
        Self { retryable: true, ..Self::permanent(code, message) }
    }
}
