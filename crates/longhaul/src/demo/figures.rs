//! What was measured: for programs, and as tables and sentences for people; and whether the promises were kept.

use std::time::Duration;

use serde::Serialize;

use crate::screen::{Table, Tint};

/// The share of questions that must be answered in the end.
const ANSWERED_IN_THE_END: f64 = 0.999;

/// Everything.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    pub(super) seed: u64,
    pub(super) quick: bool,
    pub(super) seconds: f64,
    pub(super) naive: NaiveFigures,
    pub(super) longhaul: LonghaulFigures,
    pub(super) ladder: Vec<RungFigures>,
    pub(super) documents: DocumentFigures,
    /// What should have been and was not.
    pub(crate) broken: Vec<String>,
}

/// Times as they were seen, some thousands at most.
#[derive(Debug, Default)]
pub(super) struct Times(Vec<Duration>);

/// Half, and nineteen in twenty, were not slower; and the slowest. In milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(super) struct Quantiles {
    pub(super) p50_ms: f64,
    pub(super) p95_ms: f64,
    pub(super) max_ms: f64,
}

/// The load on the naive API.
#[derive(Debug, Clone, Serialize)]
pub(super) struct NaiveFigures {
    pub(super) uploads: u32,
    pub(super) answered: u32,
    pub(super) gave_up: u32,
    pub(super) failed: u32,
    /// From the upload to the answer, or to giving up.
    pub(super) wait: Quantiles,
    pub(super) model_calls: usize,
}

/// The load on Longhaul.
#[derive(Debug, Clone, Serialize)]
pub(super) struct LonghaulFigures {
    pub(super) uploads: u32,
    pub(super) accepted: u32,
    pub(super) gave_up: u32,
    pub(super) succeeded: u32,
    pub(super) failed: u32,
    /// From the upload to the 202.
    pub(super) receipt: Quantiles,
    /// From the upload to the result.
    pub(super) end: Quantiles,
    pub(super) all_done_s: f64,
    pub(super) model_calls: usize,
}

/// One rung of the ladder.
#[derive(Debug, Clone, Serialize)]
pub(super) struct RungFigures {
    pub(super) rung: &'static str,
    #[serde(skip)]
    pub(super) name: &'static str,
    pub(super) questions: u32,
    pub(super) answered: u32,
    pub(super) availability: f64,
    /// Answered by another target than the first.
    pub(super) degraded: u32,
    /// Answered without asking a provider.
    pub(super) cached: u32,
    pub(super) failed: u32,
    pub(super) gave_up: u32,
    pub(super) wait: Quantiles,
    pub(super) provider_calls: u64,
    /// What the provider bills.
    pub(super) cost_usd: f64,
}

/// The documents, before and after the kill.
#[derive(Debug, Clone, Serialize)]
pub(super) struct DocumentFigures {
    pub(super) killed_process: u32,
    /// From the start of the new process to its readiness.
    pub(super) ready_again_ms: u64,
    pub(super) steps_before: usize,
    pub(super) steps_after: usize,
    pub(super) steps_twice: usize,
    /// Calls for vectors that the provider took up in each life of the server.
    pub(super) calls_before: usize,
    pub(super) calls_after: usize,
    /// Of those before: taken up, and not stored when the server died.
    pub(super) calls_cut: usize,
    /// Calls of the second life for what had been asked in the first.
    pub(super) calls_again: usize,
    /// Steps of vectors that were missing after the kill.
    pub(super) calls_needed_after: usize,
    pub(super) documents: Vec<DocumentRow>,
    pub(super) found: Found,
}

/// One document.
#[derive(Debug, Clone, Serialize)]
pub(super) struct DocumentRow {
    pub(super) name: &'static str,
    pub(super) status: String,
    pub(super) attempts: u64,
    pub(super) pages: usize,
    pub(super) pieces: usize,
    pub(super) steps_before: usize,
    pub(super) steps_after: usize,
    pub(super) steps_twice: usize,
    #[serde(skip)]
    pub(super) vectors_before: usize,
}

/// What a search found.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Found {
    pub(super) query: &'static str,
    pub(super) page: u64,
    pub(super) text: String,
}

impl Times {
    pub(super) fn add(&mut self, time: Duration) {
        self.0.push(time);
    }

    pub(super) fn quantiles(&self) -> Quantiles {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        // The nearest rank: the first time that so many parts of a thousand do not exceed.
        let at = |permille: usize| {
            let rank = (sorted.len() * permille).div_ceil(1_000).max(1);
            let micros = sorted.get(rank - 1).map_or(0, Duration::as_micros);
            (micros as f64 / 100.0).round() / 10.0
        };
        Quantiles { p50_ms: at(500), p95_ms: at(950), max_ms: at(1_000) }
    }
}

impl NaiveFigures {
    pub(super) fn in_words(&self) -> String {
        let failed = if self.failed > 0 { format!(", {} failed", self.failed) } else { String::new() };
        format!(
            "{} of {} answered in time, {} gave up and have nothing to come back for{failed}",
            self.answered, self.uploads, self.gave_up
        )
    }
}

impl LonghaulFigures {
    pub(super) fn in_words(&self) -> String {
        format!(
            "{} of {} got their 202, half of them within {}; {} done after {:.1} s",
            self.accepted,
            self.uploads,
            milliseconds(self.receipt.p50_ms),
            if self.succeeded == self.uploads { "all".to_owned() } else { self.succeeded.to_string() },
            self.all_done_s
        )
    }
}

impl RungFigures {
    pub(super) fn in_words(&self) -> String {
        format!(
            "{} answered, P50 {}, P95 {}, {} calls, {}",
            percent(self.availability),
            milliseconds(self.wait.p50_ms),
            milliseconds(self.wait.p95_ms),
            self.provider_calls,
            dollars(self.cost_usd)
        )
    }
}

impl DocumentFigures {
    pub(super) fn in_words(&self) -> String {
        let done = self.documents.iter().filter(|row| row.status == "succeeded").count();
        format!(
            "{done} of {} documents done: {} steps before the kill, {} after, {} twice. The provider's ledger: {} calls \
             before, {} of them not stored when it died; {} after, {} of them for the same.",
            self.documents.len(),
            self.steps_before,
            self.steps_after,
            self.steps_twice,
            self.calls_before,
            self.calls_cut,
            self.calls_after,
            self.calls_again
        )
    }
}

impl Report {
    /// Holds the figures against what they should be.
    pub(super) fn judged(mut self) -> Self {
        let mut broken = Vec::new();
        let mut must = |kept: bool, what: String| {
            if !kept {
                broken.push(what);
            }
        };
        let Self { longhaul, ladder, documents, .. } = &self;
        must(
            longhaul.accepted == longhaul.uploads && longhaul.succeeded == longhaul.uploads,
            format!("every upload is accepted and done; {} of {} were", longhaul.succeeded, longhaul.uploads),
        );
        let top = ladder.last().map_or(0.0, |rung| rung.availability);
        must(top >= ANSWERED_IN_THE_END, format!("99.9 % are answered behind all layers; {} were", percent(top)));
        for row in &documents.documents {
            must(row.status == "succeeded", format!("{} ends well; it is {}", row.name, row.status));
        }
        must(documents.steps_twice == 0, format!("no step is stored twice; {} were", documents.steps_twice));
        must(
            documents.steps_before > 0 && documents.steps_after > 0,
            "the server is killed in the middle; it was not".to_owned(),
        );
        must(
            documents.calls_after == documents.calls_needed_after,
            format!(
                "the provider is asked again for nothing that was stored: {} steps were missing, {} calls came",
                documents.calls_needed_after, documents.calls_after
            ),
        );
        self.broken = broken;
        self
    }

    /// What it comes to.
    pub(super) fn in_words(&self) -> Vec<String> {
        let Self { naive, longhaul, ladder, documents, .. } = self;
        let mut lines = vec![format!(
            "Work within the request lost {} of {} uploads; as jobs {} of {} were lost.",
            naive.uploads - naive.answered,
            naive.uploads,
            longhaul.uploads - longhaul.succeeded,
            longhaul.uploads
        )];
        if let (Some(bottom), Some(top)) = (ladder.first(), ladder.last()) {
            let saved =
                ladder.iter().rev().nth(1).map(|below| 1.0 - top.cost_usd / below.cost_usd.max(f64::MIN_POSITIVE));
            lines.push(format!(
                "The same provider answered {} alone and {} behind all layers; the cache saved {} of the cost.",
                percent(bottom.availability),
                percent(top.availability),
                percent(saved.unwrap_or_default())
            ));
        }
        lines.push(format!(
            "After kill -9 the server was ready in {} ms, went on where it was, and did nothing again that was stored.",
            documents.ready_again_ms
        ));
        lines.push(format!("All this took {:.0} s.", self.seconds));
        lines
    }
}

/// The first act.
pub(super) fn side_by_side(naive: &NaiveFigures, longhaul: &LonghaulFigures) -> Table {
    let mut table = Table::new(&["", ">NAIVE API", ">LONGHAUL"]);
    let share = |part: u32, whole: u32| format!("{part} ({})", percent(f64::from(part) / f64::from(whole.max(1))));
    let mut row = |name: &str, one: String, other: String| table.row([name.to_owned(), one, other]);
    row("uploads", naive.uploads.to_string(), longhaul.uploads.to_string());
    row("answered in time", share(naive.answered, naive.uploads), share(longhaul.accepted, longhaul.uploads));
    row("answered after, P50", milliseconds(naive.wait.p50_ms), milliseconds(longhaul.receipt.p50_ms));
    row("answered after, P95", milliseconds(naive.wait.p95_ms), milliseconds(longhaul.receipt.p95_ms));
    row("gave up", naive.gave_up.to_string(), longhaul.gave_up.to_string());
    row("got their result", share(naive.answered, naive.uploads), share(longhaul.succeeded, longhaul.uploads));
    row("calls of the model", naive.model_calls.to_string(), longhaul.model_calls.to_string());
    row(
        "of these for nobody",
        naive.model_calls.saturating_sub(naive.answered as usize).to_string(),
        longhaul.model_calls.saturating_sub(longhaul.succeeded as usize).to_string(),
    );
    table
}

/// The second act.
pub(super) fn ladder(rungs: &[RungFigures]) -> Table {
    let mut table = Table::new(&["LAYERS", ">ANSWERED", ">DEGRADED", ">FROM CACHE", ">P50", ">P95", ">CALLS", ">COST"]);
    let full = |rung: &RungFigures| rung.availability >= ANSWERED_IN_THE_END;
    for rung in rungs {
        let share = |part: u32| percent(f64::from(part) / f64::from(rung.questions.max(1)));
        table.tinted([
            (rung.name.to_owned(), Tint::Plain),
            (percent(rung.availability), if full(rung) { Tint::Green } else { Tint::Yellow }),
            (share(rung.degraded), Tint::Plain),
            (share(rung.cached), Tint::Plain),
            (milliseconds(rung.wait.p50_ms), Tint::Plain),
            (milliseconds(rung.wait.p95_ms), Tint::Plain),
            (rung.provider_calls.to_string(), Tint::Plain),
            (dollars(rung.cost_usd), Tint::Plain),
        ]);
    }
    table
}

/// The third act.
pub(super) fn documents(figures: &DocumentFigures) -> Table {
    let mut table =
        Table::new(&["DOCUMENT", "STATUS", ">ATTEMPTS", ">PAGES", ">PIECES", ">STEPS BEFORE", ">AFTER", ">TWICE"]);
    for row in &figures.documents {
        let mut cells = vec![(row.name.to_owned(), Tint::Plain), (row.status.clone(), Tint::of_status(&row.status))];
        let numbers = [row.pages, row.pieces, row.steps_before, row.steps_after, row.steps_twice];
        cells.push((row.attempts.to_string(), Tint::Plain));
        cells.extend(numbers.map(|number| (number.to_string(), Tint::Plain)));
        table.tinted(cells);
    }
    table
}

fn percent(share: f64) -> String {
    // A share just below the whole must not be rounded up to it.
    format!("{:.1} %", (share * 1_000.0).floor() / 10.0)
}

fn milliseconds(ms: f64) -> String {
    match ms {
        ms if ms >= 999.5 => format!("{:.1} s", ms / 1_000.0),
        ms if ms >= 9.95 => format!("{ms:.0} ms"),
        ms => format!("{ms:.1} ms"),
    }
}

fn dollars(amount: f64) -> String {
    format!("${amount:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_times_that_were_seen() {
        let mut times = Times::default();
        assert_eq!(times.quantiles(), Quantiles::default());
        for ms in (1..=100).rev() {
            times.add(Duration::from_millis(ms));
        }
        assert_eq!(times.quantiles(), Quantiles { p50_ms: 50.0, p95_ms: 95.0, max_ms: 100.0 });
    }

    #[test]
    fn nearly_all_is_not_called_all() {
        assert_eq!([percent(0.9999), percent(1.0), percent(0.9)], ["99.9 %", "100.0 %", "90.0 %"]);
    }

    #[test]
    fn times_have_the_unit_that_fits() {
        assert_eq!([milliseconds(0.84), milliseconds(98.4), milliseconds(2_000.2)], ["0.8 ms", "98 ms", "2.0 s"]);
    }

    fn good() -> Report {
        let longhaul = LonghaulFigures {
            uploads: 2,
            accepted: 2,
            gave_up: 0,
            succeeded: 2,
            failed: 0,
            receipt: Quantiles::default(),
            end: Quantiles::default(),
            all_done_s: 1.0,
            model_calls: 2,
        };
        let naive = NaiveFigures { uploads: 2, answered: 1, gave_up: 1, failed: 0, wait: longhaul.end, model_calls: 2 };
        let rung = RungFigures {
            rung: "cache",
            name: "+ cache",
            questions: 1_000,
            answered: 999,
            availability: 0.999,
            degraded: 0,
            cached: 700,
            failed: 1,
            gave_up: 0,
            wait: longhaul.end,
            provider_calls: 300,
            cost_usd: 0.1,
        };
        let row = DocumentRow {
            name: "a.pdf",
            status: "succeeded".to_owned(),
            attempts: 2,
            pages: 1,
            pieces: 40,
            steps_before: 3,
            steps_after: 1,
            steps_twice: 0,
            vectors_before: 1,
        };
        let documents = DocumentFigures {
            killed_process: 7,
            ready_again_ms: 20,
            steps_before: 3,
            steps_after: 1,
            steps_twice: 0,
            calls_before: 2,
            calls_after: 1,
            calls_cut: 1,
            calls_again: 1,
            calls_needed_after: 1,
            documents: vec![row],
            found: Found { query: "q", page: 1, text: String::new() },
        };
        let broken = Vec::new();
        Report { seed: 1, quick: true, seconds: 1.0, naive, longhaul, ladder: vec![rung], documents, broken }
    }

    #[test]
    fn every_promise_that_is_not_kept_is_named() {
        assert_eq!(good().judged().broken, Vec::<String>::new());
        let mut report = good();
        report.longhaul.succeeded = 1;
        report.ladder[0].availability = 0.998;
        report.documents.steps_twice = 1;
        report.documents.calls_after = 2;
        report.documents.documents[0].status = "failed".to_owned();
        let broken = report.judged().broken;
        assert_eq!(broken.len(), 5, "{broken:?}");
    }
}
