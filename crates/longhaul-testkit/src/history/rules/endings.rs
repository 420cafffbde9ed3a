//! A job ends once, in one way, with one output, and an accepted cancellation is kept.

use super::{ended_in, violation};
use crate::history::check::Demands;
use crate::history::evidence::{Evidence, Look};
use crate::history::life::{self, Phase};
use crate::history::violation::{Rule, Violation};
use serde_json::Value;
use std::collections::BTreeSet;

pub(super) fn judge(evidence: &Evidence<'_>, demands: Demands, found: &mut Vec<Violation>) {
    for (job_id, looks) in &evidence.looks {
        ends_in_one_way(evidence, job_id, looks, found);
        stays_ended(job_id, looks, found);
        has_one_output(evidence, job_id, looks, found);
    }
    if demands.all_ended {
        all_ended(evidence, found);
    }
}

/// Every end that anybody saw of this job, with the line that shows it.
fn ends_seen(evidence: &Evidence<'_>, job_id: &str, looks: &[Look<'_>]) -> Vec<(Phase, usize)> {
    let mut ends: Vec<(Phase, usize)> = Vec::new();
    for look in looks {
        ends.extend(ended_in(look).map(|phase| (phase, look.span.to)));
        for event in look.saw.events.iter().flatten() {
            let phase = life::step(Some(Phase::Running), &event.kind).ok();
            ends.extend(phase.filter(|phase| phase.is_terminal()).map(|phase| (phase, look.span.to)));
        }
    }
    for finished in evidence.finishes.get(job_id).into_iter().flatten() {
        ends.push((Phase::Succeeded, finished.span.to));
    }
    ends
}

fn ends_in_one_way(evidence: &Evidence<'_>, job_id: &str, looks: &[Look<'_>], found: &mut Vec<Violation>) {
    let ends = ends_seen(evidence, job_id, looks);
    let Some(&(first, line)) = ends.first() else { return };
    if let Some(&(second, other)) = ends.iter().find(|(phase, _)| *phase != first) {
        let message = format!("ended as {first:?} and as {second:?}");
        found.push(violation(Rule::SecondTerminal, job_id, message, &[line, other]));
    }
    let terminal_events = |look: &Look<'_>| {
        let is_end = |kind: &str| matches!(kind, "job.succeeded" | "job.failed" | "job.cancelled");
        look.saw.events.iter().flatten().filter(|event| is_end(&event.kind)).count()
    };
    if let Some(look) = looks.iter().find(|look| terminal_events(look) > 1) {
        let message = format!("has {} terminal events", terminal_events(look));
        found.push(violation(Rule::SecondTerminal, job_id, message, &[look.span.to]));
    }
    if let Some(accepted) = evidence.cancels.get(job_id).and_then(|lines| lines.first())
        && let Some(&(phase, line)) = ends.iter().find(|(phase, _)| *phase != Phase::Cancelled)
    {
        let message = format!("its cancellation was accepted, and it ended as {phase:?}");
        found.push(violation(Rule::CancelIgnored, job_id, message, &[*accepted, line]));
    }
}

fn stays_ended(job_id: &str, looks: &[Look<'_>], found: &mut Vec<Violation>) {
    for earlier in looks {
        let Some(end) = ended_in(earlier) else { continue };
        let alive =
            |later: &&Look<'_>| earlier.span.before(later.span) && later.job().is_some() && ended_in(later).is_none();
        if let Some(later) = looks.iter().find(alive) {
            let status = later.job().map_or("", |job| job.status.as_str());
            let message = format!("had ended as {end:?}, then was {status}");
            found.push(violation(Rule::Resurrected, job_id, message, &[earlier.span.to, later.span.to]));
            return;
        }
    }
}

fn has_one_output(evidence: &Evidence<'_>, job_id: &str, looks: &[Look<'_>], found: &mut Vec<Violation>) {
    let mut outputs: Vec<(&Value, usize)> = Vec::new();
    for look in looks.iter().filter(|look| ended_in(look) == Some(Phase::Succeeded)) {
        let Some(job) = look.job() else { continue };
        let Some(output) = &job.output else {
            let message = "succeeded without an output".to_owned();
            found.push(violation(Rule::WrongOutput, job_id, message, &[look.span.to]));
            continue;
        };
        outputs.push((output, look.span.to));
        if let Some(submit) = evidence.origin(job_id, job.marker.as_deref())
            && submit.kind == "echo"
            && submit.input != output
        {
            let message = format!("returned {} for {}", brief(output), brief(submit.input));
            found.push(violation(Rule::WrongOutput, job_id, message, &[submit.invoked, look.span.to]));
        }
    }
    for finished in evidence.finishes.get(job_id).into_iter().flatten() {
        outputs.push((finished.output, finished.span.to));
    }
    let Some(&(first, line)) = outputs.first() else { return };
    if let Some(&(other, at)) = outputs.iter().find(|(output, _)| *output != first) {
        let message = format!("had output {}, then {}", brief(first), brief(other));
        found.push(violation(Rule::OutputChanged, job_id, message, &[line, at]));
    }
}

fn all_ended(evidence: &Evidence<'_>, found: &mut Vec<Violation>) {
    let acknowledged: BTreeSet<(&str, usize)> = evidence.submits.iter().filter_map(|s| s.receipt()).collect();
    for (job_id, receipt) in acknowledged {
        let looks = evidence.looks.get(job_id).map_or(&[][..], Vec::as_slice);
        let gone = |look: &Look<'_>| look.job().is_none();
        if looks.iter().any(|look| gone(look) || ended_in(look).is_some()) {
            continue;
        }
        let last = looks.iter().filter_map(|look| look.job()).next_back();
        let message = last.map_or_else(
            || "never seen to end".to_owned(),
            |job| format!("never seen to end, last seen {} in attempt {}", job.status, job.attempt),
        );
        let mut lines = vec![receipt];
        lines.extend(looks.last().map(|look| look.span.to));
        found.push(violation(Rule::Unfinished, job_id, message, &lines));
    }
}

/// Most characters of a payload in a message.
const PAYLOAD_SHOWN_CHARS: usize = 120;

fn brief(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(PAYLOAD_SHOWN_CHARS) {
        Some((cut, _)) => format!("{}…", &text[..cut]),
        None => text,
    }
}
