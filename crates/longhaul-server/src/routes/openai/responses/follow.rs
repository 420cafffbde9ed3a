//! The stream of a background response: its events as they were kept, then as they come.
//!
//! The events of a response are numbered, and what is told of a number is always the same bytes:
//!
//! - 0 and 1 (created, queued) follow from the request; 2 (in progress) too, and is told once the job has run;
//! - those in between are items of the job's output, told when they are committed;
//! - the last follows from the job's end: the final object of one that succeeded, the error of one that failed. A
//!   cancelled response has no last event, as at OpenAI.

use std::{sync::Arc, time::Duration};

use axum::{body::Body, http::HeaderMap, response::Response};
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use longhaul_core::{Caller, Event, EventKind, JobId, OutputData, Span, Tenant};
use longhaul_engine::{Follow, Followed};
use longhaul_providers::{
    facade::{Frame, Stamp},
    responses::facade::{Echo, ResponseStreamEncoder, encode_ending, encode_stream_error, read_event},
};
use longhaul_tasks::llm::{EventJoiner, stored::response_id};

use super::{found, marks, prelude, said};
use crate::{
    app::App,
    auth::Standing,
    facade::{Refusal, event_stream},
};

/// How long a stream is silent before a comment says that it is still there.
const PING: Duration = Duration::from_secs(15);

/// The events of a response behind `after`, or all, for as long as what `caller` was let in with holds.
pub(super) async fn events(
    app: &App,
    caller: &Caller,
    headers: &HeaderMap,
    job: JobId,
    after: Option<u64>,
) -> Result<Response, Refusal> {
    let (tenant, standing) = (&caller.tenant, app.standing(headers, caller));
    let (_, stored) = found(app, tenant, &response_id(job)).await?;
    let (stamp, call) = marks(job, &stored)?;
    let follow = app.engine().follow(tenant, job, 0).await?;
    let reader = Reader::new((app, tenant, standing), follow, stamp, call.echo, after);
    let body = stream::unfold(reader, |mut reader| async {
        let bytes = reader.next().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), reader))
    });
    Ok(event_stream(Body::from_stream(body.boxed())))
}

/// Reads a job's history as the stream of its response.
struct Reader {
    app: App,
    tenant: Tenant,
    standing: Standing,
    follow: Follow,
    stamp: Stamp,
    echo: Echo,
    after: Option<u64>,
    /// The number of the next event.
    next: u64,
    joiner: EventJoiner,
    is_over: bool,
    /// Events that can be told without waiting.
    ready: Vec<u8>,
}

impl Reader {
    fn new(
        (app, tenant, standing): (&App, &Tenant, Standing),
        follow: Follow,
        stamp: Stamp,
        echo: Echo,
        after: Option<u64>,
    ) -> Self {
        let mut reader = Self {
            app: app.clone(),
            tenant: tenant.clone(),
            standing,
            follow,
            stamp,
            echo,
            after,
            next: 0,
            joiner: EventJoiner::default(),
            is_over: false,
            ready: Vec::new(),
        };
        let [created, queued, _] = prelude(&reader.stamp, &reader.echo);
        reader.tell(&created);
        reader.tell(&queued);
        reader
    }

    /// Puts an event out, unless the client has it.
    fn tell(&mut self, frame: &Frame) {
        let number = frame.sequence.unwrap_or(self.next);
        self.next = number + 1;
        if self.after.is_none_or(|after| number > after) {
            frame.write_to(&mut self.ready);
        }
    }

    /// What to send next; none at the end.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if !self.ready.is_empty() {
                return Some(Bytes::from(std::mem::take(&mut self.ready)));
            }
            if self.is_over {
                return None;
            }
            let clock = self.app.engine().clock().clone();
            let followed = tokio::select! {
                biased;
                followed = self.follow.next() => Ok(followed),
                () = clock.sleep(Span::from(PING)) => Err(Bytes::from_static(b": still there\n\n")),
            };
            if !self.app.still_holds(&self.standing) {
                return None;
            }
            let followed = match followed {
                Ok(followed) => followed,
                Err(ping) => return Some(ping),
            };
            match followed {
                Some(Ok(Followed::Events(events))) => {
                    for event in events {
                        self.take(&event).await;
                    }
                }
                Some(Ok(Followed::Lagged)) => {}
                // What is missing cannot be told any more, and what follows would not fit to what came before.
                Some(Ok(Followed::Trimmed(..))) => {
                    self.is_over = true;
                    let why = "the events of this response are not kept any more; get it without `stream`";
                    self.tell(&encode_stream_error("stream_expired", why, self.next));
                }
                Some(Ok(Followed::Stopping) | Err(_)) | None => self.is_over = true,
            }
        }
    }

    async fn take(&mut self, event: &Arc<Event>) {
        match &event.kind {
            EventKind::Running { .. } if self.next == 2 => {
                let [.., begun] = prelude(&self.stamp, &self.echo);
                self.tell(&begun);
            }
            EventKind::OutputDelta { data: OutputData::Items(items) } => {
                for item in items {
                    let Some(data) = self.joiner.take(item) else { continue };
                    let Some((number, kind)) = read_event(&data) else { continue };
                    self.tell(&Frame { event: Some(kind.into()), sequence: Some(number), data });
                }
            }
            EventKind::Succeeded => {
                self.is_over = true;
                if let Some(ending) = self.completed().await {
                    self.tell(&ending);
                }
            }
            EventKind::Failed { .. } => {
                self.is_over = true;
                for frame in self.failed().await.unwrap_or_default() {
                    self.tell(&frame);
                }
            }
            EventKind::Cancelled => self.is_over = true,
            _ => {}
        }
    }

    /// The last event of a response that has an answer.
    async fn completed(&self) -> Option<Frame> {
        let engine = self.app.engine();
        let view = engine.job(&self.tenant, self.follow.job()).await.ok()?;
        let output = engine.payload(view.output.as_ref()?).await.ok()?;
        encode_ending(std::str::from_utf8(&output).ok()?, self.next)
    }

    /// The last events of a response that has none: what is open is closed, then the error. They follow from all that
    /// was told, so that is read again.
    async fn failed(&self) -> Option<Vec<Frame>> {
        let engine = self.app.engine();
        let job = self.follow.job();
        let view = engine.job(&self.tenant, job).await.ok()?;
        let mut told: Vec<String> = Vec::new();
        let mut joiner = EventJoiner::default();
        let mut after = 0;
        loop {
            let page = engine.events(&self.tenant, job, after, 512).await.ok()?;
            let Some(last) = page.last() else { break };
            after = last.seq;
            for event in page {
                if let EventKind::OutputDelta { data: OutputData::Items(items) } = event.kind {
                    told.extend(items.iter().filter_map(|item| joiner.take(item)));
                }
            }
        }
        let start = prelude(&self.stamp, &self.echo);
        let begun = if self.next > 2 { 3 } else { 2 };
        let all = start.iter().take(begun).map(|frame| frame.data.as_str()).chain(told.iter().map(String::as_str));
        let encoder = ResponseStreamEncoder::recover(self.stamp.clone(), self.echo.clone(), all);
        let mut frames = Vec::new();
        encoder.ok()?.fail_with(said(&view), &mut frames);
        Some(frames)
    }
}
