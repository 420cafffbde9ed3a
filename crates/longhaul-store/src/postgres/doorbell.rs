//! The doorbell: tells other servers that something has changed, and hears what they tell.
//!
//! It is rung apart from the transactions that it tells of, and at most every few milliseconds for all that has gathered:
//! PostgreSQL lets only one transaction at a time commit a notification. What is told is a hint; who misses it finds
//! everything by looking, as waiting claims do by themselves from time to time.

use std::{
    collections::HashMap,
    fmt::Write as _,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt as _, stream};
use longhaul_core::{JobId, QueueName, Status, Tenant, Timestamp};
use tokio::sync::Notify;
use tokio_postgres::{AsyncMessage, Config};

use super::{
    session::{Connections, Error},
    tls::Tls,
};
use crate::{Change, Observer, StoreError};

/// At most so often is it rung.
const RUNG_EVERY: Duration = Duration::from_millis(20);

/// How long to wait before listening again after the connection was lost.
const LISTEN_AGAIN: Duration = Duration::from_millis(250);

/// How often the database is asked whether it still talks to the connection that listens: one that has gone silent looks
/// like one on which nothing is told.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// PostgreSQL takes less than 8,000 bytes in one notification.
const TOLD_AT_ONCE: usize = 7_900;

/// How many changes are kept for the next ring; beyond them others look for themselves.
const KEPT_MOST: usize = 20_000;

/// Tells other servers.
#[derive(Default)]
pub(super) struct Doorbell {
    pending: Mutex<Pending>,
    some: Notify,
}

/// What is told of no job in particular.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Signs {
    /// There is something to claim.
    is_ready: bool,
    /// Kinds or keys were changed, which every server keeps.
    is_registry: bool,
}

impl Signs {
    fn number(self) -> u8 {
        u8::from(self.is_ready) | u8::from(self.is_registry) << 1
    }

    /// Signs of a later version say nothing to this one.
    fn of_number(number: u8) -> Self {
        Self { is_ready: number & 1 != 0, is_registry: number & 2 != 0 }
    }
}

#[derive(Default)]
struct Pending {
    signs: Signs,
    changes: HashMap<JobId, Change>,
}

impl Doorbell {
    /// Will be told soon.
    pub(super) fn ring(&self, changes: &[Change], is_ready: bool, is_registry: bool) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        pending.signs.is_ready |= is_ready;
        pending.signs.is_registry |= is_registry;
        for change in changes {
            if pending.changes.len() < KEPT_MOST || pending.changes.contains_key(&change.job) {
                pending.changes.insert(change.job, change.clone());
            }
        }
        drop(pending);
        self.some.notify_one();
    }

    fn take(&self) -> Pending {
        std::mem::take(&mut *self.pending.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Rings for as long as it is polled.
    pub(super) async fn keep_ringing(&self, connections: &Connections, channel: &str, node: i64) {
        loop {
            self.some.notified().await;
            let told = messages(&self.take(), node);
            if let Err(error) = tell(connections, channel, &told).await {
                tracing::warn!(%error, "the other servers could not be told of changes");
            }
            tokio::time::sleep(RUNG_EVERY).await;
        }
    }
}

async fn tell(connections: &Connections, channel: &str, told: &[String]) -> Result<(), StoreError> {
    let session = connections.session().await?;
    let sql = "SELECT pg_notify($1, said) FROM unnest($2::text[]) AS said";
    session.rows(sql, &[&channel, &told]).await?;
    Ok(())
}

/// What is told: who tells it and what is told of no job, and then a line for each job.
fn messages(pending: &Pending, node: i64) -> Vec<String> {
    let head = format!("{node:x} {}\n", pending.signs.number());
    let mut all = Vec::new();
    let mut said = head.clone();
    for change in pending.changes.values() {
        let status = Status::ALL.iter().position(|status| *status == change.status).unwrap_or_default();
        let line = format!(
            "{} {status} {} {} {} {}\n",
            hex::encode(change.job.as_bytes()),
            u8::from(change.cancelling),
            change.version,
            change.queue,
            change.tenant
        );
        if said.len() + line.len() > TOLD_AT_ONCE {
            all.push(std::mem::replace(&mut said, head.clone()));
        }
        // Writing to a string cannot fail.
        let _ = said.write_str(&line);
    }
    all.push(said);
    all
}

/// What was heard.
struct Heard {
    node: i64,
    signs: Signs,
    changes: Vec<Change>,
}

fn heard(said: &str) -> Option<Heard> {
    let mut lines = said.lines();
    let (node, signs) = lines.next()?.split_once(' ')?;
    Some(Heard {
        node: u64::from_str_radix(node, 16).ok()?.cast_signed(),
        signs: Signs::of_number(signs.parse().ok()?),
        changes: lines.filter_map(change).collect(),
    })
}

fn change(line: &str) -> Option<Change> {
    let mut words = line.split(' ');
    let mut id = [0; 16];
    hex::decode_to_slice(words.next()?, &mut id).ok()?;
    let status = *Status::ALL.get(words.next()?.parse::<usize>().ok()?)?;
    let cancelling = words.next()? == "1";
    let version = words.next()?.parse().ok()?;
    let queue = QueueName::new(words.next()?).ok()?;
    let tenant = Tenant::new(words.next()?).ok()?;
    let job = JobId::from_bytes(id);
    // The server that made the change has counted it.
    let (fresh, at, ended) = (false, Timestamp::EPOCH, None);
    let (kind, attempt, trace) = (None, None, None);
    let (view, events) = (None, None);
    Some(Change {
        tenant,
        job,
        queue,
        kind,
        status,
        version,
        fresh,
        at,
        ended,
        attempt,
        trace,
        view,
        cancelling,
        events,
    })
}

/// Hears the other servers.
pub(super) struct Listener {
    pub(super) config: Config,
    pub(super) tls: Tls,
    pub(super) channel: String,
    pub(super) node: i64,
    pub(super) observer: Arc<dyn Observer>,
    /// Waiting claims look when this is told.
    pub(super) rung: Arc<Notify>,
    /// How long an answer is waited for.
    pub(super) patience: Duration,
}

impl Listener {
    /// Listens for as long as it is polled; `first` is told once it does for the first time.
    pub(super) async fn keep_listening(&self, first: Arc<Notify>) {
        loop {
            if let Err(error) = self.listen(&first).await {
                tracing::warn!(%error, "the connection that listens to other servers was lost");
            }
            tokio::time::sleep(LISTEN_AGAIN).await;
        }
    }

    async fn listen(&self, first: &Notify) -> Result<(), StoreError> {
        let (client, mut connection) = self.answered(self.config.connect(self.tls.clone())).await?;
        let mut messages = stream::poll_fn(move |cx| connection.poll_message(cx));
        let sql = format!("LISTEN \"{}\"", self.channel);
        let asking = async {
            self.answered(client.batch_execute(&sql)).await?;
            // What was told before, or while nobody listened, has not been heard.
            self.rung.notify_one();
            self.observer.changed_elsewhere();
            first.notify_one();
            loop {
                tokio::time::sleep(ASK_EVERY.min(self.patience)).await;
                self.answered(client.batch_execute("")).await?;
            }
        };
        let mut asking = pin!(asking);
        loop {
            tokio::select! {
                ended = &mut asking => return ended,
                message = messages.next() => match message {
                    Some(Ok(AsyncMessage::Notification(said))) => self.hear(said.payload()),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(Error::from(error).into()),
                    None => return Ok(()),
                },
            }
        }
    }

    async fn answered<T>(&self, answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Error> {
        tokio::time::timeout(self.patience, answer)
            .await
            .map_err(|_| Error::Silent(self.patience))?
            .map_err(Error::from)
    }

    fn hear(&self, said: &str) {
        let Some(heard) = heard(said) else {
            tracing::warn!("another server told something that this version does not understand");
            self.rung.notify_one();
            self.observer.changed_elsewhere();
            return;
        };
        if heard.node == self.node {
            return;
        }
        if !heard.changes.is_empty() {
            self.observer.committed(&heard.changes);
        }
        if heard.signs.is_registry {
            self.observer.changed_elsewhere();
        }
        if heard.signs.is_ready {
            self.rung.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use longhaul_core::{Ids, Timestamp};

    use super::*;

    #[test]
    fn what_is_told_is_heard_whole_however_much_it_is() {
        let signs = Signs { is_ready: true, is_registry: false };
        let (ids, mut pending) = (Ids::seeded(1), Pending { signs, ..Pending::default() });
        for number in 0..1_000 {
            let job = JobId::fresh(&ids, Timestamp::EPOCH);
            let status = Status::ALL[number % 5];
            let tenant = Tenant::new(["a", "some-longer_name.x"][number % 2]).unwrap();
            let cancelling = number % 3 == 0;
            let change = Change {
                tenant,
                job,
                queue: QueueName::default_queue(),
                kind: None,
                status,
                version: number as u64,
                view: None,
                cancelling,
                fresh: false,
                at: Timestamp::EPOCH,
                ended: None,
                attempt: None,
                trace: None,
                events: None,
            };
            pending.changes.insert(job, change);
        }
        let told = messages(&pending, -5);
        assert!(told.len() > 1 && told.iter().all(|said| said.len() < 8_000));
        let mut count = 0;
        for said in told {
            let heard = heard(&said).unwrap();
            assert_eq!((heard.node, heard.signs), (-5, signs));
            for change in heard.changes {
                let told = &pending.changes[&change.job];
                assert_eq!((&change.tenant, change.status), (&told.tenant, told.status));
                assert_eq!((change.version, change.cancelling), (told.version, told.cancelling));
                count += 1;
            }
        }
        assert_eq!(count, 1_000);
    }

    #[test]
    fn each_sign_is_told_by_itself() {
        for (is_ready, is_registry) in [(false, false), (true, false), (false, true), (true, true)] {
            let signs = Signs { is_ready, is_registry };
            let told = messages(&Pending { signs, ..Pending::default() }, 3);
            assert_eq!(heard(&told[0]).unwrap().signs, signs);
        }
    }

    #[test]
    fn what_makes_no_sense_is_not_heard() {
        for said in ["", "zz", "12", "\u{0} 1\n"] {
            assert!(heard(said).is_none());
        }
        assert!(heard("1 1\nzz\n").unwrap().changes.is_empty());
    }
}
