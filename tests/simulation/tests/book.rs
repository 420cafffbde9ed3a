//! What everybody knows: the history for the checker, what the port has promised, and what was broken.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::Arc,
};

use longhaul_core::{Event, JobId, LeaseToken, Payload, QueueName, Span, Tenant, Timestamp};
use longhaul_store::{Held, Idempotency};
use longhaul_testkit::history::{Answer, Call, Record};

use crate::submitting::Wanted;

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) rule: String,
    pub(crate) what: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// A submit under an idempotency key.
#[derive(Debug, Clone)]
pub(crate) struct KeyUse {
    pub(crate) tenant: Tenant,
    pub(crate) idempotency: Idempotency,
    pub(crate) wanted: Vec<Wanted>,
    /// The jobs that it was answered with, once it was.
    pub(crate) jobs: Option<Vec<JobId>>,
}

/// A pause that has been acknowledged.
#[derive(Debug, Clone, Copy)]
struct Pause {
    at: Timestamp,
    /// The process that acknowledged it; its wall clock is comparable with its own only.
    life: u32,
}

/// An answer that was given to a job.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Given {
    /// A number that no other answer has; those given later have greater ones.
    pub(crate) value: u64,
    /// Which value a later answer would have had when this one was acknowledged.
    pub(crate) acknowledged: Option<u64>,
}

/// How much happened: a run in which nothing did proves nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    pub(crate) lives: u32,
    pub(crate) crashes: u32,
    pub(crate) stops: u32,
    pub(crate) suspends: u32,
    pub(crate) clock_sets: u32,
    pub(crate) refused_batches: u64,
    pub(crate) doubtful_batches: u64,
    pub(crate) lost_answers: u32,
    pub(crate) cut_requests: u32,
    pub(crate) stale_refused: u32,
    pub(crate) replays: u32,
    pub(crate) grants: u32,
    pub(crate) jobs: usize,
    pub(crate) polls: u64,
    /// What jobs lived through, by name: endings of attempts, ends of jobs, codes of errors.
    pub(crate) lived: BTreeMap<String, u64>,
}

impl Counts {
    pub(crate) fn lived(&mut self, what: impl Into<String>) {
        *self.lived.entry(what.into()).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Counts) {
        self.lives += other.lives;
        self.crashes += other.crashes;
        self.stops += other.stops;
        self.suspends += other.suspends;
        self.clock_sets += other.clock_sets;
        self.refused_batches += other.refused_batches;
        self.doubtful_batches += other.doubtful_batches;
        self.lost_answers += other.lost_answers;
        self.cut_requests += other.cut_requests;
        self.stale_refused += other.stale_refused;
        self.replays += other.replays;
        self.grants += other.grants;
        self.jobs += other.jobs;
        self.polls += other.polls;
        for (what, times) in &other.lived {
            *self.lived.entry(what.clone()).or_default() += times;
        }
    }
}

#[derive(Default)]
pub(crate) struct Book {
    history: Vec<Record>,
    operations: u64,
    broken: Vec<Broken>,
    /// Every job that somebody was told of, in that order.
    known: Vec<(Tenant, JobId)>,
    /// Every job that the port has acknowledged, whether or not the answer arrived.
    promised: BTreeMap<JobId, Tenant>,
    markers: BTreeMap<JobId, String>,
    newest_lease: BTreeMap<JobId, LeaseToken>,
    /// Leases that reached whoever claimed: the job, and which of its leases.
    taken: BTreeSet<(JobId, u32)>,
    steps: BTreeMap<(JobId, String), Payload>,
    /// What readers were given of a job, from its first event on.
    transcripts: BTreeMap<JobId, Vec<Arc<Event>>>,
    spawned: BTreeMap<(JobId, String), Vec<JobId>>,
    answers: BTreeMap<JobId, Vec<Given>>,
    pauses: BTreeMap<QueueName, Pause>,
    /// Queues that somebody began to resume without hearing that it was done, and in which life.
    resuming: BTreeMap<QueueName, u32>,
    /// When processes died, by the clock on the wall.
    pub(crate) deaths: Vec<Timestamp>,
    /// When the machine was suspended, and for how long.
    pub(crate) suspends: Vec<(Timestamp, Span)>,
    pub(crate) keys: Vec<KeyUse>,
    /// Markers of jobs that were submitted together.
    pub(crate) bulks: Vec<Vec<String>>,
    /// Leases that workers have let go of, or lost, without a word.
    pub(crate) stale: Vec<Held>,
    pub(crate) counts: Counts,
}

/// How an operation ended, for the history.
pub(crate) enum End {
    Ok(Answer),
    /// Certainly without effect.
    Fail(String),
    /// Nobody knows.
    Info(String),
}

impl Book {
    // ── the history ──

    pub(crate) fn invoke(&mut self, call: Call) -> u64 {
        self.operations += 1;
        let op = self.operations;
        self.history.push(Record::Invoke { op, call });
        op
    }

    pub(crate) fn end(&mut self, op: u64, end: End) {
        self.history.push(match end {
            End::Ok(answer) => Record::Ok { op, answer },
            End::Fail(reason) => Record::Fail { op, reason },
            End::Info(reason) => Record::Info { op, reason },
        });
    }

    pub(crate) fn restarted(&mut self) {
        self.history.push(Record::Restart);
    }

    pub(crate) fn history(&self) -> &[Record] {
        &self.history
    }

    // ── accusations ──

    pub(crate) fn accuse(&mut self, rule: impl Into<String>, what: String) {
        self.broken.push(Broken { rule: rule.into(), what });
    }

    pub(crate) fn broken(&self) -> &[Broken] {
        &self.broken
    }

    // ── jobs ──

    pub(crate) fn learn(&mut self, tenant: &Tenant, job: JobId) {
        if !self.known.iter().any(|(_, known)| *known == job) {
            self.known.push((tenant.clone(), job));
        }
    }

    pub(crate) fn known(&self) -> &[(Tenant, JobId)] {
        &self.known
    }

    pub(crate) fn promise(&mut self, tenant: &Tenant, job: JobId) {
        self.promised.insert(job, tenant.clone());
    }

    pub(crate) fn promised(&self) -> &BTreeMap<JobId, Tenant> {
        &self.promised
    }

    /// Under which marker a job was submitted.
    pub(crate) fn marked(&mut self, job: JobId, marker: &str) {
        self.markers.insert(job, marker.to_owned());
    }

    pub(crate) fn marker_of(&self, job: JobId) -> Option<String> {
        self.markers.get(&job).cloned()
    }

    // ── leases ──

    /// A lease has left the port.
    pub(crate) fn grant_lease(&mut self, held: &Held) {
        self.counts.grants += 1;
        let newest = self.newest_lease.entry(held.job).or_insert(held.token);
        *newest = held.token.max(*newest);
    }

    /// A lease has reached whoever works under it, or is on its way over the network.
    pub(crate) fn take_lease(&mut self, job: JobId, lease: u32) {
        self.taken.insert((job, lease));
    }

    pub(crate) fn newest_lease(&self, job: JobId) -> Option<LeaseToken> {
        self.newest_lease.get(&job).copied()
    }

    pub(crate) fn was_taken(&self, job: JobId, lease: u32) -> bool {
        self.taken.contains(&(job, lease))
    }

    /// Whether a lease that was committed then may have died on its way: it takes no longer than `most`, but for the
    /// time in which the machine was suspended.
    pub(crate) fn may_have_died(&self, committed: Timestamp, most: Span) -> bool {
        let mut until = committed + most;
        for (at, span) in &self.suspends {
            if committed <= *at && *at <= until {
                until = until + *span;
            }
        }
        self.deaths.iter().any(|at| committed <= *at && *at <= until)
    }

    // ── steps ──

    /// Hears what a step gave. The other output that it had before, when there was one.
    pub(crate) fn hear_step(&mut self, job: JobId, name: String, output: Payload) -> Option<Payload> {
        let known = self.steps.entry((job, name)).or_insert_with(|| output.clone());
        (*known != output).then(|| known.clone())
    }

    /// The names of the steps that a job is known to have stored.
    pub(crate) fn steps_of(&self, job: JobId) -> impl Iterator<Item = &str> {
        let of_job = self.steps.range((job, String::new())..).take_while(move |((of, _), _)| *of == job);
        of_job.map(|((_, name), _)| name.as_str())
    }

    /// Hears what children a step took in. The others that it had before, when there were.
    pub(crate) fn hear_spawn(&mut self, job: JobId, name: String, ids: Vec<JobId>) -> Option<Vec<JobId>> {
        let known = self.spawned.entry((job, name)).or_insert_with(|| ids.clone());
        (*known != ids).then(|| known.clone())
    }

    // ── readers ──

    /// How far readers have come with a job.
    pub(crate) fn read_so_far(&self, job: JobId) -> u64 {
        self.transcripts.get(&job).map_or(0, |events| events.len() as u64)
    }

    /// Hears what a reader was given. What is wrong with it, when it does not fit to what was given before.
    pub(crate) fn hear_read(&mut self, job: JobId, events: Vec<Arc<Event>>) -> Option<String> {
        let transcript = self.transcripts.entry(job).or_default();
        for event in events {
            let place = event.seq as usize - 1;
            match transcript.get(place) {
                Some(before) if *before == event => {}
                Some(before) => return Some(format!("{before:?} was given, then {event:?}")),
                None if place == transcript.len() => transcript.push(event),
                None => return Some(format!("{event:?} was given after {}", transcript.len())),
            }
        }
        None
    }

    pub(crate) fn transcript(&self, job: JobId) -> &[Arc<Event>] {
        self.transcripts.get(&job).map_or(&[], Vec::as_slice)
    }

    // ── answers ──

    pub(crate) fn give_answer(&mut self, job: JobId, value: u64) {
        self.answers.entry(job).or_default().push(Given { value, acknowledged: None });
    }

    pub(crate) fn acknowledge_answer(&mut self, job: JobId, value: u64, at: u64) {
        let given = self.answers.entry(job).or_default().iter_mut().find(|given| given.value == value);
        if let Some(given) = given {
            given.acknowledged = Some(at);
        }
    }

    pub(crate) fn answers_to(&self, job: JobId) -> &[Given] {
        self.answers.get(&job).map_or(&[], Vec::as_slice)
    }

    // ── pauses ──

    /// A pause or its end is on its way: until it is answered, nothing is certain.
    pub(crate) fn begin_pause(&mut self, queue: &QueueName, paused: bool) {
        self.pauses.remove(queue);
        if !paused {
            self.resuming.insert(queue.clone(), self.counts.lives);
        }
    }

    pub(crate) fn end_pause(&mut self, queue: QueueName, paused: bool, at: Timestamp) {
        let life = self.counts.lives;
        if !paused {
            self.resuming.remove(&queue);
        } else if self.resuming.get(&queue) != Some(&life) {
            self.pauses.insert(queue, Pause { at, life });
        }
    }

    /// Whether a lease that began `since`, and was asked for in the life `asked_in`, should not have been given.
    pub(crate) fn is_paused(&self, queue: &QueueName, since: Timestamp, asked_in: u32) -> bool {
        let pause = self.pauses.get(queue);
        pause.is_some_and(|pause| asked_in > pause.life || (asked_in == pause.life && since > pause.at))
    }

    pub(crate) fn paused_queues(&self) -> Vec<QueueName> {
        self.pauses.keys().cloned().collect()
    }
}
