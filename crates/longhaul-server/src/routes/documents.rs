//! `/v1/documents`: uploads that become jobs, and what was read out of them.
//!
//! An upload is streamed to disk as it comes; its job is accepted only when the bytes are durable. The file's name is
//! for people: files are named by what is in them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Poll, ready},
};

use axum::{
    body::Body,
    extract::{FromRequest, Multipart, Request, State, multipart::Field},
    http::{
        HeaderMap, HeaderValue, StatusCode,
        header::{CONTENT_LENGTH, CONTENT_TYPE},
    },
    response::{IntoResponse as _, Response},
};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use longhaul_core::{DocumentId, JobId, Tenant, Timestamp, TraceContext};
use longhaul_engine::{
    JobRequest,
    store::{Document, Idempotency, StoreError, blob::Pin},
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};
use sha2::{Digest as _, Sha256};
use utoipa::{IntoParams, ToSchema};

use super::jobs::{
    create::{REPLAYED, accepted_with},
    view::{StatusBody, Urls, with},
};
use crate::{
    app::App,
    auth::{Read, Write},
    json::{ApiPath, ApiQuery},
    observe::trace_of,
    prefer,
    problem::{Code, FieldError, Problem},
    refusal::rejected,
};

/// The largest `options` part, in bytes.
const OPTIONS_MOST: usize = 64 * 1024;

/// How much of a document is gathered before it is written.
const WRITTEN_AT_ONCE: usize = 256 * 1024;

/// What a multipart body may bring besides the document: boundaries, part headers, options. A body that brings more
/// without anything coming of it is no upload.
const AROUND_MOST: usize = 256 * 1024;

/// How long a file name may be; what is longer is cut.
const NAME_MOST: usize = 255;

/// What an upload is answered with.
#[derive(Serialize, ToSchema)]
pub(crate) struct DocumentReceipt {
    #[schema(value_type = String)]
    job_id: JobId,
    #[schema(value_type = String)]
    document_id: DocumentId,
    // Always `queued`. A doc comment here would become a second, wrong schema.
    #[schema(inline)]
    status: StatusBody,
    urls: Urls,
}

/// The parts of an upload.
#[derive(ToSchema)]
#[allow(dead_code, reason = "describes the multipart body, which is read part by part")]
pub(crate) struct UploadForm {
    /// The document.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// The options of the kind `document.ingest`, without `document_id`.
    #[schema(value_type = Option<Object>)]
    options: Option<Value>,
}

/// Upload a document
///
/// Answers as soon as the document and its `document.ingest` job are on disk; reading it happens in the job.
#[utoipa::path(
    post, path = "/v1/documents", tag = "documents", operation_id = "upload_document",
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeat of the call find the first one's job.")),
    responses((status = 202, description = "Accepted: the document and its job are durable.", body = DocumentReceipt))
)]
pub(crate) async fn upload(
    state: State<App>,
    caller: Write,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    take_in(state, caller, headers, request).await
}

/// Upload a document (short route)
#[utoipa::path(
    post, path = "/documents", tag = "presets", operation_id = "upload_document_short",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repeat of the call find the first one's job.")),
    request_body(content = UploadForm, content_type = "multipart/form-data"),
    responses((status = 202, description = "As `POST /v1/documents`.", body = DocumentReceipt))
)]
pub(crate) async fn upload_short(
    state: State<App>,
    caller: Write,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    take_in(state, caller, headers, request).await
}

async fn take_in(
    State(app): State<App>,
    Write(caller): Write,
    headers: HeaderMap,
    request: Request,
) -> Result<Response, Problem> {
    let key = prefer::idempotency_key(&headers)?;
    let _underway = key.map(|key| app.0.uploads.begin(caller.tenant.clone(), key)).transpose()?;
    let useless = Arc::new(AtomicUsize::new(0));
    let request = within_reason(request, useless.clone());
    let mut multipart = Multipart::from_request(request, &app).await.map_err(|rejection| {
        let code = Code::UnsupportedMediaType;
        Problem::new(code, format!("An upload is `multipart/form-data` with a part `file`: {}.", rejection.body_text()))
    })?;
    let mut uploaded = Uploaded { useless, ..Uploaded::default() };
    while let Some(field) = multipart.next_field().await.map_err(|error| broken(&error))? {
        uploaded.take(&app, field).await?;
        if !uploaded.errors.is_empty() {
            break;
        }
    }
    let (file, options) = uploaded.complete()?;
    let engine = app.engine();
    let now = engine.clock().now();
    let document_id = DocumentId::fresh(&**engine.ids(), now);
    let idempotency = key.map(|key| {
        let mut hash = Sha256::new();
        hash.update(file.pin.blob().digest);
        hash.update(options.as_ref().map_or("", |options| options.get()));
        prefer::kept(key, "/v1/documents", hash.finalize().into(), now)
    });
    let accepted =
        submit(&app, &caller.tenant, document_id, &file, options.as_deref(), idempotency, trace_of(&headers)).await?;
    let (job_id, replayed) = accepted;
    let document_id = if replayed { document_of(&app, &caller.tenant, job_id).await? } else { document_id };
    let receipt = DocumentReceipt { job_id, document_id, status: StatusBody::Queued, urls: Urls::of(job_id) };
    let response = accepted_with(job_id, &receipt)?;
    Ok(with(response, replayed.then(|| (REPLAYED, HeaderValue::from_static("true")))))
}

async fn submit(
    app: &App,
    tenant: &Tenant,
    id: DocumentId,
    file: &File,
    options: Option<&RawValue>,
    idempotency: Option<Idempotency>,
    trace: Option<TraceContext>,
) -> Result<(JobId, bool), Problem> {
    let now = app.engine().clock().now();
    let mut input: serde_json::Map<String, Value> = match options {
        None => serde_json::Map::new(),
        Some(options) => serde_json::from_str(options.get())
            .map_err(|_| Problem::invalid_field("/options", "must be a JSON object"))?,
    };
    if input.contains_key("document_id") {
        return Err(Problem::invalid_field("/options/document_id", "is made by the upload and cannot be given"));
    }
    input.insert("document_id".into(), json!(id));
    let input = Bytes::from(Value::Object(input).to_string());
    let request = JobRequest { trace, ..JobRequest::of("document.ingest", input) };
    let document = |job| {
        Some(Document {
            id,
            tenant: tenant.clone(),
            file_name: file.name.clone(),
            content_type: file.content_type.clone(),
            content: file.pin.blob(),
            job,
            created_at: now,
        })
    };
    let accepted = app.engine().submit_with(tenant, vec![request], idempotency, Some(file.pin.clone()), document).await;
    let accepted = accepted.map_err(|error| rejected(error, |_| String::new(), "/options"))?;
    match accepted.jobs.first() {
        Some(job) => Ok((*job, accepted.replayed)),
        None => Err(Problem::new(Code::Internal, "Nothing was accepted.")),
    }
}

/// The document that a job was made for.
async fn document_of(app: &App, tenant: &Tenant, job: JobId) -> Result<DocumentId, Problem> {
    #[derive(Deserialize)]
    struct Input {
        document_id: DocumentId,
    }
    let view = app.engine().job(tenant, job).await?;
    let input = app.engine().payload(&view.input).await?;
    let input: Input = serde_json::from_slice(&input)
        .map_err(|_| Problem::new(Code::Internal, "The first call's document cannot be found."))?;
    Ok(input.document_id)
}

/// What a body that brings more than [`AROUND_MOST`] while nothing comes of it is ended with.
#[derive(Debug, thiserror::Error)]
#[error("more than {} KiB came in a row that are no part's content", AROUND_MOST / 1024)]
struct NoUpload;

/// The body, one piece at a time, and no more of it than [`AROUND_MOST`] while nothing comes of it.
///
/// The parser (multer 3.1) keeps in memory what it has not given out, and reads all that is there before it looks at any of
/// it; and when the first pieces and the end come at once, it may take them for a body without a boundary. So it is told after
/// each piece that there is nothing more for now.
fn within_reason(request: Request, useless: Arc<AtomicUsize>) -> Request {
    let (parts, body) = request.into_parts();
    let mut body = body.into_data_stream();
    let mut just_gave = false;
    let pieces = stream::poll_fn(move |cx| {
        if std::mem::take(&mut just_gave) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let piece = ready!(body.poll_next_unpin(cx));
        just_gave = true;
        Poll::Ready(piece.map(|piece| {
            let piece = piece?;
            if useless.fetch_add(piece.len(), Ordering::Relaxed) > AROUND_MOST {
                return Err(axum::Error::new(NoUpload));
            }
            Ok(piece)
        }))
    });
    Request::from_parts(parts, Body::from_stream(pieces))
}

struct File {
    name: String,
    content_type: Option<String>,
    pin: Arc<Pin>,
}

#[derive(Default)]
struct Uploaded {
    file: Option<File>,
    options: Option<Box<RawValue>>,
    errors: Vec<FieldError>,
    /// Bytes that came since the last content of a part.
    useless: Arc<AtomicUsize>,
}

impl Uploaded {
    async fn take(&mut self, app: &App, field: Field<'_>) -> Result<(), Problem> {
        let part = field.name().unwrap_or_default().to_owned();
        let mut wrong = |message: String| self.errors.push(FieldError::new(format!("/{part}"), message));
        match part.as_str() {
            "file" if self.file.is_some() => wrong("is given twice; upload one document at a time".into()),
            "file" => match receive(app, field, &self.useless).await? {
                Some(file) => self.file = Some(file),
                None => wrong("is empty: the document has no bytes".into()),
            },
            "options" if self.options.is_some() => wrong("is given twice".into()),
            "options" => {
                let text = read_options(field).await?;
                match serde_json::from_slice(&text) {
                    Ok(options) => self.options = Some(options),
                    Err(error) => wrong(format!("is not JSON: {error}")),
                }
            }
            _ => wrong("is no part of an upload; the parts are `file` and `options`".into()),
        }
        Ok(())
    }

    fn complete(mut self) -> Result<(File, Option<Box<RawValue>>), Problem> {
        if self.file.is_none() && self.errors.is_empty() {
            self.errors.push(FieldError::new("/file", "is missing: the part that holds the document"));
        }
        match self.file {
            Some(file) if self.errors.is_empty() => Ok((file, self.options)),
            _ => Err(Problem::invalid(Code::InvalidRequest, self.errors)),
        }
    }
}

/// Streams a document to disk, a buffer at a time. None: there was nothing in it.
async fn receive(app: &App, mut field: Field<'_>, useless: &AtomicUsize) -> Result<Option<File>, Problem> {
    let name = plain_name(field.file_name().unwrap_or_default());
    let content_type = field.content_type().map(|text| text.chars().take(200).collect());
    let store = app.engine().store().clone();
    let mut writer = on_disk(move || store.blobs().begin()).await?;
    let (mut size, mut buffer) = (0u64, BytesMut::with_capacity(WRITTEN_AT_ONCE));
    loop {
        let piece = field.chunk().await.map_err(|error| broken(&error))?;
        let is_last = piece.is_none();
        useless.store(0, Ordering::Relaxed);
        if let Some(piece) = piece {
            size += piece.len() as u64;
            if size > app.0.limits.upload {
                let limit = app.0.limits.upload;
                return Err(Problem::new(Code::PayloadTooLarge, format!("The document is larger than {limit} bytes.")));
            }
            buffer.extend_from_slice(&piece);
        }
        if buffer.len() >= WRITTEN_AT_ONCE || (is_last && !buffer.is_empty()) {
            // A thread is taken for each buffer and not for the whole upload: a slow client holds none.
            let full = std::mem::replace(&mut buffer, BytesMut::with_capacity(WRITTEN_AT_ONCE));
            writer = on_disk(move || writer.write(&full).map(|()| writer)).await?;
        }
        if is_last {
            break;
        }
    }
    if size == 0 {
        return Ok(None);
    }
    let pin = Arc::new(on_disk(move || writer.finish()).await?);
    Ok(Some(File { name, content_type, pin }))
}

/// Work on the disk, on a thread that may block.
async fn on_disk<T: Send + 'static>(work: impl FnOnce() -> std::io::Result<T> + Send + 'static) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::StorageFull => Err(StoreError::StorageFull.into()),
        Ok(Err(error)) => Err(StoreError::Unavailable(error.to_string()).into()),
        Err(error) => Err(StoreError::Unavailable(error.to_string()).into()),
    }
}

async fn read_options(mut field: Field<'_>) -> Result<Vec<u8>, Problem> {
    let mut text = Vec::new();
    while let Some(piece) = field.chunk().await.map_err(|error| broken(&error))? {
        if text.len() + piece.len() > OPTIONS_MOST {
            let detail = format!("The part `options` is larger than {OPTIONS_MOST} bytes.");
            return Err(Problem::new(Code::PayloadTooLarge, detail));
        }
        text.extend_from_slice(&piece);
    }
    Ok(text)
}

fn broken(error: &axum::extract::multipart::MultipartError) -> Problem {
    let source = std::error::Error::source(error).unwrap_or(error);
    let mut causes = std::iter::successors(Some(source), |error| error.source());
    if let Some(no_upload) = causes.find_map(|error| error.downcast_ref::<NoUpload>()) {
        return Problem::new(Code::MalformedRequest, format!("The multipart body is no upload: {no_upload}."));
    }
    match error.status() {
        StatusCode::BAD_REQUEST => {
            Problem::new(Code::MalformedRequest, format!("The multipart body cannot be read: {source}."))
        }
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(Code::PayloadTooLarge, "The upload is too large."),
        _ => crate::json::body_problem(error),
    }
}

/// What people see as the document's name: the last part of a path, without what cannot be seen or turns text around.
fn plain_name(given: &str) -> String {
    let last = given.rsplit(['/', '\\']).next().unwrap_or_default();
    let turns = |c: char| matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let name: String = last.chars().filter(|c| !c.is_control() && !turns(*c)).take(NAME_MOST).collect();
    match name.trim() {
        "" | "." | ".." => "document".into(),
        name => name.into(),
    }
}

/// A document and what was read out of it.
#[derive(Serialize, ToSchema)]
#[schema(as = Document)]
pub(crate) struct DocumentBody {
    #[schema(value_type = String)]
    document_id: DocumentId,
    /// What the client called it.
    file_name: String,
    /// What the client said it is.
    content_type: Option<String>,
    bytes: u64,
    sha256: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// The job that reads it.
    #[schema(value_type = String)]
    job_id: JobId,
    /// Its text, page by page; null until the job has read it.
    #[schema(value_type = Value, required = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Elsewhere>,
    /// Its chunks; null until the job has made them.
    #[schema(value_type = Value, required = true)]
    #[serde(skip_serializing_if = "Option::is_none")]
    chunks: Option<Elsewhere>,
}

/// What is long is put into the answer as it is stored.
#[derive(Serialize)]
enum Elsewhere {}

/// The document that a path names.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct DocumentPath {
    /// The document's id.
    document_id: String,
}

impl DocumentPath {
    fn id(&self) -> Result<DocumentId, Problem> {
        self.document_id.parse().map_err(|_| self.unknown())
    }

    fn unknown(&self) -> Problem {
        let shown: String = self.document_id.chars().take(80).collect();
        Problem::new(Code::NotFound, format!("There is no document {shown}."))
    }

    fn missing(&self, error: StoreError) -> Problem {
        match error {
            StoreError::NotFound(_) => self.unknown(),
            other => other.into(),
        }
    }
}

/// Get a document: its text and its chunks
#[utoipa::path(
    get, path = "/v1/documents/{document_id}", tag = "documents", operation_id = "get_document", params(DocumentPath),
    responses((status = 200, description = "The document.", body = DocumentBody))
)]
pub(crate) async fn show(
    State(app): State<App>,
    Read(caller): Read,
    ApiPath(path): ApiPath<DocumentPath>,
) -> Result<Response, Problem> {
    let id = path.id()?;
    let document = app.engine().store().document(&caller.tenant, id).await.map_err(|error| path.missing(error))?;
    let head = serde_json::to_vec(&DocumentBody {
        document_id: id,
        file_name: document.file_name,
        content_type: document.content_type,
        bytes: document.content.size,
        sha256: document.content.digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        created_at: document.created_at,
        job_id: document.job,
        text: None,
        chunks: None,
    });
    let mut head = head.map_err(|_| Problem::new(Code::Internal, "The answer could not be written."))?;
    head.pop();
    let text = part(&app, &caller.tenant, id, "text").await?;
    let chunks = part(&app, &caller.tenant, id, "chunks").await?;
    Ok(in_pieces([head.into(), ",\"text\":".into(), text, ",\"chunks\":".into(), chunks, "}".into()]))
}

/// An answer of pieces of JSON, as they are: texts of documents are long, and each copy of one counts.
fn in_pieces<const N: usize>(pieces: [Bytes; N]) -> Response {
    let length: usize = pieces.iter().map(Bytes::len).sum();
    let body = Body::from_stream(stream::iter(pieces.map(Ok::<_, std::convert::Infallible>)));
    let headers = [(CONTENT_TYPE, HeaderValue::from_static("application/json")), (CONTENT_LENGTH, length.into())];
    (headers, body).into_response()
}

/// What was read out of a document, a JSON text: `null` until it was.
async fn part(app: &App, tenant: &Tenant, id: DocumentId, part: &'static str) -> Result<Bytes, Problem> {
    match app.engine().store().document_part(tenant, id, part).await? {
        Some(content) => Ok(app.engine().payload(&content).await?),
        None => Ok(Bytes::from_static(b"null")),
    }
}

/// What to look for.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SearchQuery {
    /// Words or a question.
    q: String,
    /// At most so many passages, 1 to 100.
    #[param(minimum = 1, maximum = 100, default = 10)]
    limit: Option<usize>,
}

/// Search a document
///
/// Finds passages by their words (BM25) and by their embeddings, and ranks them by both.
#[utoipa::path(
    get, path = "/v1/documents/{document_id}/search", tag = "documents", operation_id = "search_document",
    params(DocumentPath, SearchQuery),
    responses((status = 200, description = "Passages, best first.", body = inline(serde_json::Value)))
)]
pub(crate) async fn search(
    State(app): State<App>,
    Read(caller): Read,
    ApiPath(path): ApiPath<DocumentPath>,
    ApiQuery(query): ApiQuery<SearchQuery>,
) -> Result<Response, Problem> {
    let id = path.id()?;
    let limit = query.limit.unwrap_or(10);
    let mut errors = Vec::new();
    if !(1..=100).contains(&limit) {
        errors.push(FieldError::new("?limit", format!("is {limit}; it must be from 1 to 100")));
    }
    if query.q.trim().is_empty() || query.q.chars().count() > 1_000 {
        errors.push(FieldError::new("?q", "must have 1 to 1,000 characters that are not all white space"));
    }
    if !errors.is_empty() {
        return Err(Problem::invalid(Code::InvalidRequest, errors));
    }
    app.engine().store().document(&caller.tenant, id).await.map_err(|error| path.missing(error))?;
    let found = app.0.tasks.search(&caller.tenant, id, &query.q, limit).await?;
    match found {
        Some(found) => Ok(super::jobs::view::json_answer(StatusCode::OK, found)),
        None => Err(Problem::new(Code::Conflict, "The document has not been read yet; wait for its job.")),
    }
}

/// Remove a document
///
/// Its bytes, text, chunks and embeddings go; its job stays in the history.
#[utoipa::path(
    delete, path = "/v1/documents/{document_id}", tag = "documents", operation_id = "delete_document",
    params(DocumentPath), responses((status = 204, description = "Removed."))
)]
pub(crate) async fn remove(
    State(app): State<App>,
    Write(caller): Write,
    ApiPath(path): ApiPath<DocumentPath>,
) -> Result<Response, Problem> {
    let id = path.id()?;
    app.engine().store().delete_document(&caller.tenant, id).await.map_err(|error| path.missing(error))?;
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const PIECE: &[u8] = &[b'x'; 64 * 1024];

    /// What comes of a body of these pieces: the length of its parts, and the most bytes that the parser ever held unparsed.
    /// All of it is there at once, or, `late`, a moment after it was first asked for.
    async fn parse(pieces: &[&'static [u8]], late: bool) -> Result<(usize, usize), Problem> {
        let useless = Arc::new(AtomicUsize::new(0));
        let pieces = stream::iter(pieces.to_vec()).map(|piece| Ok::<_, axum::Error>(Bytes::from_static(piece)));
        let first = async move {
            if late {
                std::future::poll_fn(once_pending()).await
            }
        };
        let request = Request::builder()
            .header("content-type", "multipart/form-data; boundary=b")
            .body(Body::from_stream(first.map(|()| pieces).flatten_stream()))
            .expect("a request");
        let request = within_reason(request, Arc::clone(&useless));
        let mut multipart = Multipart::from_request(request, &()).await.expect("multipart");
        let (mut length, mut held) = (0, 0);
        while let Some(mut field) = multipart.next_field().await.map_err(|error| broken(&error))? {
            while let Some(chunk) = field.chunk().await.map_err(|error| broken(&error))? {
                held = useless.swap(0, Ordering::Relaxed).max(held);
                length += chunk.len();
            }
        }
        Ok((length, held))
    }

    /// Not ready when it is first asked; right after, it is.
    fn once_pending() -> impl FnMut(&mut std::task::Context<'_>) -> Poll<()> {
        let mut asked = false;
        move |cx| {
            cx.waker().wake_by_ref();
            if std::mem::replace(&mut asked, true) { Poll::Ready(()) } else { Poll::Pending }
        }
    }

    const HEAD: &[u8] = b"--b\r\ncontent-disposition: form-data; name=\"file\"\r\n\r\n";
    const END: &[u8] = b"\r\n--b--\r\n";

    #[tokio::test]
    async fn an_upload_that_is_there_at_once_is_read_piece_by_piece() {
        let pieces = [&[HEAD][..], &[PIECE; 30], &[END]].concat();
        for late in [false, true] {
            let (length, held) = parse(&pieces, late).await.expect("an upload");
            assert_eq!(length, 30 * PIECE.len());
            assert!(held < 3 * PIECE.len(), "{held} bytes held");
        }
    }

    #[tokio::test]
    async fn an_upload_in_one_piece_that_comes_a_moment_late_is_read() {
        const WHOLE: &[u8] = b"--b\r\ncontent-disposition: form-data; name=\"file\"\r\n\r\nhello\r\n--b--\r\n";
        for late in [false, true] {
            assert_eq!(parse(&[WHOLE], late).await.expect("an upload").0, 5);
        }
    }

    #[tokio::test]
    async fn a_body_of_which_nothing_comes_is_ended() {
        let pieces = [&[&b"no boundary"[..]][..], &[PIECE; 30]].concat();
        let problem = parse(&pieces, false).await.expect_err("no upload");
        assert_eq!(problem.code(), Code::MalformedRequest);
        assert!(problem.detail().contains("more than 256 KiB came in a row"), "{}", problem.detail());
    }

    #[test]
    fn a_path_as_a_name_keeps_its_last_part() {
        assert_eq!(plain_name("../../etc/passwd"), "passwd");
        assert_eq!(plain_name("C:\\docs\\report.pdf"), "report.pdf");
        assert_eq!(plain_name("harmless\u{202e}fdp.exe\0"), "harmlessfdp.exe");
        assert_eq!(plain_name(".."), "document");
        assert_eq!(plain_name(""), "document");
    }
}
