//! The keys, as the store has them: nothing is looked up on disk for a request.
//!
//! Where several servers share a store, a key may be made or revoked at another. The ring is read again when that server
//! says so, every few seconds in any case, and once when somebody shows a key that it does not know. So a key that is
//! revoked anywhere opens nothing here a moment later, and a few seconds later even if nobody could say so.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use longhaul_core::{ApiKey, KeyId};
use longhaul_engine::{Engine, Lookout};
use tokio_util::sync::CancellationToken;

use crate::app::App;

/// How often what was read is read again when a key was changed here meanwhile.
const TRIES_MOST: usize = 4;

/// Keys by their ids.
pub(crate) type Keys = Arc<HashMap<KeyId, ApiKey>>;

/// All keys.
#[derive(Debug, Default)]
pub struct KeyRing {
    held: RwLock<Held>,
    unknown: Lookout,
}

#[derive(Debug, Default)]
struct Held {
    keys: Keys,
    /// How often a key was changed at this server.
    changes: u64,
}

impl KeyRing {
    /// With these keys.
    pub fn of(keys: Vec<ApiKey>) -> Self {
        let ring = Self::default();
        ring.replace(keys, 0);
        ring
    }

    /// Holds what was read. False: a key was changed at this server since there were `changes`, so that what was read may
    /// be old; nothing is changed.
    fn replace(&self, keys: Vec<ApiKey>, changes: u64) -> bool {
        let keys: HashMap<KeyId, ApiKey> = keys.into_iter().map(|key| (key.id, key)).collect();
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        let is_current = held.changes == changes;
        if is_current && *held.keys != keys {
            held.keys = Arc::new(keys);
        }
        is_current
    }

    /// Takes in a key as it has just been committed.
    pub(crate) fn put(&self, key: ApiKey) {
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut held.keys).insert(key.id, key);
        held.changes += 1;
    }

    /// Whether there is no key at all. Then everybody who can connect is the default tenant and may everything; the
    /// server sees to it that only this machine can connect.
    pub fn is_empty(&self) -> bool {
        self.keys().is_empty()
    }

    pub(crate) fn keys(&self) -> Keys {
        self.held.read().unwrap_or_else(PoisonError::into_inner).keys.clone()
    }

    fn changes(&self) -> u64 {
        self.held.read().unwrap_or_else(PoisonError::into_inner).changes
    }

    /// Looks in the store for a key that is not known here, unless that was done a moment ago. True: it may be known now.
    pub(crate) async fn look(&self, engine: &Engine) -> bool {
        engine.is_shared() && self.unknown.look(&**engine.clock(), self.read(engine)).await
    }

    async fn read(&self, engine: &Engine) -> bool {
        for _ in 0..TRIES_MOST {
            let before = self.changes();
            let keys = match engine.keys().await {
                Ok(keys) => keys,
                Err(error) => {
                    tracing::warn!(%error, "the keys cannot be read again; those known here stay in force");
                    return false;
                }
            };
            // What was changed here while the others were being read must not be taken back.
            if self.replace(keys, before) {
                return true;
            }
        }
        false
    }
}

impl App {
    /// Keeps what other servers on the same store do with keys, until `stop`. Ends at once where there are none.
    pub async fn keep_keys(self, stop: CancellationToken) {
        if !self.engine().is_shared() {
            return;
        }
        let mut elsewhere = self.engine().elsewhere();
        let keep = async {
            loop {
                self.0.keys.read(self.engine()).await;
                elsewhere.changed().await;
            }
        };
        stop.run_until_cancelled(keep).await;
    }
}

#[cfg(test)]
mod tests {
    use longhaul_core::{Ids, Scope, Tenant, Timestamp};

    use super::*;

    fn key(seed: u64) -> ApiKey {
        let (ids, now) = (Ids::seeded(seed), Timestamp::from_micros(5));
        crate::auth::mint(&ids, now, Tenant::default_tenant(), "ci".into(), vec![Scope::Admin], None).0
    }

    #[test]
    fn what_was_read_before_a_change_does_not_take_it_back() {
        let ring = KeyRing::of(vec![key(1)]);
        let (read, before) = (vec![key(1)], ring.changes());
        let revoked = ApiKey { revoked_at: Some(Timestamp::from_micros(6)), ..key(1) };
        ring.put(revoked.clone());
        assert!(!ring.replace(read, before));
        assert_eq!(ring.keys()[&revoked.id], revoked);
        assert!(ring.replace(vec![revoked.clone(), key(2)], ring.changes()));
        assert_eq!(ring.keys().len(), 2);
    }
}
