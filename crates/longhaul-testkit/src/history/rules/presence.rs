//! Every acknowledged job is there, once, and nothing is there that nobody asked for.

use super::violation;
use crate::history::check::Demands;
use crate::history::evidence::{End, Evidence};
use crate::history::record::View;
use crate::history::violation::{Rule, Violation};
use std::collections::{BTreeMap, BTreeSet, HashSet};

pub(super) fn judge(evidence: &Evidence<'_>, demands: Demands, found: &mut Vec<Violation>) {
    acknowledged_jobs_are_there(evidence, demands, found);
    a_submission_makes_one_job(evidence, found);
    a_key_means_one_job(evidence, found);
}

fn acknowledged_jobs_are_there(evidence: &Evidence<'_>, demands: Demands, found: &mut Vec<Violation>) {
    let censuses: Vec<(_, HashSet<&str>)> = evidence
        .censuses
        .iter()
        .map(|census| (census, census.jobs.iter().map(|job| job.job_id.as_str()).collect()))
        .collect();
    let mut receipts: BTreeMap<&str, (&str, usize)> = BTreeMap::new();
    for submit in &evidence.submits {
        if let Some((job_id, line)) = submit.receipt() {
            receipts.entry(job_id).or_insert((submit.tenant, line));
        }
    }
    for (job_id, (tenant, receipt)) in receipts {
        let looks = evidence.looks.get(job_id).map_or(&[][..], Vec::as_slice);
        let mut verified = false;
        for look in looks.iter().filter(|look| look.tenant == tenant && look.span.from > receipt) {
            verified = true;
            if look.saw.view == View::Missing {
                let message = "acknowledged, later unknown to the server".to_owned();
                found.push(violation(Rule::LostJob, job_id, message, &[receipt, look.span.to]));
            }
        }
        let erased = looks.iter().any(|look| look.saw.view == View::Tombstone);
        for (census, listed) in &censuses {
            if census.tenant == tenant && census.span.from > receipt {
                verified = true;
                if !erased && !listed.contains(job_id) {
                    let message = "acknowledged, later absent from the list of all jobs".to_owned();
                    found.push(violation(Rule::LostJob, job_id, message, &[receipt, census.span.to]));
                }
            }
        }
        if demands.all_verified && !verified {
            let message = "acknowledged, but nobody looked for it afterwards".to_owned();
            found.push(violation(Rule::NeverVerified, job_id, message, &[receipt]));
        }
    }
}

fn a_submission_makes_one_job(evidence: &Evidence<'_>, found: &mut Vec<Violation>) {
    let mut jobs_of: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
    let mut seen = |marker, job_id, line| {
        jobs_of.entry(marker).or_default().entry(job_id).or_insert(line);
    };
    for submit in &evidence.submits {
        if let Some((job_id, line)) = submit.receipt() {
            seen(submit.marker, job_id, line);
        }
    }
    for (job_id, looks) in &evidence.looks {
        for look in looks {
            if let Some(marker) = look.job().and_then(|job| job.marker.as_deref()) {
                seen(marker, job_id, look.span.to);
            }
        }
    }
    for census in &evidence.censuses {
        for job in census.jobs {
            if let Some(marker) = job.marker.as_deref() {
                seen(marker, job.job_id.as_str(), census.span.to);
            }
        }
    }
    for (marker, jobs) in jobs_of {
        let Some((first, line)) = jobs.first_key_value() else { continue };
        let Some(submits) = evidence.by_marker.get(marker) else {
            let message = format!("carries marker {marker}, which was never submitted");
            found.push(violation(Rule::ForeignJob, first, message, &[*line]));
            continue;
        };
        let submits: Vec<_> = submits.iter().filter_map(|&index| evidence.submits.get(index)).collect();
        if submits.iter().all(|submit| matches!(submit.end, End::Fail)) {
            let message = format!("exists, although submission {marker} was refused");
            let invoked = submits.first().map_or(0, |submit| submit.invoked);
            found.push(violation(Rule::GhostJob, first, message, &[invoked, *line]));
        }
        if jobs.len() > 1 {
            let ids: Vec<&str> = jobs.keys().copied().collect();
            let lines: Vec<usize> = jobs.values().copied().collect();
            let message = format!("submission {marker} made {} jobs: {}", ids.len(), ids.join(", "));
            found.push(violation(Rule::DuplicateJob, first, message, &lines));
        }
    }
}

fn a_key_means_one_job(evidence: &Evidence<'_>, found: &mut Vec<Violation>) {
    let mut jobs_of: BTreeMap<(&str, &str), BTreeSet<(&str, usize)>> = BTreeMap::new();
    for submit in &evidence.submits {
        if let (Some(key), Some(receipt)) = (submit.key, submit.receipt()) {
            jobs_of.entry((submit.tenant, key)).or_default().insert(receipt);
        }
    }
    for ((tenant, key), receipts) in jobs_of {
        let ids: BTreeSet<&str> = receipts.iter().map(|(job_id, _)| *job_id).collect();
        if let (Some(first), true) = (ids.first(), ids.len() > 1) {
            let lines: Vec<usize> = receipts.iter().map(|(_, line)| *line).collect();
            let message = format!("idempotency key {key} of {tenant} was answered with {} different jobs", ids.len());
            found.push(violation(Rule::KeyManyJobs, first, message, &lines));
        }
    }
}
