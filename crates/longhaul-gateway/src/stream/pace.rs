//! The clock that runs while a stream does.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use longhaul_resilience::{Cx, Tick};

/// Which limit a stream broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    /// No token in time.
    FirstToken(Duration),
    /// No token before the call's own time was over, which left this much.
    Deadline(Duration),
    /// No sign of life for too long.
    Idle(Duration),
    /// Too long in all.
    Total(Duration),
}

type Timer<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// When the next piece must have come.
///
/// A timer costs a lock in the runtime, so it is not moved at every piece: when it goes off it looks whether its time
/// has come, and if not sets itself anew.
pub(super) struct Pace<'a> {
    cx: &'a Cx<'a>,
    at: Tick,
    if_late: Late,
    /// When the first token must have come, until it has.
    first_token_by: Option<(Tick, Late)>,
    total_at: Tick,
    total: Duration,
    timer: Option<(Tick, Timer<'a>)>,
}

impl<'a> Pace<'a> {
    /// `deadline` is when the call ends that waits for the first token. Where that is so early that it says nothing about
    /// the provider, it is left to whoever waits.
    pub(super) fn new(cx: &'a Cx<'a>, first_token: Duration, deadline: Tick, total: Duration) -> Self {
        let now = cx.now();
        let mut pace = Self {
            cx,
            at: now,
            if_late: Late::FirstToken(first_token),
            first_token_by: None,
            total_at: now.after(total),
            total,
            timer: None,
        };
        let left = deadline.since(now);
        let is_cut = left < first_token && left >= first_token / 2;
        pace.next_by(now, if is_cut { Late::Deadline(left) } else { Late::FirstToken(first_token) });
        pace.first_token_by = Some((pace.at, pace.if_late));
        pace
    }

    /// The answer has begun and its first token has not come: another sign of life must come within `idle`, and the token
    /// when it had to come anyway.
    pub(super) fn sign_of_life(&mut self, idle: Duration) {
        let now = self.cx.renew();
        self.next_by(now, Late::Idle(idle));
        if let Some((at, if_late)) = self.first_token_by.filter(|(at, _)| *at < self.at) {
            (self.at, self.if_late) = (at, if_late);
        }
    }

    /// A piece of the answer has come, or since its first token anything at all; more must come within `idle`.
    pub(super) fn piece(&mut self, idle: Duration) {
        self.first_token_by = None;
        let now = self.cx.renew();
        self.next_by(now, Late::Idle(idle));
    }

    fn next_by(&mut self, now: Tick, late: Late) {
        let (Late::FirstToken(limit) | Late::Deadline(limit) | Late::Idle(limit) | Late::Total(limit)) = late;
        let at = now.after(limit);
        (self.at, self.if_late) =
            if at <= self.total_at { (at, late) } else { (self.total_at, Late::Total(self.total)) };
    }

    /// Ready when it is too late.
    pub(super) fn poll_late(&mut self, task: &mut Context<'_>) -> Poll<Late> {
        loop {
            let armed_later = self.timer.as_ref().is_some_and(|(armed_at, _)| *armed_at > self.at);
            if armed_later {
                self.timer = None;
            }
            let (cx, at) = (self.cx, self.at);
            let (_, timer) = self.timer.get_or_insert_with(|| (at, Box::pin(cx.sleep_until(at))));
            match timer.as_mut().poll(task) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => self.timer = None,
            }
            if cx.renew() >= self.at {
                return Poll::Ready(self.if_late);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::task::Waker;

    use longhaul_resilience::VirtualClock;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_piece_gives_another_while_until_the_total_is_over() {
        let clock = VirtualClock::new();
        let cx = Cx::default().clock(Arc::new(clock.clone()));
        let mut pace = Pace::new(&cx, 5 * SECOND, Tick::NEVER, 8 * SECOND);
        let look = |pace: &mut Pace<'_>| pace.poll_late(&mut Context::from_waker(Waker::noop()));
        assert!(look(&mut pace).is_pending());
        clock.advance(4 * SECOND);
        pace.piece(2 * SECOND);
        clock.advance(Duration::from_millis(1_900));
        assert!(look(&mut pace).is_pending());
        pace.piece(2 * SECOND);
        clock.advance(Duration::from_millis(1_900));
        assert!(look(&mut pace).is_pending(), "the timer of the first token has gone off and was set anew");
        pace.piece(2 * SECOND);
        clock.advance(SECOND);
        assert_eq!(look(&mut pace), Poll::Ready(Late::Total(8 * SECOND)));
    }

    #[test]
    fn signs_of_life_do_not_put_the_first_token_off() {
        let clock = VirtualClock::new();
        let cx = Cx::default().clock(Arc::new(clock.clone()));
        let look = |pace: &mut Pace<'_>| pace.poll_late(&mut Context::from_waker(Waker::noop()));
        let mut pace = Pace::new(&cx, 5 * SECOND, Tick::NEVER, 60 * SECOND);
        for _ in 0..4 {
            clock.advance(SECOND);
            pace.sign_of_life(2 * SECOND);
            assert!(look(&mut pace).is_pending());
        }
        clock.advance(SECOND);
        assert_eq!(look(&mut pace), Poll::Ready(Late::FirstToken(5 * SECOND)));
        let mut pace = Pace::new(&cx, 5 * SECOND, Tick::NEVER, 60 * SECOND);
        pace.sign_of_life(2 * SECOND);
        clock.advance(2 * SECOND);
        assert_eq!(look(&mut pace), Poll::Ready(Late::Idle(2 * SECOND)));
    }

    #[test]
    fn a_silence_is_told_from_a_slow_start() {
        let clock = VirtualClock::new();
        let cx = Cx::default().clock(Arc::new(clock.clone()));
        let mut pace = Pace::new(&cx, 60 * SECOND, Tick::NEVER, 600 * SECOND);
        let look = |pace: &mut Pace<'_>| pace.poll_late(&mut Context::from_waker(Waker::noop()));
        assert!(look(&mut pace).is_pending());
        pace.piece(2 * SECOND);
        assert!(look(&mut pace).is_pending());
        clock.advance(2 * SECOND);
        assert_eq!(look(&mut pace), Poll::Ready(Late::Idle(2 * SECOND)), "although the timer stood at 60 s");
        let mut pace = Pace::new(&cx, 3 * SECOND, Tick::NEVER, 600 * SECOND);
        assert!(look(&mut pace).is_pending());
        clock.advance(3 * SECOND);
        assert_eq!(look(&mut pace), Poll::Ready(Late::FirstToken(3 * SECOND)));
    }
}
