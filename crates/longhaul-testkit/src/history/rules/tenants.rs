//! No tenant sees another's job, neither by its id nor in a list.

use super::violation;
use crate::history::check::Demands;
use crate::history::evidence::Evidence;
use crate::history::record::View;
use crate::history::violation::{Rule, Violation};
use std::collections::HashMap;

pub(super) fn judge(evidence: &Evidence<'_>, _: Demands, found: &mut Vec<Violation>) {
    let mut owner_of: HashMap<&str, &str> = HashMap::new();
    for submit in &evidence.submits {
        if let Some((job_id, _)) = submit.receipt() {
            owner_of.entry(job_id).or_insert(submit.tenant);
        }
    }
    let owner = |job_id: &str, marker: Option<&str>| {
        let by_marker = marker.and_then(|marker| evidence.by_marker.get(marker)).and_then(|all| all.first());
        let submit = by_marker.and_then(|&index| evidence.submits.get(index));
        submit.map(|submit| submit.tenant).or_else(|| owner_of.get(job_id).copied())
    };
    for (job_id, looks) in &evidence.looks {
        for look in looks.iter().filter(|look| look.saw.view != View::Missing) {
            let marker = look.job().and_then(|job| job.marker.as_deref());
            if let Some(owner) = owner(job_id, marker).filter(|owner| *owner != look.tenant) {
                let message = format!("belongs to {owner} and was shown to {}", look.tenant);
                found.push(violation(Rule::TenantLeak, job_id, message, &[look.span.to]));
            }
        }
    }
    for census in &evidence.censuses {
        for job in census.jobs {
            let owner = owner(&job.job_id, job.marker.as_deref());
            if let Some(owner) = owner.filter(|owner| *owner != census.tenant) {
                let message = format!("belongs to {owner} and was listed to {}", census.tenant);
                found.push(violation(Rule::TenantLeak, &job.job_id, message, &[census.span.to]));
            }
        }
    }
}
