//! The page: what was counted, and how things stand at this moment.

use std::sync::PoisonError;

use longhaul_core::{Clock, Span};
use longhaul_engine::store::{QueueState, StoreError};
use longhaul_gateway::{Gateway, LayerView, StackView, TargetView};

use super::{
    instruments::{Edges, Taken},
    models::Calls,
    queues,
    text::{Kind, Page},
};
use crate::{app::App, listener::ListenerCounts};

/// How long a scrape waits for the store. Prometheus waits ten seconds unless it is told otherwise: whoever is on call needs
/// the rest of the page most when the store is away.
const STORE_WITHIN: Span = Span::from_secs(2);

static LAYER: Edges = Edges::LAYER;

const BREAKER_STATES: [&str; 3] = ["closed", "open", "half_open"];

/// The whole page. A store that does not answer leaves out what only it knows.
///
/// # Errors
/// When writing it failed, which is a fault of ours.
pub(crate) async fn rendered(app: &App) -> Result<String, tokio::task::JoinError> {
    let engine = app.engine();
    let queues = in_time(&**engine.clock(), engine.queues()).await;
    let app = app.clone();
    let written = tokio::task::spawn_blocking(move || {
        let mut page = Page::default();
        let telemetry = app.telemetry();
        tell_build(&mut page);
        telemetry.requests.tell(&mut page);
        telemetry.jobs.tell(&mut page);
        queues::tell(&mut page, queues, telemetry.jobs.queues(), app.engine().clock().now());
        tell_readers(&mut page, &app);
        telemetry.calls.tell(&mut page);
        tell_models(&mut page, &telemetry.calls, app.gateway());
        let sources = telemetry.sources.lock().unwrap_or_else(PoisonError::into_inner).clone();
        sources.iter().for_each(|source| source.tell(&mut page));
        page.into_text()
    });
    written.await
}

/// What the store says, unless it takes too long.
async fn in_time(
    clock: &dyn Clock,
    asked: impl Future<Output = Result<Vec<QueueState>, StoreError>>,
) -> Option<Vec<QueueState>> {
    let error = tokio::select! {
        biased;
        said = asked => match said {
            Ok(queues) => return Some(queues),
            Err(error) => error,
        },
        () = clock.sleep(STORE_WITHIN) => StoreError::Unavailable("it did not answer in time".into()),
    };
    tracing::warn!(%error, "the store does not say how its queues stand: /metrics leaves them out");
    None
}

fn tell_build(page: &mut Page) {
    let mut family = page.family(Kind::Gauge, "longhaul_build_info", "The version that runs.");
    family.count(&[("version", env!("CARGO_PKG_VERSION"))], 1);
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

fn tell_models(page: &mut Page, calls: &Calls, gateway: &Gateway) {
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
    tell_layers(page, calls, targets);
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

/// The layers of targets, each once: a stream goes through two stacks, one around the other; of layers with the same name the
/// outer one is told.
fn layers_of(target: &TargetView) -> impl Iterator<Item = (&'static str, &LayerView)> {
    let modes = [("whole", &target.layers), ("stream", &target.stream_layers)];
    modes.into_iter().flat_map(|(mode, layers)| {
        let is_outer =
            move |place: usize, layer: &LayerView| layers.iter().take(place).all(|outer| outer.layer != layer.layer);
        let told = layers.iter().enumerate().filter(move |(place, layer)| is_outer(*place, layer));
        told.map(move |(_, layer)| (mode, layer))
    })
}

fn tell_layers<'a, I: Iterator<Item = (&'a str, &'a TargetView)>>(
    page: &mut Page,
    calls: &Calls,
    targets: impl Fn() -> I,
) {
    let help = "Calls of each layer, by how they ended there: of a target's, and without a target of those around all targets of a \
                model. Those of targets begin anew when the configuration is reloaded.";
    let mut family = page.family(Kind::Counter, "longhaul_layer_calls_total", help);
    calls.tell_layers(&mut family);
    for (model, target) in targets() {
        for (mode, layer) in layers_of(target) {
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
    let help = "How long calls of each layer of a target took, what stands further in included; of streams the retry until the \
                first token, all others until the end. The sum is reckoned from finer buckets, to a sixteenth.";
    let mut family = page.family(Kind::Histogram, "longhaul_layer_duration_seconds", help);
    for (model, target) in targets() {
        for (mode, layer) in layers_of(target).filter(|(_, layer)| layer.calls > 0) {
            let LayerView { latency, layer, .. } = layer;
            let taken = Taken::of(&LAYER, latency.total(), latency.about_the_sum(), |limit| latency.below(limit));
            let labels = [("model", model), ("target", &*target.name), ("mode", mode), ("layer", layer)];
            family.histogram(&labels, &taken);
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
    use std::{future::pending, pin::pin, task::Poll};

    use futures::poll;
    use longhaul_core::testing::ManualClock;

    use super::*;

    #[tokio::test]
    async fn a_store_that_hangs_holds_a_scrape_up_for_two_seconds_and_no_longer() {
        let clock = ManualClock::default();
        let mut asked = pin!(in_time(&clock, pending()));
        assert!(poll!(asked.as_mut()).is_pending());
        clock.advance(Span::from_millis(1_999));
        assert!(poll!(asked.as_mut()).is_pending());
        clock.advance(Span::from_millis(1));
        assert_eq!(poll!(asked), Poll::Ready(None));
    }

    #[tokio::test]
    async fn what_the_store_says_is_told_and_its_errors_are_not_empty_queues() {
        let clock = ManualClock::default();
        assert_eq!(in_time(&clock, async { Ok(Vec::new()) }).await, Some(Vec::new()));
        assert_eq!(in_time(&clock, async { Err(StoreError::Unavailable("away".into())) }).await, None);
    }
}
