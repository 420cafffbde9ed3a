//! `/v1/events/ws`: many subscriptions on one connection.
//!
//! The client says `subscribe`, `unsubscribe` and `cancel`; the server sends the same envelopes as the stream of one
//! job, and words of its own. One task serves a connection: it takes from a subscription only when the socket takes
//! bytes, so a slow client holds up its own subscriptions and nothing else. What it cannot follow live it reads from
//! storage.

mod feeds;
mod said;

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
use longhaul_core::{Caller, JobId, Scope, Tenant};
use serde_json::{Value, json};

use self::{
    feeds::Out,
    said::{Said, Topic, bad_job_id, error, name, store_error, with_topic},
};
use crate::{
    app::App,
    auth::{Read, Standing},
    problem::{Code, Problem},
};

/// How often a ping is sent. A client that has not answered the one before is gone, and one whose key or session has
/// ended is told to go.
const PING_EVERY: Duration = Duration::from_secs(15);

/// How long the socket may take no bytes.
const WRITE_WITHIN: Duration = Duration::from_secs(30);

/// The longest message that a client may send, in bytes: all of them are short.
const MESSAGE_BYTES: usize = 16 * 1024;

/// How many jobs and queues one connection may follow.
const SUBSCRIPTIONS_MOST: usize = 1_000;

/// Follow jobs over a WebSocket
///
/// Send `{"op":"subscribe","job_id":"job_…","after":0}` to get a job's events from that `seq` on, `{"op":"subscribe",
/// "queue":"default"}` for all events of a queue from now on, `{"op":"subscribe","topic":"stats"}` for the figures, once
/// a second; `unsubscribe` with the same names; `{"op":"cancel","job_id":"job_…"}`; `{"op":"ping"}` is answered by
/// `pong`. `stream.end` comes behind a job's last event; after `stream.lagged` and after an error `unavailable` subscribe
/// again, after the last event that came. A browser sends its key as a second subprotocol: `new WebSocket(url,
/// ["longhaul.v1", "lh_…"])`. The connection is closed when the key or the session ends.
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
    if app.stopping().is_cancelled() {
        // It would be closed at once, and a client that counts openings would come again at once.
        return Err(Problem::new(Code::ShuttingDown, "The server is stopping."));
    }
    let standing = app.standing(&parts.headers, &caller);
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &app)
        .await
        .map_err(|rejection| Problem::new(Code::MalformedRequest, rejection.body_text()))?;
    let upgrade = upgrade.max_message_size(MESSAGE_BYTES).max_frame_size(MESSAGE_BYTES).write_buffer_size(0);
    let upgrade = if asked { upgrade.protocols([PROTOCOL]) } else { upgrade };
    Ok(upgrade.on_upgrade(move |socket| Box::pin(serve(app, caller, standing, socket))))
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

type Feed = Pin<Box<dyn Stream<Item = Out> + Send>>;

struct Connection {
    app: App,
    caller: Caller,
    standing: Standing,
    socket: WebSocket,
    feeds: SelectAll<Feed>,
    topics: Vec<(Topic, tokio_util::sync::CancellationToken)>,
}

async fn serve(app: App, caller: Caller, standing: Standing, socket: WebSocket) {
    let mut connection = Connection { app, caller, standing, socket, feeds: SelectAll::new(), topics: Vec::new() };
    if let Err(Gone) = connection.run().await {
        tracing::debug!("a WebSocket client has gone");
    }
}

/// The client is no longer there, or takes nothing.
struct Gone;

/// What is said to a client whose key or session has ended.
const NOT_ANY_MORE: &str = "the API key or the session has ended; connect again with one that holds";

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
                    if !self.still_may() {
                        return self.close(close_code::POLICY, NOT_ANY_MORE).await;
                    }
                    self.send(Message::Ping(axum::body::Bytes::new())).await?;
                }
                said = self.socket.recv() => match said {
                    None | Some(Err(_)) => return Err(Gone),
                    Some(Ok(Message::Close(_))) => return Ok(()),
                    Some(Ok(Message::Text(text))) => {
                        answered = true;
                        if !self.still_may() {
                            return self.close(close_code::POLICY, NOT_ANY_MORE).await;
                        }
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

    fn still_may(&self) -> bool {
        self.app.still_holds(&self.standing)
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
                    "this message is not understood: {error}; say {{\"op\":\"subscribe\"|\"unsubscribe\"|\"cancel\"|\"ping\", …}}"
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
            Said::Ping {} => json!({ "type": "pong" }),
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
                Ok(follow) => Box::pin(feeds::of_job(*job, follow.at(), follow.into_stream())),
                Err(why) => return store_error(&why, &topic),
            },
            Topic::Queue(_) | Topic::Stats if after.is_some() => {
                return error(
                    "invalid_request",
                    "`after` goes with `job_id`: only a job's events are numbered",
                    &topic,
                );
            }
            Topic::Queue(queue) => Box::pin(feeds::of_queue(self.app.clone(), tenant, queue.clone())),
            Topic::Stats => {
                if tenant != Tenant::default_tenant() {
                    let message = "the figures are the installation's: only keys of the tenant `default` may see them";
                    return error("forbidden", message, &topic);
                }
                Box::pin(feeds::of_stats(self.app.clone()))
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
