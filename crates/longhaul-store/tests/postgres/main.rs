//! The store on PostgreSQL, held to the suite, and what several servers on one database owe each other.
#![allow(clippy::unwrap_used, reason = "tests")]
#![cfg(unix)]

mod away;
mod between;
mod blobs;
mod families;
mod limits;
mod nodes;
mod opening;
mod server;

use std::sync::Arc;

use async_trait::async_trait;
use longhaul_store::{
    JobStore, Observer, PostgresOptions, PostgresStore, StoreClock,
    conformance::{Harness, World, model},
};
use server::Database;

struct Postgres(Database);

impl Postgres {
    async fn new() -> Self {
        Self(Database::new().await)
    }
}

fn options(database: &Database) -> PostgresOptions {
    PostgresOptions { own_time: true, ..PostgresOptions::at(database.url()) }
}

#[async_trait]
impl Harness for Postgres {
    async fn open(&self, time: StoreClock, observer: Arc<dyn Observer>) -> Arc<dyn JobStore> {
        PostgresStore::open(&options(&self.0), time, observer).await.unwrap()
    }

    fn is_durable(&self) -> bool {
        true
    }
}

longhaul_store::conformance!(Postgres::new().await);

#[tokio::test]
async fn many_random_lives_agree_with_a_naive_model() {
    for seed in 400..402 {
        model::agrees(World::with(Postgres::new().await).await, seed, 200).await;
    }
}
