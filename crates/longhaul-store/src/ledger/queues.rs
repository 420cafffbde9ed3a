//! How queues stand, as the ledger counts.
//!
//! Whoever may submit names queues, so there is no end to them. A queue is kept as long as something is said of it: a job
//! that has not ended, a pause, a limit. Of the others, which ran empty, some are kept so that who looks still finds them, and
//! forgotten together when they have become many: what is told of all queues costs what those in use do.

use std::collections::{HashMap, hash_map};

use longhaul_core::{QueueName, Tenant};

use super::{Phase, Turns};

/// How many queues are remembered before those are forgotten of which there is nothing to say: at most twice as many as
/// there is something to say of, and this.
pub(crate) const KEPT_LEAST: usize = 256;

/// How a queue stands.
#[derive(Debug, Clone, Default)]
pub(crate) struct QueueTally {
    pub(crate) queued: u64,
    pub(crate) running: u64,
    pub(crate) waiting: u64,
    pub(crate) paused: bool,
    pub(crate) concurrency: Option<u32>,
    /// Whose turn it is among the queue's tenants.
    pub(super) turns: Turns<Tenant>,
}

impl QueueTally {
    pub(super) fn gives_out(&self) -> bool {
        !self.paused && self.concurrency.is_none_or(|most| self.running < u64::from(most))
    }

    /// Whether another of its name, made anew, would say the same. Turns are no reason to keep it: they share out what waits.
    fn is_idle(&self) -> bool {
        let Self { queued, running, waiting, paused, concurrency, turns: _ } = self;
        (*queued, *running, *waiting) == (0, 0, 0) && !paused && concurrency.is_none()
    }

    /// Counts a job that goes from one phase to another.
    pub(super) fn moves(&mut self, from: Option<Phase>, to: Phase) {
        match from {
            Some(Phase::Blocked | Phase::Ready | Phase::Deferred) => self.queued = self.queued.saturating_sub(1),
            Some(Phase::Running) => self.running = self.running.saturating_sub(1),
            Some(Phase::Waiting) => self.waiting = self.waiting.saturating_sub(1),
            Some(Phase::Succeeded | Phase::Failed | Phase::Cancelled) | None => {}
        }
        match to {
            Phase::Blocked | Phase::Ready | Phase::Deferred => self.queued += 1,
            Phase::Running => self.running += 1,
            Phase::Waiting => self.waiting += 1,
            Phase::Succeeded | Phase::Failed | Phase::Cancelled => {}
        }
    }
}

/// All queues of which there is something to say, and some others.
#[derive(Debug)]
pub(super) struct Queues {
    tallies: HashMap<QueueName, QueueTally>,
    /// From so many on, those are looked for that are idle.
    tidy_at: usize,
}

impl Default for Queues {
    fn default() -> Self {
        Self { tallies: HashMap::new(), tidy_at: KEPT_LEAST }
    }
}

impl Queues {
    pub(super) fn get(&self, queue: &QueueName) -> Option<&QueueTally> {
        self.tallies.get(queue)
    }

    pub(super) fn get_mut(&mut self, queue: &QueueName) -> Option<&mut QueueTally> {
        self.tallies.get_mut(queue)
    }

    /// That of a queue which may be new.
    pub(super) fn of(&mut self, queue: &QueueName) -> &mut QueueTally {
        if !self.tallies.contains_key(queue) && self.tallies.len() >= self.tidy_at {
            self.tallies.retain(|_, tally| !tally.is_idle());
            self.tidy_at = (2 * self.tallies.len()).max(KEPT_LEAST);
        }
        self.tallies.entry(queue.clone()).or_default()
    }

    pub(super) fn iter(&self) -> hash_map::Iter<'_, QueueName, QueueTally> {
        self.tallies.iter()
    }

    /// Forgets all counts and pauses, which are about to be read anew. Limits stay, which nobody has stored.
    pub(super) fn start_anew(&mut self) {
        for tally in self.tallies.values_mut() {
            *tally = QueueTally {
                concurrency: tally.concurrency,
                turns: std::mem::take(&mut tally.turns),
                ..QueueTally::default()
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: usize) -> QueueName {
        QueueName::new(&format!("q{number}")).unwrap()
    }

    #[test]
    fn queues_that_were_used_once_are_forgotten_and_those_with_something_to_say_are_not() {
        let mut queues = Queues::default();
        queues.of(&name(0)).paused = true;
        queues.of(&name(1)).concurrency = Some(4);
        queues.of(&name(2)).moves(None, Phase::Deferred);
        queues.of(&name(3)).moves(None, Phase::Waiting);
        queues.of(&name(4)).moves(None, Phase::Running);
        for number in 5..20_000 {
            queues.of(&name(number)).moves(None, Phase::Ready);
            queues.of(&name(number)).moves(Some(Phase::Ready), Phase::Cancelled);
            assert!(queues.tallies.len() <= KEPT_LEAST);
        }
        assert!((0..5).all(|number| queues.get(&name(number)).is_some()));
        assert_eq!(queues.get(&name(2)).map(|tally| tally.queued), Some(1));
    }

    #[test]
    fn queues_in_use_are_all_kept_however_many_there_are() {
        let mut queues = Queues::default();
        for number in 0..10_000 {
            queues.of(&name(number)).moves(None, Phase::Ready);
        }
        assert_eq!(queues.iter().map(|(_, tally)| tally.queued).sum::<u64>(), 10_000);
    }
}
