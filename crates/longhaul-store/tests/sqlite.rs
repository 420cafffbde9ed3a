//! The store on disk, held to the suite.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use async_trait::async_trait;
use longhaul_store::{
    JobStore, Observer, SqliteOptions, SqliteStore, StoreClock,
    conformance::{Harness, World, model},
};
use tempfile::TempDir;

struct Sqlite(TempDir);

impl Sqlite {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }
}

#[async_trait]
impl Harness for Sqlite {
    async fn open(&self, time: StoreClock, observer: Arc<dyn Observer>) -> Arc<dyn JobStore> {
        SqliteStore::open(&SqliteOptions::at(self.0.path()), time, observer).unwrap()
    }

    fn is_durable(&self) -> bool {
        true
    }
}

longhaul_store::conformance!(Sqlite::new());

#[tokio::test]
async fn many_random_lives_agree_with_a_naive_model() {
    for seed in 200..208 {
        model::agrees(World::with(Sqlite::new()).await, seed, 300).await;
    }
}
