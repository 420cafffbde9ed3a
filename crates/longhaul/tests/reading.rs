//! Documents read by the program itself in processes of their own: real parsers, real limits, real ends.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests, which say what they leave out")]

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use longhaul::bench::documents::{
    paper::{Scan, prose, scanned_pdf, text_pdf},
    word_accuracy,
};
use longhaul::reading;
use longhaul_core::{Clock, Span, Timestamp};
use longhaul_documents::{DocumentError, Format, PageError, Raster};
use longhaul_tasks::documents::{
    Extractor as _, Isolated, IsolatedOptions, Ocr as _, OcrError, OpenDocument, Tesseract, TesseractOptions, Upload,
};

/// The machine's own time: real processes are waited for.
#[derive(Debug)]
struct RealClock(tokio::time::Instant);

impl RealClock {
    #[allow(clippy::disallowed_methods, reason = "real processes take real time")]
    fn start() -> Arc<Self> {
        Arc::new(Self(tokio::time::Instant::now()))
    }
}

impl Clock for RealClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(i64::try_from(self.0.elapsed().as_micros()).unwrap())
    }

    fn sleep_until(&self, at: Timestamp) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let micros = u64::try_from(at.as_micros().max(0)).unwrap();
        Box::pin(tokio::time::sleep_until(self.0 + std::time::Duration::from_micros(micros)))
    }

    fn sleep(&self, span: Span) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(tokio::time::sleep(std::time::Duration::from_micros(span.as_micros())))
    }
}

fn options() -> IsolatedOptions {
    IsolatedOptions::of(PathBuf::from(env!("CARGO_BIN_EXE_longhaul")), reading::MODE)
}

async fn open_with(options: IsolatedOptions, file: Vec<u8>) -> Result<Box<dyn OpenDocument>, DocumentError> {
    let upload = Upload { bytes: Bytes::from(file), content_type: None, file_name: "a.pdf".to_owned() };
    Isolated::new(options, RealClock::start()).open(upload).await
}

/// A page of lines without end: it takes a parser long, and it takes memory.
fn heavy(lines: usize) -> String {
    let mut content = String::from("BT /F1 11 Tf 16 TL 56 780 Td\n");
    for line in 0..lines {
        content.push_str(&format!("[({line})] TJ T*\n"));
    }
    content.push_str("ET");
    content
}

/// A PDF whose pages have these content streams.
fn drawn(contents: &[&str]) -> Vec<u8> {
    let mut objects = vec!["<< /Type /Catalog /Pages 2 0 R >>".to_owned(), String::new()];
    objects.push("<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>".to_owned());
    let mut kids = String::new();
    for content in contents {
        objects.push(format!("<< /Length {} >>\nstream\n{content}\nendstream", content.len()));
        let stream = objects.len();
        objects.push(format!(
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents {stream} 0 R /Resources << /Font << /F1 3 0 R >> >> >>"
        ));
        kids.push_str(&format!("{} 0 R ", objects.len()));
    }
    objects[1] = format!("<< /Type /Pages /Kids [{kids}] /Count {} >>", contents.len());
    let (mut file, mut table) = ("%PDF-1.4\n".to_owned(), String::new());
    for (index, object) in objects.iter().enumerate() {
        table.push_str(&format!("{:010} 00000 n \n", file.len()));
        file.push_str(&format!("{} 0 obj\n{object}\nendobj\n", index + 1));
    }
    let (start, size) = (file.len(), objects.len() + 1);
    file.push_str(&format!(
        "xref\n0 {size}\n0000000000 65535 f \n{table}trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{start}\n%%EOF\n"
    ));
    file.into_bytes()
}

#[tokio::test]
async fn a_document_is_read_page_by_page_and_shown_as_pictures() {
    let pages: Vec<String> = (0..3).map(|seed| prose(seed, 100)).collect();
    let open = open_with(options(), text_pdf(&pages)).await.unwrap();
    assert_eq!((open.format(), open.page_count()), (Format::Pdf, 3));
    for (number, known) in (1..).zip(&pages) {
        let page = open.page(number).await.unwrap().unwrap();
        assert_eq!(page.text.split_whitespace().collect::<Vec<_>>(), known.split_whitespace().collect::<Vec<_>>());
    }
    let picture = open.raster(2, 72).await.unwrap().unwrap();
    assert_eq!((picture.width, picture.height, picture.dpi), (595, 842, Some(72)));
    assert!(picture.pixels.iter().any(|&pixel| pixel < 100), "there is ink on it");
    let beyond = open.page(4).await.unwrap().unwrap_err();
    assert_eq!(beyond, PageError::OutOfRange { page: 4, count: 3 });
}

#[tokio::test]
async fn a_scan_is_shown_to_who_can_read_it() {
    let scan = Scan { width: 100, height: 140, pixels: vec![0; 14_000] };
    let open = open_with(options(), scanned_pdf(&[scan])).await.unwrap();
    assert!(open.page(1).await.unwrap().unwrap().needs_ocr);
    let picture = open.raster(1, 72).await.unwrap().unwrap();
    assert!(picture.pixels.iter().filter(|&&pixel| pixel < 10).count() > picture.pixels.len() * 9 / 10);
}

#[tokio::test]
async fn what_is_no_document_is_refused_with_the_same_error_as_in_process() {
    for (file, code) in [
        (b"plain words".to_vec(), "document_format_mismatch"),
        (b"%PDF-1.7\nrubbish".to_vec(), "document_broken"),
        (Vec::new(), "document_empty"),
    ] {
        let error = open_with(options(), file).await.err().unwrap();
        assert_eq!(error.code(), code);
    }
}

#[tokio::test]
async fn a_page_that_takes_too_long_fails_alone() {
    // Some seconds of work, on a fast machine too.
    let slow = heavy(1_000_000);
    let mut options = options();
    options.max_cpu_s = 1;
    options.limits.max_page_chars = 100_000_000;
    let open = open_with(options, drawn(&["BT /F1 11 Tf (first) Tj ET", &slow, "BT /F1 11 Tf (last) Tj ET"])).await;
    let open = open.unwrap();
    assert_eq!(open.page(1).await.unwrap().unwrap().text, "first");
    let error = open.page(2).await.unwrap().err();
    assert_eq!(error, Some(PageError::OutOfTime { page: 2, max_s: 1 }));
    assert_eq!(open.page(3).await.unwrap().unwrap().text, "last", "by a new process");
}

#[tokio::test]
async fn a_page_that_nobody_waits_for_any_more_does_not_spoil_the_next() {
    // Half a second of work. Where the machine is so slow that it has not begun after 20 ms, this proves less, and holds.
    let slow = heavy(250_000);
    let mut options = options();
    options.limits.max_page_chars = 100_000_000;
    let open = open_with(options, drawn(&[&slow, "BT /F1 11 Tf (last) Tj ET"])).await.unwrap();
    let early = tokio::time::timeout(std::time::Duration::from_millis(20), open.page(1)).await;
    assert!(early.is_err(), "given up in the middle of it");
    assert_eq!(open.page(2).await.unwrap().unwrap().text, "last", "and not an answer to another question");
}

#[tokio::test]
async fn a_page_that_takes_too_much_memory_fails_alone() {
    let large = heavy(400_000);
    let file = drawn(&["BT /F1 11 Tf (first) Tj ET", &large, "BT /F1 11 Tf (last) Tj ET"]);
    let mut options = options();
    // Enough to hold the document three times, and not for what a page of so many pieces becomes.
    options.max_memory = Some(5 * file.len() as u64);
    options.limits.max_page_chars = 100_000_000;
    let open = open_with(options, file).await.unwrap();
    assert_eq!(open.page(1).await.unwrap().unwrap().text, "first");
    let error = open.page(2).await.unwrap().err().unwrap();
    assert_eq!(error.code(), "page_memory_exceeded", "{error}");
    assert_eq!(open.page(3).await.unwrap().unwrap().text, "last");
}

#[tokio::test]
async fn a_document_that_does_not_fit_into_memory_is_refused_with_that_reason() {
    // Reading a text takes several times its size.
    let bytes = Bytes::from(vec![b'a'; 30 << 20]);
    let upload = Upload { bytes, content_type: None, file_name: "a.txt".to_owned() };
    let options = IsolatedOptions { max_memory: Some(1 << 20), ..options() };
    let error = Isolated::new(options, RealClock::start()).open(upload).await.err().unwrap();
    assert_eq!(error, DocumentError::OutOfMemory { max_mib: 1 });
}

#[tokio::test]
async fn a_reader_that_crashes_fails_its_page_and_gives_the_document_up_when_it_does_so_often() {
    // A program that crashes on whatever it is asked after the document stands in for a parser that does.
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("reader");
    let program = env!("CARGO_BIN_EXE_longhaul");
    let text = format!("#!/bin/sh\nhead -c $(($(cat \"$0.size\"))) | {program} {} && kill -SEGV $$\n", reading::MODE);
    std::fs::write(&script, text).unwrap();
    let file = text_pdf(&vec![prose(1, 10); 20]);
    let upload = Upload { bytes: Bytes::from(file), content_type: None, file_name: "a.pdf".to_owned() };
    let options = IsolatedOptions { program: "/bin/sh".into(), arguments: vec![script.clone().into()], ..options() };
    // The head of the message and the document, and nothing of what follows.
    let ask = longhaul_documents::isolated::wire::Ask::Open {
        content_type: None,
        file_name: "a.pdf".to_owned(),
        limits: options.limits,
        confinement: longhaul_documents::isolated::Confinement {
            max_memory: Some((512 << 20) + 4 * upload.bytes.len() as u64),
            max_cpu_s: Some(options.max_cpu_s),
            shut_in: true,
        },
    };
    let size = longhaul_documents::isolated::wire::head(&ask, 0).unwrap().len() + upload.bytes.len();
    std::fs::write(folder.path().join("reader.size"), size.to_string()).unwrap();
    let open = Isolated::new(options, RealClock::start()).open(upload).await.unwrap();
    for number in 1..=16 {
        assert_eq!(open.page(number).await.unwrap(), Err(PageError::ParserFailed { page: number }));
    }
    assert_eq!(open.page(17).await.unwrap(), Err(PageError::GivenUp { page: 17, failures: 16 }));
}

#[tokio::test]
async fn a_reader_that_never_answers_is_given_up_and_one_that_cannot_be_started_is_another_try() {
    let never =
        IsolatedOptions { program: "/bin/sleep".into(), arguments: vec!["600".into()], patience_s: 1, ..options() };
    let error = open_with(never, text_pdf(&["words".to_owned()])).await.err().unwrap();
    assert_eq!(error, DocumentError::OutOfTime { max_s: 1 });
    let missing = IsolatedOptions { program: "/nowhere/longhaul".into(), ..options() };
    let error = open_with(missing, text_pdf(&["words".to_owned()])).await.err().unwrap();
    assert!(error.is_transient() && error.to_string().contains("/nowhere/longhaul"), "{error}");
}

/// Tesseract, if it is on this machine.
fn tesseract() -> Option<Tesseract> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|folder| folder.join("tesseract").is_file());
    if !found {
        println!("NOT CHECKED: Tesseract is not on this machine");
    }
    found.then(|| Tesseract::new(TesseractOptions::default(), RealClock::start()))
}

#[tokio::test]
async fn what_was_typed_and_scanned_is_read_again_upright_and_on_its_side() {
    let Some(tesseract) = tesseract() else { return };
    tesseract.ready("eng").await.unwrap();
    let typed = prose(5, 300);
    let open = open_with(options(), text_pdf(std::slice::from_ref(&typed))).await.unwrap();
    let drawn = open.raster(1, 300).await.unwrap().unwrap();
    let scan = Scan { width: drawn.width as usize, height: drawn.height as usize, pixels: drawn.pixels };
    let scans = scanned_pdf(&[scan.noisy(2, 1), scan.on_its_side()]);
    let open = open_with(options(), scans).await.unwrap();
    for (number, least) in [(1, 0.95), (2, 0.95)] {
        assert!(open.page(number).await.unwrap().unwrap().needs_ocr);
        let picture = open.raster(number, 300).await.unwrap().unwrap();
        let read = tesseract.read(&picture, "eng").await.unwrap();
        let right = word_accuracy(&typed, &read);
        assert!(right >= least, "page {number}: {right}\n{read}");
    }
}

#[tokio::test]
async fn a_language_that_is_not_there_is_named_with_those_that_are() {
    let Some(tesseract) = tesseract() else { return };
    let error = tesseract.ready("eng+kli").await.unwrap_err();
    assert_eq!(error.code(), "ocr_language_unavailable");
    let said = error.to_string();
    assert!(said.contains("`eng+kli`") && said.contains("no data for kli; it has") && said.contains("eng"), "{said}");
}

#[tokio::test]
async fn without_tesseract_it_says_how_to_get_it() {
    let options = TesseractOptions { program: "/nowhere/tesseract".into(), ..TesseractOptions::default() };
    let error = Tesseract::new(options, RealClock::start()).ready("eng").await.unwrap_err();
    assert_eq!(error.code(), "ocr_unavailable");
    assert!(error.to_string().contains("apt-get install tesseract-ocr"), "{error}");
}

/// Stands in for Tesseract and does as `script` says; `$$` is the process.
fn in_place_of_tesseract(folder: &std::path::Path, script: &str, max_s: u64) -> Tesseract {
    use std::os::unix::fs::PermissionsExt as _;
    let program = folder.join("tesseract");
    let list = "if [ \"$1\" = --list-langs ]; then echo List; echo eng; echo osd; exit; fi";
    std::fs::write(&program, format!("#!/bin/sh\n{list}\n{script}\n")).unwrap();
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
    let options = TesseractOptions { program, max_s, at_once: 1 };
    Tesseract::new(options, RealClock::start())
}

static DOT: Raster = Raster { width: 1, height: 1, dpi: None, pixels: Vec::new() };

#[tokio::test]
async fn a_picture_that_takes_too_long_is_given_up_and_its_process_killed() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let tesseract = in_place_of_tesseract(folder.path(), &format!("echo $$ > {}; exec sleep 600", pid.display()), 1);
    let error = tesseract.read(&DOT, "eng").await.unwrap_err();
    assert_eq!(error, OcrError::OutOfTime { max_s: 1 });
    gone(&pid).await;
}

#[tokio::test]
async fn a_picture_that_nobody_wants_any_more_is_not_read_on() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let script = format!("echo $$ > {}.new; mv {}.new {}; exec sleep 600", pid.display(), pid.display(), pid.display());
    let tesseract = in_place_of_tesseract(folder.path(), &script, 600);
    let started = async {
        while !pid.exists() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = tesseract.read(&DOT, "eng") => panic!("it never answers"),
        () = started => {}
    }
    gone(&pid).await;
}

/// Waits until the process whose number stands in the file is no more.
async fn gone(pid: &std::path::Path) {
    let pid = std::fs::read_to_string(pid).unwrap();
    let stat = PathBuf::from(format!("/proc/{}/stat", pid.trim()));
    for _ in 0..1_000 {
        // One that is dead and not yet buried is gone as well.
        if !std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("{} lives on", pid.trim());
}

#[tokio::test]
async fn what_tesseract_complains_of_is_passed_on() {
    let folder = tempfile::tempdir().unwrap();
    let tesseract = in_place_of_tesseract(folder.path(), "echo 'Error in pixRead' >&2; exit 1", 60);
    let error = tesseract.read(&DOT, "eng").await.unwrap_err();
    assert_eq!(error.code(), "ocr_failed");
    assert!(error.to_string().contains("Error in pixRead"), "{error}");
}
