//! Fallback over targets: which is asked first, which next, and what is said when none answers.
//!
//! Lower ranks go first. Among targets of one rank the model's [`Choose`] decides; a rank is used up before the next is
//! begun. An answer from a later rank is *degraded*, unless all of the earlier ones could not even be asked this (a
//! target without tools is passed by, and nobody is worse off).
//!
//! Where the attempts of a call are counted ([`Attempts`]) each target that is still to come has one kept for it.
//!
//! The deadline is kept here and not by a layer of its own: when it comes there must still be a moment to give a canned
//! reply. Of the time until then a target may not use all while others are to come: they have a quarter of what is left
//! for themselves, or what an attempt of each may take if that is less. One that hangs would otherwise be all that a call
//! ever asks.

use std::sync::Arc;
use std::time::Duration;

use longhaul_providers::chat::{ChatResponse, Finish, FinishReason};
use longhaul_resilience::{Attempts, BoxStep, Cx, Decision, Dice, Fail, Label, Step, Tick, Why};

use crate::call::{Answered, Ask, Question, Reply, ReplyNotes};
use crate::error::CallError;
use crate::served::Served;
use crate::settings::{Canned, Choose, ModelSettings};
use crate::target::{CallFail, Target};

/// The part of the time left that a target leaves to those after it: one in so many.
const LEFT_TO_OTHERS: u32 = 4;

/// How a target is asked: for a whole answer or for a stream.
pub(crate) trait Way {
    /// What a target gives.
    type At: Send + 'static;
    /// What the model gives.
    type Out: Send;

    fn stack(target: &Target) -> &BoxStep<Arc<Ask>, Self::At, CallFail>;
    fn out(at: Self::At) -> Self::Out;
    /// A reply that needs no model, in this form.
    fn canned(answered: Answered) -> Option<Self::Out>;
}

/// The targets of a model, in order of rank.
#[derive(Debug)]
pub(crate) struct Targets {
    label: Label,
    targets: Vec<Target>,
    choose: Choose,
    timeout: Duration,
    canned: Option<(Canned, Arc<Served>)>,
    dice: Dice,
}

impl Targets {
    pub(crate) fn new(
        label: Label,
        model: &Arc<str>,
        settings: &ModelSettings,
        mut targets: Vec<Target>,
        seed: u64,
    ) -> Self {
        // Stable: equals stay in the order of the file.
        targets.sort_by_key(|target| target.settings.rank);
        Self {
            label,
            targets,
            choose: settings.choose,
            timeout: settings.timeout,
            canned: settings.canned.clone().map(|canned| (canned, Served::canned(model))),
            dice: Dice::seeded(seed),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter()
    }

    /// The longest that a whole call can take when its deadline is `limit` away.
    pub(super) fn longest(&self, limit: Duration) -> Option<Duration> {
        let limit = limit.min(self.timeout);
        let each = self.targets.iter().map(|target| target.longest(limit).map_or(limit, |longest| longest.min(limit)));
        Some(each.fold(Duration::ZERO, Duration::saturating_add).min(limit))
    }

    /// Asks one target after the other until one answers. Those in `used` are passed by.
    pub(super) async fn ask<W: Way>(
        &self,
        cx: &Cx<'_>,
        ask: Arc<Ask>,
        used: &[Arc<Served>],
    ) -> Result<W::Out, CallFail> {
        let started = cx.now();
        let cx = &cx.child(started.after(self.timeout));
        let mut failed = Failed::default();
        let (attempts, order) = (cx.get::<Attempts>(), self.order(started));
        let all = order.len();
        for (index, place) in order.iter().enumerate() {
            let target = &self.targets[*place];
            if used.contains(&target.served) {
                continue;
            }
            if failed.any() {
                if is_over(cx) {
                    break;
                }
                if attempts.is_some_and(|attempts| attempts.left() == 0) {
                    cx.note(self.label, Label::FALLBACK, Decision::RetryExhausted, u64::from(ask.attempts()));
                    break;
                }
                self.note(cx, Decision::FallbackStart, index);
            }
            if let Some(attempts) = attempts {
                attempts.keep_back(u32::try_from(all - index - 1).unwrap_or(u32::MAX));
            }
            let part = &cx.child(self.end_of_part(cx, &order[index + 1..], used));
            match self.in_time(part, W::stack(target).call(part, Arc::clone(&ask))).await {
                Ok(at) => {
                    if failed.any() {
                        self.note(cx, Decision::FallbackSuccess, index);
                    }
                    if failed.lowest_rank.is_some_and(|rank| target.settings.rank > rank) {
                        cx.mark_degraded();
                    }
                    return Ok(W::out(at));
                }
                Err(fail) => {
                    let decision = if failed.any() { Decision::FallbackFailed } else { Decision::PrimaryFailed };
                    self.note(cx, decision, index);
                    if fail.error().is_some_and(CallError::is_final) {
                        return Err(fail);
                    }
                    failed.add(fail, target.settings.rank);
                }
            }
        }
        match self.last_resort(&ask.question).and_then(W::canned) {
            Some(canned) if used.is_empty() => {
                self.note(cx, Decision::FallbackSuccess, self.targets.len());
                cx.mark_degraded();
                Ok(canned)
            }
            _ => Err(failed.worst(self.label)),
        }
    }

    /// When a target must be done that is followed by those at the places `to_come`.
    fn end_of_part(&self, cx: &Cx<'_>, to_come: &[usize], used: &[Arc<Served>]) -> Tick {
        let deadline = cx.deadline().unwrap_or(Tick::NEVER);
        let others = to_come.iter().map(|place| &self.targets[*place]).filter(|target| !used.contains(&target.served));
        let wanted = others.fold(Duration::ZERO, |sum, target| sum.saturating_add(target.settings.attempt_timeout));
        let (now, left) = (cx.now(), deadline.since(cx.now()));
        now.after(left - wanted.min(left / LEFT_TO_OTHERS))
    }

    /// Cuts a target off at the deadline; the canned reply comes after it.
    async fn in_time<T>(&self, cx: &Cx<'_>, work: impl Future<Output = Result<T, CallFail>>) -> Result<T, CallFail> {
        let deadline = cx.deadline().unwrap_or(Tick::NEVER);
        tokio::select! {
            biased;
            result = work => result,
            () = cx.sleep_until(deadline) => {
                cx.note(self.label, Label::DEADLINE, Decision::DeadlineCut, 0);
                Err(Fail::local(Why::Deadline, self.label, Label::DEADLINE))
            }
        }
    }

    fn last_resort(&self, question: &Question) -> Option<Answered> {
        let (canned, by) = self.canned.as_ref()?;
        let Question::Chat(request) = question else { return None };
        // A canned reply is the rest of nothing.
        if request.goes_on {
            return None;
        }
        let text = canned.reply(question.last_words())?;
        let response = ChatResponse { finish: Finish::of(FinishReason::Stop), ..ChatResponse::of_text(text) };
        Some(Answered {
            reply: Reply::Chat(Arc::new(response)),
            by: Arc::clone(by),
            usage: None,
            notes: Arc::new(ReplyNotes::default()),
        })
    }

    fn note(&self, cx: &Cx<'_>, decision: Decision, index: usize) {
        cx.note(self.label, Label::FALLBACK, decision, index as u64);
    }

    /// The places of the targets in the order in which they are to be asked.
    fn order(&self, now: Tick) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.targets.len()).collect();
        if self.choose == Choose::First || order.len() < 2 {
            return order;
        }
        let rank = |place: usize| self.targets[place].settings.rank;
        let mut begin = 0;
        while begin < order.len() {
            let end = begin + order[begin..].iter().take_while(|place| rank(**place) == rank(order[begin])).count();
            let equals = &mut order[begin..end];
            match self.choose {
                Choose::First => {}
                Choose::Weighted => self.shuffle(equals),
                Choose::Latency => equals.sort_by_cached_key(|place| self.targets[*place].load(now)),
            }
            begin = end;
        }
        order
    }

    /// Draws without putting back, each by its weight. A weight of nothing comes last.
    fn shuffle(&self, equals: &mut [usize]) {
        let weight = |place: usize| u64::from(self.targets[place].settings.weight);
        for begin in 0..equals.len() {
            let total: u64 = equals[begin..].iter().map(|place| weight(*place)).sum();
            if total == 0 {
                return;
            }
            let mut drawn = self.dice.next_u64() % total;
            for at in begin..equals.len() {
                let weight = weight(equals[at]);
                if drawn < weight {
                    equals.swap(begin, at);
                    break;
                }
                drawn -= weight;
            }
        }
    }
}

fn is_over(cx: &Cx<'_>) -> bool {
    cx.deadline().is_some_and(|deadline| cx.now() >= deadline)
}

/// How the targets failed so far.
#[derive(Default)]
struct Failed {
    /// The first that counts: what the caller can act on.
    first: Option<CallFail>,
    /// The first that could not be asked this.
    unfit: Option<CallFail>,
    /// The rank of the first that could have answered.
    lowest_rank: Option<u32>,
}

impl Failed {
    fn any(&self) -> bool {
        self.first.is_some() || self.unfit.is_some()
    }

    fn add(&mut self, fail: CallFail, rank: u32) {
        if fail.error().is_some_and(CallError::is_unfit) {
            self.unfit.get_or_insert(fail);
            return;
        }
        self.lowest_rank = Some(self.lowest_rank.map_or(rank, |lowest| lowest.min(rank)));
        self.first.get_or_insert(fail);
    }

    fn worst(self, label: Label) -> CallFail {
        // Without targets, or when all have had their part, there is nobody left to ask.
        self.first.or(self.unfit).unwrap_or_else(|| Fail::local(Why::Full, label, Label::FALLBACK))
    }
}
