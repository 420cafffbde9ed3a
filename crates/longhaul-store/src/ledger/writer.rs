//! The writer thread: its mailbox, its batches, and the claims that wait in it.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::{mpsc, oneshot};

use super::{Backing, Ledger};
use crate::{Claim, Held, Leased, Observer, Outcome, StoreError};

/// How many operations wait at most before callers are told to come back later. At 20,000 operations a second this is
/// under half a second of work.
pub(crate) const MAILBOX: usize = 8_192;

/// How many operations go into one batch: bounds the time that the first of them waits for the last.
const BATCH_MOST: usize = 1_024;

/// Answers an operation once its batch is committed, or is not.
pub(crate) type Settle = Box<dyn FnOnce(Result<(), &StoreError>) + Send>;

pub(crate) enum Message<B: Backing> {
    Run(Box<dyn FnOnce(&mut Ledger<B>) -> Settle + Send>),
    Claim(Claim, oneshot::Sender<Result<Vec<Leased>, StoreError>>),
    Close(oneshot::Sender<()>),
}

struct Waiting {
    claim: Claim,
    answer: oneshot::Sender<Result<Vec<Leased>, StoreError>>,
}

pub(crate) struct Writer<B: Backing> {
    ledger: Ledger<B>,
    mailbox: mpsc::Receiver<Message<B>>,
    observer: Arc<dyn Observer>,
    waiting: VecDeque<Waiting>,
    /// Granted to claims whose callers had gone.
    returned: Vec<Held>,
    /// Set once memory could not be read again after a failed write: nothing can be decided any more.
    broken: Option<StoreError>,
}

impl<B: Backing> Writer<B> {
    pub(crate) fn new(ledger: Ledger<B>, mailbox: mpsc::Receiver<Message<B>>, observer: Arc<dyn Observer>) -> Self {
        Self { ledger, mailbox, observer, waiting: VecDeque::new(), returned: Vec::new(), broken: None }
    }

    /// Runs until it is told to close, or nobody can tell it anything any more.
    pub(crate) fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_MOST);
        loop {
            if self.returned.is_empty() {
                match self.mailbox.blocking_recv() {
                    Some(first) => batch.push(first),
                    None => break,
                }
            }
            while batch.len() < BATCH_MOST
                && let Ok(next) = self.mailbox.try_recv()
            {
                batch.push(next);
            }
            let closing = self.carry_out(&mut batch);
            if !closing.is_empty() {
                self.ledger.backing_mut().close();
                for done in closing {
                    // Whoever asked may have stopped waiting.
                    let _ = done.send(());
                }
                return;
            }
        }
        self.ledger.backing_mut().close();
    }

    /// One batch: runs the operations, serves waiting claims, commits, answers.
    fn carry_out(&mut self, batch: &mut Vec<Message<B>>) -> Vec<oneshot::Sender<()>> {
        let mut settles: Vec<Settle> = Vec::with_capacity(batch.len());
        let mut closing = Vec::new();
        self.ledger.begin();
        for held in std::mem::take(&mut self.returned) {
            // A lease that has been lost meanwhile needs no release.
            let _ = self.ledger.finish(&held, Outcome::Released);
        }
        for message in batch.drain(..) {
            match message {
                Message::Run(operation) => match &self.broken {
                    None => settles.push(operation(&mut self.ledger)),
                    // Dropping the operation drops its answer's sender, which reads as unavailable.
                    Some(_) => drop(operation),
                },
                Message::Claim(claim, answer) => self.waiting.push_back(Waiting { claim, answer }),
                Message::Close(done) => closing.push(done),
            }
        }
        let granted = if closing.is_empty() && self.broken.is_none() { self.serve_claims() } else { Vec::new() };
        match self.ledger.commit() {
            Ok(changes) => {
                settles.into_iter().for_each(|settle| settle(Ok(())));
                for (answer, leased) in granted {
                    if let Err(Ok(leased)) = answer.send(Ok(leased)) {
                        self.returned.extend(leased.into_iter().map(|leased| leased.held));
                    }
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
                if matches!(error, StoreError::Unavailable(_) | StoreError::Corrupt(_)) {
                    self.broken = Some(error);
                }
            }
        }
        closing
    }

    #[allow(clippy::type_complexity, reason = "the pairs live for three lines of the caller")]
    fn serve_claims(&mut self) -> Vec<(oneshot::Sender<Result<Vec<Leased>, StoreError>>, Vec<Leased>)> {
        let mut granted = Vec::new();
        for _ in 0..self.waiting.len() {
            let Some(waiting) = self.waiting.pop_front() else { break };
            if waiting.answer.is_closed() {
                continue;
            }
            match self.ledger.take(&waiting.claim) {
                Ok(leased) if leased.is_empty() => self.waiting.push_back(waiting),
                Ok(leased) => granted.push((waiting.answer, leased)),
                Err(error) => {
                    tracing::error!(%error, "a claim could not be served");
                    // Whoever claimed may have gone.
                    let _ = waiting.answer.send(Err(error));
                }
            }
        }
        granted
    }
}

impl<B: Backing> Ledger<B> {
    pub(crate) fn backing_mut(&mut self) -> &mut B {
        &mut self.backing
    }
}
