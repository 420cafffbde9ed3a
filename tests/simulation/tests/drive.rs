//! The one thread that everything runs on, one poll at a time, in an order that depends on the seed alone.
//!
//! A process lives on a runtime of its own. Its root future is polled between any two polls of its tasks: there those
//! outside are polled, mishaps happen, and the process can be killed, which is to drop the runtime with all its tasks.
//! Time moves only when nobody can run.

use std::{
    collections::BTreeSet,
    future::Future,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use longhaul_core::Span;
use tokio::runtime::{Builder, Handle};

use crate::{process, scenario::Mishap, world::World};

/// Those outside of the process, who outlive it.
pub(crate) struct Cast {
    actors: Vec<Option<Actor>>,
    ready: Arc<Mutex<BTreeSet<usize>>>,
}

struct Actor {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    waker: Waker,
}

struct Call {
    index: usize,
    ready: Arc<Mutex<BTreeSet<usize>>>,
}

impl Wake for Call {
    fn wake(self: Arc<Self>) {
        self.ready.lock().unwrap().insert(self.index);
    }
}

impl Cast {
    pub(crate) fn new() -> Self {
        Self { actors: Vec::new(), ready: Arc::default() }
    }

    pub(crate) fn add(&mut self, future: impl Future<Output = ()> + Send + 'static) -> usize {
        let index = self.actors.len();
        let waker = Waker::from(Arc::new(Call { index, ready: self.ready.clone() }));
        self.actors.push(Some(Actor { future: Box::pin(future), waker }));
        self.ready.lock().unwrap().insert(index);
        index
    }

    fn has_left(&self, index: usize) -> bool {
        self.actors[index].is_none()
    }

    /// Polls one of those who can go on. False: nobody can.
    fn poll_one(&mut self, world: &World) -> bool {
        let ready: Vec<usize> = self.ready.lock().unwrap().iter().copied().collect();
        let Some(index) = world.dice.one(&ready) else { return false };
        self.ready.lock().unwrap().remove(&index);
        if let Some(actor) = &mut self.actors[index] {
            let mut cx = Context::from_waker(&actor.waker);
            if actor.future.as_mut().poll(&mut cx).is_ready() {
                self.actors[index] = None;
            }
        }
        true
    }
}

/// Lets the play go on, life after life of the process, until `last` has left the stage or it takes too long.
pub(crate) fn play(world: &World, mut cast: Cast, last: usize, at_most: Span) {
    let mut mishaps = world.scenario.mishaps.clone();
    mishaps.reverse();
    let mut fate = Fate { mishaps, kill_after: None, stop: None, is_stopping: false, polls: 0, at_most };
    loop {
        world.book().counts.lives += 1;
        let runtime = Builder::new_current_thread().event_interval(1).build().unwrap();
        let ended = runtime.block_on(Life {
            world,
            cast: &mut cast,
            last,
            fate: &mut fate,
            sentinel: Arc::default(),
            seen: 0,
            streak: 0,
            started: None,
        });
        world.serve(None);
        drop(runtime);
        world.note(format_args!("the process has ended: {ended:?}"));
        match ended {
            Ended::Done => break,
            Ended::TooLong => {
                world.accuse("too long", "the run has not come to its end");
                break;
            }
            Ended::Killed => world.book().counts.crashes += 1,
            Ended::Stopped => world.book().counts.stops += 1,
        }
        fate.lie_down();
        world.trouble.reopened();
        world.disk.crash();
        {
            let mut book = world.book();
            book.restarted();
            book.deaths.push(world.now());
        }
        downtime(world, &mut cast);
    }
    world.book().counts.polls = fate.polls;
}

/// The time until somebody starts the process again. The clock on the wall may be corrected in it.
fn downtime(world: &World, cast: &mut Cast) {
    let most = if world.mishap(30) { Span::from_secs(4) } else { Span::from_millis(200) };
    let until = Span::from_micros(world.clock.passed().as_micros() + world.dice.up_to(most).as_micros());
    if world.mishap(12) {
        let by = world.dice.up_to(Span::from_secs(20));
        let is_back = world.dice.percent(50);
        world.clock.set_wall(|wall| if is_back { wall - by } else { wall + by });
        world.note(format_args!("the clock is set {} by {by:?}", if is_back { "back" } else { "forward" }));
        world.book().counts.clock_sets += 1;
    }
    while cast.poll_one(world) || world.clock.passed() < until {
        if cast.ready.lock().unwrap().is_empty() {
            world.clock.advance(until);
        }
    }
}

/// How a life of the process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ended {
    Killed,
    Stopped,
    Done,
    TooLong,
}

/// What is to come, over all lives.
struct Fate {
    /// The next stands last.
    mishaps: Vec<(Span, Mishap)>,
    /// In how many polls the process is killed.
    kill_after: Option<u64>,
    /// How long it may take to stop.
    stop: Option<Span>,
    /// It has been asked to stop, and has not yet.
    is_stopping: bool,
    /// How often a task of any process was polled.
    polls: u64,
    at_most: Span,
}

impl Fate {
    /// What was to come over the process that has died.
    fn lie_down(&mut self) {
        self.kill_after = None;
        self.stop = None;
        self.is_stopping = false;
    }

    /// Lets happen what is due.
    fn befall(&mut self, world: &World) {
        let now = world.clock.passed();
        while let Some((_, mishap)) = self.mishaps.pop_if(|(at, _)| *at <= now) {
            world.note(format_args!("{mishap:?}"));
            match mishap {
                Mishap::Crash { after_polls } => self.kill_after = Some(after_polls),
                Mishap::Stop { drain_for } => self.stop = Some(drain_for),
                Mishap::Suspend(span) => {
                    let at = world.now();
                    let mut book = world.book();
                    book.counts.suspends += 1;
                    book.suspends.push((at, span));
                    drop(book);
                    world.clock.suspend(span);
                }
                Mishap::FillDisk(span) => world.trouble.fill(span),
                Mishap::TightDisk(span) => world.trouble.run_tight(span),
                Mishap::SlowDisk(span) => world.trouble.slow_down(span),
                Mishap::DoubtfulBatch { is_kept } => world.trouble.put_in_doubt(is_kept),
            }
        }
        if world.trouble.is_broken() && self.kill_after.is_none() {
            // Somebody sees that it writes no more, and starts it again.
            self.kill_after = Some(world.dice.below(100) as u64);
        }
        if now >= world.scenario.calm_at && !world.is_calm() {
            if self.kill_after.is_some() || self.stop.is_some() || self.is_stopping {
                // Whatever was to come over this process comes before the calm.
                self.kill_after = Some(0);
            } else {
                world.calm_down();
            }
        }
    }

    /// Until when time may pass at a stretch.
    fn next(&self, world: &World) -> Span {
        let next = self.mishaps.last().map_or(self.at_most, |(at, _)| *at);
        if world.is_calm() { next } else { next.min(world.scenario.calm_at) }
    }
}

/// One life of the process, as its root future.
struct Life<'a> {
    world: &'a World,
    cast: &'a mut Cast,
    last: usize,
    fate: &'a mut Fate,
    /// Counts the polls of a task that always runs: nothing else is to be run when it runs twice in a row.
    sentinel: Arc<AtomicU64>,
    seen: u64,
    streak: u32,
    /// Set when it has tried to start, and when it has stopped.
    started: Option<Arc<Outcome>>,
}

/// What the process says of itself.
#[derive(Default)]
struct Outcome {
    has_ended: std::sync::atomic::AtomicBool,
}

impl Future for Life<'_> {
    type Output = Ended;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Ended> {
        let life = &mut *self;
        // It is polled between any two tasks.
        cx.waker().wake_by_ref();
        life.begin();
        let sentinel = life.sentinel.load(Ordering::Relaxed);
        let has_task_run = sentinel == life.seen;
        life.seen = sentinel;
        life.streak = if has_task_run { 0 } else { life.streak + 1 };
        if life.fate.kill_after == Some(0) {
            return Poll::Ready(Ended::Killed);
        }
        if has_task_run {
            life.fate.polls += 1;
            life.fate.kill_after = life.fate.kill_after.map(|left| left - 1);
        }
        if life.started.as_ref().is_some_and(|outcome| outcome.has_ended.load(Ordering::Relaxed)) {
            return Poll::Ready(Ended::Stopped);
        }
        if life.cast.has_left(life.last) {
            return Poll::Ready(Ended::Done);
        }
        if life.cast.poll_one(life.world) {
            life.streak = 0;
        } else if life.streak >= 2 {
            life.streak = 0;
            if life.world.clock.passed() >= life.fate.at_most {
                return Poll::Ready(Ended::TooLong);
            }
            life.world.clock.advance(life.fate.next(life.world));
            life.fate.befall(life.world);
            life.stop();
        }
        Poll::Pending
    }
}

impl Life<'_> {
    fn begin(&mut self) {
        if self.started.is_some() {
            return;
        }
        let outcome = Arc::new(Outcome::default());
        self.started = Some(outcome.clone());
        self.fate.befall(self.world);
        let runtime = Handle::current();
        let sentinel = self.sentinel.clone();
        runtime.spawn(std::future::poll_fn(move |cx| {
            sentinel.fetch_add(1, Ordering::Relaxed);
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        }));
        let world = self.world.clone();
        runtime.spawn(async move {
            match process::start(&world).await {
                Ok(server) => world.serve(Some(server)),
                Err(error) => {
                    world.note(format_args!("it does not start: {error}"));
                    outcome.has_ended.store(true, Ordering::Relaxed);
                }
            }
        });
    }

    /// Stops it as an operator does, when that is to be done.
    fn stop(&mut self) {
        let (Some(outcome), Some(server)) = (self.started.clone(), self.world.server()) else { return };
        let Some(drain_for) = self.fate.stop.take() else { return };
        self.fate.is_stopping = true;
        Handle::current().spawn(async move {
            server.engine.drain(drain_for).await;
            server.engine.close().await;
            outcome.has_ended.store(true, Ordering::Relaxed);
        });
    }
}
