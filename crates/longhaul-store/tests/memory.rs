//! The store in memory, held to the suite.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use async_trait::async_trait;
use longhaul_store::{
    JobStore, MemoryStore, Observer, StoreClock,
    conformance::{Harness, World, model},
};

struct Memory;

#[async_trait]
impl Harness for Memory {
    async fn open(&self, time: StoreClock, observer: Arc<dyn Observer>) -> Arc<dyn JobStore> {
        MemoryStore::open(time, observer).unwrap()
    }

    fn is_durable(&self) -> bool {
        false
    }
}

longhaul_store::conformance!(Memory);

#[tokio::test]
async fn many_random_lives_agree_with_a_naive_model() {
    for seed in 100..112 {
        model::agrees(World::with(Memory).await, seed, 300).await;
    }
}
