//! What outlives every process of a simulation: time, chance, the disk, and what everybody knows.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use longhaul_core::{Clock as _, Span, Timestamp};
use longhaul_store::simulation::SimulatedDisk;

use crate::{
    book::Book, bugs::Bug, clock::SimulatedClock, dice::Dice, disk::Trouble, process::Server, scenario::Scenario,
    trace::Trace,
};

/// The world of one simulation. Clones are the same world.
#[derive(Clone)]
pub(crate) struct World(Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) scenario: Scenario,
    pub(crate) bug: Option<Bug>,
    pub(crate) clock: SimulatedClock,
    pub(crate) dice: Dice,
    pub(crate) disk: SimulatedDisk,
    pub(crate) trouble: Arc<Trouble>,
    book: Mutex<Book>,
    trace: Mutex<Trace>,
    server: Mutex<Option<Server>>,
    calm: AtomicBool,
    clients_left: AtomicUsize,
    /// Makes values that are never made again.
    fresh: AtomicU64,
}

impl std::ops::Deref for World {
    type Target = Inner;
    fn deref(&self) -> &Inner {
        &self.0
    }
}

impl World {
    pub(crate) fn new(seed: u64, scenario: Scenario, bug: Option<Bug>, is_told: bool) -> Self {
        let clock = SimulatedClock::new();
        let dice = Dice::of(seed);
        let defect = bug.and_then(Bug::defect);
        let trouble = Arc::new(Trouble::new(clock.clone(), dice.clone(), defect));
        // In a storm an operator is about, too.
        let clients_left = AtomicUsize::new(scenario.clients + usize::from(scenario.is_stormy));
        Self(Arc::new(Inner {
            scenario,
            bug,
            clock,
            dice,
            disk: SimulatedDisk::new(trouble.clone()),
            trouble,
            book: Mutex::default(),
            trace: Mutex::new(Trace::new(is_told)),
            server: Mutex::new(None),
            calm: AtomicBool::new(false),
            clients_left,
            fresh: AtomicU64::new(1),
        }))
    }

    /// What is known. Not held over anything that waits.
    pub(crate) fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap()
    }

    /// Writes a line of the trace, by which two runs are compared.
    pub(crate) fn note(&self, what: fmt::Arguments<'_>) {
        self.trace.lock().unwrap().note(self.clock.passed(), what);
    }

    pub(crate) fn digest(&self) -> u64 {
        self.trace.lock().unwrap().digest()
    }

    pub(crate) fn told(&self) -> Vec<String> {
        self.trace.lock().unwrap().told()
    }

    /// A promise was broken.
    pub(crate) fn accuse(&self, rule: &'static str, what: impl fmt::Display) {
        self.note(format_args!("BROKEN {rule}: {what}"));
        self.book().accuse(rule, what.to_string());
    }

    /// A number that nobody else gets.
    pub(crate) fn fresh(&self) -> u64 {
        self.fresh.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) async fn sleep(&self, span: Span) {
        self.clock.sleep(span).await;
    }

    /// Sleeps some time between nothing and `most`.
    pub(crate) async fn idle(&self, most: Span) {
        let span = self.dice.up_to(most);
        self.sleep(span).await;
    }

    // ── the storm and the calm ──

    /// From now on nothing goes wrong any more.
    pub(crate) fn calm_down(&self) {
        self.note(format_args!("calm"));
        self.trouble.end();
        self.calm.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_calm(&self) -> bool {
        self.calm.load(Ordering::Relaxed)
    }

    /// Whether a mishap of so many in a hundred happens now.
    pub(crate) fn mishap(&self, percent: usize) -> bool {
        self.scenario.is_stormy && !self.is_calm() && self.dice.percent(percent)
    }

    /// How many clients have not done all that they are to do.
    pub(crate) fn clients_left(&self) -> usize {
        self.clients_left.load(Ordering::Relaxed)
    }

    pub(crate) fn client_leaves(&self) {
        self.clients_left.fetch_sub(1, Ordering::Relaxed);
    }

    // ── the process ──

    /// The process that serves at present.
    pub(crate) fn server(&self) -> Option<Server> {
        self.server.lock().unwrap().clone()
    }

    pub(crate) fn serve(&self, server: Option<Server>) {
        *self.server.lock().unwrap() = server;
    }
}
