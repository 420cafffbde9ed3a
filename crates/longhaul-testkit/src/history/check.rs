//! The judgement: every rule over the evidence of one history.

use super::evidence::Evidence;
use super::record::Record;
use super::rules;
use super::violation::Violation;
use std::collections::BTreeSet;
use std::fmt;

/// What a history must show beyond the promises that always hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demands {
    /// Every acknowledged job has been looked at, or counted, after its receipt.
    pub all_verified: bool,
    /// Every acknowledged job was seen to end.
    pub all_ended: bool,
}

impl Demands {
    /// For a load that waits for its jobs and looks at each of them at the end.
    pub const COMPLETE: Self = Self { all_verified: true, all_ended: true };
    /// For a history that was cut off: only what is certain.
    pub const PARTIAL: Self = Self { all_verified: false, all_ended: false };
}

/// The judgement over a history, with the figures that say how much it was worth.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Broken promises; empty when the server kept all of them.
    pub violations: Vec<Violation>,
    /// Jobs whose submission was acknowledged.
    pub acknowledged: usize,
    /// Submissions of which nobody knows whether they had an effect.
    pub unknown: usize,
    /// Jobs seen to have ended.
    pub ended: usize,
    /// Looks and censuses that were answered.
    pub observations: usize,
    /// How often the server was killed or stopped.
    pub restarts: usize,
}

impl Verdict {
    /// Whether no promise was broken.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.violations.is_empty()
    }
}

/// Most violations that a verdict prints; the first few tell the story.
const VIOLATIONS_SHOWN: usize = 40;

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} acknowledged, {} unknown, {} seen to end, {} observations, {} restarts, {} violations",
            self.acknowledged,
            self.unknown,
            self.ended,
            self.observations,
            self.restarts,
            self.violations.len()
        )?;
        for violation in self.violations.iter().take(VIOLATIONS_SHOWN) {
            writeln!(f, "  {violation}")?;
        }
        match self.violations.len().checked_sub(VIOLATIONS_SHOWN) {
            Some(more @ 1..) => writeln!(f, "  … and {more} more"),
            _ => Ok(()),
        }
    }
}

/// Judges a history. Pure: the same records always give the same verdict.
///
/// ```
/// use longhaul_testkit::history::{Answer, Call, Demands, Record, Rule, Sighting, View, check};
/// let submit = Call::Submit {
///     tenant: "default".into(), marker: "m1".into(), key: None, kind: "echo".into(), input: 1.into(),
/// };
/// let look = Call::Look { tenant: "default".into(), job_id: "job_1".into() };
/// let missing = Sighting { view: View::Missing, events: None, attempts: None };
/// let history = [
///     Record::Invoke { op: 1, call: submit },
///     Record::Ok { op: 1, answer: Answer::Submitted { job_id: "job_1".into() } },
///     Record::Restart,
///     Record::Invoke { op: 2, call: look },
///     Record::Ok { op: 2, answer: Answer::Saw(missing) },
/// ];
/// let verdict = check(&history, Demands::PARTIAL);
/// assert_eq!(verdict.violations[0].rule, Rule::LostJob);
/// ```
#[must_use]
pub fn check(history: &[Record], demands: Demands) -> Verdict {
    let evidence = Evidence::gather(history);
    let mut violations = evidence.malformed.clone();
    for rule in rules::ALL {
        rule(&evidence, demands, &mut violations);
    }
    violations.sort_by_key(|violation| violation.rule);
    let acknowledged: BTreeSet<&str> = evidence.submits.iter().filter_map(|s| Some(s.receipt()?.0)).collect();
    let ended = evidence.looks.values().filter(|looks| looks.iter().any(|look| rules::ended_in(look).is_some()));
    Verdict {
        acknowledged: acknowledged.len(),
        unknown: evidence.submits.iter().filter(|s| matches!(s.end, super::evidence::End::Unknown)).count(),
        ended: ended.count(),
        observations: evidence.looks.values().map(Vec::len).sum::<usize>() + evidence.censuses.len(),
        restarts: evidence.restarts,
        violations,
    }
}
