//! What a run found, for people and for programs.

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::screen::Table;

/// Latencies in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    /// Half are faster.
    pub p50_ms: f64,
    /// Nine in ten are faster.
    pub p90_ms: f64,
    /// 99 in 100 are faster.
    pub p99_ms: f64,
    /// 999 in 1,000 are faster.
    pub p999_ms: f64,
    /// The slowest.
    pub max_ms: f64,
}

impl Latency {
    /// The quantiles of a histogram of microseconds.
    #[must_use]
    pub fn of(histogram: &Histogram<u64>) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "at most two minutes in microseconds")]
        let ms = |micros: u64| micros as f64 / 1_000.0;
        Self {
            p50_ms: ms(histogram.value_at_quantile(0.5)),
            p90_ms: ms(histogram.value_at_quantile(0.9)),
            p99_ms: ms(histogram.value_at_quantile(0.99)),
            p999_ms: ms(histogram.value_at_quantile(0.999)),
            max_ms: ms(histogram.max()),
        }
    }
}

/// What a run of jobs found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// What was measured.
    pub target: String,
    /// How many clients.
    pub clients: usize,
    /// The size of an input.
    pub input_bytes: usize,
    /// Whether jobs were not followed.
    pub submit_only: bool,
    /// The measured time.
    pub seconds: f64,
    /// Jobs that ended in it, each with the right output.
    pub jobs: u64,
    /// The same per second.
    pub jobs_per_s: f64,
    /// From sending a submission to its 202.
    pub submit: Latency,
    /// From sending a submission to the result.
    pub end_to_end: Option<Latency>,
    /// Answers 429 and 503.
    pub refused: u64,
    /// Anything else that went wrong.
    pub errors: u64,
    /// The words of the first error.
    pub first_error: Option<String>,
    /// Processor time of the server's processes in the measured time.
    pub server_cpu_s: f64,
    /// The same for each job, in microseconds.
    pub server_cpu_us_per_job: f64,
    /// Processor time of this program.
    pub driver_cpu_s: f64,
    /// The same for each job, in microseconds.
    pub driver_cpu_us_per_job: f64,
    /// The memory of the server's processes before the first job, in bytes.
    pub server_idle_bytes: u64,
    /// The most memory that the server's processes held, in bytes.
    pub server_peak_bytes: u64,
    /// What lay on the disk at the end.
    pub bytes_on_disk: Option<u64>,
    /// The same for each job that was still kept.
    pub bytes_on_disk_per_job: Option<f64>,
    /// The file system of the data.
    pub file_system: Option<String>,
    /// How many random jobs were looked at afterwards.
    pub checked: usize,
    /// What was wrong with them.
    pub mismatches: Vec<String>,
}

#[allow(clippy::cast_precision_loss, reason = "figures for people")]
fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1_048_576.0)
}

impl Report {
    /// The figures as tables.
    #[must_use]
    pub fn tables(&self) -> Vec<Table> {
        let mut latencies = Table::new(&["LATENCY, ms", ">p50", ">p90", ">p99", ">p99.9", ">max"]);
        let rows = [("submit to 202", Some(self.submit)), ("submit to result", self.end_to_end)];
        for (name, latency) in rows {
            let Some(latency) = latency else { continue };
            let cell = |ms: f64| format!("{ms:.2}");
            latencies.row([
                name.to_owned(),
                cell(latency.p50_ms),
                cell(latency.p90_ms),
                cell(latency.p99_ms),
                cell(latency.p999_ms),
                cell(latency.max_ms),
            ]);
        }
        let mut figures = Table::new(&["", ">"]);
        let mut row = |name: &str, value: String| figures.row([name.to_owned(), value]);
        row("jobs/s", format!("{:.0}", self.jobs_per_s));
        row("jobs", format!("{} in {:.1} s, {} clients", self.jobs, self.seconds, self.clients));
        row("refused (429, 503)", self.refused.to_string());
        let first = self.first_error.as_deref().map(|error| format!(", the first: {error}")).unwrap_or_default();
        row("errors", format!("{}{first}", self.errors));
        let cpu = |seconds: f64, each: f64| format!("{seconds:.2} s ({each:.0} µs a job)");
        row("server CPU", cpu(self.server_cpu_s, self.server_cpu_us_per_job));
        row("driver CPU", cpu(self.driver_cpu_s, self.driver_cpu_us_per_job));
        row("server memory", format!("{} idle, {} peak", mib(self.server_idle_bytes), mib(self.server_peak_bytes)));
        if let Some(bytes) = self.bytes_on_disk {
            let each = self.bytes_on_disk_per_job.map(|bytes| format!(" ({bytes:.0} B a job)")).unwrap_or_default();
            let on = self.file_system.as_deref().map(|name| format!(" on {name}")).unwrap_or_default();
            row("on disk", format!("{}{each}{on}", mib(bytes)));
        }
        row("looked at afterwards", format!("{} jobs, {} wrong", self.checked, self.mismatches.len()));
        vec![figures, latencies]
    }
}

/// The cost of a job at one depth of the queue.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DepthCost {
    /// How many jobs were queued.
    pub queued: u64,
    /// Wall time of a submission, in microseconds, 64 at a time: the median round.
    pub submit_us: f64,
    /// Wall time of claiming, running and finishing a job, in microseconds: the median round.
    pub run_us: f64,
    /// The server's processor time for both, in microseconds a job.
    pub server_cpu_us: f64,
    /// The server's memory, in bytes.
    pub resident_bytes: u64,
}

/// The cost with few and with many jobs queued.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Depth {
    /// With a thousand.
    pub shallow: DepthCost,
    /// With as many as were asked for.
    pub deep: DepthCost,
    /// Submit and run together, deep over shallow.
    pub ratio: f64,
    /// The same of the processor time.
    pub cpu_ratio: f64,
    /// How long the bulk submission took, in seconds.
    pub preload_s: f64,
    /// The most memory of the server, in bytes.
    pub server_peak_bytes: u64,
}

impl Depth {
    /// The figures as tables.
    #[must_use]
    pub fn tables(&self) -> Vec<Table> {
        let mut costs = Table::new(&[">QUEUED", ">SUBMIT, µs", ">CLAIM+RUN+FINISH, µs", ">SERVER CPU, µs", ">MEMORY"]);
        for cost in [self.shallow, self.deep] {
            costs.row([
                cost.queued.to_string(),
                format!("{:.1}", cost.submit_us),
                format!("{:.1}", cost.run_us),
                format!("{:.1}", cost.server_cpu_us),
                mib(cost.resident_bytes),
            ]);
        }
        let mut figures = Table::new(&["", ">"]);
        figures.row(["ratio, wall time".to_owned(), format!("{:.2}", self.ratio)]);
        figures.row(["ratio, server CPU".to_owned(), format!("{:.2}", self.cpu_ratio)]);
        figures.row(["bulk submission".to_owned(), format!("{:.1} s", self.preload_s)]);
        figures.row(["server memory, peak".to_owned(), mib(self.server_peak_bytes)]);
        vec![costs, figures]
    }
}
