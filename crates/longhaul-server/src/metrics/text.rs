//! The text format that Prometheus reads, version 0.0.4: families with their HELP and TYPE, then their samples.
//!
//! Written here and not by a library, because most of what is told is not counted for it: it is read, at the moment of the
//! scrape, from where the house keeps it anyway.

use std::fmt::Write as _;

use super::instruments::Taken;

/// The media type of a page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What a family counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the process ends.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What a scrape is answered with.
///
/// ```
/// use longhaul_server::metrics::{Kind, Page};
/// let mut page = Page::default();
/// page.family(Kind::Gauge, "oven_degrees", "How hot the oven is.").value(&[("oven", "left")], 180.5);
/// assert!(page.into_text().ends_with("oven_degrees{oven=\"left\"} 180.5\n"));
/// ```
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

/// Labels of a sample: names that the program has, values from anywhere.
pub type Labels<'a> = &'a [(&'static str, &'a str)];

impl Page {
    /// Begins a family. All its samples come before the next one begins.
    pub fn family(&mut self, kind: Kind, name: &'static str, help: &'static str) -> Family<'_> {
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {}", kind.name());
        Family { text: &mut self.text, name }
    }

    /// A family with one sample.
    pub fn gauge(&mut self, name: &'static str, help: &'static str, value: f64) {
        self.family(Kind::Gauge, name, help).value(&[], value);
    }

    /// A family with one sample.
    pub fn counter(&mut self, name: &'static str, help: &'static str, count: u64) {
        self.family(Kind::Counter, name, help).count(&[], count);
    }

    /// The whole of it.
    pub fn into_text(self) -> String {
        self.text
    }
}

/// A family that is being written.
#[derive(Debug)]
pub struct Family<'a> {
    text: &'a mut String,
    name: &'static str,
}

impl Family<'_> {
    /// A sample that is a whole number.
    pub fn count(&mut self, labels: Labels<'_>, count: u64) -> &mut Self {
        self.sample("", labels, None, count);
        self
    }

    /// A sample.
    pub fn value(&mut self, labels: Labels<'_>, value: f64) -> &mut Self {
        self.sample("", labels, None, value);
        self
    }

    /// All samples of a histogram.
    pub(super) fn histogram(&mut self, labels: Labels<'_>, taken: &Taken) -> &mut Self {
        let mut below = 0;
        for (edge, count) in taken.buckets() {
            below += count;
            self.sample("_bucket", labels, Some(Edge(Some(edge))), below);
        }
        self.sample("_bucket", labels, Some(Edge(None)), taken.count());
        self.sample("_sum", labels, None, taken.sum());
        self.sample("_count", labels, None, taken.count());
        self
    }

    fn sample(&mut self, suffix: &str, labels: Labels<'_>, edge: Option<Edge>, value: impl std::fmt::Display) {
        let text = &mut *self.text;
        text.push_str(self.name);
        text.push_str(suffix);
        let mut before = '{';
        for (name, value) in labels {
            text.push(before);
            text.push_str(name);
            text.push_str("=\"");
            escape(value, text);
            text.push('"');
            before = ',';
        }
        if let Some(Edge(edge)) = edge {
            text.push(before);
            let _ = match edge {
                Some(edge) => write!(text, "le=\"{edge}\""),
                None => write!(text, "le=\"+Inf\""),
            };
            before = ',';
        }
        if before == ',' {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
    }
}

/// The upper edge of a bucket; none: it takes everything.
struct Edge(Option<f64>);

fn escape(value: &str, text: &mut String) {
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::instruments::{Edges, Histogram};

    #[test]
    fn what_stands_in_a_label_cannot_break_out_of_it() {
        let mut page = Page::default();
        page.family(Kind::Counter, "a_total", "Letters.").count(&[("b", "say \"hi\"\\\n} 7")], 3).count(&[], 4);
        let text = page.into_text();
        assert_eq!(
            text,
            "# HELP a_total Letters.\n# TYPE a_total counter\na_total{b=\"say \\\"hi\\\"\\\\\\n} 7\"} 3\na_total 4\n"
        );
    }

    #[test]
    fn buckets_are_told_cumulated_and_the_last_takes_all() {
        static EDGES: Edges = Edges { upper: &[1_000, 2_500], per_unit: 1_000.0 };
        let histogram = Histogram::new(&EDGES);
        for value in [1, 1_000, 1_001, 99_000] {
            histogram.record(value);
        }
        let mut page = Page::default();
        page.family(Kind::Histogram, "h_seconds", "Time.").histogram(&[("k", "v")], &histogram.take());
        let told: Vec<String> = page.into_text().lines().skip(2).map(str::to_owned).collect();
        assert_eq!(
            told,
            [
                "h_seconds_bucket{k=\"v\",le=\"1\"} 2",
                "h_seconds_bucket{k=\"v\",le=\"2.5\"} 3",
                "h_seconds_bucket{k=\"v\",le=\"+Inf\"} 4",
                "h_seconds_sum{k=\"v\"} 101.002",
                "h_seconds_count{k=\"v\"} 4",
            ]
        );
    }
}
