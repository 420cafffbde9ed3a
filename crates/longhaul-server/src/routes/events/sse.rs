//! One job's events as a stream of server-sent events.
//!
//! A line is on disk before it is sent. A reader that cannot keep up costs the producer nothing: what it missed is read
//! from storage; one that lags too far behind is told so and comes again with `Last-Event-ID`. Before anything is sent it is
//! asked whether what let the reader in still does.

use std::time::Duration;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::Response,
};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{Stream, StreamExt as _};
use longhaul_core::{Event, JobId};
use longhaul_engine::{Follow, Followed};

use crate::{app::App, auth::Standing, problem::Problem, routes::jobs::view::EventBody};

/// How often something is sent when nothing happens, so that proxies and clients do not think the connection dead.
const PING_EVERY: Duration = Duration::from_secs(15);

/// How long a client should wait before it connects again, in milliseconds.
const RETRY_MS: u64 = 1_000;

/// Whether the client asks for a stream and not for a page.
pub(crate) fn is_wanted(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted
        .flat_map(|value| value.split(','))
        .any(|kind| kind.split(';').next().unwrap_or_default().trim().eq_ignore_ascii_case("text/event-stream"))
}

/// The last event that a client says it has seen. A browser sends it when it connects again, with the address it had at
/// first: so it outranks an older `after` of the address.
pub(crate) fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = headers.get("last-event-id") else { return Ok(None) };
    let id = value.to_str().ok().map(str::trim);
    match id {
        Some("") => Ok(None),
        Some(id) => id.parse().map(Some).map_err(|_| bad_event_id()),
        None => Err(bad_event_id()),
    }
}

fn bad_event_id() -> Problem {
    Problem::new(
        crate::problem::Code::MalformedRequest,
        "The Last-Event-ID header must be the `id` of an event of this job: a number.",
    )
}

/// Nothing is left to send: the client need not come again.
pub(crate) fn nothing_left() -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// The answer that streams what `follow` gives, until the job's end or that of what its reader was let in with.
pub(crate) fn answer(app: App, standing: Standing, job: JobId, follow: Follow) -> Response {
    let mut response = Response::new(Body::from_stream(lines(app, standing, job, follow)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
    // nginx would hold the stream back until its buffer is full.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn lines(
    app: App,
    standing: Standing,
    job: JobId,
    follow: Follow,
) -> impl Stream<Item = Result<Bytes, std::io::Error>> + Send {
    let greeting = futures::stream::once(async { Ok(Bytes::from(format!("retry: {RETRY_MS}\n\n"))) });
    let rest = futures::stream::unfold(Some((app, standing, follow)), move |reader| async move {
        let (app, standing, mut follow) = reader?;
        let next = tokio::time::timeout(PING_EVERY, follow.next()).await;
        if !app.still_holds(&standing) {
            // Who comes again is told why.
            return None;
        }
        let goes_on = |follow| Some((app, standing, follow));
        match next {
            Err(_) => Some((Ok(Bytes::from_static(b": ping\n\n")), goes_on(follow))),
            Ok(None) => None,
            Ok(Some(Ok(Followed::Events(events)))) => {
                let mut out = BytesMut::with_capacity(events.len() * 192);
                for event in events.iter() {
                    write_event(&mut out, job, event);
                }
                Some((Ok(out.freeze()), goes_on(follow)))
            }
            Ok(Some(Ok(Followed::Trimmed(before, after)))) => {
                let data = trimmed(job, before, after);
                Some((Ok(word("stream.trimmed", &data)), goes_on(follow)))
            }
            Ok(Some(Ok(Followed::Lagged))) => {
                let data = serde_json::json!({
                    "type": "stream.lagged", "job_id": job, "last_event_id": follow.at(),
                });
                // Cut off: whoever comes again reads on from storage.
                Some((Ok(word("stream.lagged", &data)), None))
            }
            // A clean end before the job's own: the client comes again.
            Ok(Some(Ok(Followed::Stopping))) => None,
            Ok(Some(Err(error))) => {
                tracing::warn!(%job, %error, "a stream of events broke off");
                // A broken body tells the client to come again; a clean end would say that all was sent.
                Some((Err(std::io::Error::other(error.to_string())), None))
            }
        }
    });
    greeting.chain(rest)
}

/// `id`, `event` and one line of `data`: JSON has no line breaks in it.
fn write_event(out: &mut BytesMut, job: JobId, event: &Event) {
    let name = event.kind.name();
    out.put_slice(format!("id: {}\nevent: {name}\ndata: ", event.seq).as_bytes());
    let body = EventBody::of(job, event);
    if let Err(error) = serde_json::to_writer((&mut *out).writer(), &body) {
        tracing::error!(%error, %job, seq = event.seq, "an event could not be written");
    }
    out.put_slice(b"\n\n");
}

/// The word for events that are not kept any more: those between two that are.
pub(super) fn trimmed(job: JobId, before: u64, after: u64) -> serde_json::Value {
    serde_json::json!({ "type": "stream.trimmed", "job_id": job, "from": before + 1, "to": after - 1 })
}

/// A word of the stream itself: it has no `id`, because it is no part of the job's history.
fn word(name: &str, data: &serde_json::Value) -> Bytes {
    Bytes::from(format!("event: {name}\ndata: {data}\n\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &'static str, value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(value))])
    }

    #[test]
    fn a_stream_is_sent_to_who_accepts_one() {
        assert!(is_wanted(&headers("accept", "text/event-stream")));
        assert!(is_wanted(&headers("accept", "application/json;q=0.5, Text/Event-Stream; charset=utf-8")));
        assert!(!is_wanted(&headers("accept", "application/json, */*")));
        assert!(!is_wanted(&HeaderMap::new()));
    }

    #[test]
    fn the_last_event_id_is_a_number_or_an_error() {
        assert_eq!(last_event_id(&headers("last-event-id", "41")).unwrap(), Some(41));
        assert_eq!(last_event_id(&headers("last-event-id", "")).unwrap(), None);
        assert_eq!(last_event_id(&HeaderMap::new()).unwrap(), None);
        assert!(last_event_id(&headers("last-event-id", "job_1")).is_err());
    }
}
