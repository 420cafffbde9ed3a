//! Events are numbered 1, 2, 3 …, never change, never become fewer, and tell a legal life.

use super::{ended_in, violation};
use crate::history::check::Demands;
use crate::history::evidence::{Evidence, Look};
use crate::history::life::{self, Phase};
use crate::history::record::EventSeen;
use crate::history::violation::{Rule, Violation};
use std::collections::HashMap;

pub(super) fn judge(evidence: &Evidence<'_>, _: Demands, found: &mut Vec<Violation>) {
    for (job_id, looks) in &evidence.looks {
        never_change(job_id, looks, found);
        never_shrink(job_id, looks, found);
        for look in looks {
            let Some(events) = &look.saw.events else { continue };
            if has_gaps(job_id, look, events, found) {
                continue;
            }
            if let Some(phase) = tell_a_legal_life(job_id, look, events, found) {
                agree_with_the_job(job_id, look, events, phase, found);
            }
        }
    }
}

fn has_gaps(job_id: &str, look: &Look<'_>, events: &[EventSeen], found: &mut Vec<Violation>) -> bool {
    let misplaced = (1_u64..).zip(events).find(|(expected, event)| event.seq != *expected);
    if let Some((expected, event)) = misplaced {
        let message = format!("event {} ({}) stands where {expected} should", event.seq, event.kind);
        found.push(violation(Rule::EventGap, job_id, message, &[look.span.to]));
    }
    misplaced.is_some()
}

fn never_change(job_id: &str, looks: &[Look<'_>], found: &mut Vec<Violation>) {
    let mut first_seen: HashMap<u64, (&EventSeen, usize)> = HashMap::new();
    for look in looks {
        for event in look.saw.events.iter().flatten() {
            let (first, line) = *first_seen.entry(event.seq).or_insert((event, look.span.to));
            if first.raw != event.raw {
                let message = format!("event {} was {}, then {}", event.seq, first.raw, event.raw);
                found.push(violation(Rule::EventChanged, job_id, message, &[line, look.span.to]));
                return;
            }
        }
    }
}

fn never_shrink(job_id: &str, looks: &[Look<'_>], found: &mut Vec<Violation>) {
    let counted = |look: &Look<'_>| look.saw.events.as_ref().map(Vec::len);
    for earlier in looks {
        let Some(before) = counted(earlier) else { continue };
        let fewer = |later: &&Look<'_>| earlier.span.before(later.span) && counted(later).is_some_and(|n| n < before);
        if let Some(later) = looks.iter().find(fewer) {
            let message = format!("had {before} events, then {}", counted(later).unwrap_or(0));
            found.push(violation(Rule::EventsShrank, job_id, message, &[earlier.span.to, later.span.to]));
            return;
        }
    }
}

/// Folds the events; the phase after the last of them, or `None` when a step was illegal.
fn tell_a_legal_life(job_id: &str, look: &Look<'_>, events: &[EventSeen], found: &mut Vec<Violation>) -> Option<Phase> {
    let mut phase = None;
    let mut attempt = 0;
    for event in events {
        phase = match life::step(phase, &event.kind) {
            Ok(next) => Some(next),
            Err(reason) => {
                let message = format!("event {}: {reason}", event.seq);
                found.push(violation(Rule::IllegalTransition, job_id, message, &[look.span.to]));
                return None;
            }
        };
        let Some(said) = event.attempt else { continue };
        let is_start = event.kind == "job.running";
        // A park, a release or a wait gives the lease back without consuming the attempt.
        let legal = if is_start { said == attempt + 1 || (said == attempt && attempt > 0) } else { said == attempt };
        if !legal {
            let message = format!("event {} ({}) is of attempt {said} after {attempt}", event.seq, event.kind);
            let late_result = said < attempt && phase.is_some_and(Phase::is_terminal);
            let rule = if late_result { Rule::StaleWriteAccepted } else { Rule::AttemptOrder };
            found.push(violation(rule, job_id, message, &[look.span.to]));
            return None;
        }
        attempt = said;
    }
    phase
}

fn agree_with_the_job(job_id: &str, look: &Look<'_>, events: &[EventSeen], phase: Phase, found: &mut Vec<Violation>) {
    let Some(job) = look.job() else { return };
    let newest = events.last().map_or(0, |event| event.seq);
    if newest < job.last_event_seq {
        let message = format!("says its last event is {}, and only {newest} are served", job.last_event_seq);
        found.push(violation(Rule::EventsDisagree, job_id, message, &[look.span.to]));
    }
    // The events were read after the job: they may be ahead of it, never behind.
    if let Some(end) = ended_in(look)
        && end != phase
    {
        let message = format!("is {}, and its events end with {phase:?}", job.status);
        found.push(violation(Rule::EventsDisagree, job_id, message, &[look.span.to]));
    }
}
