//! What was found: for each subject the medians of every way's turns, and how they compare.

use serde::Serialize;

use super::GatewayPlan;
use crate::screen::Table;

/// One turn of one way.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Turn {
    /// Calls that were answered.
    pub calls_per_s: f64,
    /// Half of the calls were faster.
    pub p50_ms: f64,
    /// 99 in 100 calls were faster.
    pub p99_ms: f64,
    /// From the writing of a piece at the provider to its reading at the client: half were faster.
    pub piece_p50_ms: Option<f64>,
    /// 99 in 100 were faster.
    pub piece_p99_ms: Option<f64>,
    /// Processor time of the proxy.
    pub cpu_s: f64,
}

/// One subject, measured in all ways.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// `throughput`, `latency`, `pieces` or `cache hit`.
    pub subject: &'static str,
    /// Size and kind of the answers.
    pub answers: String,
    /// Connections, each with one call under way.
    pub clients: usize,
    /// By way: the turns in their order.
    pub turns: Vec<(&'static str, Vec<Turn>)>,
}

impl Row {
    pub(super) fn new(subject: &'static str, answers: String, clients: usize) -> Self {
        Self { subject, answers, clients, turns: Vec::new() }
    }

    pub(super) fn add(&mut self, way: &'static str, turn: Turn) {
        match self.turns.iter_mut().find(|(known, _)| *known == way) {
            Some((_, turns)) => turns.push(turn),
            None => self.turns.push((way, vec![turn])),
        }
    }

    /// The median of a figure over a way's turns.
    fn median(&self, way: &str, figure: impl Fn(&Turn) -> f64) -> Option<f64> {
        let (_, turns) = self.turns.iter().find(|(known, _)| *known == way)?;
        let mut figures: Vec<f64> = turns.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        match figures.len() {
            0 => None,
            length if length % 2 == 1 => Some(figures[middle]),
            _ => Some((figures[middle - 1] + figures[middle]) / 2.0),
        }
    }
}

/// What a run of `bench gateway` found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GatewayReport {
    /// Connections at saturation.
    pub clients: usize,
    /// Turns of each way.
    pub rounds: u32,
    /// Seconds of a turn.
    pub turn_s: f64,
    /// All that was measured.
    pub rows: Vec<Row>,
    /// The most memory that Longhaul held, in bytes.
    pub longhaul_peak_bytes: u64,
    /// What was left out, and why.
    pub missing: Option<String>,
}

impl GatewayReport {
    pub(super) fn new(plan: &GatewayPlan, rows: Vec<Row>, longhaul_peak_bytes: u64, missing: Option<String>) -> Self {
        let turn_s = plan.turn.as_secs_f64();
        Self { clients: plan.clients, rounds: plan.rounds, turn_s, rows, longhaul_peak_bytes, missing }
    }

    /// The figures as tables.
    #[must_use]
    pub fn tables(&self) -> Vec<Table> {
        let of = |subjects: &'static [&'static str]| self.rows.iter().filter(|row| subjects.contains(&row.subject));
        let mut throughput = Table::new(&[
            "THROUGHPUT, calls/s",
            ">direct",
            ">nginx",
            ">longhaul",
            ">longhaul / nginx",
            ">CPU, µs a call",
        ]);
        for row in of(&["throughput"]) {
            let rate = |way| row.median(way, |turn| turn.calls_per_s);
            let ratio = rate("longhaul").zip(rate("nginx")).map(|(ours, theirs)| ours / theirs);
            let cpu = row.median("longhaul", |turn| turn.cpu_s / (turn.calls_per_s * self.turn_s) * 1e6);
            throughput.row([
                row.answers.clone(),
                shown(rate("direct"), 0),
                shown(rate("nginx"), 0),
                shown(rate("longhaul"), 0),
                shown(ratio, 2),
                shown(cpu, 0),
            ]);
        }
        let mut latency =
            Table::new(&["ONE CONNECTION, ms", ">direct p50", ">nginx adds", ">longhaul adds", ">and at p99"]);
        for row in of(&["latency", "cache hit"]) {
            let (p50, p99) = (|way| row.median(way, |turn| turn.p50_ms), |way| row.median(way, |turn| turn.p99_ms));
            let added = |way| p50(way).zip(p50("direct")).map(|(way, direct)| way - direct);
            let added_p99 = p99("longhaul").zip(p99("direct")).map(|(ours, direct)| ours - direct);
            latency.row([
                match row.subject {
                    "cache hit" => format!("{}, cache hit", row.answers),
                    _ => row.answers.clone(),
                },
                shown(p50("direct"), 3),
                shown(added("nginx"), 3),
                shown(added("longhaul"), 3),
                shown(added_p99, 3),
            ]);
        }
        let mut pieces = Table::new(&["DELAY OF A PIECE, ms", ">p50", ">p99", ">added at p99"]);
        for row in of(&["pieces"]) {
            let direct = row.median("direct", |turn| turn.piece_p99_ms.unwrap_or(0.0));
            for (way, _) in &row.turns {
                let p99 = row.median(way, |turn| turn.piece_p99_ms.unwrap_or(0.0));
                pieces.row([
                    (*way).to_owned(),
                    shown(row.median(way, |turn| turn.piece_p50_ms.unwrap_or(0.0)), 3),
                    shown(p99, 3),
                    shown(p99.zip(direct).map(|(way, direct)| way - direct), 3),
                ]);
            }
        }
        let mut memory = Table::new(&["MEMORY", ">MB"]);
        #[allow(clippy::cast_precision_loss, reason = "bytes shown as megabytes")]
        memory.row(["longhaul, the most".to_owned(), shown(Some(self.longhaul_peak_bytes as f64 / 1e6), 0)]);
        vec![throughput, latency, pieces, memory]
    }
}

fn shown(figure: Option<f64>, digits: usize) -> String {
    figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.digits$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_are_taken_over_the_turns_of_one_way() {
        let mut row = Row::new("latency", "1 KB whole".to_owned(), 1);
        let turn =
            |p50_ms| Turn { calls_per_s: 1.0, p50_ms, p99_ms: 1.0, piece_p50_ms: None, piece_p99_ms: None, cpu_s: 0.0 };
        for p50_ms in [3.0, 1.0, 2.0] {
            row.add("direct", turn(p50_ms));
            row.add("nginx", turn(p50_ms * 2.0));
        }
        assert_eq!(row.median("direct", |turn| turn.p50_ms), Some(2.0));
        assert_eq!(row.median("nginx", |turn| turn.p50_ms), Some(4.0));
        assert_eq!(row.median("longhaul", |turn| turn.p50_ms), None);
    }
}
