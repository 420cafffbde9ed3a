//! Reading pictures with Tesseract, as a program beside this one.
//!
//! The program gets plain pixels on its standard input and gives text on its standard output: it never sees a byte of a
//! document, only what a confined process made of it, and touches no file. One process reads one picture on one core; as
//! many run as there are cores. A process that takes too long, or whose picture nobody wants any more, is killed.

use std::{collections::BTreeSet, path::PathBuf, process::Stdio, sync::Arc};

use async_trait::async_trait;
use longhaul_core::{Clock, Span};
use longhaul_documents::{Raster, read_in_picture};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, Command},
    sync::{Mutex, Semaphore},
};

use super::{Ocr, OcrError};

/// How to get the program, in a sentence's end.
const HOW: &str = "install it (Debian and Ubuntu: apt-get install tesseract-ocr; macOS: brew install tesseract)";
/// Bytes of text that a picture may give: a page of the finest print has some fifty thousand letters.
const MAX_TEXT: u64 = 8 << 20;
/// Bytes of complaints that are kept.
const MAX_COMPLAINTS: u64 = 4_096;
/// Letters of a complaint that are passed on.
const MAX_WHY_CHARS: usize = 200;
/// Address space of a process, in bytes: a page of A3 at 300 dpi takes some 500 MB.
const MAX_MEMORY: u64 = 4 << 30;
/// What the program may know of the environment that the server runs in: where programs and its data are, and how text is
/// written. Keys of providers are none of its business.
const ENVIRONMENT: [&str; 6] = ["PATH", "TESSDATA_PREFIX", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE"];
/// The data by which the program finds out how a page was turned.
const TURNING: &str = "osd";

/// How Tesseract is used.
#[derive(Debug, Clone)]
pub struct TesseractOptions {
    /// The program; a bare name is looked for on the `PATH`.
    pub program: PathBuf,
    /// Seconds that a picture may take.
    pub max_s: u64,
    /// Pictures at once, over all documents.
    pub at_once: usize,
}

impl Default for TesseractOptions {
    /// `tesseract`, two minutes, one picture for each core.
    fn default() -> Self {
        let at_once = std::thread::available_parallelism().map_or(2, usize::from);
        Self { program: "tesseract".into(), max_s: 120, at_once }
    }
}

/// Reads pictures with Tesseract.
pub struct Tesseract {
    options: TesseractOptions,
    clock: Arc<dyn Clock>,
    places: Semaphore,
    /// The languages that were found. Looked for again whenever one is missing, so that installing it is enough.
    languages: Mutex<Option<BTreeSet<String>>>,
}

impl std::fmt::Debug for Tesseract {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tesseract").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Tesseract {
    /// The program as `options` have it; `clock` measures how long a picture takes.
    pub fn new(options: TesseractOptions, clock: Arc<dyn Clock>) -> Self {
        let places = Semaphore::new(options.at_once.max(1));
        Self { options, clock, places, languages: Mutex::default() }
    }

    /// Whether each of the languages is there, by what is known or by asking.
    async fn has(&self, wanted: &str) -> Result<(), OcrError> {
        let mut known = self.languages.lock().await;
        let missing = |known: &BTreeSet<String>| {
            let missing: Vec<&str> = wanted.split('+').filter(|language| !known.contains(*language)).collect();
            missing.join(", ")
        };
        if known.as_ref().is_some_and(|known| missing(known).is_empty()) {
            return Ok(());
        }
        let found = self.list().await?;
        let missing = missing(&found);
        let there = found.iter().map(String::as_str).filter(|name| *name != TURNING).collect::<Vec<_>>().join(", ");
        *known = Some(found);
        if missing.is_empty() {
            return Ok(());
        }
        let why = format!(
            "Tesseract has no data for {missing}; it has {there} (Debian and Ubuntu: apt-get install \
             tesseract-ocr-<language>)"
        );
        Err(OcrError::Language { wanted: wanted.to_owned(), why })
    }

    async fn list(&self) -> Result<BTreeSet<String>, OcrError> {
        let output = self.run(&["--list-langs".to_owned()], &[]).await?;
        // The first line says where they are.
        Ok(output.lines().skip(1).map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect())
    }

    /// Runs the program to its end, and no longer than it may take.
    async fn run(&self, arguments: &[String], input: &[u8]) -> Result<String, OcrError> {
        let max_s = self.options.max_s;
        let mut child = self.start(arguments)?;
        tokio::select! {
            biased;
            output = talk(&mut child, input) => output,
            // The process is killed when it is dropped.
            () = self.clock.sleep(Span::from_secs(max_s)) => Err(OcrError::OutOfTime { max_s }),
        }
    }

    fn start(&self, arguments: &[String]) -> Result<Child, OcrError> {
        let program = self.options.program.display();
        let mut command = Command::new(&self.options.program);
        command
            .args(arguments)
            .env_clear()
            .envs(ENVIRONMENT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
            // Several threads for one picture are slower than one each for several.
            .env("OMP_THREAD_LIMIT", "1")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let child = command.spawn().map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => {
                OcrError::Unavailable { why: format!("Tesseract is missing: there is no program `{program}`; {HOW}") }
            }
            std::io::ErrorKind::PermissionDenied => {
                OcrError::Unavailable { why: format!("`{program}` is not a program that may be run; {HOW}") }
            }
            _ => OcrError::Unusable { why: format!("{program}: {error}") },
        })?;
        limit(&child);
        Ok(child)
    }
}

#[async_trait]
impl Ocr for Tesseract {
    async fn ready(&self, languages: &str) -> Result<(), OcrError> {
        self.has(languages).await
    }

    async fn read(&self, picture: &Raster, languages: &str) -> Result<String, OcrError> {
        // The semaphore is never closed.
        let _place = self.places.acquire().await.map_err(|error| OcrError::Unusable { why: error.to_string() })?;
        let turns = self.has(TURNING).await.is_ok();
        let text = self.run(&arguments(picture, languages, turns), &picture.to_pgm()).await?;
        Ok(read_in_picture(&text))
    }
}

/// A page of text in whatever layout; turned upright first, if the data for that is there.
fn arguments(picture: &Raster, languages: &str, turns: bool) -> Vec<String> {
    let mut arguments: Vec<String> = ["stdin", "stdout", "-l", languages].map(str::to_owned).into();
    arguments.extend(["--psm".to_owned(), if turns { "1" } else { "3" }.to_owned()]);
    if let Some(dpi) = picture.dpi {
        arguments.extend(["--dpi".to_owned(), dpi.to_string()]);
    }
    arguments
}

async fn talk(child: &mut Child, input: &[u8]) -> Result<String, OcrError> {
    let unusable = |error: std::io::Error| OcrError::Unusable { why: error.to_string() };
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = (stdin, stdout, stderr) else {
        return Err(OcrError::Unusable { why: "it has no standard input or output".to_owned() });
    };
    let (mut text, mut complaints) = (Vec::new(), Vec::new());
    let give = async move {
        // A program that ends before it has read everything says why itself.
        let _ = stdin.write_all(input).await;
        drop(stdin);
    };
    let read = drain(stdout, MAX_TEXT, &mut text);
    let heard = drain(stderr, MAX_COMPLAINTS, &mut complaints);
    let ((), read, heard) = tokio::join!(give, read, heard);
    read.map_err(unusable)?;
    heard.map_err(unusable)?;
    let status = child.wait().await.map_err(unusable)?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&text).into_owned());
    }
    let said = String::from_utf8_lossy(&complaints);
    let said = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    let said: String = said.chars().take(MAX_WHY_CHARS).collect();
    Err(OcrError::Failed { why: format!("Tesseract ended with {status}: {said}") })
}

/// Reads to the end and keeps the first so many bytes. A program whose words nobody takes away waits for ever.
async fn drain(mut from: impl AsyncRead + Unpin, most: u64, kept: &mut Vec<u8>) -> std::io::Result<()> {
    (&mut from).take(most).read_to_end(kept).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await.map(drop)
}

/// Bounds the memory of a process that has been started and waits for its input. Where the system cannot, the picture's
/// bound of pixels is all there is.
#[cfg(target_os = "linux")]
fn limit(child: &Child) {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let pid = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let limit = |bytes| Rlimit { current: Some(bytes), maximum: Some(bytes) };
    if let Some(pid) = pid {
        for (resource, most) in [(Resource::As, MAX_MEMORY), (Resource::Core, 0)] {
            if let Err(error) = prlimit(Some(pid), resource, limit(most)) {
                tracing::debug!(%error, "a limit of tesseract could not be set");
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn limit(_: &Child) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_read_upright_where_that_can_be_found_out() {
        let picture = Raster { width: 1, height: 1, dpi: Some(300), pixels: vec![0] };
        let line = arguments(&picture, "eng+deu", true).join(" ");
        assert_eq!(line, "stdin stdout -l eng+deu --psm 1 --dpi 300");
        let photograph = Raster { dpi: None, ..picture };
        assert_eq!(arguments(&photograph, "eng", false).join(" "), "stdin stdout -l eng --psm 3");
    }

    /// A program that does as the script says, and has English.
    #[cfg(unix)]
    fn program(script: &str) -> (tempfile::TempDir, Tesseract) {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tesseract");
        let whole = format!(
            "#!/bin/sh\nif [ \"$1\" = --list-langs ]; then echo 'In a folder:'; echo eng; exit; fi\n{script}\n"
        );
        std::fs::write(&path, whole).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
        let options = TesseractOptions { program: path, max_s: 60, at_once: 1 };
        (folder, Tesseract::new(options, Arc::new(longhaul_engine::SystemClock::start())))
    }

    #[cfg(unix)]
    async fn read(tesseract: &Tesseract) -> Result<String, OcrError> {
        let picture = Raster { width: 100, height: 100, dpi: None, pixels: vec![0; 10_000] };
        tesseract.ready("eng").await?;
        tesseract.read(&picture, "eng").await
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_program_that_complains_without_end_is_heard_out() {
        // More than a pipe holds, before a word is read or said.
        let noise = "i=0; while [ $i -lt 3000 ]; do echo 'a complaint of forty letters, or of a few more' >&2; i=$((i+1)); done";
        let (_folder, tesseract) = program(&format!("{noise}\ncat > /dev/null\necho 'read all the same'"));
        assert_eq!(read(&tesseract).await, Ok("read all the same".to_owned()));
        let (_folder, tesseract) = program(&format!("{noise}\nexit 3"));
        let error = read(&tesseract).await.unwrap_err();
        assert!(matches!(&error, OcrError::Failed { why } if why.contains("a complaint")), "{error}");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_program_is_told_nothing_of_the_servers_environment_but_where_things_are() {
        // Cargo gives the test itself an environment that is full of names.
        assert!(std::env::vars_os().any(|(name, _)| name == "CARGO_MANIFEST_DIR"));
        let (_folder, tesseract) = program("cat > /dev/null; env");
        let told = read(&tesseract).await.unwrap();
        let names: Vec<&str> = told.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
        // A shell adds some of its own.
        let known = |name: &&str| {
            ENVIRONMENT.contains(name) || ["OMP_THREAD_LIMIT", "PWD", "SHLVL", "_", "OLDPWD"].contains(name)
        };
        assert!(names.iter().all(known), "{names:?}");
        assert!(names.contains(&"PATH") && names.contains(&"OMP_THREAD_LIMIT"), "{names:?}");
    }
}
