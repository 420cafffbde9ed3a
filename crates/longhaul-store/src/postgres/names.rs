//! The names under which servers on one database meet: keys of advisory locks, and the channel of the doorbell.
//!
//! Both are shared by everything in a database, so they are made from the schema that holds the tables.

use longhaul_core::{KindName, QueueName};
use sha2::{Digest as _, Sha256};

/// Longest name of a channel that PostgreSQL takes, in bytes.
const CHANNEL_MOST: usize = 63;

#[derive(Debug, Clone)]
pub(super) struct Keys {
    schema: String,
}

impl Keys {
    pub(super) fn of_schema(schema: String) -> Self {
        Self { schema }
    }

    fn key(&self, purpose: &str, name: &str) -> i64 {
        let digest: [u8; 32] = Sha256::digest(format!("longhaul\n{}\n{purpose}\n{name}", self.schema)).into();
        let (words, _) = digest.as_chunks::<8>();
        words.first().copied().map_or(0, i64::from_le_bytes)
    }

    /// Held by whoever brings the tables to this version's format.
    pub(super) fn migration(&self) -> i64 {
        self.key("migration", "")
    }

    /// Shared by claims, and held alone by whoever pauses a queue.
    pub(super) fn claims(&self) -> i64 {
        self.key("claims", "")
    }

    /// Held by a claim on a queue with a limit.
    pub(super) fn limit(&self, queue: &QueueName) -> i64 {
        self.key("limit", queue.as_str())
    }

    /// Held by a claim on a kind with a limit.
    pub(super) fn kind(&self, kind: &KindName) -> i64 {
        self.key("kind", kind.as_str())
    }

    /// Where the doorbell is rung.
    pub(super) fn channel(&self) -> String {
        let plain = format!("longhaul_{}", self.schema);
        if plain.len() <= CHANNEL_MOST
            && plain.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        {
            plain
        } else {
            format!("longhaul_{:016x}", self.key("channel", ""))
        }
    }
}
