//! The page: what was counted, and how things stand at this moment.

use std::sync::{Arc, PoisonError};

use longhaul_core::Timestamp;
use longhaul_engine::store::{QueueState, StoreError};
use longhaul_gateway::{Gateway, LayerView, StackView, TargetView};

use super::{
    named::OTHER,
    text::{Kind, Page},
};
use crate::{app::App, listener::ListenerCounts};

/// Queues that are told by their names; those that hold most go first, all others are told together.
const QUEUES_MOST: usize = 100;

const BREAKER_STATES: [&str; 3] = ["closed", "open", "half_open"];

/// The whole page.
///
/// # Errors
/// When the store does not say how its queues stand. A page without them would look like empty queues.
pub(crate) async fn rendered(app: &App) -> Result<String, StoreError> {
    let queues = app.engine().queues().await?;
    let app = app.clone();
    let written = tokio::task::spawn_blocking(move || {
        let mut page = Page::default();
        let telemetry = app.telemetry();
        tell_build(&mut page);
        telemetry.requests.tell(&mut page);
        telemetry.jobs.tell(&mut page);
        tell_queues(&mut page, queues, app.engine().clock().now());
        tell_readers(&mut page, &app);
        telemetry.calls.tell(&mut page);
        tell_models(&mut page, app.gateway());
        let sources = telemetry.sources.lock().unwrap_or_else(PoisonError::into_inner).clone();
        sources.iter().for_each(|source| source.tell(&mut page));
        page.into_text()
    });
    written.await.map_err(|error| StoreError::Unavailable(error.to_string()))
}

fn tell_build(page: &mut Page) {
    let mut family = page.family(Kind::Gauge, "longhaul_build_info", "The version that runs.");
    family.count(&[("version", env!("CARGO_PKG_VERSION"))], 1);
}

/// What several queues come to.
#[derive(Default)]
struct Tally {
    name: Arc<str>,
    states: [u64; 3],
    paused: bool,
    concurrency: Option<u32>,
    first_ready_at: Option<Timestamp>,
}

impl Tally {
    fn of(state: &QueueState) -> Self {
        Self {
            name: state.name.as_str().into(),
            states: [state.queued, state.running, state.waiting],
            paused: state.paused,
            concurrency: state.concurrency,
            first_ready_at: state.first_ready_at,
        }
    }

    fn add(&mut self, other: &Self) {
        self.states.iter_mut().zip(other.states).for_each(|(sum, more)| *sum += more);
        self.first_ready_at = [self.first_ready_at, other.first_ready_at].into_iter().flatten().min();
    }
}

/// Queues with names of their own, and the rest together. Those that are configured or paused keep their names.
fn tallies(queues: Vec<QueueState>) -> Vec<Tally> {
    let mut tallies: Vec<Tally> = queues.iter().map(Tally::of).collect();
    if tallies.len() > QUEUES_MOST {
        tallies.sort_by_key(|tally| {
            let is_known = tally.concurrency.is_some() || tally.paused || &*tally.name == "default";
            (!is_known, std::cmp::Reverse(tally.states.iter().sum::<u64>()))
        });
        let mut rest = Tally { name: OTHER.into(), ..Tally::default() };
        tallies.split_off(QUEUES_MOST).iter().for_each(|tally| rest.add(tally));
        tallies.push(rest);
    }
    tallies
}

fn tell_queues(page: &mut Page, queues: Vec<QueueState>, now: Timestamp) {
    let queues = tallies(queues);
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

fn tell_readers(page: &mut Page, app: &App) {
    let present = app.engine().present();
    let help = "Leases that are held in this process; all leases are longhaul_queue_jobs{state=\"running\"}.";
    page.gauge("longhaul_leases_held_here", help, present.running as f64);
    let help = "Who follows what: `job` the events of one job, `queue` those of all jobs of a queue, `end` waits for a job's end.";
    let mut family = page.family(Kind::Gauge, "longhaul_event_readers", help);
    for (sort, count) in [("job", present.followers), ("queue", present.feeds), ("end", present.watchers)] {
        family.count(&[("follows", sort)], count as u64);
    }
}

fn tell_models(page: &mut Page, gateway: &Gateway) {
    let models = gateway.models();
    // A model that a reload has removed in between is not told.
    let stacks: Vec<StackView> = models.iter().filter_map(|model| gateway.stack(&model.name).ok()).collect();
    let targets = || stacks.iter().flat_map(|stack| stack.targets.iter().map(move |target| (&*stack.model, target)));
    let mut family = page.family(Kind::Counter, "longhaul_model_cancelled_total", "Calls that their callers gave up.");
    for stack in &stacks {
        family.count(&[("model", &stack.model)], stack.stats.cancelled);
    }
    let mut family = page.family(Kind::Gauge, "longhaul_cache_entries", "Answers that a model's cache holds.");
    for stack in &stacks {
        if let Some(cache) = &stack.cache {
            family.count(&[("model", &stack.model)], cache.entries as u64);
        }
    }
    let help = "1 for the state in which a target's breaker stands.";
    let mut family = page.family(Kind::Gauge, "longhaul_breaker_state", help);
    for (model, target) in targets() {
        for state in BREAKER_STATES {
            family.count(
                &[("model", model), ("target", &target.name), ("state", state)],
                (target.breaker == state).into(),
            );
        }
    }
    let help = "How long a target's breaker has not been closed, its probes included; 0 while it is.";
    let mut family = page.family(Kind::Gauge, "longhaul_breaker_open_seconds", help);
    for (model, target) in targets() {
        let since_ms = target.breaker_for_ms.filter(|_| target.breaker != "closed").unwrap_or(0);
        family.value(&[("model", model), ("target", &target.name)], since_ms as f64 / 1e3);
    }
    let help = "1 while a person's hand, and not the results, decides how a breaker stands.";
    let mut family = page.family(Kind::Gauge, "longhaul_breaker_forced", help);
    for (model, target) in targets() {
        family.count(&[("model", model), ("target", &target.name)], (target.breaker_mode != "auto").into());
    }
    tell_targets(page, targets);
    tell_layers(page, targets);
}

fn tell_targets<'a, I: Iterator<Item = (&'a str, &'a TargetView)>>(page: &mut Page, targets: impl Fn() -> I) {
    let mut tell = |name, help, of: fn(&TargetView) -> Option<f64>| {
        let mut family = page.family(Kind::Gauge, name, help);
        for (model, target) in targets() {
            if let Some(value) = of(target) {
                family.value(&[("model", model), ("target", &target.name), ("provider", &target.provider)], value);
            }
        }
    };
    let help = "Exchanges with a target that are under way.";
    tell("longhaul_target_in_flight", help, |target| Some(target.stats.in_flight as f64));
    let help = "Calls that wait for a target's rate limit.";
    tell("longhaul_target_limit_waiting", help, |target| Some(target.limit.waiting as f64));
    let help = "Calls that wait for a place at a target.";
    tell("longhaul_target_places_waiting", help, |target| Some(target.places.waiting as f64));
    let help = "Connections to a target's provider in use; all targets of a provider share them.";
    tell("longhaul_target_connections_in_use", help, |target| target.connections.map(|(in_use, _)| in_use as f64));
    let help = "Connections to a target's provider that are kept for the next call.";
    tell("longhaul_target_connections_idle", help, |target| target.connections.map(|(_, idle)| idle as f64));
}

fn tell_layers<'a, I: Iterator<Item = (&'a str, &'a TargetView)>>(page: &mut Page, targets: impl Fn() -> I) {
    let help =
        "Calls of each layer of a target, by how they ended there. Begins anew when the configuration is reloaded.";
    let mut family = page.family(Kind::Counter, "longhaul_layer_calls_total", help);
    for (model, target) in targets() {
        for (mode, layers) in [("whole", &target.layers), ("stream", &target.stream_layers)] {
            for layer in layers {
                let LayerView { calls, failed, rejected, timed_out, cancelled, .. } = *layer;
                let answered = calls.saturating_sub(failed + rejected + timed_out + cancelled);
                let outcomes = [
                    ("answered", answered),
                    ("failed", failed),
                    ("rejected", rejected),
                    ("timed_out", timed_out),
                    ("cancelled", cancelled),
                ];
                for (outcome, count) in outcomes {
                    let labels = [
                        ("model", model),
                        ("target", &*target.name),
                        ("mode", mode),
                        ("layer", layer.layer),
                        ("outcome", outcome),
                    ];
                    family.count(&labels, count);
                }
            }
        }
    }
}

impl super::Source for crate::listener::ListenerStats {
    fn tell(&self, page: &mut Page) {
        let ListenerCounts { open, accepted, refused, overdue, slow_bodies, handshake_failures, accept_errors } =
            self.counts();
        page.gauge("longhaul_connections_open", "Connections of clients.", open as f64);
        page.counter("longhaul_connections_accepted_total", "Connections that were accepted and served.", accepted);
        let help = "Connections that were turned away or ended by the listener, and requests that it cut off, by why.";
        let mut family = page.family(Kind::Counter, "longhaul_connections_ended_total", help);
        for (reason, count) in [
            ("no_place", refused),
            ("overdue", overdue),
            ("slow_body", slow_bodies),
            ("handshake", handshake_failures),
            ("accept_error", accept_errors),
        ] {
            family.count(&[("reason", reason)], count);
        }
    }
}

#[cfg(test)]
mod tests {
    use longhaul_core::QueueName;

    use super::*;

    fn state(name: &str, queued: u64) -> QueueState {
        let name = QueueName::new(name).unwrap();
        QueueState { name, paused: false, concurrency: None, queued, running: 1, waiting: 0, first_ready_at: None }
    }

    #[test]
    fn however_many_queues_there_are_the_page_tells_a_hundred_and_the_sum_of_the_rest() {
        let mut queues: Vec<QueueState> = (0..1_000).map(|number| state(&format!("q{number}"), number)).collect();
        queues.push(QueueState { paused: true, queued: 0, ..state("held", 0) });
        let told = tallies(queues);
        assert_eq!(told.len(), QUEUES_MOST + 1);
        assert!(told.iter().any(|queue| &*queue.name == "held"), "who has to act on one finds it");
        let last = told.last().unwrap();
        assert_eq!((&*last.name, last.states[1]), (OTHER, 901));
        assert_eq!(told.iter().map(|queue| queue.states[0]).sum::<u64>(), (0..1_000).sum::<u64>());
    }
}
