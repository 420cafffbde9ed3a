//! The writer: its mailbox, its batches, and the claims that wait in it.
//!
//! Operations that gather while a transaction is under way share the next one. A transaction that another server was in
//! the way of is repeated; one whose connection was lost before the commit was sent is repeated on another connection;
//! and when it was lost after that, the database is asked what became of it. An operation that the database refuses
//! fails alone: the others of its batch are carried out without it.

use std::{
    collections::{BTreeMap, VecDeque},
    pin::pin,
    sync::Arc,
};

use longhaul_core::{KindName, Limits, QueueName, Span, Tenant, Timestamp, Usage};
use tokio::sync::{Notify, mpsc, oneshot};

use super::{
    batch::{Batch, Needs},
    claims::{self, Handed, Served, Shares},
    doorbell::Doorbell,
    explain::Seen,
    family, gates,
    gates::Rules,
    grant::{Grant, Returned, WayBack},
    load::{self, TimeSource},
    names::Keys,
    operations::Operation,
    session::{Connections, Fault, Session, Trouble, store_error, trouble},
    write,
};
use crate::{BatchFigures, Change, Claim, Observer, Outcome, StoreClock, StoreError};

/// How many operations wait at most before callers are told to come back later.
pub(super) const MAILBOX: usize = 8_192;

/// How many operations go into one batch: bounds the time that the first of them waits for the last.
const BATCH_MOST: usize = 1_024;

/// How often a transaction is repeated that others were in the way of.
const TRIES_MOST: u32 = 8;

/// How long to wait before trying again to reach a server.
const BETWEEN_TRIES: Span = Span::from_millis(100);

/// How long waiting claims wait at least for time to open a limit: clocks round.
const LOOK_LATER: Span = Span::from_millis(1);

/// A database that could not be written to for so long was away: signs of life may have been missed.
const MISSED: Span = Span::from_secs(1);

/// How often waiting claims look for themselves: a doorbell that was not heard costs this much, and no job.
const POLL: Span = Span::from_secs(1);

pub(super) type ClaimAnswer = oneshot::Sender<Result<Grant, StoreError>>;

pub(super) enum Message {
    Run(Box<dyn Operation>),
    Claim(Claim, ClaimAnswer),
    Limit(QueueName, Option<u32>, oneshot::Sender<()>),
    LimitKind(KindName, Limits, oneshot::Sender<()>),
    Weigh(Tenant, u32, oneshot::Sender<()>),
    Close(oneshot::Sender<()>),
}

struct Waiting {
    claim: Claim,
    answer: ClaimAnswer,
}

/// What the writer works with.
pub(super) struct Tools {
    pub(super) connections: Connections,
    pub(super) time: StoreClock,
    pub(super) source: TimeSource,
    pub(super) node: i64,
    pub(super) keys: Keys,
    pub(super) deltas_for: Span,
    pub(super) seen: Arc<Seen>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) doorbell: Arc<Doorbell>,
    pub(super) way_back: Arc<WayBack>,
    /// Somebody says that there may be something to claim.
    pub(super) rung: Arc<Notify>,
}

pub(super) struct Writer {
    tools: Tools,
    mailbox: mpsc::Receiver<Message>,
    session: Option<Session>,
    waiting: VecDeque<Waiting>,
    limits: Arc<BTreeMap<QueueName, Option<u32>>>,
    /// Everybody's limits of kinds, which configuration says.
    rules: Rules,
    /// Whose turn it is.
    shares: Arc<Shares>,
    /// There may be more for the waiting claims than fitted into the last batch.
    more_to_lease: bool,
    /// When time lets the waiting claims have something, as far as the last batch knew.
    opens_at: Option<Timestamp>,
    /// When the database could last be written to, by this server's own clock.
    reached_at: Timestamp,
    /// Something could not be written since.
    is_away: bool,
    /// For want of room: who only looks does not find out when there is some.
    is_full: bool,
    /// From when on this server has had the database without a gap, by the database's time.
    in_touch_since: Timestamp,
}

/// What came of a transaction that was committed.
struct Committed {
    changes: Vec<Change>,
    is_ready: bool,
    /// Kinds or keys were changed.
    is_registry: bool,
    granted: Vec<Served>,
    shares: Arc<Shares>,
    more: bool,
    /// When a limit opens that holds something back, by this server's own clock.
    opens_at: Option<Timestamp>,
    has_written: bool,
    in_touch_since: Timestamp,
}

/// Why a transaction was not.
enum Failure {
    /// The same may be done again at once.
    Conflict(StoreError),
    /// The connection is gone; nothing was committed.
    Away(StoreError),
    /// The connection was lost while this transaction was being committed.
    Unknown(String, Box<Committed>, StoreError),
    /// It cannot be done.
    Final(StoreError),
}

impl Writer {
    pub(super) fn new(tools: Tools, mailbox: mpsc::Receiver<Message>) -> Self {
        let reached_at = tools.time.clock.now();
        Self {
            tools,
            mailbox,
            session: None,
            waiting: VecDeque::new(),
            limits: Arc::default(),
            rules: Rules::default(),
            shares: Arc::default(),
            more_to_lease: false,
            opens_at: None,
            reached_at,
            is_away: false,
            is_full: false,
            in_touch_since: Timestamp::EPOCH,
        }
    }

    /// Runs until it is told to close, or nobody can tell it anything any more.
    pub(super) async fn run(mut self) {
        loop {
            let mut messages = Vec::new();
            if !self.more_to_lease && !self.gather(&mut messages).await {
                return;
            }
            while messages.len() < BATCH_MOST
                && let Ok(next) = self.mailbox.try_recv()
            {
                messages.push(next);
            }
            let closing = self.carry_out(messages).await;
            if !closing.is_empty() {
                self.session = None;
                for done in closing {
                    // Whoever asked may have stopped waiting.
                    let _ = done.send(());
                }
                return;
            }
        }
    }

    /// Waits for something to do; false when nobody can ask for anything any more.
    async fn gather(&mut self, messages: &mut Vec<Message>) -> bool {
        self.waiting.retain(|waiting| !waiting.answer.is_closed());
        let poll = async {
            if self.waiting.is_empty() {
                std::future::pending().await
            } else {
                let clock = &self.tools.time.clock;
                let at = clock.now() + POLL;
                clock.sleep_until(self.opens_at.map_or(at, |opens_at| at.min(opens_at))).await;
            }
        };
        tokio::select! {
            message = self.mailbox.recv() => match message {
                Some(message) => messages.push(message),
                None => return false,
            },
            () = self.tools.way_back.came() => {}
            () = self.tools.rung.notified(), if !self.waiting.is_empty() => {}
            () = poll => {}
        }
        true
    }

    /// One batch: runs the operations, serves waiting claims, commits, answers.
    async fn carry_out(&mut self, messages: Vec<Message>) -> Vec<oneshot::Sender<()>> {
        let (mut operations, mut limited, mut closing) = (Vec::new(), Vec::new(), Vec::new());
        // What has come back by now was let go before any of these was asked.
        let returned = self.tools.way_back.take();
        for message in messages {
            match message {
                Message::Run(operation) => operations.push(operation),
                Message::Claim(claim, answer) => self.waiting.push_back(Waiting { claim, answer }),
                Message::Limit(queue, concurrency, done) => {
                    Arc::make_mut(&mut self.limits).insert(queue, concurrency);
                    limited.push(done);
                }
                Message::LimitKind(kind, limits, done) => {
                    self.rules.set(None, kind, limits);
                    limited.push(done);
                }
                Message::Weigh(tenant, weight, done) => {
                    Arc::make_mut(&mut self.shares).weights.insert(tenant, weight.max(1));
                    limited.push(done);
                }
                Message::Close(done) => closing.push(done),
            }
        }
        self.waiting.retain(|waiting| !waiting.answer.is_closed());
        self.more_to_lease = false;
        let claims: Vec<Claim> = if closing.is_empty() {
            self.waiting.iter().map(|waiting| waiting.claim.clone()).collect()
        } else {
            Vec::new()
        };
        if !(operations.is_empty() && claims.is_empty() && returned.is_empty()) {
            let begun = self.tools.time.clock.now();
            let committed = self.commit(&mut operations, &claims, &returned).await;
            // Who only looked has written nothing.
            let jobs = committed.as_ref().map_or(0, |committed| committed.changes.len());
            if jobs > 0 || committed.is_err() {
                let took = self.tools.time.clock.now().since(begun);
                self.tools.observer.wrote(BatchFigures { jobs, took, is_committed: committed.is_ok() });
            }
            match committed {
                Ok(committed) => self.settle(operations, committed),
                Err(Failure::Final(error)) if operations.len() > 1 => {
                    tracing::warn!(%error, "a batch is refused; its operations are carried out one by one");
                    self.one_by_one(operations, &returned).await;
                }
                Err(failure) => self.refuse(operations, &claims, returned, failure.error()),
            }
        }
        for done in limited {
            // Whoever asked may have stopped waiting.
            let _ = done.send(());
        }
        closing
    }

    /// So that one operation which the database refuses does not take the others with it.
    async fn one_by_one(&mut self, operations: Vec<Box<dyn Operation>>, returned: &Returned) {
        if let Err(failure) = self.commit(&mut Vec::new(), &[], returned).await {
            tracing::error!(error = %failure.error(), "what has come back could not be seen to");
        }
        for operation in operations {
            let mut one = vec![operation];
            match self.commit(&mut one, &[], &Returned::default()).await {
                Ok(committed) => self.settle(one, committed),
                Err(failure) => one.into_iter().for_each(|operation| operation.answer(Err(&failure.error()))),
            }
        }
        // The claims that wait are served next.
        self.more_to_lease = !self.waiting.is_empty();
    }

    fn settle(&mut self, operations: Vec<Box<dyn Operation>>, committed: Committed) {
        operations.into_iter().for_each(|operation| operation.answer(Ok(())));
        let mut waiting: Vec<Option<Waiting>> = self.waiting.drain(..).map(Some).collect();
        for Served { index, leased } in committed.granted {
            if let Some(waiting) = waiting.get_mut(index).and_then(Option::take) {
                // Whoever claimed may have gone: then the grant is dropped here, and comes back.
                let _ = waiting.answer.send(Ok(Grant::new(leased, self.tools.way_back.clone())));
            }
        }
        self.waiting = waiting.into_iter().flatten().collect();
        self.more_to_lease = committed.more;
        self.shares = committed.shares;
        self.opens_at = committed.opens_at;
        if !committed.changes.is_empty() {
            self.tools.observer.committed(&committed.changes);
        }
        if committed.is_ready || committed.is_registry || !committed.changes.is_empty() {
            self.tools.doorbell.ring(&committed.changes, committed.is_ready, committed.is_registry);
        }
    }

    fn refuse(&mut self, operations: Vec<Box<dyn Operation>>, claims: &[Claim], returned: Returned, error: StoreError) {
        tracing::error!(%error, "a batch could not be committed");
        self.tools.way_back.put(returned);
        operations.into_iter().for_each(|operation| operation.answer(Err(&error)));
        for waiting in self.waiting.drain(..claims.len().min(self.waiting.len())) {
            // Whoever claimed may have gone.
            let _ = waiting.answer.send(Err(error.clone()));
        }
    }

    /// Carries out a batch until it is committed, or it is clear that it cannot be.
    async fn commit(
        &mut self,
        operations: &mut Vec<Box<dyn Operation>>,
        claims: &[Claim],
        returned: &Returned,
    ) -> Result<Committed, Failure> {
        let begun = self.tools.time.clock.now();
        let result = self.repeat(operations, claims, returned).await;
        match &result {
            Ok(committed) if committed.has_written || !self.is_full => {
                (self.reached_at, self.is_away, self.is_full) = (begun, false, false);
                self.in_touch_since = committed.in_touch_since;
            }
            Err(Failure::Final(StoreError::StorageFull)) => (self.is_away, self.is_full) = (true, true),
            Ok(_) | Err(_) => {}
        }
        result
    }

    async fn repeat(
        &mut self,
        operations: &mut Vec<Box<dyn Operation>>,
        claims: &[Claim],
        returned: &Returned,
    ) -> Result<Committed, Failure> {
        let mut patience = pin!(tokio::time::sleep(self.tools.connections.patience));
        let (mut conflicts, mut losses, mut is_over) = (0, 0, false);
        loop {
            let failure = match self.once(operations, claims, returned).await {
                Ok(committed) => return Ok(committed),
                Err(failure) => failure,
            };
            match failure {
                Failure::Conflict(error) => {
                    conflicts += 1;
                    if conflicts == TRIES_MOST {
                        return Err(Failure::Final(error));
                    }
                    tracing::debug!(%error, conflicts, "a transaction is repeated");
                }
                Failure::Away(error) => {
                    (self.session, self.is_away) = (None, true);
                    losses += 1;
                    // Twice at least: patience may have ended with a connection that had gone silent.
                    if is_over && losses > 1 {
                        return Err(Failure::Away(error));
                    }
                    tracing::debug!(%error, losses, "a transaction whose connection was lost is repeated");
                    tokio::select! {
                        biased;
                        () = &mut patience, if !is_over => is_over = true,
                        () = tokio::time::sleep(BETWEEN_TRIES.into()) => {}
                    }
                }
                Failure::Unknown(transaction, committed, error) => {
                    (self.session, self.is_away) = (None, true);
                    if self.was_committed(&transaction, &error).await? {
                        return Ok(*committed);
                    }
                }
                Failure::Final(error) => return Err(Failure::Final(error)),
            }
        }
    }

    /// Carries a batch out once, in one transaction.
    async fn once(
        &mut self,
        operations: &mut [Box<dyn Operation>],
        claims: &[Claim],
        returned: &Returned,
    ) -> Result<Committed, Failure> {
        let session = match self.session.take().filter(|session| !session.is_closed()) {
            Some(session) => session,
            None => match self.tools.connections.session().await {
                Ok(session) => session,
                Err(error) => return Err(Failure::Away(error)),
            },
        };
        let result = match self.work(&session, operations, claims, returned).await {
            Ok((transaction, committed)) => match session.batch("COMMIT").await {
                Ok(()) => Ok(committed),
                Err(error) if session.is_closed() || trouble(&error) == Trouble::Away => match transaction {
                    Some(transaction) => Err(Failure::Unknown(transaction, committed.into(), store_error(&error))),
                    None => Err(Failure::Away(store_error(&error))),
                },
                Err(error) => Err(Failure::of(error.into())),
            },
            Err(fault) => Err(Failure::of(fault)),
        };
        if result.is_ok() || (!session.is_closed() && session.batch("ROLLBACK").await.is_ok()) {
            self.session = Some(session);
        } else {
            session.discard();
        }
        result
    }

    /// Everything but the commit. Names the transaction when it has written anything.
    async fn work(
        &self,
        session: &Session,
        operations: &mut [Box<dyn Operation>],
        claims: &[Claim],
        returned: &Returned,
    ) -> Result<(Option<String>, Committed), Fault> {
        let Tools { time, source, node, keys, deltas_for, seen, observer, .. } = &self.tools;
        let mut needs = Needs::default();
        returned.held.iter().for_each(|held| needs.held(held));
        operations.iter().for_each(|operation| operation.needs(&mut needs));
        load::begin(session, &needs, !claims.is_empty(), keys.claims()).await?;
        let mut batch =
            Batch::new(Timestamp::EPOCH, *node, time.ids.clone(), self.limits.clone(), self.rules.clone(), *deltas_for);
        let has_missed = self.is_away && time.clock.now().since(self.reached_at) >= MISSED;
        batch.in_touch_since = (!has_missed).then_some(self.in_touch_since);
        let asked_at = load::fill(session, source, &*time.clock, &needs, &mut batch).await?;
        for claim in claims {
            if seen.saw(claim, batch.now) {
                batch.writes.claimants.push(claim.clone());
            }
        }
        for held in &returned.held {
            // A lease that has been lost meanwhile needs no release.
            let _ = batch.finish(held, &Outcome::Released { ambiguous: false }, Usage::default());
        }
        operations.iter_mut().for_each(|operation| operation.run(&mut batch));
        gates::open(session, &mut batch).await?;
        let wanted: Vec<&Claim> = claims.iter().collect();
        let mut shares = self.shares.clone();
        let Handed { served: granted, mut more, opens_at } =
            claims::serve(session, &mut batch, &wanted, &mut shares, keys).await?;
        // From when the time was asked for, and not from now: the batch may have waited for others since.
        let opens_at = opens_at.map(|at| asked_at + at.since(batch.now).max(LOOK_LATER));
        // So that what has taken a place among the ready ones is replaced.
        more |= gates::open(session, &mut batch).await? > 0 && granted.len() < wanted.len();
        family::cancel_abandoned(session, &mut batch).await?;
        let mut transaction = None;
        if !batch.is_empty() || !returned.unpinned.is_empty() {
            transaction = Some(write::batch(session, &batch, &returned.unpinned).await?);
        }
        let (changes, is_ready) = batch.changes(&**observer);
        let is_registry = batch.changes_what_is_kept();
        let (has_written, in_touch_since) = (transaction.is_some(), batch.in_touch_since.unwrap_or(batch.now));
        let committed =
            Committed { changes, is_ready, is_registry, granted, shares, more, opens_at, has_written, in_touch_since };
        Ok((transaction, committed))
    }

    /// Asks what became of a transaction whose connection was lost while it was being committed.
    async fn was_committed(&self, transaction: &str, error: &StoreError) -> Result<bool, Failure> {
        let asking = async {
            loop {
                if let Ok(session) = self.tools.connections.session().await {
                    let asked = session.row(include_str!("queries/transaction_status.sql"), &[&transaction]).await;
                    let status =
                        asked.ok().flatten().and_then(|row| row.try_get::<_, Option<String>>(0).ok().flatten());
                    match status.as_deref() {
                        Some("committed") => return true,
                        Some("aborted") => return false,
                        Some(_) | None => {}
                    }
                }
                tokio::time::sleep(BETWEEN_TRIES.into()).await;
            }
        };
        // A transaction that was not committed ends by itself within the same time.
        let within = self.tools.connections.patience * 2;
        tokio::time::timeout(within, asking).await.map_err(|_| Failure::Away(error.clone()))
    }
}

impl Failure {
    fn of(fault: Fault) -> Self {
        match fault {
            Fault::Store(error) => Failure::Final(error),
            Fault::Database(error) => match trouble(&error) {
                Trouble::Conflict => Failure::Conflict(store_error(&error)),
                Trouble::Away => Failure::Away(store_error(&error)),
                Trouble::Full | Trouble::Wrong => Failure::Final(store_error(&error)),
            },
        }
    }

    fn error(&self) -> StoreError {
        match self {
            Failure::Conflict(error) | Failure::Away(error) | Failure::Unknown(_, _, error) | Failure::Final(error) => {
                error.clone()
            }
        }
    }
}
