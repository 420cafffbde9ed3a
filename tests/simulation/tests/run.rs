//! One run: from a seed to a judgement.

use std::{cell::RefCell, sync::Once};

use longhaul_core::Span;
use longhaul_testkit::history::{Demands, check};

use crate::{
    book::{Broken, Counts},
    bugs::Bug,
    client::{TENANTS, client, operator, tenant},
    closing::close,
    drive::{Cast, play},
    scenario::Scenario,
    submitting::{Wanted, submit},
    worker::worker,
    world::World,
};

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Verdict {
    pub(crate) broken: Vec<Broken>,
    pub(crate) digest: u64,
    pub(crate) counts: Counts,
    /// The trace, when it was asked for.
    pub(crate) told: Vec<String>,
}

/// A run is over long before, unless something never ends.
const AT_MOST: Span = Span::from_secs(600);

thread_local! {
    /// What panicked on this thread: a panic of a task is otherwise heard by nobody.
    static PANICS: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn hear_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANICS.with(|panics| panics.borrow_mut().push(info.to_string()));
            usual(info);
        }));
    });
}

/// Runs a storm from a seed, with a bug in it or none.
pub(crate) fn storm(seed: u64, bug: Option<Bug>, is_told: bool) -> Verdict {
    let world = World::new(seed, Scenario::storm(seed), bug, is_told);
    let mut cast = Cast::new();
    let scenario = world.scenario.clone();
    for number in 0..scenario.clients {
        let owner = tenant(TENANTS[number % TENANTS.len()]);
        let inner = world.clone();
        cast.add(async move {
            client(inner.clone(), owner, inner.scenario.deeds).await;
            inner.client_leaves();
        });
    }
    let inner = world.clone();
    cast.add(async move {
        operator(inner.clone()).await;
        inner.client_leaves();
    });
    run(&world, cast)
}

/// Runs a few jobs of each kind and kills the process after so many polls of its tasks.
pub(crate) fn killed_at(polls: u64, is_told: bool) -> Verdict {
    let world = World::new(7, Scenario::killed_at(polls), None, is_told);
    let mut cast = Cast::new();
    let (inner, owner) = (world.clone(), tenant(TENANTS[0]));
    cast.add(async move {
        for kind in ["work", "echo", "remote", "parent", "stream", "asker"] {
            submit(&inner, &owner, vec![Wanted::plain(&inner, kind)], true).await;
        }
    });
    run(&world, cast)
}

fn run(world: &World, mut cast: Cast) -> Verdict {
    hear_panics();
    PANICS.with(|panics| panics.borrow_mut().clear());
    for name in ["wanda", "will", "wes"].into_iter().take(world.scenario.workers) {
        let owner = tenant(TENANTS[usize::from(name == "will")]);
        cast.add(worker(world.clone(), name, owner));
    }
    if world.scenario.workers == 1 && world.scenario.is_stormy {
        cast.add(worker(world.clone(), "wendy", tenant(TENANTS[1])));
    }
    let last = cast.add(close(world.clone()));
    play(world, cast, last, AT_MOST);
    judge(world)
}

fn judge(world: &World) -> Verdict {
    for panic in PANICS.with(RefCell::take) {
        world.accuse("panic", panic);
    }
    let judged = check(world.book().history(), Demands::COMPLETE);
    for violation in judged.violations {
        world.accuse("history", violation);
    }
    let mut text = String::new();
    for record in world.book().history() {
        text.push_str(&format!("{record:?}"));
    }
    world.note(format_args!("{text}"));
    let (refused, doubtful) = world.trouble.counts();
    let mut book = world.book();
    book.counts.refused_batches = refused;
    book.counts.doubtful_batches = doubtful;
    let (broken, counts) = (book.broken().to_vec(), book.counts.clone());
    drop(book);
    Verdict { broken, digest: world.digest(), counts, told: world.told() }
}
