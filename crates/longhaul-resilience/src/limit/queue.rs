//! The decisions of a rate limit: who may go, who waits until when, who is turned away. No lock, no clock.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{clock::Tick, limit::bucket::Bucket};

/// What a call wants to reserve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cost {
    pub(super) tokens: u64,
}

/// When something was taken, as the buckets count: needed to give it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    requests: u64,
    tokens: u64,
}

/// The numbers of a limit. `None` is without limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rates {
    pub(super) requests: Option<Rate>,
    pub(super) tokens: Option<Rate>,
    pub(super) max_wait: Duration,
    pub(super) max_queue: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    pub(super) per_minute: u64,
    pub(super) burst: u64,
}

impl Rate {
    fn bucket(self) -> Bucket {
        Bucket::new(self.per_minute, self.burst)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Go(Stamp),
    Wait(Place),
    TurnedAway { retry_after: Duration },
}

/// A place in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) id: u64,
    /// Its turn comes at about this time.
    pub(super) at: Tick,
    /// A turn that moves beyond this, because others used more than they said, is not worth waiting for.
    pub(super) latest: Tick,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    cost: Cost,
    /// When its turn comes, as far as it knows.
    told: Tick,
}

/// Who waits and what is left.
#[derive(Debug)]
pub(super) struct Queue {
    rates: Rates,
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    /// Where the numbers of takings go on when a limit that was lifted is set again.
    requests_taken: u64,
    tokens_taken: u64,
    /// Nobody goes before: the service has said so.
    hold_until: Tick,
    waiting: VecDeque<Waiter>,
    /// The sum of what those who wait want.
    tokens_wanted: u64,
    /// Those whose turn has come and who do not know it yet.
    called: BTreeMap<u64, Stamp>,
    next_id: u64,
    /// The latest time that anyone came with.
    now: Tick,
}

impl Queue {
    pub(super) fn new(rates: Rates) -> Self {
        Self {
            rates,
            requests: rates.requests.map(|rate| rate.bucket()),
            tokens: rates.tokens.map(|rate| rate.bucket()),
            requests_taken: 0,
            tokens_taken: 0,
            hold_until: Tick::ZERO,
            waiting: VecDeque::new(),
            tokens_wanted: 0,
            called: BTreeMap::new(),
            next_id: 0,
            now: Tick::ZERO,
        }
    }

    pub(super) fn rates(&self) -> Rates {
        self.rates
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Someone comes. A wait beyond `deadline` is not begun.
    #[inline(always)]
    pub(super) fn arrive(&mut self, cost: Cost, now: Tick, deadline: Tick) -> Answer {
        self.advance(now);
        if self.waiting.is_empty() && self.may_go(cost, now) {
            return Answer::Go(self.take(cost));
        }
        self.line_up(cost, now, deadline)
    }

    #[cold]
    fn line_up(&mut self, cost: Cost, now: Tick, deadline: Tick) -> Answer {
        let wait = self.wait(self.waiting.len() as u64, self.tokens_wanted, cost, now);
        let at = now.after(wait);
        if wait > self.rates.max_wait || at >= deadline || self.waiting.len() >= self.rates.max_queue {
            return Answer::TurnedAway { retry_after: wait };
        }
        let id = self.next_id;
        self.next_id += 1;
        self.waiting.push_back(Waiter { id, cost, told: at });
        self.tokens_wanted = self.tokens_wanted.saturating_add(cost.tokens);
        Answer::Wait(Place { id, at, latest: now.after(self.rates.max_wait).min(deadline) })
    }

    /// Number `id`, which waits, asks again: whether it may go, or when to ask next.
    pub(super) fn ask(&mut self, id: u64, now: Tick) -> Result<Stamp, Tick> {
        self.advance(now);
        if let Some(stamp) = self.called.remove(&id) {
            return Ok(stamp);
        }
        let Some(place) = self.waiting.iter().position(|waiter| waiter.id == id) else {
            // Nobody asks who does not wait; but if someone did, the next tick is as good as any.
            return Err(now.after(Duration::from_nanos(1)));
        };
        let tokens = self.waiting.range(..place).fold(0u64, |sum, ahead| sum.saturating_add(ahead.cost.tokens));
        let at = now.after(self.wait(place as u64, tokens, self.waiting[place].cost, now));
        self.waiting[place].told = at;
        Err(at)
    }

    /// Lets go, in order, those whose turn has come. They learn it when they ask; [`Self::called`] says who to wake.
    #[inline]
    pub(super) fn advance(&mut self, now: Tick) {
        self.now = self.now.max(now);
        for bucket in [&mut self.requests, &mut self.tokens].into_iter().flatten() {
            bucket.refill(now);
        }
        if !self.waiting.is_empty() {
            self.call_up(now);
        }
    }

    #[cold]
    fn call_up(&mut self, now: Tick) {
        while let Some(cost) = self.waiting.front().map(|first| first.cost)
            && self.may_go(cost, now)
            && let Some(first) = self.waiting.pop_front()
        {
            self.tokens_wanted = self.tokens_wanted.saturating_sub(cost.tokens);
            let stamp = self.take(cost);
            self.called.insert(first.id, stamp);
        }
    }

    pub(super) fn called(&self) -> impl Iterator<Item = u64> + '_ {
        self.called.keys().copied()
    }

    /// Whether nobody waits nor has been called, so that there is nobody to wake.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.called.is_empty()
    }

    /// The first in line, if its turn comes earlier than it knows: someone before it has left or given something back.
    /// Those behind it are asked for when they have become the first.
    pub(super) fn first_to_hurry(&mut self) -> Option<u64> {
        let due = self.now.after(self.wait(0, 0, self.waiting.front()?.cost, self.now));
        let first = self.waiting.front_mut().filter(|first| due < first.told)?;
        first.told = due;
        Some(first.id)
    }

    /// Number `id` waits no longer.
    pub(super) fn leave(&mut self, id: u64, cost: Cost, now: Tick) {
        if let Some(stamp) = self.called.remove(&id) {
            self.give_back(cost, stamp);
        } else if let Some(position) = self.waiting.iter().position(|waiter| waiter.id == id) {
            self.waiting.remove(position);
            self.tokens_wanted = self.tokens_wanted.saturating_sub(cost.tokens);
        }
        self.advance(now);
    }

    /// A call that was let go did not happen after all.
    pub(super) fn give_back(&mut self, cost: Cost, stamp: Stamp) {
        if let Some(bucket) = &mut self.requests {
            bucket.give_back(1, stamp.requests);
        }
        if let Some(bucket) = &mut self.tokens {
            bucket.give_back(cost.tokens, stamp.tokens);
        }
    }

    /// A call used `actual` tokens where `estimated` were reserved.
    pub(super) fn reconcile(&mut self, estimated: u64, actual: u64, stamp: Stamp) {
        if let Some(bucket) = &mut self.tokens {
            if actual > estimated {
                bucket.take(actual - estimated);
            } else {
                bucket.give_back(estimated - actual, stamp.tokens);
            }
        }
    }

    pub(super) fn hold_until(&mut self, until: Tick) {
        self.hold_until = self.hold_until.max(until);
    }

    pub(super) fn lift_hold(&mut self) {
        self.hold_until = Tick::ZERO;
    }

    pub(super) fn reload(&mut self, rates: Rates) {
        let renew = |bucket: &mut Option<Bucket>, taken: &mut u64, rate: Option<Rate>| match (bucket.as_mut(), rate) {
            (Some(bucket), Some(rate)) => bucket.resize(rate.per_minute, rate.burst),
            (Some(old), None) => {
                *taken = old.takings();
                *bucket = None;
            }
            (None, rate) => *bucket = rate.map(|rate| rate.bucket().counting_from(*taken)),
        };
        renew(&mut self.requests, &mut self.requests_taken, rates.requests);
        renew(&mut self.tokens, &mut self.tokens_taken, rates.tokens);
        self.rates = rates;
    }

    fn wait(&self, requests_ahead: u64, tokens_ahead: u64, cost: Cost, now: Tick) -> Duration {
        let requests = self.requests.as_ref().map_or(Duration::ZERO, |bucket| bucket.wait(requests_ahead, 1));
        let tokens = self.tokens.as_ref().map_or(Duration::ZERO, |bucket| bucket.wait(tokens_ahead, cost.tokens));
        requests.max(tokens).max(self.hold_until.since(now))
    }

    /// There is no [`wait`](Self::wait) for the first in line.
    #[inline]
    fn may_go(&self, cost: Cost, now: Tick) -> bool {
        let has = |bucket: &Option<Bucket>, cost| bucket.as_ref().is_none_or(|bucket| bucket.has(cost));
        now >= self.hold_until && has(&self.requests, 1) && has(&self.tokens, cost.tokens)
    }

    #[inline]
    fn take(&mut self, cost: Cost) -> Stamp {
        Stamp {
            requests: self.requests.as_mut().map_or(0, |bucket| bucket.take(1)),
            tokens: self.tokens.as_mut().map_or(0, |bucket| bucket.take(cost.tokens)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rates(rpm: u64, tpm: u64) -> Rates {
        let rate = |n: u64| Some(Rate { per_minute: n, burst: (n / 6).max(1) });
        Rates { requests: rate(rpm), tokens: rate(tpm), max_wait: Duration::MAX, max_queue: 1000 }
    }

    fn at(ms: u64) -> Tick {
        Tick::ZERO.after(Duration::from_millis(ms))
    }

    fn cost(tokens: u64) -> Cost {
        Cost { tokens }
    }

    fn wait(id: u64, at: Tick) -> Answer {
        Answer::Wait(Place { id, at, latest: Tick::NEVER })
    }

    #[test]
    fn a_burst_goes_at_once_and_the_rest_at_the_rate() {
        let mut queue = Queue::new(rates(60, 60_000));
        for _ in 0..10 {
            assert!(matches!(queue.arrive(cost(1), at(0), Tick::NEVER), Answer::Go(_)));
        }
        assert_eq!(queue.arrive(cost(1), at(0), Tick::NEVER), wait(0, at(1000)));
        assert_eq!(queue.arrive(cost(1), at(0), Tick::NEVER), wait(1, at(2000)));
        assert_eq!(queue.ask(1, at(1500)), Err(at(2000)));
        assert_eq!(queue.called().collect::<Vec<_>>(), [0], "called by another who asked");
        assert!(queue.ask(0, at(1600)).is_ok());
        assert!(queue.ask(1, at(2000)).is_ok());
    }

    #[test]
    fn it_is_idle_while_nobody_waits_and_nobody_is_called() {
        let mut queue = Queue::new(rates(60, 60_000));
        for _ in 0..10 {
            queue.arrive(cost(1), at(0), Tick::NEVER);
            assert!(queue.is_idle());
        }
        queue.arrive(cost(1), at(0), Tick::NEVER);
        queue.arrive(cost(1), at(0), Tick::NEVER);
        assert_eq!((queue.is_idle(), queue.waiting()), (false, 2));
        queue.leave(0, cost(1), at(0));
        queue.advance(at(1_000));
        assert_eq!((queue.is_idle(), queue.waiting()), (false, 0));
        assert_eq!(queue.called().collect::<Vec<_>>(), [1]);
        assert!(queue.ask(1, at(1_000)).is_ok());
        assert!(queue.is_idle());
    }

    #[test]
    fn requests_and_tokens_are_reserved_together_or_not_at_all() {
        let mut queue = Queue::new(rates(600, 6_000));
        assert!(matches!(queue.arrive(cost(1_000), at(0), Tick::NEVER), Answer::Go(_)));
        let before = queue.requests.as_ref().unwrap().level_tokens();
        assert_eq!(queue.arrive(cost(100), at(0), Tick::NEVER), wait(0, at(1000)));
        assert_eq!(queue.requests.as_ref().unwrap().level_tokens(), before);
    }

    #[test]
    fn what_is_estimated_too_high_comes_back_and_too_low_is_owed() {
        let mut queue = Queue::new(rates(6_000, 6_000));
        let Answer::Go(stamp) = queue.arrive(cost(1_000), at(0), Tick::NEVER) else { panic!() };
        queue.reconcile(1_000, 600, stamp);
        let Answer::Go(stamp) = queue.arrive(cost(400), at(0), Tick::NEVER) else { panic!() };
        queue.reconcile(400, 1_400, stamp);
        assert_eq!(queue.tokens.as_ref().unwrap().level_tokens(), -1_000.0);
        assert_eq!(queue.arrive(cost(0), at(0), Tick::NEVER), wait(0, at(10_000)));
    }

    #[test]
    fn what_was_taken_before_a_limit_was_lifted_is_not_given_back_to_the_next() {
        let mut queue = Queue::new(rates(6_000, 6_000));
        let (with, without) = (queue.rates(), Rates { tokens: None, ..queue.rates() });
        let Answer::Go(before) = queue.arrive(cost(1_000), at(0), Tick::NEVER) else { panic!() };
        queue.reload(without);
        let Answer::Go(between) = queue.arrive(cost(1_000), at(0), Tick::NEVER) else { panic!() };
        queue.reload(with);
        for (tokens, level) in [(400, 600.0), (600, 0.0)] {
            assert!(matches!(queue.arrive(cost(tokens), at(0), Tick::NEVER), Answer::Go(_)));
            queue.give_back(cost(1_000), before);
            queue.reconcile(1_000, 0, between);
            assert_eq!(queue.tokens.as_ref().unwrap().level_tokens(), level);
        }
    }

    #[test]
    fn a_wait_beyond_the_longest_or_the_deadline_is_not_begun() {
        let mut queue = Queue::new(Rates { max_wait: Duration::from_secs(5), ..rates(60, 6_000_000) });
        for _ in 0..15 {
            queue.arrive(cost(1), at(0), Tick::NEVER);
        }
        let turned_away = Answer::TurnedAway { retry_after: Duration::from_secs(6) };
        assert_eq!(queue.arrive(cost(1), at(0), Tick::NEVER), turned_away);
        assert_eq!(
            queue.arrive(cost(1), at(1000), at(6000)),
            Answer::TurnedAway { retry_after: Duration::from_secs(5) }
        );
        assert!(matches!(queue.arrive(cost(1), at(1000), at(6001)), Answer::Wait(_)));
    }

    #[test]
    fn a_call_larger_than_the_burst_goes_when_the_bucket_is_full_and_owes_the_rest() {
        let mut queue = Queue::new(rates(6_000, 6_000));
        assert!(matches!(queue.arrive(cost(50_000), at(0), Tick::NEVER), Answer::Go(_)));
        assert_eq!(queue.tokens.as_ref().unwrap().level_tokens(), -49_000.0);
    }

    #[test]
    fn a_hold_by_the_service_stops_everyone() {
        let mut queue = Queue::new(rates(6_000, 6_000_000));
        queue.hold_until(at(3_000));
        assert_eq!(queue.arrive(cost(1), at(0), Tick::NEVER), wait(0, at(3_000)));
        assert!(queue.ask(0, at(3_000)).is_ok());
    }

    #[test]
    fn a_hold_that_is_lifted_stops_nobody() {
        let mut queue = Queue::new(rates(6_000, 6_000_000));
        queue.hold_until(at(3_000));
        assert_eq!(queue.arrive(cost(1), at(0), Tick::NEVER), wait(0, at(3_000)));
        queue.lift_hold();
        assert!(queue.ask(0, at(0)).is_ok(), "who waited goes");
        assert!(matches!(queue.arrive(cost(1), at(0), Tick::NEVER), Answer::Go(_)));
    }

    #[test]
    fn what_is_given_back_goes_to_the_first_who_waits_at_once() {
        let mut queue = Queue::new(rates(1, 6_000_000));
        let Answer::Go(held) = queue.arrive(cost(1), at(0), Tick::NEVER) else { panic!() };
        assert_eq!(queue.arrive(cost(1), at(0), Tick::NEVER), wait(0, at(60_000)));
        queue.give_back(cost(1), held);
        assert_eq!(queue.first_to_hurry(), Some(0));
        assert!(queue.ask(0, at(0)).is_ok());

        let mut queue = Queue::new(rates(6_000, 6_000));
        let Answer::Go(held) = queue.arrive(cost(1_000), at(0), Tick::NEVER) else { panic!() };
        assert_eq!(queue.arrive(cost(100), at(0), Tick::NEVER), wait(0, at(1_000)));
        queue.reconcile(1_000, 900, held);
        assert_eq!(queue.first_to_hurry(), Some(0));
        assert!(queue.ask(0, at(0)).is_ok());
    }

    #[test]
    fn the_first_in_line_learns_that_its_turn_comes_earlier() {
        let mut queue = Queue::new(rates(6_000, 6_000));
        queue.arrive(cost(1_000), at(0), Tick::NEVER);
        assert_eq!(queue.arrive(cost(900), at(0), Tick::NEVER), wait(0, at(9_000)));
        assert_eq!(queue.arrive(cost(100), at(0), Tick::NEVER), wait(1, at(10_000)));
        assert_eq!(queue.arrive(cost(100), at(0), Tick::NEVER), wait(2, at(11_000)));
        assert_eq!(queue.first_to_hurry(), None, "it knows");
        queue.leave(0, cost(900), at(0));
        assert_eq!(queue.first_to_hurry(), Some(1));
        assert_eq!(queue.first_to_hurry(), None, "it has been told");
        assert_eq!(queue.ask(1, at(500)), Err(at(1_000)));
        assert!(queue.ask(1, at(1_000)).is_ok());
        assert_eq!(queue.first_to_hurry(), Some(2), "as soon as it is the first");
        assert_eq!(queue.ask(2, at(1_000)), Err(at(2_000)));
    }

    #[test]
    fn new_rates_keep_what_was_used() {
        let mut queue = Queue::new(rates(60, 6_000_000));
        for _ in 0..10 {
            queue.arrive(cost(1), at(0), Tick::NEVER);
        }
        queue.reload(rates(120, 6_000_000));
        assert_eq!(queue.requests.as_ref().unwrap().level_tokens(), 10.0);
    }

    proptest! {
        /// Whatever comes, waits, leaves and is given back: in no span of time may more go than the burst and the rate
        /// allow; those who wait go in the order in which they came; and when all have gone, nothing is held.
        #[test]
        fn the_rate_is_kept_in_every_span(
            rpm in 1u64..600, tpm in 100u64..60_000,
            steps in prop::collection::vec((0u64..3_000, 0u64..3_000, 0u8..5, any::<prop::sample::Index>()), 1..120),
        ) {
            let mut queue = Queue::new(rates(rpm, tpm));
            let (rpm_burst, tpm_burst) = ((rpm / 6).max(1), (tpm / 6).max(1));
            // Who waits, by number; who was let go, when, at what cost.
            let mut waiting: BTreeMap<u64, u64> = BTreeMap::new();
            let mut went: Vec<(Tick, u64, Stamp)> = vec![];
            let mut called_at: BTreeMap<u64, Tick> = BTreeMap::new();
            let mut now = 0;
            for (wait, tokens, kind, which) in steps {
                now += wait;
                let tokens = tokens.min(tpm_burst);
                let chosen = (!waiting.is_empty()).then(|| *which.get(&waiting.keys().collect::<Vec<_>>()));
                match (kind, chosen.copied()) {
                    (0, Some(id)) => {
                        queue.leave(id, cost(waiting[&id]), at(now));
                        waiting.remove(&id);
                    }
                    (1, Some(id)) => {
                        if let Ok(stamp) = queue.ask(id, at(now)) {
                            went.push((called_at.get(&id).copied().unwrap_or(at(now)), waiting[&id], stamp));
                            waiting.remove(&id);
                        }
                    }
                    (2, _) if !went.is_empty() => {
                        let (_, tokens, stamp) = went.remove(which.index(went.len()));
                        queue.advance(at(now));
                        queue.give_back(cost(tokens), stamp);
                    }
                    _ => match queue.arrive(cost(tokens), at(now), Tick::NEVER) {
                        Answer::Go(stamp) => {
                            prop_assert!(queue.waiting.is_empty(), "nobody overtakes");
                            went.push((at(now), tokens, stamp));
                        }
                        Answer::Wait(Place { id, at: when, .. }) => {
                            prop_assert!(when > at(now) || !waiting.is_empty());
                            waiting.insert(id, tokens);
                        }
                        Answer::TurnedAway { .. } => prop_assert!(false, "there is room"),
                    },
                }
                for id in queue.called.keys() {
                    called_at.entry(*id).or_insert(at(now));
                }
                let called = queue.called.keys().map(|id| (called_at[id], waiting[id]));
                let all: Vec<(Tick, u64)> = went.iter().map(|(t, n, _)| (*t, *n)).chain(called).collect();
                for (from, _) in &all {
                    let span: Vec<_> = all.iter().filter(|(t, _)| t >= from).collect();
                    let minutes = at(now).since(*from).as_secs_f64() / 60.0;
                    prop_assert!(span.len() as f64 <= rpm_burst as f64 + minutes * rpm as f64 + 1e-6);
                    let tokens: u64 = span.iter().map(|(_, tokens)| tokens).sum();
                    prop_assert!(tokens as f64 <= tpm_burst as f64 + minutes * tpm as f64 + 1e-6);
                }
            }
            // What is not fetched in time is not saved up beyond the burst: so each is given time of its own.
            for id in waiting.keys() {
                now += 100_000_000;
                prop_assert!(queue.ask(*id, at(now)).is_ok(), "in the order in which they came");
            }
            prop_assert_eq!(queue.waiting.len() + queue.called.len(), 0);
            prop_assert_eq!(queue.tokens_wanted, 0);
        }

        /// The naive limiter: a float that is filled by time and emptied by calls, which never wait.
        #[test]
        fn without_waiting_it_agrees_with_a_naive_bucket(
            rpm in 1u64..600, steps in prop::collection::vec(0u64..2_000, 1..200),
        ) {
            let mut queue = Queue::new(Rates { max_wait: Duration::ZERO, tokens: None, ..rates(rpm, 1) });
            let burst = (rpm / 6).max(1) as f64;
            let (mut level, mut now) = (burst, 0);
            for wait in steps {
                now += wait;
                level = (level + wait as f64 * rpm as f64 / 60_000.0).min(burst);
                let near_the_edge = (level - 1.0).abs() < 1e-6;
                let went = matches!(queue.arrive(cost(0), at(now), Tick::NEVER), Answer::Go(_));
                prop_assert!(near_the_edge || went == (level >= 1.0), "{level}");
                if went { level -= 1.0; }
            }
        }
    }
}
