//! What every call of a job has in common: its options before, its record afterwards.

use longhaul_core::{LAYER_MOST, Report, Timestamp, TraceContext, Usage};
use longhaul_engine::{Failure, JobContext};
use longhaul_gateway::{CallOptions, CallRecord, CallTrace};
use longhaul_providers::facade::Stamp;

/// The pair of a job's metadata that asks for a fresh answer, whatever the model's cache has.
pub const FRESH: (&str, &str) = ("cache_control", "no-cache");

/// The call is the tenant's, known by the job's id, and over when the job has to be.
pub(crate) fn options(job: &JobContext) -> CallOptions {
    let options = CallOptions::for_tenant(job.tenant().as_str()).correlation(job.id().to_string().as_str());
    let options = options.trace(trace(job)).skip_cache(job.metadata().is_some_and(wants_fresh));
    match job.deadline_at() {
        Some(deadline) => options.timeout(deadline.since(job.clock().now()).into()),
        None => options,
    }
}

/// Whether a job's metadata has [`FRESH`].
fn wants_fresh(metadata: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Wishes {
        cache_control: Option<String>,
    }
    serde_json::from_str::<Wishes>(metadata).is_ok_and(|wishes| wishes.cache_control.as_deref() == Some(FRESH.1))
}

/// The trace that a call of the job belongs to.
pub(crate) fn trace(job: &JobContext) -> Option<CallTrace> {
    job.trace().map(|TraceContext { trace_id, span_id, flags }| CallTrace { trace_id, span_id, flags })
}

/// What an answer is marked with: made of the job's id alone, so that every attempt makes the same.
pub(crate) fn stamp(job: &JobContext, prefix: &str, model: String) -> Stamp {
    Stamp { id: format!("{prefix}{}", digits(job)), created: created(job.id().as_bytes()), model }
}

/// The digits of the job's id.
fn digits(job: &JobContext) -> String {
    let id = job.id().to_string();
    id.rsplit('_').next().unwrap_or_default().to_owned()
}

/// The second at which the job was submitted: a UUID of version 7 begins with its milliseconds.
pub(crate) fn created(id: &[u8; 16]) -> i64 {
    let millis = id[..6].iter().fold(0_i64, |millis, byte| millis << 8 | i64::from(*byte));
    millis / 1_000
}

/// The second that it is.
pub(crate) fn now(job: &JobContext) -> i64 {
    job.clock().now().as_millis() / 1_000
}

/// Tells in the job's history what the layers decided and how long each took, and counts what the call took. Gives what the
/// job says of the answer when that ends it.
pub(crate) async fn tell(job: &JobContext, record: &CallRecord) -> Result<Report, Failure> {
    let mut note = serde_json::to_value(record).unwrap_or_default();
    // A note for people is cut rather than left out: the last decisions say most.
    while note.to_string().len() > LAYER_MOST {
        let Some(layers) = note["layers"].as_array_mut().filter(|layers| !layers.is_empty()) else { break };
        let half = layers.len().div_ceil(2);
        layers.drain(..half);
        note["layers_lost"] = (note["layers_lost"].as_u64().unwrap_or(0) + half as u64).into();
    }
    let told = report(record);
    job.layer(&note, told.usage).await?;
    Ok(Report { usage: Usage::default(), ..told })
}

/// What a call says of its answer, and what it took.
pub fn report(record: &CallRecord) -> Report {
    Report {
        degraded: record.degraded,
        cached: record.cache.is_free(),
        model: record.upstream_model.as_deref().map(str::to_owned),
        usage: spent(record),
    }
}

/// What a call took.
pub(crate) fn spent(record: &CallRecord) -> Usage {
    let usage = record.usage.unwrap_or_default();
    // An answer from the cache took nothing.
    let is_free = record.cache.is_free();
    Usage {
        input_tokens: if is_free { 0 } else { usage.input_tokens },
        output_tokens: if is_free { 0 } else { usage.output_tokens },
        cost_microusd: record.cost_microusd.unwrap_or(0),
    }
}

/// How long a job is parked for what is not the provider's own word: an open breaker, a limit of ours. After that it
/// fails as a call would.
const PATIENCE_S: u64 = 24 * 3_600;

/// Whether the job is young enough to wait for better times.
pub(crate) fn is_patient(job: &JobContext, until: Timestamp) -> bool {
    let created = Timestamp::from_micros(created(job.id().as_bytes()).saturating_mul(1_000_000));
    until.since(created).as_secs() < PATIENCE_S
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fresh_answer_is_wanted_by_one_pair_alone() {
        assert!(wants_fresh(r#"{"a":"b","cache_control":"no-cache"}"#));
        for other in ["{}", r#"{"cache_control":"max-age=5"}"#, r#"{"a":"no-cache"}"#, "null", ""] {
            assert!(!wants_fresh(other), "{other}");
        }
    }
}
