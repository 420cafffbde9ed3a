//! The rules, grouped by promise. Each looks at the evidence alone and adds what it finds.

mod attempts;
mod endings;
mod events;
mod presence;
mod tenants;

use super::check::Demands;
use super::evidence::{Evidence, Look};
use super::life::Phase;
use super::violation::{Rule, Violation};

type Judge = fn(&Evidence<'_>, Demands, &mut Vec<Violation>);

/// Every rule, in no particular order.
pub(super) const ALL: &[Judge] = &[presence::judge, endings::judge, events::judge, attempts::judge, tenants::judge];

/// The end that a look showed, if the job had ended.
pub(super) fn ended_in(look: &Look<'_>) -> Option<Phase> {
    Phase::of_status(&look.job()?.status).filter(|phase| phase.is_terminal())
}

fn violation(rule: Rule, job_id: &str, message: String, lines: &[usize]) -> Violation {
    Violation { rule, job_id: Some(job_id.to_owned()), message, lines: lines.to_vec() }
}
