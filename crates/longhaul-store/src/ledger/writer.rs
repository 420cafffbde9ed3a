//! The writer thread: its mailbox, its batches, and the claims that wait in it.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::{mpsc, oneshot};

use super::{
    Backing, Ledger,
    grant::{Grant, WayBack},
};
use crate::{Claim, Leased, Observer, Outcome, StoreError};

/// How many operations wait at most before callers are told to come back later. At 20,000 operations a second this is
/// under half a second of work.
pub(crate) const MAILBOX: usize = 8_192;

/// How many operations go into one batch: bounds the time that the first of them waits for the last.
const BATCH_MOST: usize = 1_024;

/// How many jobs are leased in one batch, about: the same bound for claims, each of which may take many.
const LEASED_MOST: usize = 1_024;

/// Answers an operation once its batch is committed, or is not.
pub(crate) type Settle = Box<dyn FnOnce(Result<(), &StoreError>) + Send>;

/// Runs in a batch and says how it is to be answered.
pub(crate) type Operation<B> = Box<dyn FnOnce(&mut Ledger<B>) -> Settle + Send>;

/// Where a claim is answered.
pub(crate) type ClaimAnswer<B> = oneshot::Sender<Result<Grant<B>, StoreError>>;

pub(crate) enum Message<B: Backing> {
    Run(Operation<B>),
    Claim(Claim, ClaimAnswer<B>),
    /// Granted leases have come back.
    Returned,
    Close(oneshot::Sender<()>),
}

struct Waiting<B: Backing> {
    claim: Claim,
    answer: ClaimAnswer<B>,
}

pub(crate) struct Writer<B: Backing> {
    ledger: Ledger<B>,
    mailbox: mpsc::Receiver<Message<B>>,
    observer: Arc<dyn Observer>,
    waiting: VecDeque<Waiting<B>>,
    way_back: WayBack<B>,
    /// There may be more for the waiting claims than fitted into the last batch.
    more_to_lease: bool,
    /// Set once it cannot be known what is on disk, or memory could not be read again: nothing can be decided any more.
    broken: Option<StoreError>,
}

impl<B: Backing> Writer<B> {
    pub(crate) fn new(
        ledger: Ledger<B>,
        mailbox: mpsc::Receiver<Message<B>>,
        way_back: WayBack<B>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        Self { ledger, mailbox, observer, waiting: VecDeque::new(), way_back, more_to_lease: false, broken: None }
    }

    /// Runs until it is told to close, or nobody can tell it anything any more.
    pub(crate) fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_MOST);
        loop {
            if !self.more_to_lease {
                match self.mailbox.blocking_recv() {
                    Some(first) => batch.push(first),
                    None => break,
                }
            }
            if self.turn(&mut batch) {
                return;
            }
        }
        self.ledger.backing_mut().close();
    }

    /// As [`Writer::run`], as a future instead of a thread: what a simulation polls. `pace` is awaited before each
    /// batch, while more gathers for it.
    #[cfg(feature = "simulation")]
    pub(crate) async fn run_paced(mut self, pace: crate::simulation::Pace) {
        let mut batch = Vec::new();
        loop {
            if !self.more_to_lease {
                match self.mailbox.recv().await {
                    Some(first) => batch.push(first),
                    None => break,
                }
            }
            pace().await;
            if self.turn(&mut batch) {
                return;
            }
        }
        self.ledger.backing_mut().close();
    }

    /// Carries out what has gathered, `batch` first; true: it was told to close, and has.
    fn turn(&mut self, batch: &mut Vec<Message<B>>) -> bool {
        while batch.len() < BATCH_MOST
            && let Ok(next) = self.mailbox.try_recv()
        {
            batch.push(next);
        }
        let closing = if self.broken.is_none() { self.carry_out(batch) } else { self.refuse(batch) };
        if closing.is_empty() {
            return false;
        }
        self.ledger.backing_mut().close();
        for done in closing {
            // Whoever asked may have stopped waiting.
            let _ = done.send(());
        }
        true
    }

    /// One batch: runs the operations, serves waiting claims, commits, answers.
    fn carry_out(&mut self, batch: &mut Vec<Message<B>>) -> Vec<oneshot::Sender<()>> {
        let mut settles: Vec<Settle> = Vec::with_capacity(batch.len());
        let mut closing = Vec::new();
        self.ledger.begin();
        let returned = self.way_back.take();
        for held in &returned {
            // A lease that has been lost meanwhile needs no release.
            let _ = self.ledger.finish(held, Outcome::Released { ambiguous: false }, longhaul_core::Usage::default());
        }
        for message in batch.drain(..) {
            match message {
                Message::Run(operation) => settles.push(operation(&mut self.ledger)),
                Message::Claim(claim, answer) => {
                    self.ledger.saw(&claim);
                    self.waiting.push_back(Waiting { claim, answer });
                }
                Message::Returned => {}
                Message::Close(done) => closing.push(done),
            }
        }
        if let Err(error) = self.ledger.open_gates() {
            // Whatever was not looked at is looked at by the next.
            tracing::error!(%error, "blocked jobs could not be looked at");
        }
        let granted = if closing.is_empty() { self.serve_claims() } else { Vec::new() };
        if let Err(error) = self.ledger.cancel_abandoned() {
            // What is left to cancel follows from the rows: it is found again.
            tracing::error!(%error, "children of a job that has given up could not be cancelled");
        }
        match self.ledger.commit(&*self.observer) {
            Ok(changes) => {
                settles.into_iter().for_each(|settle| settle(Ok(())));
                for (answer, leased) in granted {
                    // Whoever claimed may have gone: then the grant is dropped here, and comes back.
                    let _ = answer.send(Ok(Grant::new(leased, self.way_back.clone())));
                }
                if !changes.is_empty() {
                    self.observer.committed(&changes);
                }
            }
            Err(error) => {
                settles.into_iter().for_each(|settle| settle(Err(&error)));
                for (answer, _) in granted {
                    // Whoever claimed may have gone.
                    let _ = answer.send(Err(error.clone()));
                }
                // Without these the jobs would wait for their leases to run out, and count that as a crash.
                self.way_back.put_again(returned);
                if matches!(error, StoreError::Unavailable(_) | StoreError::Corrupt(_)) {
                    self.more_to_lease = false;
                    self.refuse_waiting(&error);
                    self.broken = Some(error);
                }
            }
        }
        closing
    }

    fn serve_claims(&mut self) -> Vec<(ClaimAnswer<B>, Vec<Leased>)> {
        let mut granted = Vec::new();
        let mut leased_now = 0;
        self.more_to_lease = false;
        for _ in 0..self.waiting.len() {
            if leased_now >= LEASED_MOST {
                self.more_to_lease = true;
                break;
            }
            let Some(waiting) = self.waiting.pop_front() else { break };
            if waiting.answer.is_closed() {
                continue;
            }
            match self.ledger.take(&waiting.claim) {
                Ok(leased) if leased.is_empty() => self.waiting.push_back(waiting),
                Ok(leased) => {
                    leased_now += leased.len();
                    granted.push((waiting.answer, leased));
                }
                Err(error) => {
                    tracing::error!(%error, "a claim could not be served");
                    // Whoever claimed may have gone.
                    let _ = waiting.answer.send(Err(error));
                }
            }
        }
        self.more_to_lease |= !self.waiting.is_empty() && self.ledger.has_gates_to_open();
        granted
    }

    /// What comes in after the store has broken.
    fn refuse(&mut self, batch: &mut Vec<Message<B>>) -> Vec<oneshot::Sender<()>> {
        let mut closing = Vec::new();
        for message in batch.drain(..) {
            match message {
                // Dropping the operation drops its answer's sender, which reads as unavailable.
                Message::Run(operation) => drop(operation),
                Message::Claim(claim, answer) => self.waiting.push_back(Waiting { claim, answer }),
                Message::Returned => {}
                Message::Close(done) => closing.push(done),
            }
        }
        if let Some(error) = self.broken.clone() {
            self.refuse_waiting(&error);
        }
        closing
    }

    fn refuse_waiting(&mut self, error: &StoreError) {
        for waiting in self.waiting.drain(..) {
            // Whoever claimed may have gone.
            let _ = waiting.answer.send(Err(error.clone()));
        }
    }
}

impl<B: Backing> Ledger<B> {
    fn has_gates_to_open(&self) -> bool {
        self.gates.has_to_open()
    }

    pub(crate) fn backing_mut(&mut self) -> &mut B {
        &mut self.backing
    }
}
