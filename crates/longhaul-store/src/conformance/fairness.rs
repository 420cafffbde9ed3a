//! Nobody's jobs hold up everybody else's. What is shared is every single lease, so the facts claim one at a time.

use std::collections::BTreeMap;

use longhaul_core::{JobSpec, QueueName, Tenant};

use super::{World, claim, queue, succeeded};
use crate::Held;

fn tenant(name: &str) -> Tenant {
    Tenant::new(name).unwrap()
}

async fn submit(w: &World, whose: &str, queue: &QueueName, mut count: usize) {
    while count > 0 {
        let many = count.min(1_000);
        let spec = || JobSpec { tenant: tenant(whose), queue: queue.clone(), ..w.spec() };
        w.submit_all((0..many).map(|_| spec()).collect(), None).await.unwrap();
        count -= many;
    }
}

/// One worker serves the next `count` jobs, one after the other; says whose they were.
async fn serve(w: &World, count: usize) -> Vec<Held> {
    let mut served = Vec::new();
    for _ in 0..count {
        let leased = w.claim_one().await;
        w.finish(&leased.held, succeeded("1")).await.unwrap();
        served.push(leased.held);
    }
    served
}

fn shares(served: &[Held]) -> BTreeMap<&str, usize> {
    let mut shares = BTreeMap::new();
    for held in served {
        *shares.entry(held.tenant.as_str()).or_default() += 1;
    }
    shares
}

pub async fn one_tenants_ten_thousand_jobs_do_not_hold_up_anothers_one(w: World) {
    if !w.shares() {
        return;
    }
    let a = queue("a");
    submit(&w, "crowd", &a, 10_000).await;
    serve(&w, 5).await;
    for _ in 0..3 {
        submit(&w, "single", &a, 1).await;
        let served = serve(&w, 2).await;
        assert_eq!(shares(&served)["single"], 1, "it waits for no more than two others");
        serve(&w, 7).await;
    }
}

pub async fn tenants_share_a_queue_by_their_weights(w: World) {
    if !w.shares() {
        return;
    }
    let a = queue("a");
    w.store.weigh_tenant(tenant("heavy"), 3).await.unwrap();
    for whose in ["heavy", "light", "slight"] {
        submit(&w, whose, &a, 200).await;
    }
    let served = serve(&w, 100).await;
    assert_eq!(shares(&served), BTreeMap::from([("heavy", 60), ("light", 20), ("slight", 20)]));
    // The same when many are claimed at once.
    let leased = w.take(claim(50)).await;
    let held: Vec<Held> = leased.into_iter().map(|leased| leased.held).collect();
    assert_eq!(shares(&held), BTreeMap::from([("heavy", 30), ("light", 10), ("slight", 10)]));
}

pub async fn whoever_was_idle_has_no_credit(w: World) {
    if !w.shares() {
        return;
    }
    let a = queue("a");
    submit(&w, "busy", &a, 500).await;
    submit(&w, "other", &a, 1).await;
    serve(&w, 200).await;
    submit(&w, "other", &a, 100).await;
    let served = serve(&w, 40).await;
    assert!((19..=21).contains(&shares(&served)["other"]), "{:?}", shares(&served));
}

pub async fn a_full_queue_does_not_hold_up_another(w: World) {
    if !w.shares() {
        return;
    }
    let (full, small) = (queue("full"), queue("small"));
    submit(&w, "one", &full, 3_000).await;
    serve(&w, 5).await;
    submit(&w, "one", &small, 10).await;
    let (mut of_small, mut turns) = (0, 0);
    while of_small < 10 {
        let leased = w.claim_one().await;
        of_small += usize::from(leased.view.job.spec.queue == small);
        turns += 1;
        w.finish(&leased.held, succeeded("1")).await.unwrap();
    }
    assert!(turns <= 21, "{turns}");
}
