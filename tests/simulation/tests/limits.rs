//! Limits of kinds: what they are in the simulation, and whether they have held.

use std::collections::BTreeMap;

use longhaul_core::{Job, Limit, LimitKey, Rate, Timestamp};

use crate::{looking::Seen, world::World};

/// The limits of a kind: few jobs at once, so that there is always somebody who waits.
pub(crate) fn of_kind(name: &str) -> Vec<Limit> {
    let key = Some("/steps".to_owned());
    match name {
        "work" => vec![
            Limit { key: None, concurrency: Some(4), rate: Some(Rate { count: 9, per_s: 3 }) },
            Limit { key, concurrency: Some(2), rate: Some(Rate { count: 2, per_s: 2 }) },
        ],
        "remote" => {
            vec![Limit { key: None, concurrency: Some(3), rate: None }, Limit { key, concurrency: Some(1), rate: None }]
        }
        _ => Vec::new(),
    }
}

/// From when to when something ran.
type Run = (Timestamp, Timestamp);

/// Everything that ran under each limit.
#[derive(Default)]
pub(crate) struct Runs {
    by_gate: BTreeMap<(i64, usize), Vec<Run>>,
    limits: BTreeMap<(i64, usize), (String, Limit)>,
}

impl Runs {
    pub(crate) fn hear(&mut self, Seen { view, attempts, .. }: &Seen) {
        let job: &Job = &view.job;
        let spec = &job.spec;
        for (index, limit) in of_kind(spec.kind.as_str()).into_iter().enumerate() {
            // Everybody's, for a kind that runs inside; a tenant's own, for one that it has registered.
            let whose = (spec.kind.as_str() == "remote").then_some(&spec.tenant);
            let gate = match (&limit.key, spec.limit_key) {
                (None, _) => LimitKey::of_kind(whose, &spec.kind),
                (Some(_), Some(key)) => key,
                (Some(_), None) => continue,
            };
            let gate = (gate.0, index);
            self.limits.insert(gate, (format!("{} of {}", spec.kind, spec.tenant), limit));
            let runs = attempts.iter().filter_map(|attempt| Some((attempt.started_at, attempt.ended_at?)));
            self.by_gate.entry(gate).or_default().extend(runs);
        }
    }

    /// Whether more ran at once, or more started in a time, than was allowed.
    pub(crate) fn judge(&self, world: &World) {
        // Where the clock was corrected, times of two lives cannot be compared.
        if world.book().counts.clock_sets > 0 {
            return;
        }
        for (gate, runs) in &self.by_gate {
            let (whose, limit) = &self.limits[gate];
            if let Some(most) = limit.concurrency {
                let at_once = most_at_once(runs);
                if at_once > most as usize {
                    world.accuse("limit exceeded", format!("{at_once} ran at once of {whose}; {most} may"));
                }
                world.book().counts.lived(if at_once == most as usize { "limit reached" } else { "limit not reached" });
            }
            if let Some(rate) = limit.rate {
                let mut starts: Vec<i64> = runs.iter().map(|(start, _)| start.as_micros()).collect();
                starts.sort_unstable();
                let per = i64::from(rate.per_s) * 1_000_000;
                let count = rate.count as usize;
                if let Some(window) = starts.windows(count + 1).find(|window| window[count] - window[0] < per) {
                    world.accuse("limit exceeded", format!("{whose}: {window:?} started within {} s", rate.per_s));
                }
            }
        }
    }
}

fn most_at_once(runs: &[Run]) -> usize {
    let mut moments: Vec<(Timestamp, bool)> = Vec::new();
    for (start, end) in runs.iter().filter(|(start, end)| start < end) {
        moments.push((*start, true));
        moments.push((*end, false));
    }
    // An end makes room at the moment at which it happens.
    moments.sort_unstable();
    let (mut now, mut most) = (0_usize, 0);
    for (_, is_start) in moments {
        now = if is_start { now + 1 } else { now - 1 };
        most = most.max(now);
    }
    most
}
