//! How queues stand, told by the names that their counters have: whoever makes names up moves no gauge from one name to
//! another, and adds none beyond the bound of [`Named`].

use longhaul_core::Timestamp;
use longhaul_engine::store::QueueState;

use super::{
    named::{Named, OTHER},
    text::{Kind, Page},
};

/// What a queue, or several told together, come to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    name: Box<str>,
    /// Queued, running, waiting.
    states: [u64; 3],
    paused: bool,
    concurrency: Option<u32>,
    first_ready_at: Option<Timestamp>,
}

impl Tally {
    fn named(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    fn of(state: &QueueState) -> Self {
        Self {
            name: state.name.as_str().into(),
            states: states_of(state),
            paused: state.paused,
            concurrency: state.concurrency,
            first_ready_at: state.first_ready_at,
        }
    }

    fn add(&mut self, state: &QueueState) {
        self.states.iter_mut().zip(states_of(state)).for_each(|(sum, more)| *sum += more);
        self.first_ready_at = [self.first_ready_at, state.first_ready_at].into_iter().flatten().min();
    }
}

fn states_of(state: &QueueState) -> [u64; 3] {
    [state.queued, state.running, state.waiting]
}

/// Every queue that has a name of its own, in the order of the alphabet, and the rest together where there is one.
///
/// The operator's, which are configured or paused, are reserved; of the others those that hold most are named first,
/// should there be room: that matters once, after a start, when what the disk holds is seen before anything is counted.
fn tallies<T: Default>(mut queues: Vec<QueueState>, names: &Named<T>) -> Vec<Tally> {
    queues.sort_by_cached_key(|state| (std::cmp::Reverse(states_of(state).iter().sum::<u64>()), state.name.clone()));
    for state in &queues {
        let is_operators = state.concurrency.is_some() || state.paused;
        if is_operators {
            names.reserve(state.name.as_str());
        }
        // An empty one needs no name before something happens in it.
        if is_operators || states_of(state) != [0; 3] {
            names.of(state.name.as_str());
        }
    }
    // What has a name and is not there is empty.
    let mut tallies: Vec<Tally> = names.all().iter().map(|(name, _)| Tally::named(name)).collect();
    let mut rest = tallies.pop_if(|last| *last.name == *OTHER);
    for state in &queues {
        match tallies.binary_search_by(|tally| (*tally.name).cmp(state.name.as_str())) {
            Ok(place) => {
                if let Some(tally) = tallies.get_mut(place) {
                    *tally = Tally::of(state);
                }
            }
            Err(_) => {
                if let Some(rest) = &mut rest {
                    rest.add(state);
                }
            }
        }
    }
    tallies.extend(rest);
    tallies
}

/// Tells how queues stand. None: the store did not say, and no figure is better than an old one.
pub(super) fn tell<T: Default>(page: &mut Page, queues: Option<Vec<QueueState>>, names: &Named<T>, now: Timestamp) {
    let help = "1 when the store said in time how its queues stand; else 0, and the gauges of queues are left out.";
    page.gauge("longhaul_store_up", help, if queues.is_some() { 1.0 } else { 0.0 });
    let Some(queues) = queues else { return };
    let queues = tallies(queues, names);
    let help = "Jobs of each queue: `queued` for whatever reason, `running` under a lease, `waiting` without a worker for children \
                or an answer.";
    let mut family = page.family(Kind::Gauge, "longhaul_queue_jobs", help);
    for queue in &queues {
        for (state, count) in ["queued", "running", "waiting"].into_iter().zip(queue.states) {
            family.count(&[("queue", &queue.name), ("state", state)], count);
        }
    }
    let help = "How long the job that goes next has been ready; 0 when none is.";
    let mut family = page.family(Kind::Gauge, "longhaul_queue_oldest_ready_seconds", help);
    for queue in &queues {
        let age = queue.first_ready_at.map_or(0, |at| now.since(at).as_micros());
        family.value(&[("queue", &queue.name)], age as f64 / 1e6);
    }
    let mut family = page.family(Kind::Gauge, "longhaul_queue_paused", "1 while a queue gives out no jobs.");
    for queue in &queues {
        family.count(&[("queue", &queue.name)], queue.paused.into());
    }
    let help = "How many jobs of a queue may run at once, where that is limited.";
    let mut family = page.family(Kind::Gauge, "longhaul_queue_concurrency_limit", help);
    for queue in &queues {
        if let Some(limit) = queue.concurrency {
            family.count(&[("queue", &queue.name)], limit.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use longhaul_core::QueueName;

    use super::*;
    use crate::metrics::instruments::Counter;

    fn state(name: &str, queued: u64) -> QueueState {
        let name = QueueName::new(name).unwrap();
        QueueState { name, paused: false, concurrency: None, queued, running: 1, waiting: 0, first_ready_at: None }
    }

    fn names_of(tallies: &[Tally]) -> Vec<String> {
        tallies.iter().map(|tally| tally.name.to_string()).collect()
    }

    #[test]
    fn however_many_queues_there_are_the_page_tells_its_bound_and_the_sum_of_the_rest() {
        let names = Named::<Counter>::at_most(100);
        let mut queues: Vec<QueueState> = (0..1_000).map(|number| state(&format!("q{number}"), number)).collect();
        queues.push(QueueState { paused: true, queued: 0, ..state("held", 0) });
        queues.push(QueueState { concurrency: Some(4), queued: 0, running: 0, ..state("default", 0) });
        let told = tallies(queues, &names);
        assert_eq!(told.len(), 100 + 2 + 1);
        for operators in ["held", "default"] {
            assert!(told.iter().any(|queue| &*queue.name == operators), "who has to act on one finds it");
        }
        let last = told.last().unwrap();
        assert_eq!((&*last.name, last.states[1]), (OTHER, 900));
        assert_eq!(told.iter().map(|queue| queue.states[0]).sum::<u64>(), (0..1_000).sum::<u64>());
        assert!(told.iter().any(|queue| &*queue.name == "q999"), "after a start the fullest are named first");
    }

    #[test]
    fn names_stay_the_same_whoever_is_fullest() {
        let names = Named::<Counter>::at_most(2);
        assert_eq!(names_of(&tallies(vec![state("a", 1), state("b", 1)], &names)), ["a", "b"]);
        // Others are fuller at the next scrape, and the one after; `a` has run empty and been forgotten.
        for round in 0..50 {
            let queues = vec![state("b", 1), state(&format!("made-up-{round}"), 1_000), state("more", 2_000)];
            let told = tallies(queues, &names);
            assert_eq!(names_of(&told), ["a", "b", "other"]);
            assert_eq!(told.iter().map(|queue| queue.states[0]).collect::<Vec<_>>(), [0, 1, 3_000]);
        }
        let mine = QueueState { concurrency: Some(1), ..state("mine", 7) };
        assert_eq!(names_of(&tallies(vec![mine], &names)), ["a", "b", "mine", "other"]);
    }

    #[test]
    fn a_store_that_does_not_answer_is_told_as_such_and_not_as_empty_queues() {
        let names = Named::<Counter>::at_most(2);
        names.of("a");
        let mut page = Page::default();
        tell(&mut page, None, &names, Timestamp::EPOCH);
        let text = page.into_text();
        assert!(text.ends_with("\nlonghaul_store_up 0\n") && !text.contains("longhaul_queue_"), "{text}");
        let mut page = Page::default();
        tell(&mut page, Some(Vec::new()), &names, Timestamp::EPOCH);
        let text = page.into_text();
        assert!(text.contains("\nlonghaul_store_up 1\n"), "{text}");
        assert!(text.contains("\nlonghaul_queue_jobs{queue=\"a\",state=\"queued\"} 0\n"), "{text}");
    }
}
