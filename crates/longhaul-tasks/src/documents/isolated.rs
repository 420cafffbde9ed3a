//! Reading each document in a process of its own, which is started for it, confined, and ended with it.
//!
//! The other side is [`longhaul_documents::isolated`]: this program itself, started in the mode that it has for that. What
//! a document can do to it is to end it. A process that crashes, wants more memory or processor time than it may have, or
//! does not answer in time is ended; the page that it read gets an error that says which of these it was, and the next page
//! is read by a new process. After [`MAX_DEATHS`] of them the rest of the document is given up. A process that is killed from
//! outside says nothing about its page: a new one is asked once more before that counts.

use std::{
    ffi::OsString,
    path::PathBuf,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use longhaul_core::{Clock, Span};
use longhaul_documents::{
    DocumentError, Format, Limits, Page, PageError, Raster, Warning,
    isolated::{
        Confined, Confinement, Ending,
        wire::{self, Answer, Ask, HEAD},
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, ChildStdout, Command},
    sync::Mutex,
};

use super::{Extractor, OpenDocument, Upload};

/// Pages of one document that may end their reader before the rest is given up: each costs a process and its whole share
/// of time.
pub const MAX_DEATHS: usize = 16;
/// Bytes of a reader's complaints that are looked at.
const MAX_COMPLAINTS: u64 = 4_096;
/// Memory of a reader beside the document, in bytes: a large page drawn takes the half of it.
const BASE_MEMORY: u64 = 512 << 20;
/// Memory of a reader for each byte of its document: a PDF is held as it came and once more as objects.
const MEMORY_PER_BYTE: u64 = 4;

/// How readers are started and held.
#[derive(Debug, Clone)]
pub struct IsolatedOptions {
    /// The program, which calls [`longhaul_documents::isolated::exit_code`] when it is started with the arguments.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// How much of a document is read.
    pub limits: Limits,
    /// Bytes of memory that a reader may take; none: 512 MiB, and four bytes more for each of the document's.
    pub max_memory: Option<u64>,
    /// Seconds of processor time to open a document, and again for each page.
    pub max_cpu_s: u64,
    /// Seconds to wait for an answer, whatever the reader does meanwhile. Above `max_cpu_s`, since readers share cores.
    pub patience_s: u64,
}

impl IsolatedOptions {
    /// Starts the program at `program` with one argument, `mode`; 30 s of processor time for a page, 120 s of patience.
    pub fn of(program: PathBuf, mode: &str) -> Self {
        Self {
            program,
            arguments: vec![mode.into()],
            limits: Limits::default(),
            max_memory: None,
            max_cpu_s: 30,
            patience_s: 120,
        }
    }
}

/// Reads documents in processes of their own.
#[derive(Clone)]
pub struct Isolated {
    options: Arc<IsolatedOptions>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Isolated {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Isolated").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Isolated {
    /// Readers as `options` say; `clock` measures how long they are waited for.
    pub fn new(options: IsolatedOptions, clock: Arc<dyn Clock>) -> Self {
        Self { options: Arc::new(options), clock }
    }

    fn max_memory(&self, document: usize) -> u64 {
        let usual = BASE_MEMORY.saturating_add((document as u64).saturating_mul(MEMORY_PER_BYTE));
        self.options.max_memory.unwrap_or(usual)
    }

    /// Starts a reader and has it open the document.
    async fn start(&self, upload: &Upload) -> Result<Result<(Reader, Opened), DocumentError>, Death> {
        let mut reader = Reader::start(&self.options)?;
        let confinement = Confinement {
            max_memory: Some(self.max_memory(upload.bytes.len())),
            max_cpu_s: Some(self.options.max_cpu_s),
            shut_in: true,
        };
        let ask = Ask::Open {
            content_type: upload.content_type.clone(),
            file_name: upload.file_name.clone(),
            limits: self.options.limits,
            confinement,
        };
        match self.in_time(&mut reader, &ask, &upload.bytes).await? {
            (Answer::Opened { format, title, page_count, warnings, confined }, _) => {
                tell_gaps(confined);
                Ok(Ok((reader, Opened { format, title, page_count, warnings })))
            }
            (Answer::Refused { error }, _) => Ok(Err(error)),
            _ => Err(Death::Unavailable("the reading process answered another question".to_owned())),
        }
    }

    /// As [`Isolated::start`], once more if the first reader was killed.
    async fn start_unless_killed(&self, upload: &Upload) -> Result<Result<(Reader, Opened), DocumentError>, Death> {
        match self.start(upload).await {
            Err(Death::Ended(Ending::Killed)) => self.start(upload).await,
            started => started,
        }
    }

    /// Asks a reader, no longer than patience lasts. A reader that has failed once is not asked again.
    async fn in_time(&self, reader: &mut Reader, ask: &Ask, bytes: &[u8]) -> Result<(Answer, Vec<u8>), Death> {
        let max = self.options.limits.max_pixels;
        tokio::select! {
            biased;
            answer = reader.ask(ask, bytes, max) => answer,
            () = self.clock.sleep(Span::from_secs(self.options.patience_s)) => Err(Death::OutOfPatience),
        }
    }
}

#[async_trait]
impl Extractor for Isolated {
    fn max_bytes(&self) -> usize {
        self.options.limits.max_bytes()
    }

    fn max_document_chars(&self) -> usize {
        self.options.limits.max_document_chars
    }

    async fn open(&self, upload: Upload) -> Result<Box<dyn OpenDocument>, DocumentError> {
        match self.start_unless_killed(&upload).await {
            Ok(Ok((reader, opened))) => Ok(Box::new(IsolatedDocument {
                by: self.clone(),
                upload,
                opened,
                reader: Mutex::new(Some(reader)),
                deaths: AtomicUsize::new(0),
            })),
            Ok(Err(error)) => Err(error),
            Err(death) => Err(self.of_document(death, upload.bytes.len())),
        }
    }
}

impl Isolated {
    fn of_document(&self, death: Death, document: usize) -> DocumentError {
        match death {
            Death::Ended(Ending::Crashed) => DocumentError::ParserFailed,
            Death::Ended(Ending::OutOfMemory) => {
                DocumentError::OutOfMemory { max_mib: self.max_memory(document) >> 20 }
            }
            Death::Ended(Ending::OutOfTime) => DocumentError::OutOfTime { max_s: self.options.max_cpu_s },
            Death::OutOfPatience => DocumentError::OutOfTime { max_s: self.options.patience_s },
            Death::Ended(Ending::Killed) => {
                DocumentError::ReaderUnavailable { detail: "it was killed from outside".to_owned() }
            }
            Death::Unavailable(detail) => DocumentError::ReaderUnavailable { detail },
        }
    }
}

struct Opened {
    format: Format,
    title: Option<String>,
    page_count: usize,
    warnings: Vec<Warning>,
}

struct IsolatedDocument {
    by: Isolated,
    /// Kept for the reader that comes after one that has died.
    upload: Upload,
    opened: Opened,
    /// Taken out while it is asked: whoever drops a question drops the reader, which is in the middle of an answer.
    reader: Mutex<Option<Reader>>,
    deaths: AtomicUsize,
}

impl IsolatedDocument {
    async fn ask(&self, page: usize, ask: Ask) -> Result<Result<(Answer, Vec<u8>), PageError>, DocumentError> {
        let mut place = self.reader.lock().await;
        let failures = self.deaths.load(Ordering::Relaxed);
        if failures >= MAX_DEATHS {
            return Ok(Err(PageError::GivenUp { page, failures }));
        }
        let mut reader = match place.take() {
            Some(reader) => reader,
            None => self.another().await?,
        };
        let mut answer = self.by.in_time(&mut reader, &ask, &[]).await;
        if let Err(Death::Ended(Ending::Killed)) = answer {
            tracing::warn!(page, "a reading process was killed from outside; its page is asked for once more");
            reader = self.another().await?;
            answer = self.by.in_time(&mut reader, &ask, &[]).await;
        }
        match answer {
            Ok((Answer::PageRefused { error }, _)) => {
                *place = Some(reader);
                Ok(Err(error))
            }
            Ok(answer) => {
                *place = Some(reader);
                Ok(Ok(answer))
            }
            Err(Death::Unavailable(detail)) => Err(DocumentError::ReaderUnavailable { detail }),
            Err(death) => {
                self.deaths.fetch_add(1, Ordering::Relaxed);
                Ok(Err(self.of_page(page, &death)))
            }
        }
    }

    /// A reader for the pages that are left.
    async fn another(&self) -> Result<Reader, DocumentError> {
        match self.by.start_unless_killed(&self.upload).await {
            Ok(Ok((reader, opened))) if opened.page_count == self.opened.page_count => Ok(reader),
            // The same bytes are read alike.
            Ok(Ok(_)) => Err(DocumentError::ParserFailed),
            Ok(Err(error)) => Err(error),
            Err(death) => Err(self.by.of_document(death, self.upload.bytes.len())),
        }
    }

    fn of_page(&self, page: usize, death: &Death) -> PageError {
        let options = &self.by.options;
        match death {
            Death::Ended(Ending::OutOfMemory) => {
                PageError::OutOfMemory { page, max_mib: self.by.max_memory(self.upload.bytes.len()) >> 20 }
            }
            Death::Ended(Ending::OutOfTime) => PageError::OutOfTime { page, max_s: options.max_cpu_s },
            Death::OutOfPatience => PageError::OutOfTime { page, max_s: options.patience_s },
            Death::Ended(Ending::Crashed | Ending::Killed) | Death::Unavailable(_) => PageError::ParserFailed { page },
        }
    }
}

#[async_trait]
impl OpenDocument for IsolatedDocument {
    fn format(&self) -> Format {
        self.opened.format
    }

    fn title(&self) -> Option<&str> {
        self.opened.title.as_deref()
    }

    fn page_count(&self) -> usize {
        self.opened.page_count
    }

    fn warnings(&self) -> &[Warning] {
        &self.opened.warnings
    }

    async fn page(&self, number: usize) -> Result<Result<Page, PageError>, DocumentError> {
        match self.ask(number, Ask::Page { number }).await? {
            Ok((Answer::Page { page }, _)) => Ok(Ok(page)),
            Ok(_) => Ok(Err(PageError::ParserFailed { page: number })),
            Err(error) => Ok(Err(error)),
        }
    }

    async fn raster(&self, number: usize, dpi: u32) -> Result<Result<Raster, PageError>, DocumentError> {
        match self.ask(number, Ask::Raster { number, dpi }).await? {
            Ok((Answer::Raster { width, height, dpi }, pixels))
                if pixels.len() as u64 == u64::from(width) * u64::from(height) =>
            {
                Ok(Ok(Raster { width, height, dpi, pixels }))
            }
            Ok(_) => Ok(Err(PageError::ParserFailed { page: number })),
            Err(error) => Ok(Err(error)),
        }
    }
}

/// Why a reader gives no answer.
#[derive(Debug)]
enum Death {
    Ended(Ending),
    OutOfPatience,
    Unavailable(String),
}

/// A process that has a document open. Dropped, it is killed.
struct Reader {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
}

impl Reader {
    fn start(options: &IsolatedOptions) -> Result<Self, Death> {
        let unavailable = |error: String| Death::Unavailable(format!("{}: {error}", options.program.display()));
        let mut command = Command::new(&options.program);
        command
            .args(&options.arguments)
            // Nothing that this process knows is for a reader to know.
            .env_clear()
            // The program's allocator takes a large share of address space at once, which would count as used.
            .env("MIMALLOC_ARENA_RESERVE", "65536")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| unavailable(error.to_string()))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(input), Some(output)) => Ok(Self { child, input, output }),
            _ => Err(unavailable("it has no standard input or output".to_owned())),
        }
    }

    async fn ask(&mut self, ask: &Ask, bytes: &[u8], max_bytes: usize) -> Result<(Answer, Vec<u8>), Death> {
        match self.exchange(ask, bytes, max_bytes).await {
            Ok(answer) => Ok(answer),
            Err(Broken::Answer(what)) => {
                tracing::warn!(what, "a reading process answered what is not understood");
                Err(Death::Ended(Ending::Crashed))
            }
            Err(Broken::Pipe(_)) => Err(self.ended().await),
        }
    }

    async fn exchange(&mut self, ask: &Ask, bytes: &[u8], max_bytes: usize) -> Result<(Answer, Vec<u8>), Broken> {
        let head = wire::head(ask, bytes.len()).map_err(|error| Broken::Answer(error.to_string()))?;
        self.input.write_all(&head).await.map_err(Broken::Pipe)?;
        self.input.write_all(bytes).await.map_err(Broken::Pipe)?;
        self.input.flush().await.map_err(Broken::Pipe)?;
        let mut head = [0; HEAD];
        self.output.read_exact(&mut head).await.map_err(Broken::Pipe)?;
        let (json, more) = wire::lengths(&head, max_bytes).map_err(Broken::Answer)?;
        let json = self.read(json).await?;
        let bytes = self.read(more).await?;
        Ok((wire::read(&json).map_err(Broken::Answer)?, bytes))
    }

    /// Reads so many bytes, taking memory only for those that come.
    async fn read(&mut self, length: usize) -> Result<Vec<u8>, Broken> {
        let mut bytes = Vec::new();
        let mut rest = (&mut self.output).take(length as u64);
        rest.read_to_end(&mut bytes).await.map_err(Broken::Pipe)?;
        if bytes.len() == length { Ok(bytes) } else { Err(Broken::Pipe(std::io::ErrorKind::UnexpectedEof.into())) }
    }

    /// What the end of the process means. It has closed its output, so it is about to end if it has not; if it only
    /// pretends to, whoever waits loses patience.
    async fn ended(&mut self) -> Death {
        use std::os::unix::process::ExitStatusExt as _;
        let mut complained = Vec::new();
        if let Some(stderr) = self.child.stderr.take() {
            // What cannot be read was not said.
            let _ = stderr.take(MAX_COMPLAINTS).read_to_end(&mut complained).await;
        }
        match self.child.wait().await {
            Ok(status) => Death::Ended(Ending::of(status.signal(), &String::from_utf8_lossy(&complained))),
            Err(error) => Death::Unavailable(error.to_string()),
        }
    }
}

enum Broken {
    /// The process went away.
    Pipe(#[allow(dead_code, reason = "for who debugs")] std::io::Error),
    /// The process said something else.
    Answer(String),
}

/// Says once what this system does not grant.
fn tell_gaps(confined: Confined) {
    static TOLD: std::sync::Once = std::sync::Once::new();
    let Confined { memory, time, shut_in } = confined;
    if !(memory && time && shut_in) {
        TOLD.call_once(|| {
            tracing::warn!(memory, time, shut_in, "this system confines reading processes only in part");
        });
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use longhaul_engine::SystemClock;

    use super::*;

    /// A program that plays readers: those whose numbers are listed are killed once they have the document open, or before
    /// when their number is negative; all others give the same page to whoever asks.
    async fn open(killed: &str) -> (tempfile::TempDir, Result<Box<dyn OpenDocument>, DocumentError>) {
        let folder = tempfile::tempdir().unwrap();
        let confined = Confined { memory: true, time: true, shut_in: true };
        let (title, warnings) = (None, Vec::new());
        let opened = Answer::Opened { format: Format::Text, title, page_count: 3, warnings, confined };
        let page = Answer::Page { page: Page { number: 1, text: "words".to_owned(), ..Page::default() } };
        for (name, answer) in [("opened", opened), ("page", page)] {
            std::fs::write(folder.path().join(name), wire::head(&answer, 0).unwrap()).unwrap();
        }
        let script = format!(
            "cd {folder}; echo >> readers; n=$(wc -l < readers | tr -d ' ')\n\
             case ' {killed} ' in *\" -$n \"*) kill -9 $$;; esac\n\
             cat opened\n\
             case ' {killed} ' in *\" $n \"*) kill -9 $$;; esac\n\
             cat page page page; cat > /dev/null\n",
            folder = folder.path().display(),
        );
        let path = folder.path().join("reader");
        std::fs::write(&path, script).unwrap();
        let mut options = IsolatedOptions::of("/bin/sh".into(), "");
        options.arguments = vec![path.into()];
        let upload = Upload { bytes: Bytes::from_static(b"words"), content_type: None, file_name: "a.txt".into() };
        let opened = Isolated::new(options, Arc::new(SystemClock::start())).open(upload).await;
        (folder, opened)
    }

    #[tokio::test]
    async fn a_page_whose_reader_was_killed_from_outside_is_read_by_another() {
        let (_folder, document) = open("1").await;
        let document = document.unwrap();
        for number in 1..=3 {
            assert_eq!(document.page(number).await.unwrap().unwrap().text, "words");
        }
    }

    #[tokio::test]
    async fn a_page_that_is_killed_twice_counts_and_the_others_are_read() {
        let (_folder, document) = open("1 2").await;
        let document = document.unwrap();
        assert_eq!(document.page(1).await.unwrap(), Err(PageError::ParserFailed { page: 1 }));
        assert_eq!(document.page(2).await.unwrap().unwrap().text, "words");
    }

    #[tokio::test]
    async fn a_document_that_a_killed_reader_was_opening_is_opened_by_another_or_later() {
        let (_folder, document) = open("-1").await;
        assert_eq!(document.unwrap().page(1).await.unwrap().unwrap().text, "words");
        let (_folder, document) = open("-1 -2").await;
        let error = document.err().unwrap();
        assert!(error.is_transient(), "{error}");
    }
}
