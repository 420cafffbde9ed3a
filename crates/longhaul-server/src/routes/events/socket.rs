//! `/v1/events/ws`: many subscriptions on one connection.
//!
//! The client says `subscribe`, `unsubscribe` and `cancel`; the server sends the same envelopes as the stream of one
//! job, and words of its own. One task serves a connection: it takes from a subscription only when the socket takes
//! bytes, so a slow client holds up its own subscriptions and nothing else. What it cannot follow live it reads from
//! storage.

use std::{pin::Pin, str::FromStr as _, time::Duration};

use axum::{
    extract::{
        FromRequestParts, State,
        ws::{CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code},
    },
    http::request::Parts,
    response::Response,
};
use futures::{Stream, StreamExt as _, stream::SelectAll};
use longhaul_core::{Caller, JobId, QueueName, Scope, Tenant};
use longhaul_engine::{Follow, Followed, store::StoreError};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{sse, stats};
use crate::{
    app::App,
    auth::Read,
    problem::{Code, Problem},
    routes::jobs::view::EventBody,
};

/// How often a ping is sent. A client that has not answered the one before is gone.
const PING_EVERY: Duration = Duration::from_secs(15);

/// How often the figures are sent to those who asked for them.
const STATS_EVERY: Duration = Duration::from_secs(1);

/// How long the socket may take no bytes.
const WRITE_WITHIN: Duration = Duration::from_secs(30);

/// The longest message that a client may send, in bytes: all of them are short.
const MESSAGE_BYTES: usize = 16 * 1024;

/// How many jobs and queues one connection may follow.
const SUBSCRIPTIONS_MOST: usize = 1_000;

/// What a client sends.
#[derive(Debug, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
enum Said {
    Subscribe { job_id: Option<String>, queue: Option<String>, topic: Option<String>, after: Option<u64> },
    Unsubscribe { job_id: Option<String>, queue: Option<String>, topic: Option<String> },
    Cancel { job_id: String },
}

/// What somebody follows.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Topic {
    Job(JobId),
    Queue(QueueName),
    Stats,
}

/// Follow jobs over a WebSocket
///
/// Send `{"op":"subscribe","job_id":"job_…","after":0}` to get a job's events from that `seq` on, `{"op":"subscribe",
/// "queue":"default"}` for all events of a queue from now on, `{"op":"subscribe","topic":"stats"}` for the figures, once
/// a second; `unsubscribe` with the same names; `{"op":"cancel","job_id":"job_…"}`. A browser sends its key as a second
/// subprotocol: `new WebSocket(url, ["longhaul.v1", "lh_…"])`.
#[utoipa::path(
    get, path = "/v1/events/ws", tag = "events", operation_id = "follow_events",
    responses((status = 101, description = "The protocol is switched; messages are JSON texts."))
)]
pub(crate) async fn connect(State(app): State<App>, parts: Parts) -> Result<Response, Problem> {
    let (mut parts, asked) = with_key_of_protocol(parts);
    let caller = match Read::from_request_parts(&mut parts, &app).await {
        Ok(Read(caller)) => caller,
        Err(problem) => return Err(problem),
    };
    app.check_origin(&parts)?;
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &app)
        .await
        .map_err(|rejection| Problem::new(Code::MalformedRequest, rejection.body_text()))?;
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES).max_frame_size(MESSAGE_BYTES).write_buffer_size(0);
    let upgrade = if asked { upgrade.protocols([PROTOCOL]) } else { upgrade };
    Ok(upgrade.on_upgrade(move |socket| Box::pin(serve(app, caller, socket))))
}

/// What we call the protocol when a client names any.
const PROTOCOL: &str = "longhaul.v1";

/// A browser cannot set headers on a WebSocket: it may send the key as one of the subprotocols. Whether it named ours.
fn with_key_of_protocol(mut parts: Parts) -> (Parts, bool) {
    let offered: Vec<String> = (parts.headers.get_all("sec-websocket-protocol").iter())
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_owned())
        .collect();
    let key = offered.iter().find(|name| name.starts_with("lh_"));
    if let Some(key) = key
        && !parts.headers.contains_key("authorization")
        && let Ok(value) = format!("Bearer {key}").parse()
    {
        parts.headers.insert("authorization", value);
    }
    let asked = offered.iter().any(|name| name == PROTOCOL);
    (parts, asked)
}

/// Something to send, or a subscription that has ended.
enum Out {
    Send(Value),
    /// A text that is sent to many as it is.
    Text(Utf8Bytes),
    Ended(Topic),
}

type Feed = Pin<Box<dyn Stream<Item = Out> + Send>>;

struct Connection {
    app: App,
    caller: Caller,
    socket: WebSocket,
    feeds: SelectAll<Feed>,
    topics: Vec<(Topic, tokio_util::sync::CancellationToken)>,
}

async fn serve(app: App, caller: Caller, socket: WebSocket) {
    let mut connection = Connection { app, caller, socket, feeds: SelectAll::new(), topics: Vec::new() };
    if let Err(Gone) = connection.run().await {
        tracing::debug!("a WebSocket client has gone");
    }
}

/// The client is no longer there, or takes nothing.
struct Gone;

impl Connection {
    async fn run(&mut self) -> Result<(), Gone> {
        let mut ping = tokio::time::interval(PING_EVERY);
        ping.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        ping.reset();
        let mut answered = true;
        let stopping = self.app.stopping().clone();
        loop {
            tokio::select! {
                biased;
                () = stopping.cancelled() => {
                    return self.close(close_code::RESTART, "the server is shutting down; connect again").await;
                }
                _ = ping.tick() => {
                    if !answered {
                        return self.close(close_code::POLICY, "no answer to a ping").await;
                    }
                    answered = false;
                    self.send(Message::Ping(axum::body::Bytes::new())).await?;
                }
                said = self.socket.recv() => match said {
                    None | Some(Err(_)) => return Err(Gone),
                    Some(Ok(Message::Close(_))) => return Ok(()),
                    Some(Ok(Message::Text(text))) => {
                        answered = true;
                        self.hear(&text).await?;
                    }
                    Some(Ok(Message::Binary(_))) => {
                        return self.close(close_code::UNSUPPORTED, "messages are JSON texts").await;
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => answered = true,
                },
                Some(out) = self.feeds.next(), if !self.feeds.is_empty() => match out {
                    Out::Send(value) => self.say(&value).await?,
                    Out::Text(text) => self.send(Message::Text(text)).await?,
                    Out::Ended(topic) => self.topics.retain(|(other, _)| *other != topic),
                },
            }
        }
    }

    async fn send(&mut self, message: Message) -> Result<(), Gone> {
        match tokio::time::timeout(WRITE_WITHIN, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }

    async fn say(&mut self, value: &Value) -> Result<(), Gone> {
        self.send(Message::Text(Utf8Bytes::from(value.to_string()))).await
    }

    async fn close(&mut self, code: u16, reason: &'static str) -> Result<(), Gone> {
        self.send(Message::Close(Some(CloseFrame { code, reason: Utf8Bytes::from_static(reason) }))).await
    }

    async fn hear(&mut self, text: &str) -> Result<(), Gone> {
        let said = match serde_json::from_str::<Said>(text) {
            Ok(said) => said,
            Err(error) => {
                let message = format!(
                    "this message is not understood: {error}; say {{\"op\":\"subscribe\"|\"unsubscribe\"|\"cancel\", …}}"
                );
                return self.say(&json!({ "type": "error", "code": "malformed_request", "message": message })).await;
            }
        };
        let answer = match said {
            Said::Subscribe { job_id, queue, topic, after } => match name(job_id, queue, topic) {
                Ok(topic) => self.subscribe(topic, after).await,
                Err(answer) => answer,
            },
            Said::Unsubscribe { job_id, queue, topic } => match name(job_id, queue, topic) {
                Ok(topic) => self.unsubscribe(&topic),
                Err(answer) => answer,
            },
            Said::Cancel { job_id } => self.cancel(&job_id).await,
        };
        self.say(&answer).await
    }

    /// Begins to follow. Asking again for the same begins anew, from the `after` that is said now.
    async fn subscribe(&mut self, topic: Topic, after: Option<u64>) -> Value {
        self.forget(&topic);
        if self.topics.len() >= SUBSCRIPTIONS_MOST {
            let message = format!("a connection follows at most {SUBSCRIPTIONS_MOST} jobs and queues; open another");
            return error("too_many_subscriptions", &message, &topic);
        }
        let tenant = self.caller.tenant.clone();
        let feed: Feed = match &topic {
            Topic::Job(job) => match self.app.engine().follow(&tenant, *job, after.unwrap_or(0)).await {
                Ok(follow) if follow.is_over() => return with_topic(json!({ "type": "stream.end" }), &topic),
                Ok(follow) => Box::pin(of_job(*job, follow)),
                Err(why) => return store_error(&why, &topic),
            },
            Topic::Queue(_) | Topic::Stats if after.is_some() => {
                return error(
                    "invalid_request",
                    "`after` goes with `job_id`: only a job's events are numbered",
                    &topic,
                );
            }
            Topic::Queue(queue) => Box::pin(of_queue(self.app.clone(), tenant, queue.clone())),
            Topic::Stats => {
                if tenant != Tenant::default_tenant() {
                    let message = "the figures are the installation's: only keys of the tenant `default` may see them";
                    return error("forbidden", message, &topic);
                }
                Box::pin(of_stats(self.app.clone()))
            }
        };
        let stop = tokio_util::sync::CancellationToken::new();
        self.feeds.push(Box::pin(feed.take_until(stop.clone().cancelled_owned())));
        self.topics.push((topic.clone(), stop));
        with_topic(json!({ "type": "subscribed", "after": after }), &topic)
    }

    fn unsubscribe(&mut self, topic: &Topic) -> Value {
        if self.forget(topic) {
            with_topic(json!({ "type": "unsubscribed" }), topic)
        } else {
            error("not_subscribed", "this connection does not follow that", topic)
        }
    }

    fn forget(&mut self, topic: &Topic) -> bool {
        let Some(at) = self.topics.iter().position(|(other, _)| other == topic) else { return false };
        self.topics.swap_remove(at).1.cancel();
        true
    }

    async fn cancel(&mut self, job_id: &str) -> Value {
        let Ok(job) = JobId::from_str(job_id) else { return bad_job_id(job_id) };
        let topic = Topic::Job(job);
        if !self.caller.may(&Scope::JobsWrite) {
            return error("forbidden", "the API key lacks the scope `jobs:write`", &topic);
        }
        match self.app.engine().cancel(&self.caller.tenant, job).await {
            Ok(status) if status.is_terminal() => {
                with_topic(json!({ "type": "cancel.accepted", "status": status.as_str() }), &topic)
            }
            Ok(_) => with_topic(json!({ "type": "cancel.accepted", "status": "cancelling" }), &topic),
            Err(why) => store_error(&why, &topic),
        }
    }
}

/// What is named: one of a job, a queue and a topic.
fn name(job_id: Option<String>, queue: Option<String>, topic: Option<String>) -> Result<Topic, Value> {
    match (job_id, queue, topic) {
        (Some(job), None, None) => JobId::from_str(&job).map(Topic::Job).map_err(|_| bad_job_id(&job)),
        (None, Some(queue), None) => QueueName::new(&queue).map(Topic::Queue).map_err(
            |why| json!({ "type": "error", "code": "invalid_request", "queue": queue, "message": why.to_string() }),
        ),
        (None, None, Some(topic)) if topic == "stats" => Ok(Topic::Stats),
        (None, None, Some(topic)) => {
            let message = "there is no such topic; known is `stats`";
            Err(json!({ "type": "error", "code": "invalid_request", "topic": topic, "message": message }))
        }
        _ => {
            let message = "name exactly one of `job_id`, `queue` and `topic`";
            Err(json!({ "type": "error", "code": "invalid_request", "message": message }))
        }
    }
}

fn bad_job_id(job_id: &str) -> Value {
    let shown: String = job_id.chars().take(80).collect();
    json!({ "type": "error", "code": "not_found", "job_id": shown, "message": "there is no such job" })
}

fn error(code: &str, message: &str, topic: &Topic) -> Value {
    with_topic(json!({ "type": "error", "code": code, "message": message }), topic)
}

fn store_error(why: &StoreError, topic: &Topic) -> Value {
    match why {
        StoreError::NotFound(_) => error("not_found", "there is no such job", topic),
        StoreError::Gone(_) => error("gone", "the job's data is gone: its retention is over, or it was erased", topic),
        other => {
            tracing::warn!(error = %other, "a subscription failed");
            error("unavailable", "the store cannot answer now; try again", topic)
        }
    }
}

fn with_topic(mut value: Value, topic: &Topic) -> Value {
    match topic {
        Topic::Job(job) => value["job_id"] = json!(job),
        Topic::Queue(queue) => value["queue"] = json!(queue.to_string()),
        Topic::Stats => value["topic"] = json!("stats"),
    }
    value
}

/// One job's events, and a last word when nothing can follow.
fn of_job(job: JobId, follow: Follow) -> impl Stream<Item = Out> + Send {
    let events = futures::stream::unfold(Some(follow), move |follow| async move {
        let mut follow = follow?;
        let out: Vec<Value> = match follow.next().await? {
            Ok(Followed::Events(events)) => (events.iter())
                .map(|event| serde_json::to_value(EventBody::of(job, event)).unwrap_or_default())
                .collect(),
            Ok(Followed::Trimmed(before, after)) => vec![sse::trimmed(job, before, after)],
            Ok(Followed::Lagged) => {
                let after = follow.at();
                let word = json!({ "type": "stream.lagged", "job_id": job, "after": after });
                return Some((vec![word], None));
            }
            // The connection is closed for the same reason, with a word of its own.
            Ok(Followed::Stopping) => return None,
            Err(why) => return Some((vec![store_error(&why, &Topic::Job(job))], None)),
        };
        Some((out, Some(follow)))
    });
    let events = events.flat_map(futures::stream::iter).map(Out::Send);
    let end =
        futures::stream::iter([Out::Send(json!({ "type": "stream.end", "job_id": job })), Out::Ended(Topic::Job(job))]);
    events.chain(end)
}

/// All events of a tenant's jobs in a queue, from now on.
fn of_queue(app: App, tenant: Tenant, queue: QueueName) -> impl Stream<Item = Out> + Send {
    let feed = app.engine().follow_queue(&tenant, queue.clone());
    futures::stream::unfold(feed, move |mut feed| {
        let queue = queue.clone();
        async move {
            let out: Vec<Value> = match feed.next().await {
                Some((job, events)) => (events.iter())
                    .map(|event| serde_json::to_value(EventBody::of(job, event)).unwrap_or_default())
                    .collect(),
                // More happened than was kept for us.
                None => vec![json!({ "type": "stream.lagged", "queue": queue.to_string() })],
            };
            Some((out, feed))
        }
    })
    .flat_map(futures::stream::iter)
    .map(Out::Send)
}

/// The figures, at once and then every second.
fn of_stats(app: App) -> impl Stream<Item = Out> + Send {
    let mut ticks = tokio::time::interval(STATS_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    futures::stream::unfold((app, ticks), |(app, mut ticks)| async move {
        ticks.tick().await;
        let out = match stats::message(&app).await {
            Ok(text) => Out::Text(text),
            Err(why) => Out::Send(
                json!({ "type": "error", "code": "unavailable", "topic": "stats", "message": why.to_string() }),
            ),
        };
        Some((out, (app, ticks)))
    })
    .boxed()
}
