//! Attempts and versions only go up, and only the newest lease may write.

use super::{ended_in, violation};
use crate::history::check::Demands;
use crate::history::evidence::{Evidence, Look};
use crate::history::violation::{Rule, Violation};

pub(super) fn judge(evidence: &Evidence<'_>, _: Demands, found: &mut Vec<Violation>) {
    for (job_id, looks) in &evidence.looks {
        only_go_up(job_id, looks, found);
        for look in looks {
            attempts_are_listed(job_id, look, found);
        }
    }
    leases_are_unique(evidence, found);
    the_newest_lease_wins(evidence, found);
}

fn only_go_up(job_id: &str, looks: &[Look<'_>], found: &mut Vec<Violation>) {
    for (index, a) in looks.iter().enumerate() {
        let Some(before) = a.job() else { continue };
        for b in &looks[index + 1..] {
            let Some(after) = b.job() else { continue };
            let lines = [a.span.to, b.span.to];
            if before.version == after.version && (&before.status, before.attempt) != (&after.status, after.attempt) {
                let message = format!(
                    "version {} was {} in attempt {}, and {} in attempt {}",
                    before.version, before.status, before.attempt, after.status, after.attempt
                );
                found.push(violation(Rule::VersionReused, job_id, message, &lines));
                return;
            }
            if !a.span.before(b.span) {
                continue;
            }
            if after.attempt < before.attempt {
                let message = format!("was in attempt {}, then in {}", before.attempt, after.attempt);
                found.push(violation(Rule::AttemptOrder, job_id, message, &lines));
                return;
            }
            if after.version < before.version {
                let message = format!("was at version {}, then at {}", before.version, after.version);
                found.push(violation(Rule::VersionReused, job_id, message, &lines));
                return;
            }
        }
    }
}

fn attempts_are_listed(job_id: &str, look: &Look<'_>, found: &mut Vec<Violation>) {
    let (Some(attempts), Some(job)) = (&look.saw.attempts, look.job()) else { return };
    let mut last = 0;
    for seen in attempts {
        // The same number twice: an attempt that was released and taken up again.
        if seen.attempt != last + 1 && (seen.attempt != last || last == 0) {
            let message = format!("lists attempt {} after {last}", seen.attempt);
            found.push(violation(Rule::AttemptOrder, job_id, message, &[look.span.to]));
            return;
        }
        last = seen.attempt;
    }
    if ended_in(look).is_some() && last != job.attempt {
        let message = format!("ended in attempt {}, and {last} are listed", job.attempt);
        found.push(violation(Rule::AttemptOrder, job_id, message, &[look.span.to]));
    }
}

fn leases_are_unique(evidence: &Evidence<'_>, found: &mut Vec<Violation>) {
    for (job_id, leases) in &evidence.leases {
        for (index, a) in leases.iter().enumerate() {
            for b in &leases[index + 1..] {
                let lines = [a.span.to, b.span.to];
                if a.lease.lease_token == b.lease.lease_token {
                    let message = format!("lease token {} was given out twice", a.lease.lease_token);
                    found.push(violation(Rule::LeaseReused, job_id, message, &lines));
                }
                if a.span.before(b.span) && b.lease.attempt < a.lease.attempt {
                    let message = format!("attempt {} was leased, then {}", a.lease.attempt, b.lease.attempt);
                    found.push(violation(Rule::AttemptOrder, job_id, message, &lines));
                }
            }
        }
    }
}

fn the_newest_lease_wins(evidence: &Evidence<'_>, found: &mut Vec<Violation>) {
    for (job_id, finishes) in &evidence.finishes {
        let leases = evidence.leases.get(job_id).map_or(&[][..], Vec::as_slice);
        for accepted in finishes {
            let own = leases.iter().find(|l| l.lease.lease_token == accepted.lease_token);
            // A higher attempt can only have been leased before the result, which fences it, or after, which no ended
            // job allows. Within one attempt (released, taken up again) the order of the claims decides.
            let newer = leases.iter().find(|l| {
                l.lease.attempt > accepted.attempt
                    || own.is_some_and(|own| own.span.before(l.span) && l.span.before(accepted.span))
            });
            if let Some(newer) = newer {
                let message = format!(
                    "a result of attempt {} was accepted, and attempt {} had a newer lease",
                    accepted.attempt, newer.lease.attempt
                );
                found.push(violation(Rule::StaleWriteAccepted, job_id, message, &[newer.span.to, accepted.span.to]));
            }
        }
    }
}
