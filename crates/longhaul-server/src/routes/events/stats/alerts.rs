//! The conditions that should bring a person, each as it stands.
//!
//! They are judged here, so that the dashboard, a script and whoever reads the JSON see the same. The bounds are those of
//! the Prometheus rules that ship with Longhaul; those need a condition to last before they page somebody, this page says
//! what is true at the moment. A rate counts from [`ENOUGH`] jobs or calls on: of a handful it says nothing.

use serde::Serialize;
use utoipa::ToSchema;

use super::figures::{JobFigures, ModelBody};
use crate::routes::queues::QueueBody;

/// From how many jobs or calls on a rate or a percentile is judged.
const ENOUGH: u64 = 20;

const ERROR_RATE_MOST: f64 = 0.01;
const P95_MOST_MS: f64 = 5_000.0;
const FALLBACK_RATE_MOST: f64 = 0.1;
const HIT_RATE_LEAST: f64 = 0.5;
const BREAKER_OPEN_MOST_MS: f64 = 300_000.0;
const OLDEST_JOB_MOST_MS: f64 = 900_000.0;

/// A condition.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[schema(as = Alert)]
pub(crate) struct AlertBody {
    #[schema(inline)]
    name: Name,
    #[schema(inline)]
    state: State,
    /// What is worst off: `jobs`, `model smart`, `breaker smart/first`, `queue ocr`. Null when there is nothing to judge.
    subject: Option<String>,
    /// Its figure, in `unit`.
    value: Option<f64>,
    /// What it should keep to, in `unit`.
    bound: f64,
    #[schema(inline)]
    unit: Unit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Name {
    /// Of what ended by itself, the part that failed; of jobs, or of the calls of a model, of which those that were refused
    /// for what they asked do not count as failed.
    ErrorRate,
    /// 95 of 100 calls of a model took no longer. Not of jobs: many a job is right to take minutes.
    P95,
    /// Of what was answered, the part that did not come from the first target.
    FallbackRate,
    /// Of the calls that looked into a model's cache, the part that found their answer. To be above its bound.
    HitRate,
    /// How long a breaker has not been closed.
    BreakerOpen,
    /// How long the job that goes next in a queue that is not paused has been ready.
    OldestJob,
}

/// How a condition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum State {
    /// Within its bound.
    Ok,
    /// Not right, and not yet beyond its bound: a breaker that has just opened.
    Pending,
    /// Beyond its bound.
    Firing,
    /// There is too little to judge by.
    NoData,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Unit {
    /// 0 to 1.
    Ratio,
    /// Milliseconds.
    Ms,
}

/// The worst of what was seen, and of what.
type Worst = Option<(f64, String)>;

fn worse(worst: &mut Worst, value: f64, subject: impl FnOnce() -> String) {
    if worst.as_ref().is_none_or(|(known, _)| value > *known) {
        *worst = Some((value, subject()));
    }
}

/// All conditions, in the order in which they are shown.
pub(super) fn judged(jobs: &JobFigures, models: &[ModelBody], queues: &[QueueBody]) -> Vec<AlertBody> {
    let (mut errors, mut slow, mut fallbacks, mut misses, mut open, mut old) =
        (Worst::None, Worst::None, Worst::None, Worst::None, Worst::None, Worst::None);
    let of_jobs = || "jobs".to_owned();
    if jobs.succeeded + jobs.failed >= ENOUGH {
        worse(&mut errors, jobs.error_rate.unwrap_or(0.0), of_jobs);
        worse(&mut fallbacks, jobs.fallback_rate.unwrap_or(0.0), of_jobs);
    }
    for model in models {
        let name = || format!("model {}", model.model);
        if model.calls >= ENOUGH {
            worse(&mut errors, model.error_rate.unwrap_or(0.0), name);
            worse(&mut fallbacks, model.fallback_rate.unwrap_or(0.0), name);
            worse(&mut slow, model.latency_ms.p95, name);
        }
        if let Some(rate) = model.hit_rate.filter(|_| model.cache_lookups >= ENOUGH) {
            worse(&mut misses, 1.0 - rate, name);
        }
        for breaker in &model.breakers {
            let open_for = if breaker.state == "closed" { 0 } else { breaker.for_ms.unwrap_or(0) };
            #[allow(clippy::cast_precision_loss, reason = "milliseconds of a lifetime fit in 53 bits")]
            worse(&mut open, open_for as f64, || format!("breaker {}/{}", model.model, breaker.target));
        }
    }
    // One that is held back on purpose waits as it should; that it is paused is told with it.
    for queue in queues.iter().filter(|queue| !queue.paused) {
        #[allow(clippy::cast_precision_loss, reason = "milliseconds of a lifetime fit in 53 bits")]
        worse(&mut old, queue.oldest_age_ms.unwrap_or(0) as f64, || format!("queue {}", queue.name));
    }
    let is_open = models.iter().flat_map(|model| &model.breakers).any(|breaker| breaker.state != "closed");
    let hits = misses.map(|(rate, subject)| (1.0 - rate, subject));
    let most = |name, worst, bound, unit| alert(name, worst, bound, unit, |value| value > bound);
    let mut breakers = most(Name::BreakerOpen, open, BREAKER_OPEN_MOST_MS, Unit::Ms);
    if breakers.state == State::Ok && is_open {
        breakers.state = State::Pending;
    }
    vec![
        most(Name::ErrorRate, errors, ERROR_RATE_MOST, Unit::Ratio),
        most(Name::P95, slow, P95_MOST_MS, Unit::Ms),
        most(Name::FallbackRate, fallbacks, FALLBACK_RATE_MOST, Unit::Ratio),
        alert(Name::HitRate, hits, HIT_RATE_LEAST, Unit::Ratio, |value| value < HIT_RATE_LEAST),
        breakers,
        most(Name::OldestJob, old, OLDEST_JOB_MOST_MS, Unit::Ms),
    ]
}

fn alert(name: Name, worst: Worst, bound: f64, unit: Unit, is_beyond: impl Fn(f64) -> bool) -> AlertBody {
    let (value, subject) = worst.unzip();
    let state = match value {
        None => State::NoData,
        Some(value) if is_beyond(value) => State::Firing,
        Some(_) => State::Ok,
    };
    AlertBody { name, state, subject, value, bound, unit }
}

#[cfg(test)]
mod tests {
    use longhaul_gateway::BreakerView;

    use super::super::figures::PercentileFigures;
    use super::*;

    fn model(name: &str, calls: u64) -> ModelBody {
        ModelBody { model: name.to_owned(), calls, ..ModelBody::default() }
    }

    fn of(name: Name, models: &[ModelBody]) -> AlertBody {
        let alerts = judged(&JobFigures::default(), models, &[]);
        alerts.into_iter().find(|alert| alert.name == name).unwrap()
    }

    #[test]
    fn the_worst_model_is_named_and_a_handful_of_calls_says_nothing() {
        let sound = ModelBody { error_rate: Some(0.005), ..model("sound", 1_000) };
        let ill = ModelBody { error_rate: Some(0.4), ..model("ill", 20) };
        let young = ModelBody { error_rate: Some(1.0), ..model("young", 19) };
        let alert = of(Name::ErrorRate, &[sound.clone(), ill, young.clone()]);
        assert_eq!((alert.state, alert.subject.as_deref(), alert.value), (State::Firing, Some("model ill"), Some(0.4)));
        assert_eq!(of(Name::ErrorRate, &[sound]).state, State::Ok);
        assert_eq!(of(Name::ErrorRate, &[young]).state, State::NoData);
    }

    #[test]
    fn a_hit_rate_is_too_low_below_its_bound_and_only_where_there_is_a_cache() {
        let without = model("plain", 500);
        assert_eq!(of(Name::HitRate, std::slice::from_ref(&without)).state, State::NoData);
        let with = |rate| ModelBody { hit_rate: Some(rate), cache_lookups: 50, ..model("cached", 50) };
        let alert = of(Name::HitRate, &[without, with(0.8), with(0.3)]);
        assert_eq!((alert.state, alert.value.map(|value| (value * 10.0).round())), (State::Firing, Some(3.0)));
        assert_eq!(of(Name::HitRate, &[with(0.5)]).state, State::Ok);
    }

    #[test]
    fn a_breaker_that_has_just_opened_is_told_and_one_that_stays_open_fires() {
        let standing = |state, for_ms| ModelBody {
            breakers: vec![BreakerView { target: "first".to_owned(), state, mode: "auto", for_ms: Some(for_ms) }],
            ..model("smart", 0)
        };
        assert_eq!(of(Name::BreakerOpen, &[standing("closed", 9_000_000)]).state, State::Ok);
        assert_eq!(of(Name::BreakerOpen, &[standing("half_open", 0)]).state, State::Pending);
        let alert = of(Name::BreakerOpen, &[standing("open", 300_001)]);
        assert_eq!((alert.state, alert.subject.as_deref()), (State::Firing, Some("breaker smart/first")));
    }

    #[test]
    fn slow_calls_fire_by_their_95th_percentile() {
        let latency_ms = PercentileFigures { p50: 100.0, p95: 5_001.0, p99: 9_000.0, count: 30 };
        assert_eq!(of(Name::P95, &[ModelBody { latency_ms, ..model("slow", 30) }]).state, State::Firing);
    }
}
