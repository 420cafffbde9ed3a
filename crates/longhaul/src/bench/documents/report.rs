//! What was found.

use serde::Serialize;

use crate::screen::Table;

/// One round of documents.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Round {
    /// What was read.
    pub what: &'static str,
    /// How many documents.
    pub documents: usize,
    /// How many pages, over all of them.
    pub pages: usize,
    /// From the first upload to the last result, in seconds.
    pub seconds: f64,
    /// Pages a second.
    pub pages_per_s: f64,
    /// Memory of the server and its readers.
    pub memory: Memory,
}

/// Memory over a round, in bytes: medians of the first and of the last quarter of the looks, and the most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The server, in the first quarter.
    pub server_first: u64,
    /// The server, in the last quarter.
    pub server_last: u64,
    /// The server, at most.
    pub server_most: u64,
    /// The processes that read and recognise, together, at most.
    pub readers_most: u64,
}

impl Memory {
    /// Of looks at the server and its readers.
    pub(super) fn of(looks: &[(u64, u64)]) -> Self {
        let quarter = looks.len().div_ceil(4);
        let median = |looks: &[(u64, u64)]| {
            let mut server: Vec<u64> = looks.iter().map(|(server, _)| *server).collect();
            server.sort_unstable();
            server.get(server.len() / 2).copied().unwrap_or(0)
        };
        Self {
            server_first: median(&looks[..quarter]),
            server_last: median(&looks[looks.len() - quarter..]),
            server_most: looks.iter().map(|(server, _)| *server).max().unwrap_or(0),
            readers_most: looks.iter().map(|(_, readers)| *readers).max().unwrap_or(0),
        }
    }
}

/// How many words came out right.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Accuracy {
    /// Of what pages.
    pub pages: &'static str,
    /// Where their text is from.
    pub source: String,
    /// Words that are known to be on them.
    pub words: usize,
    /// The part of them that came out, less those that came out and are not on them.
    pub accuracy: f64,
}

/// All that was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DocumentsReport {
    /// How fast.
    pub rounds: Vec<Round>,
    /// How well.
    pub accuracy: Vec<Accuracy>,
    /// What was left out, and why.
    pub missing: Option<String>,
}

impl DocumentsReport {
    /// For people.
    #[must_use]
    pub fn tables(&self) -> Vec<Table> {
        let mut rounds = Table::new(&[
            "READ",
            ">DOCUMENTS",
            ">PAGES",
            ">SECONDS",
            ">PAGES/S",
            ">SERVER FIRST, MiB",
            ">LAST",
            ">MOST",
            ">READERS MOST, MiB",
        ]);
        for round in &self.rounds {
            let mib = |bytes: u64| (bytes >> 20).to_string();
            rounds.row([
                round.what.to_owned(),
                round.documents.to_string(),
                round.pages.to_string(),
                format!("{:.2}", round.seconds),
                format!("{:.1}", round.pages_per_s),
                mib(round.memory.server_first),
                mib(round.memory.server_last),
                mib(round.memory.server_most),
                mib(round.memory.readers_most),
            ]);
        }
        let mut accuracy = Table::new(&["PAGES", "TEXT FROM", ">WORDS", ">RIGHT, %"]);
        for row in &self.accuracy {
            let right = format!("{:.2}", row.accuracy * 100.0);
            accuracy.row([row.pages.to_owned(), row.source.clone(), row.words.to_string(), right]);
        }
        let mut tables = vec![rounds, accuracy];
        if let Some(missing) = &self.missing {
            let mut table = Table::new(&["LEFT OUT"]);
            table.row([missing]);
            tables.push(table);
        }
        tables
    }
}

/// The part of the known words that was read, less what was read and is not there: one minus the word error rate, which
/// counts the words to exchange, to add and to remove (Levenshtein), and not below nothing.
#[must_use]
#[allow(clippy::cast_precision_loss, reason = "pages have thousands of words")]
pub fn word_accuracy(known: &str, read: &str) -> f64 {
    let (known, read): (Vec<&str>, Vec<&str>) = (known.split_whitespace().collect(), read.split_whitespace().collect());
    let mut row: Vec<usize> = (0..=read.len()).collect();
    for (index, word) in known.iter().enumerate() {
        let mut before = std::mem::replace(&mut row[0], index + 1);
        for (at, other) in read.iter().enumerate() {
            let exchanged = before + usize::from(word != other);
            before = row[at + 1];
            row[at + 1] = exchanged.min(before + 1).min(row[at] + 1);
        }
    }
    let wrong = row.last().copied().unwrap_or(0);
    (1.0 - wrong as f64 / known.len().max(1) as f64).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_are_wrong_missing_or_too_many_count() {
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(word_accuracy("a b c d", "a b  c\nd"), 1.0));
        assert!(close(word_accuracy("a b c d", "a x c d"), 0.75));
        assert!(close(word_accuracy("a b c d", "a c d"), 0.75));
        assert!(close(word_accuracy("a b c d", "a b c d e"), 0.75));
        assert!(close(word_accuracy("a b", "x y z q r"), 0.0));
    }

    #[test]
    fn memory_is_the_median_of_quarters() {
        let looks: Vec<(u64, u64)> = [9, 1, 1, 1, 5, 2, 2, 99].iter().map(|&server| (server, server + 1)).collect();
        let memory = Memory::of(&looks);
        assert_eq!(memory, Memory { server_first: 9, server_last: 99, server_most: 99, readers_most: 100 });
        assert_eq!(Memory::of(&[]), Memory::default());
    }
}
