//! HTTP/1.1 with `content-length` and keep-alive, and the handful of routes.

use super::jobs::{Cancelled, Jobs};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};

struct Request {
    method: String,
    path: String,
    key: Option<String>,
    body: Value,
}

pub(crate) fn converse(connection: &TcpStream, jobs: &Mutex<Jobs>) {
    let mut reader = BufReader::new(connection);
    while let Some(request) = read(&mut reader) {
        let (status, body) = answer(&request, jobs.lock().unwrap_or_else(PoisonError::into_inner));
        let body = body.to_string();
        let mut writer = connection;
        let head =
            format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        if writer.write_all((head + &body).as_bytes()).is_err() {
            return;
        }
    }
}

fn read(reader: &mut BufReader<&TcpStream>) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, path) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (mut length, mut key) = (0, None);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim().split_once(':') else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.trim().parse().ok()?,
            "idempotency-key" => key = Some(value.trim().to_owned()),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Request { method, path, key, body: serde_json::from_slice(&body).unwrap_or(Value::Null) })
}

fn answer(request: &Request, mut jobs: MutexGuard<'_, Jobs>) -> (u16, Value) {
    let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (request.method.as_str(), parts.as_slice()) {
        ("GET", ["readyz"]) => (200, json!({})),
        ("POST", ["v1", "jobs"]) => (202, json!({"job_id": jobs.submit(&request.body, request.key.as_deref())})),
        ("POST", ["v1", "jobs", "bulk"]) => {
            let list = request.body["jobs"].as_array().cloned().unwrap_or_default();
            let ids: Vec<Value> = list.iter().map(|job| json!({"job_id": jobs.submit(job, None)})).collect();
            (202, json!({"jobs": ids}))
        }
        ("GET", ["v1", "jobs"]) => {
            let after = query.split_once("cursor=").map_or("", |(_, cursor)| cursor);
            let page = jobs.page(after, 200);
            let last = page.last().map(|job| job["job_id"].clone());
            (200, json!({"has_more": page.len() == 200, "next_cursor": last, "data": page}))
        }
        ("GET", ["v1", "jobs", id]) => found(jobs.job(id)),
        ("GET", ["v1", "jobs", id, "events"]) => {
            let after = query.strip_prefix("after=").and_then(|after| after.parse().ok()).unwrap_or(0);
            found(jobs.events(id, after).map(|events| json!({"data": events, "has_more": false})))
        }
        ("GET", ["v1", "jobs", id, "attempts"]) => found(jobs.attempts(id).map(|data| json!({"data": data}))),
        ("POST", ["v1", "jobs", id, "cancel"]) => match jobs.cancel(id) {
            None => (404, Value::Null),
            Some(Cancelled::Now) => (200, json!({"status": "cancelled"})),
            Some(Cancelled::EndedBefore(status)) => (200, json!({"status": status})),
        },
        _ => (404, Value::Null),
    }
}

fn found(value: Option<Value>) -> (u16, Value) {
    value.map_or((404, Value::Null), |value| (200, value))
}
