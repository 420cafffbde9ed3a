//! Lanes that are longer than what a store shows of them at once.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    pin::pin,
};

use futures::future::join_all;
use longhaul_core::{IdSource as _, Ids, JobId, JobSpec};

use super::{World, claim, kind, poll_once, tenant};
use crate::{Held, Outcome};

/// A lane as it should be: by priority, then by age.
#[derive(Default)]
struct Lane {
    waiting: BTreeSet<(i16, usize)>,
    places: HashMap<JobId, (i16, usize)>,
    ids: BTreeMap<(i16, usize), JobId>,
}

impl Lane {
    fn add(&mut self, spec: &JobSpec) {
        let place = (-i16::from(spec.priority), self.places.len());
        self.places.insert(spec.id, place);
        self.ids.insert(place, spec.id);
        self.waiting.insert(place);
    }

    fn take(&mut self, most: usize) -> Vec<JobId> {
        (0..most).map_while(|_| self.waiting.pop_first()).map(|place| self.ids[&place]).collect()
    }
}

pub async fn a_long_lane_is_handed_out_in_order(w: World) {
    let (random, mut lane) = (Ids::seeded(11), Lane::default());
    for _ in 0..3 {
        let priority = |random: &Ids| i8::try_from(random.random() % 5).unwrap() - 2;
        let specs: Vec<JobSpec> = (0..1_000).map(|_| JobSpec { priority: priority(&random), ..w.spec() }).collect();
        specs.iter().for_each(|spec| lane.add(spec));
        w.submit_all(specs, None).await.unwrap();
    }
    loop {
        let limit = 1 + random.random() as usize % 300;
        let leased: Vec<JobId> = w.take(claim(limit)).await.iter().map(|leased| leased.held.job).collect();
        assert_eq!(leased, lane.take(limit));
        if leased.is_empty() {
            return;
        }
    }
}

/// What is taken in and what is handed out may meet in one commit, before either is on disk.
pub async fn a_long_lane_is_handed_out_in_order_also_within_a_commit(w: World) {
    let mut lane = Lane::default();
    let bulk = |lane: &mut Lane, priority, many| {
        let specs: Vec<JobSpec> = (0..many).map(|_| JobSpec { priority, ..w.spec() }).collect();
        specs.iter().for_each(|spec| lane.add(spec));
        w.submit_all(specs, None)
    };
    for _ in 0..3 {
        bulk(&mut lane, 0, 1_000).await.unwrap();
    }
    // Keeps the store busy, so that what follows gathers.
    let other: Vec<JobSpec> = (0..1_000).map(|_| JobSpec { kind: kind("unclaimed"), ..w.spec() }).collect();
    let mut busy = pin!(w.submit_all(other, None));
    assert!(poll_once(busy.as_mut()).is_pending());
    let mut late = pin!(join_all([bulk(&mut lane, -100, 300), bulk(&mut lane, 50, 300), bulk(&mut lane, 0, 300)]));
    assert!(poll_once(late.as_mut()).is_pending());
    let mut claims = pin!(join_all((0..16).map(|_| w.store.claim(claim(250)))));
    assert!(poll_once(claims.as_mut()).is_pending());
    busy.await.unwrap();
    assert!(late.await.iter().all(Result::is_ok));
    let claimed = claims.await.into_iter().flat_map(|leased| leased.unwrap());
    let claimed: Vec<JobId> = claimed.map(|leased| leased.held.job).collect();
    assert_eq!(claimed.len(), 3_900);
    assert_eq!(claimed, lane.take(3_900));
}

pub async fn a_long_lane_is_handed_out_in_order_while_it_grows(w: World) {
    let (random, mut lane) = (Ids::seeded(12), Lane::default());
    let below = |most: u64| usize::try_from(random.random() % most).unwrap();
    let mut held: Vec<Held> = Vec::new();
    for round in 0..60 {
        // The lane grows to some 3,000, and is then handed out; what comes in meanwhile finds its place.
        let specs: Vec<JobSpec> = (0..below(if round < 40 { 220 } else { 30 }))
            .map(|_| JobSpec { priority: i8::try_from(below(7)).unwrap() - 3, ..w.spec() })
            .collect();
        specs.iter().for_each(|spec| lane.add(spec));
        w.submit_all(specs, None).await.unwrap();
        if below(3) == 0 && !held.is_empty() {
            // Some are given back, to where they stood.
            for _ in 0..below(40).min(held.len()) {
                let back = held.swap_remove(below(held.len() as u64));
                w.finish(&back, Outcome::Released { ambiguous: false }).await.unwrap();
                lane.waiting.insert(lane.places[&back.job]);
            }
        }
        for _ in 0..below(20).min(lane.waiting.len()) {
            let nth = below(lane.waiting.len() as u64);
            let place = lane.waiting.iter().nth(nth).copied().unwrap();
            lane.waiting.remove(&place);
            w.store.cancel(&tenant(), lane.ids[&place]).await.unwrap();
        }
        let limit = 1 + below(if round < 40 { 90 } else { 400 });
        let leased = w.take(claim(limit)).await;
        let ids: Vec<JobId> = leased.iter().map(|leased| leased.held.job).collect();
        assert_eq!(ids, lane.take(limit), "round {round}");
        held.extend(leased.into_iter().map(|leased| leased.held));
    }
}
