//! Who may do what: API keys and their scopes.

use std::{fmt, str::FromStr};

use crate::{KeyId, QueueName, Tenant, Timestamp};

/// One thing that a key allows.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Read jobs, their events and documents.
    JobsRead,
    /// Submit, cancel, retry and erase jobs.
    JobsWrite,
    /// Call models.
    Llm,
    /// Claim and finish jobs, of one queue or of any.
    Worker(Option<QueueName>),
    /// Keys, queues, kinds; and everything else.
    Admin,
}

impl Scope {
    /// Every scope that needs no argument.
    pub const PLAIN: [Scope; 5] = [Scope::JobsRead, Scope::JobsWrite, Scope::Llm, Scope::Worker(None), Scope::Admin];
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::JobsRead => f.write_str("jobs:read"),
            Scope::JobsWrite => f.write_str("jobs:write"),
            Scope::Llm => f.write_str("llm"),
            Scope::Worker(None) => f.write_str("worker"),
            Scope::Worker(Some(queue)) => write!(f, "worker:{queue}"),
            Scope::Admin => f.write_str("admin"),
        }
    }
}

impl FromStr for Scope {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "jobs:read" => Ok(Scope::JobsRead),
            "jobs:write" => Ok(Scope::JobsWrite),
            "llm" => Ok(Scope::Llm),
            "worker" => Ok(Scope::Worker(None)),
            "admin" => Ok(Scope::Admin),
            _ => match text.strip_prefix("worker:").map(QueueName::new) {
                Some(Ok(queue)) => Ok(Scope::Worker(Some(queue))),
                Some(Err(wrong)) => Err(format!("the queue of a worker scope {wrong}")),
                None => Err(format!(
                    "{text:?} is no scope: known are jobs:read, jobs:write, llm, worker, worker:<queue> and admin"
                )),
            },
        }
    }
}

/// A key, without its secret: only a hash of that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its public half.
    pub id: KeyId,
    /// Whose data it opens.
    pub tenant: Tenant,
    /// What a person called it.
    pub name: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// SHA-256 of the secret.
    pub secret_hash: [u8; 32],
    /// When it was made.
    pub created_at: Timestamp,
    /// When it stops working, if ever.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked, if it was.
    pub revoked_at: Option<Timestamp>,
}

impl ApiKey {
    /// Whether it opens anything at `now`.
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|at| now < at)
    }
}

/// Who asks.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Whose data may be seen.
    pub tenant: Tenant,
    /// What is allowed.
    pub scopes: std::sync::Arc<[Scope]>,
    /// The key that was shown; none where no key exists.
    pub key: Option<KeyId>,
}

impl Caller {
    /// Whoever asks an installation without keys: the default tenant, every scope.
    pub fn unkeyed() -> Self {
        Self { tenant: Tenant::default_tenant(), scopes: Scope::PLAIN.into(), key: None }
    }

    /// Whether `scope` is allowed: it is held, or `admin` is, or `worker` is for a single queue's scope.
    pub fn may(&self, scope: &Scope) -> bool {
        self.scopes.iter().any(|held| {
            held == scope || *held == Scope::Admin || matches!((held, scope), (Scope::Worker(None), Scope::Worker(_)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_read_back() {
        for text in ["jobs:read", "jobs:write", "llm", "worker", "worker:ocr", "admin"] {
            assert_eq!(text.parse::<Scope>().unwrap().to_string(), text);
        }
        assert!("root".parse::<Scope>().unwrap_err().contains("jobs:read"));
    }

    #[test]
    fn a_worker_of_one_queue_may_not_serve_another() {
        let ocr = Scope::Worker(Some(QueueName::new("ocr").unwrap()));
        let gpu = Scope::Worker(Some(QueueName::new("gpu").unwrap()));
        let caller = Caller { scopes: [ocr.clone()].into(), ..Caller::unkeyed() };
        assert!(caller.may(&ocr) && !caller.may(&gpu) && !caller.may(&Scope::Worker(None)));
    }
}
