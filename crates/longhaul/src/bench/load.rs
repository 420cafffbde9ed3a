//! The closed loop: each client submits a job, waits for its result, and does it again.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use hdrhistogram::Histogram;
use memchr::memmem;
use tokio::task::{JoinSet, LocalSet};

use super::process::{own_usage, usage_of};
use super::report::{Latency, Report};
use super::target::{self, Running};
use super::wire::{Connection, request, text_of};
use super::{Plan, Target, Until, check, files};
use crate::clock::Stopwatch;
use crate::screen::Screen;

/// The size of a job's input, in bytes.
pub(super) const INPUT_BYTES: usize = 1_024;

/// Digits of the number that makes each input different from all others.
const NUMBER_DIGITS: usize = 16;

/// How many of the last jobs all clients together remember, to be looked at in the end.
const REMEMBERED: usize = 32_768;

/// How many errors in a row a client takes before it gives up, so that a broken server ends the run.
const ERRORS_IN_A_ROW: u32 = 10;

/// What the clients share. They live on one thread.
pub(super) struct Shared {
    started: Stopwatch,
    plan: Plan,
    /// Numbers given to jobs so far.
    numbers: Cell<u64>,
    /// Jobs that came back right, warm-up included.
    ended: Cell<u64>,
    /// Those that count.
    counted: Cell<u64>,
    /// 429 and 503 answers.
    refused: Cell<u64>,
    errors: Cell<u64>,
    /// The words of the first error.
    first_error: RefCell<Option<String>>,
    submit: RefCell<Histogram<u64>>,
    whole: RefCell<Histogram<u64>>,
    /// Submissions of the last second, for the progress line.
    recent: RefCell<Histogram<u64>>,
    remembered: RefCell<Vec<VecDeque<check::Remembered>>>,
    stop: Cell<bool>,
}

/// Latencies from 1 µs to 2 minutes, within 0.1 %.
fn histogram() -> anyhow::Result<Histogram<u64>> {
    Histogram::new_with_bounds(1, 120_000_000, 3).context("a histogram cannot be made")
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Shared {
    fn new(plan: &Plan) -> anyhow::Result<Rc<Self>> {
        Ok(Rc::new(Self {
            started: Stopwatch::start(),
            plan: plan.clone(),
            numbers: Cell::new(0),
            ended: Cell::new(0),
            counted: Cell::new(0),
            refused: Cell::new(0),
            errors: Cell::new(0),
            first_error: RefCell::new(None),
            submit: RefCell::new(histogram()?),
            whole: RefCell::new(histogram()?),
            recent: RefCell::new(histogram()?),
            remembered: RefCell::new(vec![VecDeque::new(); plan.clients]),
            stop: Cell::new(false),
        }))
    }

    /// The number of the next job, or nothing when the run is over.
    fn next_number(&self) -> Option<u64> {
        let number = self.numbers.get();
        let over = match self.plan.until {
            Until::Jobs(jobs) => number >= jobs,
            Until::For(duration) => self.started.elapsed() >= self.plan.warm_up + duration,
        };
        if over || self.stop.get() {
            return None;
        }
        self.numbers.set(number + 1);
        Some(number)
    }

    fn is_measuring(&self) -> bool {
        self.plan.warm_up.is_zero() || self.started.elapsed() >= self.plan.warm_up
    }
}

/// Runs the plan from start to report.
pub(super) async fn run(plan: &Plan, screen: &mut Screen) -> anyhow::Result<Report> {
    let running = target::start(plan).await?;
    if let Some(file_system) = running.data().and_then(files::file_system_of)
        && file_system == "tmpfs"
    {
        screen.note("warning: the data lies on tmpfs, where a sync costs nothing; use --directory on a real disk");
    }
    let shared = Shared::new(plan)?;
    let measured = LocalSet::new().run_until(drive(plan, &running, &shared, screen)).await?;
    let mut report = report(plan, &running, &shared, &measured);
    if plan.check && !plan.submit_only {
        let remembered: Vec<_> = shared.remembered.take().into_iter().flatten().collect();
        let keeps = match plan.target {
            Target::Longhaul { retention, .. } => retention,
            Target::Url(_) => None,
        };
        let checked = check::random_jobs(remembered, shared.started.elapsed(), keeps, &running).await?;
        report.checked = checked.looked_at;
        report.mismatches = checked.mismatches;
    }
    running.stop().await?;
    Ok(report)
}

/// What the measured window cost.
struct Measured {
    seconds: f64,
    server_cpu_s: f64,
    driver_cpu_s: f64,
}

async fn drive(plan: &Plan, running: &Running, shared: &Rc<Shared>, screen: &mut Screen) -> anyhow::Result<Measured> {
    let mut clients = JoinSet::new();
    for number in 0..plan.clients {
        clients.spawn_local(client(number, shared.clone(), running.address, running.host.clone()));
    }
    let mut ticks = tokio::time::interval(Duration::from_secs(1));
    ticks.tick().await;
    let mut window = Window::open(running);
    let mut warm = plan.warm_up.is_zero();
    let mut before = 0;
    let warm_up_over = tokio::time::sleep(plan.warm_up.saturating_sub(shared.started.elapsed()));
    tokio::pin!(warm_up_over);
    let mut first_error = None;
    loop {
        tokio::select! {
            () = &mut warm_up_over, if !warm => {
                window = Window::open(running);
                warm = true;
            }
            ended = clients.join_next() => match ended {
                None => break,
                Some(Ok(Ok(()))) => {}
                Some(Ok(Err(error))) => {
                    shared.stop.set(true);
                    first_error.get_or_insert(error);
                }
                Some(Err(panic)) => bail!("a client of the benchmark broke: {panic}"),
            },
            _ = ticks.tick() => {
                if plan.progress {
                    before = progress(shared, before, warm, screen);
                }
            }
        }
    }
    match first_error {
        Some(error) => Err(error),
        None => Ok(window.close(running)),
    }
}

/// The figures of the processes at the beginning of the measured window.
struct Window {
    clock: Stopwatch,
    server_cpu_s: f64,
    driver_cpu_s: f64,
}

impl Window {
    fn open(running: &Running) -> Self {
        Self { clock: Stopwatch::start(), server_cpu_s: usage_of(&running.pids).cpu_s, driver_cpu_s: own_usage().cpu_s }
    }

    fn close(&self, running: &Running) -> Measured {
        Measured {
            seconds: self.clock.elapsed().as_secs_f64(),
            server_cpu_s: usage_of(&running.pids).cpu_s - self.server_cpu_s,
            driver_cpu_s: own_usage().cpu_s - self.driver_cpu_s,
        }
    }
}

fn progress(shared: &Shared, before: u64, warm: bool, screen: &mut Screen) -> u64 {
    let ended = shared.ended.get();
    let mut recent = shared.recent.borrow_mut();
    #[allow(clippy::cast_precision_loss, reason = "microseconds shown as milliseconds")]
    let p99_ms = recent.value_at_quantile(0.99) as f64 / 1_000.0;
    recent.reset();
    let mut line = format!(
        "{:>5}s  {:>7} jobs/s  submit p99 {p99_ms:>8.2} ms  {ended} jobs",
        shared.started.elapsed().as_secs(),
        ended - before
    );
    for (name, count) in [("refused", shared.refused.get()), ("errors", shared.errors.get())] {
        if count > 0 {
            line.push_str(&format!("  {count} {name}"));
        }
    }
    if !warm {
        line.push_str("  (warming up)");
    }
    screen.note(line);
    ended
}

/// A request whose input carries a number at a fixed place, so that it need not be built again.
pub(super) struct JobRequest {
    bytes: Vec<u8>,
    text: std::ops::Range<usize>,
}

impl JobRequest {
    /// A submission to the given queue, or to the kind's.
    pub(super) fn new(host: &str, queue: Option<&str>) -> Self {
        let queue = queue.map(|queue| format!("\"queue\":\"{queue}\",")).unwrap_or_default();
        // Letters that do not repeat much, as text does not, and that no JSON writer escapes.
        let filler: String = (0..INPUT_BYTES - NUMBER_DIGITS - 11)
            .map(|n| char::from(b'a' + u8::try_from((n * n + n / 7) % 26).unwrap_or(0)))
            .collect();
        let text = format!("{}{filler}", "0".repeat(NUMBER_DIGITS));
        let body = format!("{{\"kind\":\"echo\",{queue}\"input\":{{\"text\":\"{text}\"}}}}");
        let bytes = request("POST", host, "/v1/jobs", Some(body.as_bytes()));
        let start = memmem::find(&bytes, text.as_bytes()).unwrap_or(0);
        Self { text: start..start + text.len(), bytes }
    }

    /// The request with the given number in its input.
    pub(super) fn numbered(&mut self, number: u64) -> &[u8] {
        let digits = format!("{number:0NUMBER_DIGITS$}");
        self.bytes[self.text.start..self.text.start + NUMBER_DIGITS].copy_from_slice(digits.as_bytes());
        &self.bytes
    }

    /// The text that must come back.
    fn text(&self) -> &[u8] {
        &self.bytes[self.text.clone()]
    }
}

async fn client(own: usize, shared: Rc<Shared>, address: std::net::SocketAddr, host: String) -> anyhow::Result<()> {
    let mut connection = Connection::new(address);
    let mut job = JobRequest::new(&host, None);
    let mut errors_in_a_row = 0;
    while let Some(number) = shared.next_number() {
        match one_job(own, number, &shared, &mut connection, &mut job, &host).await {
            Ok(()) => errors_in_a_row = 0,
            Err(error) => {
                errors_in_a_row += 1;
                shared.errors.set(shared.errors.get() + 1);
                shared.first_error.borrow_mut().get_or_insert_with(|| format!("{error:#}"));
                if errors_in_a_row >= ERRORS_IN_A_ROW || shared.ended.get() == 0 {
                    return Err(error);
                }
                connection = Connection::new(address);
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    Ok(())
}

async fn one_job(
    own: usize,
    number: u64,
    shared: &Shared,
    connection: &mut Connection,
    job: &mut JobRequest,
    host: &str,
) -> anyhow::Result<()> {
    let begun = loop {
        let begun = Stopwatch::start();
        let head = connection.exchange(job.numbered(number)).await?;
        match head.status {
            202 => break begun,
            429 | 503 => {
                shared.refused.set(shared.refused.get() + 1);
                tokio::time::sleep(Duration::from_secs(head.retry_after_s.unwrap_or(1).min(10))).await;
            }
            status => bail!("a submission got {status}: {}", String::from_utf8_lossy(connection.body())),
        }
    };
    let submitted = micros(begun.elapsed());
    let job_id = text_of(connection.body(), "job_id").context("the receipt names no job")?.to_owned();
    if !shared.plan.submit_only {
        let follow = request("GET", host, &format!("/v1/jobs/{job_id}?wait=30"), None);
        loop {
            let head = connection.exchange(&follow).await?;
            if head.status == 304 {
                continue;
            }
            let body = connection.body();
            if head.status != 200 {
                bail!("{job_id}: looking at it got {}: {}", head.status, String::from_utf8_lossy(body));
            }
            match text_of(body, "status").unwrap_or_default() {
                "succeeded" => break,
                "queued" | "running" => {}
                other => bail!("{job_id} ended as `{other}`: {}", String::from_utf8_lossy(body)),
            }
        }
        let body = connection.body();
        let output = memmem::find(body, b"\"output\"").context("the job has no output")?;
        if memmem::find(&body[output..], job.text()).is_none() {
            bail!("{job_id}: the output is not the input: {}", String::from_utf8_lossy(body));
        }
    }
    shared.ended.set(shared.ended.get() + 1);
    shared.recent.borrow_mut().saturating_record(submitted);
    if shared.is_measuring() {
        shared.counted.set(shared.counted.get() + 1);
        shared.submit.borrow_mut().saturating_record(submitted);
        shared.whole.borrow_mut().saturating_record(micros(begun.elapsed()));
    }
    let remembered = &mut shared.remembered.borrow_mut()[own];
    if remembered.len() >= (REMEMBERED / shared.plan.clients).max(1) {
        remembered.pop_front();
    }
    remembered.push_back(check::Remembered { job_id, number, ended: shared.started.elapsed() });
    Ok(())
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn report(plan: &Plan, running: &Running, shared: &Shared, measured: &Measured) -> Report {
    let jobs = shared.counted.get();
    let rate = jobs as f64 / measured.seconds;
    let per_job_us = |seconds: f64| if jobs == 0 { 0.0 } else { seconds * 1e6 / jobs as f64 };
    let bytes_on_disk = running.data().map(files::bytes_under);
    let kept = match plan.target {
        Target::Longhaul { retention: Some(retention), .. } => {
            (rate * retention.as_secs_f64()).min(shared.ended.get() as f64)
        }
        _ => shared.ended.get() as f64,
    };
    Report {
        target: match &plan.target {
            Target::Longhaul { store: None, .. } => "longhaul".to_owned(),
            Target::Longhaul { store: Some(_), .. } => "longhaul on PostgreSQL".to_owned(),
            Target::Url(url) => url.clone(),
        },
        clients: plan.clients,
        input_bytes: INPUT_BYTES,
        submit_only: plan.submit_only,
        seconds: measured.seconds,
        jobs,
        jobs_per_s: rate,
        submit: Latency::of(&shared.submit.borrow()),
        end_to_end: (!plan.submit_only).then(|| Latency::of(&shared.whole.borrow())),
        refused: shared.refused.get(),
        errors: shared.errors.get(),
        first_error: shared.first_error.borrow().clone(),
        server_cpu_s: measured.server_cpu_s,
        server_cpu_us_per_job: per_job_us(measured.server_cpu_s),
        driver_cpu_s: measured.driver_cpu_s,
        driver_cpu_us_per_job: per_job_us(measured.driver_cpu_s),
        server_idle_bytes: running.idle_bytes,
        server_peak_bytes: usage_of(&running.pids).peak_bytes,
        bytes_on_disk,
        bytes_on_disk_per_job: bytes_on_disk.filter(|_| kept > 0.0).map(|bytes| bytes as f64 / kept),
        file_system: running.data().and_then(files::file_system_of),
        checked: 0,
        mismatches: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_one_kilobyte_and_carries_its_number() {
        let mut job = JobRequest::new("h", None);
        let bytes = job.numbered(42).to_vec();
        let body = &bytes[memmem::find(&bytes, b"\r\n\r\n").unwrap() + 4..];
        let value: serde_json::Value = serde_json::from_slice(body).unwrap();
        assert_eq!(value["input"].to_string().len(), INPUT_BYTES);
        assert!(value["input"]["text"].as_str().unwrap().starts_with("0000000000000042"));
        assert_eq!(value["input"]["text"].as_str().unwrap().as_bytes(), job.text());
    }
}
