//! The durable side of a history: appended as NDJSON, each record on disk before [`Recorder::record`] returns.
//!
//! Records of concurrent submitters share one `fsync`: a writer thread takes all that has queued up, writes it, syncs
//! once and lets all of them go on. The order of the lines is the order in which the records reached the writer.

use super::Record;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use tokio::sync::oneshot;

/// Why a history could not be written or read.
#[derive(Debug)]
pub struct HistoryError {
    path: PathBuf,
    reason: String,
}

impl std::fmt::Display for HistoryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "history {}: {}", self.path.display(), self.reason)
    }
}

impl std::error::Error for HistoryError {}

/// Appends to a history file. Cheap to clone; the file is closed when the last clone is gone.
#[derive(Clone, Debug)]
pub struct Recorder {
    path: PathBuf,
    lines: mpsc::Sender<Line>,
}

#[derive(Debug)]
struct Line {
    text: String,
    synced: oneshot::Sender<Result<(), String>>,
}

/// Most records that share one sync; bounds the wait of the first of them.
const RECORDS_PER_SYNC: usize = 1_024;

impl Recorder {
    /// Opens `path` for appending, creating it if need be.
    ///
    /// # Errors
    /// When the file cannot be opened or the writer thread cannot be started.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        let failed = |reason: String| HistoryError { path: path.to_owned(), reason };
        let file = OpenOptions::new().create(true).append(true).open(path).map_err(|e| failed(e.to_string()))?;
        let (lines, inbox) = mpsc::channel();
        std::thread::Builder::new()
            .name("history-writer".to_owned())
            .spawn(move || write_all(file, &inbox))
            .map_err(|e| failed(e.to_string()))?;
        Ok(Self { path: path.to_owned(), lines })
    }

    /// Appends one record; when this returns the record survives the end of this process.
    ///
    /// # Errors
    /// When the record cannot be written or synced. The load must stop then: what it did is no longer known.
    pub async fn record(&self, record: &Record) -> Result<(), HistoryError> {
        let failed = |reason: String| HistoryError { path: self.path.clone(), reason };
        let mut text = serde_json::to_string(record).map_err(|e| failed(e.to_string()))?;
        text.push('\n');
        let (synced, outcome) = oneshot::channel();
        self.lines.send(Line { text, synced }).map_err(|_| failed("the writer thread has ended".to_owned()))?;
        outcome.await.map_err(|_| failed("the writer thread has ended".to_owned()))?.map_err(failed)
    }
}

fn write_all(mut file: File, inbox: &mpsc::Receiver<Line>) {
    while let Ok(first) = inbox.recv() {
        let mut batch = vec![first];
        while batch.len() < RECORDS_PER_SYNC
            && let Ok(line) = inbox.try_recv()
        {
            batch.push(line);
        }
        let text: String = batch.iter().map(|line| line.text.as_str()).collect();
        let outcome = file.write_all(text.as_bytes()).and_then(|()| file.sync_data()).map_err(|e| e.to_string());
        for line in batch {
            // Nobody listens any more when the caller was cancelled; the record is on disk all the same.
            let _ = line.synced.send(outcome.clone());
        }
    }
}

/// Reads a history back. A last line without its newline is left out: its writer died while writing it.
///
/// # Errors
/// When the file cannot be read or a whole line is not a record.
pub fn read(path: &Path) -> Result<Vec<Record>, HistoryError> {
    let failed = |reason: String| HistoryError { path: path.to_owned(), reason };
    let mut lines = BufReader::new(File::open(path).map_err(|e| failed(e.to_string()))?);
    let mut records = Vec::new();
    let mut line = String::new();
    loop {
        line.clear();
        lines.read_line(&mut line).map_err(|e| failed(e.to_string()))?;
        if !line.ends_with('\n') {
            return Ok(records);
        }
        let number = records.len() + 1;
        records.push(serde_json::from_str(&line).map_err(|e| failed(format!("line {number}: {e}")))?);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Answer, Call};
    use serde_json::json;

    fn submit(op: u64) -> Record {
        let call = Call::Submit {
            tenant: "t".into(),
            marker: format!("m{op}"),
            key: None,
            kind: "echo".into(),
            input: json!({"n": op, "text": "line\nbreak"}),
        };
        Record::Invoke { op, call }
    }

    #[tokio::test]
    async fn records_come_back_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.ndjson");
        let written = [
            submit(1),
            Record::Ok { op: 1, answer: Answer::Submitted { job_id: "job_1".into() } },
            Record::Restart,
            Record::Info { op: 2, reason: "cut".into() },
        ];
        let recorder = Recorder::open(&path).unwrap();
        for record in &written {
            recorder.record(record).await.unwrap();
        }
        assert_eq!(read(&path).unwrap(), written);
    }

    #[tokio::test]
    async fn a_torn_last_line_is_left_out_and_a_torn_middle_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("history.ndjson");
        Recorder::open(&path).unwrap().record(&submit(1)).await.unwrap();
        let whole = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, format!("{whole}{}", &whole[..20])).unwrap();
        assert_eq!(read(&path).unwrap(), [submit(1)]);
        std::fs::write(&path, format!("{}\n{whole}", &whole[..20])).unwrap();
        assert!(read(&path).unwrap_err().to_string().contains("line 1"));
    }
}
