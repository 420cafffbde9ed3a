//! The stack of each model in words: what `config check` prints below the settings.

use std::time::Duration;

use longhaul_gateway::settings::{CacheSettings, ModelSettings, Serves, TargetSettings, Trip};
use longhaul_gateway::{Gateway, GatewaySettings};

use crate::config::format_duration;

/// What stands behind one model, and the longest that a call can take.
pub(super) struct Explained {
    pub(super) model: String,
    /// The outermost layer first.
    pub(super) layers: Vec<String>,
    pub(super) worst_case: Option<Duration>,
    /// What is allowed and hardly meant.
    pub(super) warnings: Vec<String>,
}

/// Explains every model.
pub(super) fn explain(settings: &GatewaySettings, gateway: &Gateway) -> Vec<Explained> {
    let explained = |(name, model): (&String, &ModelSettings)| Explained {
        model: name.clone(),
        layers: layers(model),
        worst_case: gateway.worst_case(name),
        warnings: warnings(model),
    };
    settings.models.iter().map(explained).collect()
}

fn layers(model: &ModelSettings) -> Vec<String> {
    let mut layers = vec![match &model.cache {
        None => "cache: off".to_owned(),
        Some(cache) => cache_words(cache),
    }];
    layers.push(format!("deadline: {} for the whole call", format_duration(model.timeout)));
    if model.serves == Serves::Chat {
        let stream = &model.stream;
        layers.push(format!(
            "streams: {} until the first token, then {} of silence and {} in all; broken off: {}",
            format_duration(model.timeout),
            format_duration(stream.idle),
            format_duration(stream.total),
            stream.on_cut.name(),
        ));
    }
    let mut targets: Vec<&TargetSettings> = model.targets.iter().collect();
    targets.sort_by_key(|target| target.rank);
    for (index, target) in targets.iter().enumerate() {
        let equals = targets.iter().filter(|other| other.rank == target.rank).count();
        let chosen = match (index, equals) {
            (_, 2..) => format!("one of {equals}, {}", model.choose.name()),
            (0, _) => "asked first".to_owned(),
            _ => "if those before fail".to_owned(),
        };
        layers.push(format!("target {} ({chosen}): {} at {}", target.name, target.model, target.provider));
        layers.extend(target_words(target).into_iter().map(|line| format!("  {line}")));
    }
    if let Some(canned) = &model.canned {
        let otherwise = if canned.otherwise.is_some() { "and a reply for the rest" } else { "and none for the rest" };
        layers.push(format!("last resort: {} canned replies {otherwise}", canned.rules.len()));
    }
    layers
}

fn warnings(model: &ModelSettings) -> Vec<String> {
    let cut = model.targets.iter().filter(|target| model.timeout <= target.attempt_timeout);
    cut.map(|target| {
        format!(
            "`timeout` ({}) ends a call before one attempt at {} may ({}): nothing is tried again there",
            format_duration(model.timeout),
            target.name,
            format_duration(target.attempt_timeout)
        )
    })
    .collect()
}

fn cache_words(cache: &CacheSettings) -> String {
    let mut words =
        format!("cache: {}, {} answers, {} key", format_duration(cache.ttl), cache.max_entries, cache.key.name());
    for (what, window) in [
        ("old ones while refreshing", cache.stale_while_revalidate),
        ("old ones on error", cache.stale_if_error),
        ("degraded ones", cache.degraded_ttl.unwrap_or_default()),
    ] {
        if !window.is_zero() {
            words.push_str(&format!(", {what} for {}", format_duration(window)));
        }
    }
    words
}

fn target_words(target: &TargetSettings) -> Vec<String> {
    let retry = &target.retry;
    let retries = match retry.max_retries {
        0 => "retry: never".to_owned(),
        count => {
            format!(
                "retry: {count} times, waiting {} to {}",
                format_duration(retry.initial),
                format_duration(retry.max)
            )
        }
    };
    let breaker = &target.breaker;
    let trip = match breaker.trip {
        Trip::Consecutive(failures) => format!("{failures} failures in a row"),
        Trip::Rate { rate, window, min_calls } => {
            format!("{:.0} % failures of {min_calls} or more calls in {}", rate * 100.0, format_duration(window))
        }
    };
    let breaker = format!(
        "breaker: opens after {trip} for {}, closes after {} of {} at once",
        format_duration(breaker.open_for),
        plural(breaker.successes, "successful probe"),
        breaker.probes,
    );
    let limit = &target.limit;
    let limits: Vec<String> = [
        limit.rpm.map(|rate| format!("{rate} requests a minute")),
        limit.tpm.map(|rate| format!("{rate} tokens a minute")),
        limit.concurrency.map(|calls| format!("{calls} at once")),
    ]
    .into_iter()
    .flatten()
    .collect();
    let limits = if limits.is_empty() { "none".to_owned() } else { limits.join(", ") };
    let price = match &target.price {
        None => "price: unknown".to_owned(),
        Some(price) => {
            format!("price: ${} in, ${} out per million tokens", price.input_per_mtok, price.output_per_mtok)
        }
    };
    vec![
        retries,
        breaker,
        format!("limits: {limits}"),
        format!("attempt timeout: {}", format_duration(target.attempt_timeout)),
        price,
    ]
}

fn plural(count: u32, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}
