//! What a subscription brings: streams of things to send, each to its own end.

use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use futures::{Stream, StreamExt as _};
use longhaul_core::{JobId, QueueName, Tenant};
use longhaul_engine::{Followed, store::StoreError};
use serde_json::{Value, json};

use super::{
    super::{sse, stats},
    said::{Topic, error, store_error},
};
use crate::{app::App, routes::jobs::view::EventBody};

/// How often the figures are sent to those who asked for them.
const STATS_EVERY: Duration = Duration::from_secs(1);

/// Something to send, or a subscription that has ended.
#[derive(Debug, PartialEq)]
pub(super) enum Out {
    Send(Value),
    /// A text that is sent to many as it is.
    Text(Utf8Bytes),
    Ended(Topic),
}

/// One job's events after `after`, and `stream.end` behind the last that there will ever be.
///
/// A lag and an error of the store end the subscription with a word of their own, and with no other: the job goes on,
/// and whoever follows it subscribes again, after the last event that came.
pub(super) fn of_job(
    job: JobId,
    after: u64,
    followed: impl Stream<Item = Result<Followed, StoreError>> + Send + 'static,
) -> impl Stream<Item = Out> + Send {
    let begin = (followed.boxed(), after);
    futures::stream::unfold(Some(begin), move |state| async move {
        let (mut followed, mut at) = state?;
        let mut words = Vec::new();
        let goes_on = match followed.next().await {
            Some(Ok(Followed::Events(events))) => {
                at = events.last().map_or(at, |event| event.seq);
                words.extend(events.iter().map(|event| told(job, event)));
                let is_over = events.last().is_some_and(|event| event.kind.is_terminal());
                if is_over {
                    words.push(Out::Send(json!({ "type": "stream.end", "job_id": job })));
                }
                !is_over
            }
            Some(Ok(Followed::Trimmed(before, next))) => {
                at = next - 1;
                words.push(Out::Send(sse::trimmed(job, before, next)));
                true
            }
            Some(Ok(Followed::Lagged)) => {
                words.push(Out::Send(json!({ "type": "stream.lagged", "job_id": job, "after": at })));
                false
            }
            Some(Err(why)) => {
                words.push(Out::Send(store_error(&why, &Topic::Job(job))));
                false
            }
            // The connection is closed for the same reason, with a word of its own.
            Some(Ok(Followed::Stopping)) | None => false,
        };
        if !goes_on {
            words.push(Out::Ended(Topic::Job(job)));
        }
        Some((words, goes_on.then_some((followed, at))))
    })
    .flat_map(futures::stream::iter)
}

fn told(job: JobId, event: &longhaul_core::Event) -> Out {
    Out::Send(serde_json::to_value(EventBody::of(job, event)).unwrap_or_default())
}

/// All events of a tenant's jobs in a queue, from now on.
pub(super) fn of_queue(app: App, tenant: Tenant, queue: QueueName) -> impl Stream<Item = Out> + Send {
    let feed = app.engine().follow_queue(&tenant, queue.clone());
    futures::stream::unfold(feed, move |mut feed| {
        let queue = queue.clone();
        async move {
            let out: Vec<Out> = match feed.next().await {
                Some((job, events)) => events.iter().map(|event| told(job, event)).collect(),
                // More happened than was kept for us.
                None => vec![Out::Send(json!({ "type": "stream.lagged", "queue": queue.to_string() }))],
            };
            Some((out, feed))
        }
    })
    .flat_map(futures::stream::iter)
}

/// The figures, at once and then every second; while the store does not answer, that.
pub(super) fn of_stats(app: App) -> impl Stream<Item = Out> + Send {
    let mut ticks = tokio::time::interval(STATS_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    futures::stream::unfold((app, ticks), |(app, mut ticks)| async move {
        ticks.tick().await;
        let out = match stats::message(&app).await {
            Ok(text) => Out::Text(text),
            Err(why) => {
                tracing::debug!(error = %why, "the figures could not be taken");
                let message = "the store does not answer: there are no figures until it does";
                Out::Send(error("unavailable", message, &Topic::Stats))
            }
        };
        Some((out, (app, ticks)))
    })
    .boxed()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use longhaul_core::{Event, EventKind, Ids, OutputData, Timestamp};

    use super::*;

    fn job() -> JobId {
        JobId::fresh(&Ids::seeded(3), Timestamp::from_micros(7))
    }

    fn event(seq: u64, kind: EventKind) -> Arc<Event> {
        Arc::new(Event { seq, attempt: 1, time: Timestamp::EPOCH, kind })
    }

    fn delta(seq: u64) -> Arc<Event> {
        event(seq, EventKind::OutputDelta { data: OutputData::Text("on".into()) })
    }

    /// What is sent for these, as `type` or, for what a job tells, its number.
    async fn words(followed: Vec<Result<Followed, StoreError>>) -> Vec<Value> {
        let all: Vec<Out> = of_job(job(), 4, futures::stream::iter(followed)).collect().await;
        assert_eq!(all.last(), Some(&Out::Ended(Topic::Job(job()))), "the subscription is given free");
        let sent = all.into_iter().filter_map(|out| match out {
            Out::Send(value) => Some(value.get("seq").cloned().unwrap_or(value)),
            Out::Text(_) | Out::Ended(_) => None,
        });
        sent.collect()
    }

    #[tokio::test]
    async fn the_end_is_said_behind_the_last_event_and_nowhere_else() {
        let end = json!({ "type": "stream.end", "job_id": job() });
        let whole = vec![Ok(Followed::Events(vec![delta(5), event(6, EventKind::Succeeded)]))];
        assert_eq!(words(whole).await, [json!(5), json!(6), end]);
        let stopped = vec![Ok(Followed::Events(vec![delta(5)])), Ok(Followed::Stopping)];
        assert_eq!(words(stopped).await, [json!(5)]);
    }

    #[tokio::test]
    async fn a_lag_says_where_it_stands_and_is_no_end() {
        let lagged = vec![Ok(Followed::Events(vec![delta(5), delta(6)])), Ok(Followed::Lagged)];
        let word = json!({ "type": "stream.lagged", "job_id": job(), "after": 6 });
        assert_eq!(words(lagged).await, [json!(5), json!(6), word]);
        let at_once = words(vec![Ok(Followed::Trimmed(4, 9)), Ok(Followed::Lagged)]).await;
        assert_eq!(at_once[1]["after"], 8, "what was trimmed is not asked for again");
    }

    #[tokio::test]
    async fn an_error_of_the_store_is_told_and_is_no_end() {
        let broken = vec![Ok(Followed::Events(vec![delta(5)])), Err(StoreError::Unavailable("no disk".into()))];
        let said = words(broken).await;
        assert_eq!((said.len(), &said[1]["type"], &said[1]["code"]), (2, &json!("error"), &json!("unavailable")));
        assert!(!said[1].to_string().contains("disk"), "{}", said[1]);
    }
}
