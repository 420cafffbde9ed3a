//! What a stack gives each of its layers: the names, the classifier, the dice, the meter and the recorder.

use std::{sync::Arc, time::Duration};

use crate::{
    class::{Class, Classify, class_of},
    clock::Tick,
    cx::Cx,
    dice::Dice,
    fail::{Fail, Why},
    histogram::Counts,
    inspect::Inspection,
    label::Label,
    meter::{Meter, Outcome, Recorder},
    straight::{Run, Straight},
    trail::Decision,
};

/// What all layers of one stack share.
pub struct Env<C> {
    pub(crate) stack: Label,
    pub(crate) classify: C,
    pub(crate) recorder: Option<Arc<dyn Recorder>>,
    pub(crate) dice: Dice,
    pub(crate) straight: Straight,
}

impl<C> Env<C> {
    /// The name of the stack.
    pub fn stack(&self) -> Label {
        self.stack
    }

    /// The classifier of the stack.
    pub fn classify(&self) -> &C {
        &self.classify
    }

    /// The random numbers of the stack.
    pub fn dice(&self) -> &Dice {
        &self.dice
    }
}

/// One layer's place in its stack.
pub(crate) struct Site<C> {
    pub(crate) env: Arc<Env<C>>,
    pub(crate) layer: Label,
    pub(crate) meter: Meter,
    /// How many layers of the stack are within this one.
    within: u32,
}

impl<C> Site<C> {
    pub(crate) fn new(env: &Arc<Env<C>>, layer: Label) -> Self {
        Self { env: Arc::clone(env), layer, meter: Meter::default(), within: env.straight.enlist() }
    }

    /// Takes a decision down in the record of the call, and tells the recorder.
    #[inline]
    pub(crate) fn note(&self, cx: &Cx<'_>, decision: Decision, detail: u64) {
        let note = cx.take_down(self.env.stack, self.layer, decision, detail);
        if let Some(recorder) = &self.env.recorder {
            recorder.note(&note);
        }
    }

    /// Counts a call of this layer that began at `started`.
    #[inline(always)]
    pub(crate) fn done(&self, cx: &Cx<'_>, started: Tick, outcome: Outcome) {
        let ended = cx.now();
        if let Some(recorder) = &self.env.recorder {
            recorder.call(self.env.stack, self.layer, outcome, ended.since(started));
        }
        if outcome != Outcome::Ok || !cx.run().is_some_and(|run| run.passes(self.within, started, ended)) {
            self.meter.done(outcome, ended.nanos_since(started));
        }
    }

    /// For calls that are under way beside others of the same stack.
    #[inline]
    pub(crate) fn run(&self) -> Run<'_> {
        Run::new(&self.env.straight)
    }

    /// Counts a call that went through this layer unchanged.
    #[inline(always)]
    pub(crate) fn passed<T, E>(&self, cx: &Cx<'_>, started: Tick, result: &Result<T, E>) {
        self.done(cx, started, if result.is_ok() { Outcome::Ok } else { Outcome::Failed });
    }

    pub(crate) fn fail<E>(&self, why: Why) -> Fail<E> {
        Fail::local(why, self.env.stack, self.layer)
    }

    /// Takes down, counts and says that this layer turned the call away.
    #[cold]
    pub(crate) fn turn_away<E>(
        &self,
        cx: &Cx<'_>,
        started: Tick,
        (decision, detail): (Decision, u64),
        why: Why,
    ) -> Fail<E> {
        self.note(cx, decision, detail);
        self.done(cx, started, Outcome::Rejected);
        self.fail(why)
    }

    pub(crate) fn inspect(&self, into: &mut Inspection, state: Option<String>) {
        let straight = |counts: &mut Counts| self.env.straight.add_to(self.within, counts);
        let mut counted = self.meter.snapshot(self.env.stack, self.layer, straight);
        counted.state = state;
        into.add(counted);
    }

    /// The class of a result for the layers of this stack. A deadline that is not over here was one of a stack further in:
    /// to this stack its step took too long, which another attempt may not.
    pub(crate) fn class<Out, E>(&self, cx: &Cx<'_>, result: &Result<Out, Fail<E>>) -> Class
    where
        C: Classify<Out, E>,
    {
        match result {
            Err(fail) if fail.why() == Why::Deadline && cx.now() < cx.deadline_tick() => Class::Transient,
            _ => class_of(&self.env.classify, result),
        }
    }
}

/// Milliseconds, for the detail of a note.
pub(crate) fn millis(duration: Duration) -> u64 {
    // Not by `as_millis`, which is 128 bits wide.
    duration.as_secs().saturating_mul(1_000).saturating_add(u64::from(duration.subsec_millis()))
}
