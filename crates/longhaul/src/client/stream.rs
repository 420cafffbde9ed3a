//! Following a job's events: one stream at a time, read line by line, begun again after the last event that came.

use std::time::Duration;

use reqwest::{StatusCode, header};
use serde_json::value::RawValue;

use super::{Client, ClientError, Problem, Request, root_cause};

/// A server says something every 15 s; after three times that the connection is dead.
const SILENT_AT_MOST: Duration = Duration::from_secs(45);

/// The longest line that is read, in bytes: one event.
const LINE_BYTES: usize = 64 << 20;

/// A line of the stream: an event of the job, or a word of the stream itself.
#[derive(Debug)]
pub struct StreamedEvent {
    /// Its number, when it is an event of the job.
    pub id: Option<u64>,
    /// Its type.
    pub name: String,
    /// The JSON text.
    pub data: Box<RawValue>,
}

/// An open stream of events.
#[derive(Debug)]
pub struct EventStream {
    response: reqwest::Response,
    url: String,
    lines: Lines,
}

impl Client {
    /// Opens the stream of a job's events after `after`. None: nothing is left to come.
    ///
    /// # Errors
    /// As [`Client::send`], without its repetitions.
    pub async fn stream_events(&self, job_id: &str, after: u64) -> Result<Option<EventStream>, ClientError> {
        let url = self.address(&Request::get(&["v1", "jobs", job_id, "events"]));
        let mut builder = self.http.get(url.clone()).header(header::ACCEPT, "text/event-stream");
        builder = builder.header("last-event-id", after);
        if let Some(key) = &self.key {
            builder = builder.header(header::AUTHORIZATION, key.clone());
        }
        let unreachable =
            |error: reqwest::Error| ClientError::Unreachable { url: self.url().to_owned(), reason: root_cause(&error) };
        let response = builder.send().await.map_err(unreachable)?;
        let status = response.status();
        if status == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        if status.is_client_error() || status.is_server_error() {
            let headers = response.headers().clone();
            let body = response.bytes().await.map_err(unreachable)?;
            let problem = Box::new(Problem::read(status, &headers, &body));
            return Err(if status.is_client_error() {
                ClientError::Refused(problem)
            } else {
                ClientError::Broken(problem)
            });
        }
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            let reason = "it is no stream of events".to_owned();
            return Err(ClientError::NotUnderstood { url: url.to_string(), reason });
        }
        Ok(Some(EventStream { response, url: url.to_string(), lines: Lines::default() }))
    }
}

impl EventStream {
    /// The next event. None: the stream has ended, as it does after the job's last event.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`] when it broke off or fell silent.
    pub async fn next(&mut self) -> Result<Option<StreamedEvent>, ClientError> {
        let lost = |url: &str, reason: String| ClientError::Unreachable { url: url.to_owned(), reason };
        loop {
            if let Some(event) = self.lines.next_event() {
                return event.map(Some).map_err(|reason| ClientError::NotUnderstood { url: self.url.clone(), reason });
            }
            let chunk = match tokio::time::timeout(SILENT_AT_MOST, self.response.chunk()).await {
                Err(_) => return Err(lost(&self.url, "the stream fell silent".to_owned())),
                Ok(Err(error)) => return Err(lost(&self.url, root_cause(&error))),
                Ok(Ok(None)) => return Ok(None),
                Ok(Ok(Some(chunk))) => chunk,
            };
            self.lines.pending.extend_from_slice(&chunk);
            if self.lines.pending.len() > LINE_BYTES {
                let reason = format!("an event is longer than {} MiB", LINE_BYTES >> 20);
                return Err(ClientError::NotUnderstood { url: self.url.clone(), reason });
            }
        }
    }
}

/// Takes a stream of server-sent events apart, as far as our server writes them: one line of data an event.
#[derive(Debug, Default)]
struct Lines {
    pending: Vec<u8>,
    id: Option<u64>,
    name: Option<String>,
    data: Option<String>,
}

impl Lines {
    fn next_event(&mut self) -> Option<Result<StreamedEvent, String>> {
        while let Some(end) = memchr::memchr(b'\n', &self.pending) {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line[..end]).trim_end_matches('\r').to_owned();
            if line.is_empty() {
                let (id, name, data) = (self.id.take(), self.name.take(), self.data.take());
                let Some(data) = data else { continue };
                let event = RawValue::from_string(data)
                    .map(|data| StreamedEvent { id, name: name.unwrap_or_else(|| "message".to_owned()), data })
                    .map_err(|error| format!("an event is no JSON: {error}"));
                return Some(event);
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => self.id = value.parse().ok(),
                "event" => self.name = Some(value.to_owned()),
                "data" => match &mut self.data {
                    Some(data) => {
                        data.push('\n');
                        data.push_str(value);
                    }
                    None => self.data = Some(value.to_owned()),
                },
                // `retry` and comments: the pause is ours to choose.
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(chunks: &[&str]) -> Vec<(Option<u64>, String, String)> {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for chunk in chunks {
            lines.pending.extend_from_slice(chunk.as_bytes());
            while let Some(event) = lines.next_event() {
                let event = event.unwrap();
                found.push((event.id, event.name, event.data.get().to_owned()));
            }
        }
        found
    }

    #[test]
    fn events_are_read_wherever_the_stream_is_cut() {
        let text =
            "retry: 1000\n\n: ping\n\nid: 7\nevent: job.log\ndata: {\"é\":1}\n\nevent: stream.lagged\ndata: {}\n\n";
        let whole = read(&[text]);
        assert_eq!(whole[0], (Some(7), "job.log".to_owned(), "{\"é\":1}".to_owned()));
        assert_eq!(whole[1], (None, "stream.lagged".to_owned(), "{}".to_owned()));
        for cut in (0..text.len()).filter(|&cut| text.is_char_boundary(cut)) {
            assert_eq!(read(&[&text[..cut], &text[cut..]]), whole, "cut at {cut}");
        }
    }
}
