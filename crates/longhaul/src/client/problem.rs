//! What a server answers when it says no: `application/problem+json` (RFC 9457), shown so that a person can act on it.

use std::fmt;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use serde::Deserialize;

use crate::screen::clean;

/// A refusal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The sort of problem in a few words.
    pub title: String,
    /// What is wrong this time.
    pub detail: Option<String>,
    /// A word of the documented list.
    pub code: Option<String>,
    /// What to look for in the server's log.
    pub request_id: Option<String>,
    /// Each field that is wrong.
    pub errors: Vec<FieldError>,
    /// How long the server asks to wait.
    #[serde(skip)]
    pub retry_after: Option<Duration>,
}

/// A field that is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FieldError {
    /// Where it is: a JSON pointer.
    pub pointer: String,
    /// Why.
    pub message: String,
}

impl Problem {
    /// Reads an answer. One that is no problem document, such as a proxy's page, is described by its status.
    pub(super) fn read(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Self {
        let mut problem: Self = serde_json::from_slice(body).unwrap_or_default();
        problem.status = status.as_u16();
        if problem.title.is_empty() {
            problem.title = status.canonical_reason().unwrap_or("unknown status").to_owned();
        }
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        problem.request_id = problem.request_id.or_else(|| header("x-request-id").map(str::to_owned));
        problem.retry_after = header(RETRY_AFTER.as_str()).and_then(|text| text.parse().ok()).map(Duration::from_secs);
        problem
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.detail.as_deref().filter(|detail| !detail.is_empty()).unwrap_or(&self.title);
        write!(f, "{}", clean(what))?;
        write!(f, " (HTTP {}", self.status)?;
        if let Some(code) = &self.code {
            write!(f, ", {}", clean(code))?;
        }
        f.write_str(")")?;
        for error in &self.errors {
            let pointer = if error.pointer.is_empty() { "/" } else { &error.pointer };
            write!(f, "\n  {}: {}", clean(pointer), clean(&error.message))?;
        }
        if let Some(after) = self.retry_after {
            write!(f, "\n  try again in {}s", after.as_secs())?;
        }
        if self.status == 401 {
            f.write_str("\n  set LONGHAUL_API_KEY to a valid key")?;
        }
        if let Some(id) = self.request_id.as_deref().filter(|_| self.status >= 500) {
            write!(f, "\n  request id: {}", clean(id))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bad_field_is_shown() {
        let body = br#"{"type":"x","title":"Invalid","status":422,"detail":"2 fields are invalid","code":"invalid_field",
            "errors":[{"pointer":"/kind","message":"unknown kind `eco`"},{"pointer":"/priority","message":"must be <= 100"}],
            "new_in_v2":true}"#;
        let problem = Problem::read(StatusCode::UNPROCESSABLE_ENTITY, &HeaderMap::new(), body);
        insta::assert_snapshot!(problem, @r"
        2 fields are invalid (HTTP 422, invalid_field)
          /kind: unknown kind `eco`
          /priority: must be <= 100
        ");
    }

    #[test]
    fn a_page_of_a_proxy_is_described_by_its_status() {
        let mut headers = HeaderMap::new();
        headers.insert("retry-after", "7".parse().unwrap());
        headers.insert("x-request-id", "abc".parse().unwrap());
        let problem = Problem::read(StatusCode::BAD_GATEWAY, &headers, b"<html>");
        insta::assert_snapshot!(problem, @r"
        Bad Gateway (HTTP 502)
          try again in 7s
          request id: abc
        ");
    }
}
