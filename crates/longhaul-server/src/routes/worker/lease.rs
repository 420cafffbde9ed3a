//! The lease as a worker carries it.
//!
//! To workers it is an opaque word. In it stand the store's token, for how long the lease was asked for, and when the
//! attempt is to be over if its kind has a time-out: so no node has to remember anything, and a heartbeat costs one
//! write. A worker that forges the last two betrays itself only: the token is what the store compares.

use std::{fmt, str::FromStr};

use axum::{extract::FromRequestParts, http::request::Parts};
use longhaul_core::{JobId, LeaseToken, Span, Tenant, Timestamp};
use longhaul_engine::store::Held;

use crate::problem::{Code, Problem};

/// The header that carries it.
pub(crate) const HEADER: &str = "longhaul-lease";

/// What the header holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lease {
    /// What the store compares.
    pub(crate) token: LeaseToken,
    /// How long it holds from each sign of life on.
    pub(crate) holds_for: Span,
    /// When the attempt is to be over.
    pub(crate) attempt_ends_at: Option<Timestamp>,
}

impl Lease {
    /// The right to write for a job.
    pub(crate) fn over(self, tenant: &Tenant, job: JobId) -> Held {
        Held { tenant: tenant.clone(), job, token: self.token }
    }
}

impl fmt::Display for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.token, self.holds_for.as_secs())?;
        match self.attempt_ends_at {
            Some(at) => write!(f, "-{}", at.as_micros() / 1_000),
            None => Ok(()),
        }
    }
}

impl FromStr for Lease {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let unreadable = || {
            let detail = "The Longhaul-Lease header must be a `lease_token` as a claim gave it.";
            Problem::new(Code::MalformedRequest, detail)
        };
        let mut parts = text.splitn(3, '-');
        let token = parts.next().and_then(|part| part.parse().ok()).ok_or_else(unreadable)?;
        let seconds: u64 = parts.next().and_then(|part| part.parse().ok()).ok_or_else(unreadable)?;
        if !super::claims::LEASE_S.contains(&seconds) {
            return Err(unreadable());
        }
        let attempt_ends_at = match parts.next() {
            None => None,
            Some(millis) => {
                let millis: i64 = millis.parse().map_err(|_| unreadable())?;
                Some(Timestamp::from_micros(millis.checked_mul(1_000).ok_or_else(unreadable)?))
            }
        };
        Ok(Self { token, holds_for: Span::from_secs(seconds), attempt_ends_at })
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Lease {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        match parts.headers.get(HEADER) {
            Some(value) => value.to_str().unwrap_or_default().parse(),
            None => Err(Problem::new(
                Code::MalformedRequest,
                "The header Longhaul-Lease is missing: send the `lease_token` that the claim gave with the job.",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_reads_back_with_and_without_an_end() {
        let token = LeaseToken::new(3, 0xbeef);
        for attempt_ends_at in [None, Some(Timestamp::from_micros(1_700_000_000_123_000))] {
            let lease = Lease { token, holds_for: Span::from_secs(30), attempt_ends_at };
            assert_eq!(lease.to_string().parse::<Lease>().unwrap(), lease);
        }
    }

    #[test]
    fn what_no_claim_gave_is_refused() {
        for text in [
            "",
            "lease_",
            "lease_0000000000000001",
            "lease_0000000000000001-",
            "lease_0000000000000001-4",
            "lease_0000000000000001-30-",
            "lease_0000000000000001-30-x",
            "lease_0000000000000001-30-9223372036854775807",
        ] {
            let refused = text.parse::<Lease>().unwrap_err();
            assert_eq!(refused.code(), Code::MalformedRequest, "{text}");
        }
    }
}
