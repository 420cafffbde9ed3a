//! The account of what a target cannot carry: refused, or left out and named.

use std::collections::BTreeSet;

use super::EncodeError;
use crate::chat::{ChatRequest, Content, Dialect, Part, ResponseFormat};
use crate::json::{Extra, Json};

/// Fields that change no answer: labels, caches, tiers, hints at speed. A target without a place for them may go without.
const HINTS: &[&str] = &[
    "anthropic-beta",
    "cache_control",
    "include",
    "include_obfuscation",
    "max_tool_calls",
    "metadata",
    "obfuscation",
    "output_config.effort",
    "parsed_arguments",
    "prediction",
    "prompt_cache_breakpoint",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "store",
    "user_profile_id",
];

/// Fields that OpenAI's two protocols share.
const SHARED: &[&str] =
    &["metadata", "prompt_cache_key", "prompt_cache_retention", "safety_identifier", "service_tier", "verbosity"];

/// What has been left out of one request so far.
#[derive(Debug)]
pub(crate) struct Gaps<'a> {
    protocol: &'static str,
    own: Dialect,
    from: Dialect,
    may_ignore: &'a BTreeSet<String>,
    ignored: Vec<String>,
}

impl<'a> Gaps<'a> {
    /// For a request in the words of `from` to a target that speaks `own`.
    pub(crate) fn new(protocol: &'static str, own: Dialect, from: Dialect, may_ignore: &'a BTreeSet<String>) -> Self {
        Self { protocol, own, from, may_ignore, ignored: Vec::new() }
    }

    /// Something that would change the answer and cannot be said.
    pub(crate) fn cannot(&self, what: impl Into<String>) -> EncodeError {
        EncodeError::Unsupported { protocol: self.protocol, what: what.into() }
    }

    /// A field that would change the answer: refused if it is there, unless the provider's settings let it go.
    pub(crate) fn refuse(&mut self, field: &str, present: bool) -> Result<(), EncodeError> {
        if !present {
            return Ok(());
        }
        if !self.may_ignore.contains(field) {
            return Err(self.cannot(format!("`{field}`")));
        }
        self.leave_out(field);
        Ok(())
    }

    /// A field that changes no answer: left out, and named.
    pub(crate) fn hint(&mut self, field: &str, present: bool) {
        if present {
            self.leave_out(field);
        }
    }

    /// Carried fields: true if they are in the target's own words and go along as they are. Otherwise each that is not
    /// [carried](Self::carries) all the same is a hint or a refusal.
    pub(crate) fn extra(&mut self, extra: &Extra) -> Result<bool, EncodeError> {
        if self.same_dialect() {
            return Ok(true);
        }
        for (field, _) in extra.iter() {
            if self.carries(field) {
                continue;
            }
            // What is left of an object within has a name of several words.
            if HINTS.contains(&field) || field.split('.').any(|word| HINTS.contains(&word)) {
                self.leave_out(field);
            } else {
                self.refuse(field, true)?;
            }
        }
        Ok(false)
    }

    /// The carried fields of a part. Those of a thought go where it goes.
    pub(crate) fn part(&mut self, part: &Part) -> Result<(), EncodeError> {
        if matches!(part.content, Content::Reasoning(_)) {
            return Ok(());
        }
        self.extra(&part.extra).map(drop)
    }

    /// True for a field of the request that the target knows under the same name.
    pub(crate) fn carries(&self, field: &str) -> bool {
        let of_openai = |dialect| matches!(dialect, Dialect::OpenAi | Dialect::Responses);
        self.same_dialect() || (of_openai(self.own) && of_openai(self.from) && SHARED.contains(&field))
    }

    /// The rest of an answer, which only some targets can be asked for, and of none as JSON: what is made by a schema
    /// begins at its beginning.
    pub(crate) fn rest(&self, request: &ChatRequest, can: bool) -> Result<(), EncodeError> {
        match request.goes_on {
            true if !can || request.response_format != ResponseFormat::Text => {
                Err(self.cannot("the beginning of an answer to go on from"))
            }
            _ => Ok(()),
        }
    }

    /// Something of one dialect alone, as it was written: only a target of that dialect takes it.
    pub(crate) fn native(&self, what: &str, value: &Json) -> Result<(), EncodeError> {
        if self.same_dialect() {
            return Ok(());
        }
        Err(match value.kind() {
            Some(kind) => self.cannot(format!("{what} of type `{kind}`")),
            None => self.cannot(format!("{what} of another protocol")),
        })
    }

    /// True if the request is in the target's own words.
    pub(crate) fn same_dialect(&self) -> bool {
        self.own == self.from
    }

    /// What was left out, each once.
    pub(crate) fn into_ignored(self) -> Vec<String> {
        self.ignored
    }

    fn leave_out(&mut self, field: &str) {
        if !self.ignored.iter().any(|known| known == field) {
            self.ignored.push(field.to_owned());
        }
    }
}
