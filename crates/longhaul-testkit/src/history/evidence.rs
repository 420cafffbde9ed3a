//! A history arranged for judging: operations with their spans, looks by job, submissions by marker.

use super::record::{Answer, Call, JobSeen, LeaseSeen, Listed, Record, Sighting, View};
use super::violation::{Rule, Violation};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};

/// From the line that invoked an operation to the line that answered it, both counted from 1.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) from: usize,
    pub(super) to: usize,
}

impl Span {
    /// Whether this operation was certainly over before the other began.
    pub(super) fn before(self, other: Self) -> bool {
        self.to < other.from
    }
}

/// How an operation ended, as far as the load knows.
#[derive(Clone, Copy, Debug)]
pub(super) enum End<'h> {
    Ok(usize, &'h Answer),
    Fail,
    Unknown,
}

#[derive(Clone, Debug)]
pub(super) struct Submit<'h> {
    pub(super) tenant: &'h str,
    pub(super) marker: &'h str,
    pub(super) key: Option<&'h str>,
    pub(super) kind: &'h str,
    pub(super) input: &'h Value,
    pub(super) invoked: usize,
    pub(super) end: End<'h>,
}

impl<'h> Submit<'h> {
    /// The id in the receipt and the line it stands on.
    pub(super) fn receipt(&self) -> Option<(&'h str, usize)> {
        match self.end {
            End::Ok(line, Answer::Submitted { job_id }) => Some((job_id, line)),
            End::Ok(..) | End::Fail | End::Unknown => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Look<'h> {
    pub(super) tenant: &'h str,
    pub(super) span: Span,
    pub(super) saw: &'h Sighting,
}

impl<'h> Look<'h> {
    pub(super) fn job(&self) -> Option<&'h JobSeen> {
        match &self.saw.view {
            View::Present(job) => Some(job),
            View::Missing | View::Tombstone => None,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Census<'h> {
    pub(super) tenant: &'h str,
    pub(super) span: Span,
    pub(super) jobs: &'h [Listed],
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Leased<'h> {
    pub(super) lease: &'h LeaseSeen,
    pub(super) span: Span,
}

/// An output that the server accepted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Finished<'h> {
    pub(super) attempt: u32,
    pub(super) lease_token: &'h str,
    pub(super) output: &'h Value,
    pub(super) span: Span,
}

#[derive(Debug, Default)]
pub(super) struct Evidence<'h> {
    pub(super) submits: Vec<Submit<'h>>,
    /// Indexes into `submits`.
    pub(super) by_marker: HashMap<&'h str, Vec<usize>>,
    pub(super) looks: BTreeMap<&'h str, Vec<Look<'h>>>,
    pub(super) censuses: Vec<Census<'h>>,
    pub(super) leases: BTreeMap<&'h str, Vec<Leased<'h>>>,
    pub(super) finishes: BTreeMap<&'h str, Vec<Finished<'h>>>,
    /// Lines on which a cancellation was accepted.
    pub(super) cancels: BTreeMap<&'h str, Vec<usize>>,
    pub(super) restarts: usize,
    pub(super) malformed: Vec<Violation>,
}

impl<'h> Evidence<'h> {
    pub(super) fn gather(history: &'h [Record]) -> Self {
        let mut evidence = Self::default();
        let mut ends: HashMap<u64, End<'h>> = HashMap::new();
        for (line, record) in numbered(history) {
            let (op, end) = match record {
                Record::Ok { op, answer } => (op, End::Ok(line, answer)),
                Record::Fail { op, .. } => (op, End::Fail),
                Record::Info { op, .. } => (op, End::Unknown),
                Record::Invoke { .. } => continue,
                Record::Restart => {
                    evidence.restarts += 1;
                    continue;
                }
            };
            if ends.insert(*op, end).is_some() {
                evidence.reject(line, format!("operation {op} ends twice"));
            }
        }
        for (line, record) in numbered(history) {
            if let Record::Invoke { op, call } = record {
                let end = ends.remove(op).unwrap_or(End::Unknown);
                evidence.admit(line, call, end);
            }
        }
        let mut strays: Vec<u64> = ends.into_keys().collect();
        strays.sort_unstable();
        for op in strays {
            evidence.reject(0, format!("operation {op} ends but was never invoked"));
        }
        evidence
    }

    /// The submission that a job came from, by its receipt or by its marker.
    pub(super) fn origin(&self, job_id: &str, marker: Option<&str>) -> Option<&Submit<'h>> {
        let by_marker = marker.and_then(|marker| self.by_marker.get(marker)).and_then(|all| all.first());
        match by_marker {
            Some(&index) => self.submits.get(index),
            None => self.submits.iter().find(|submit| submit.receipt().is_some_and(|(id, _)| id == job_id)),
        }
    }

    fn admit(&mut self, line: usize, call: &'h Call, end: End<'h>) {
        match (call, end) {
            (Call::Submit { tenant, marker, key, kind, input }, end) => {
                if let End::Ok(at, answer) = end
                    && !matches!(answer, Answer::Submitted { .. })
                {
                    self.reject(at, "a submission was answered with something else than a receipt".to_owned());
                }
                self.by_marker.entry(marker).or_default().push(self.submits.len());
                let key = key.as_deref();
                self.submits.push(Submit { tenant, marker, key, kind, input, invoked: line, end });
            }
            (_, End::Fail | End::Unknown) => {}
            (Call::Look { tenant, job_id }, End::Ok(to, Answer::Saw(saw))) => {
                let look = Look { tenant, span: Span { from: line, to }, saw };
                self.looks.entry(job_id).or_default().push(look);
            }
            (Call::Census { tenant }, End::Ok(to, Answer::Counted { jobs })) => {
                self.censuses.push(Census { tenant, span: Span { from: line, to }, jobs });
            }
            (Call::Cancel { job_id, .. }, End::Ok(to, Answer::Cancelling)) => {
                self.cancels.entry(job_id).or_default().push(to);
            }
            (Call::Cancel { .. }, End::Ok(_, Answer::AlreadyEnded { .. })) => {}
            (Call::Claim { .. }, End::Ok(to, Answer::Claimed { leases })) => {
                let span = Span { from: line, to };
                for lease in leases {
                    self.leases.entry(&lease.job_id).or_default().push(Leased { lease, span });
                }
            }
            (Call::Finish { job_id, attempt, lease_token, output }, End::Ok(to, Answer::Finished)) => {
                let span = Span { from: line, to };
                let finished = Finished { attempt: *attempt, lease_token, output, span };
                self.finishes.entry(job_id).or_default().push(finished);
            }
            (_, End::Ok(to, _)) => self.reject(to, format!("the answer does not fit the call on line {line}")),
        }
    }

    fn reject(&mut self, line: usize, message: String) {
        let lines = if line == 0 { Vec::new() } else { vec![line] };
        self.malformed.push(Violation { rule: Rule::MalformedHistory, job_id: None, message, lines });
    }
}

fn numbered(history: &[Record]) -> impl Iterator<Item = (usize, &Record)> {
    history.iter().enumerate().map(|(index, record)| (index + 1, record))
}
