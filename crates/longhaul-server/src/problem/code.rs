//! The closed list of error codes: what each means, its HTTP status, and whether trying again can help.
//!
//! The list is the contract: clients branch on [`Code::as_str`], never on prose. Codes are added, never renamed or
//! reused. `docs/errors.md` and the page `/docs/errors` are generated from this table, so that neither can drift.

use http::StatusCode;

macro_rules! codes {
    ($( $(#[doc = $doc:literal])+ $variant:ident = $name:literal, $status:ident, $title:literal, $retry:ident; )+) => {
        /// What went wrong, as a stable word. The variants' documentation is what `/docs/errors` shows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $( $(#[doc = $doc])+ $variant, )+ }

        impl Code {
            /// Every code, in the order of the documentation: by status, then by name of the thing that is wrong.
            pub const ALL: &'static [Code] = &[ $( Code::$variant, )+ ];

            /// The word in the `code` member; snake_case and never changed once released.
            pub const fn as_str(self) -> &'static str { match self { $( Code::$variant => $name, )+ } }

            /// The status an answer with this code has.
            pub const fn status(self) -> StatusCode { match self { $( Code::$variant => StatusCode::$status, )+ } }

            /// A short summary that is the same for every occurrence.
            pub const fn title(self) -> &'static str { match self { $( Code::$variant => $title, )+ } }

            /// Whether the same request may succeed later, unchanged.
            pub const fn retryable(self) -> bool { match self { $( Code::$variant => codes!(@$retry), )+ } }

            /// What the code means and what to do about it, in Markdown prose.
            pub const fn doc(self) -> &'static str { match self { $( Code::$variant => concat!($($doc),+), )+ } }
        }
    };
    (@again) => { true };
    (@never) => { false };
}

codes! {
    /// The body is not JSON. `detail` names the line and column where reading stopped.
    MalformedJson = "malformed_json", BAD_REQUEST, "Malformed JSON", never;
    /// The request cannot be read for a reason other than its JSON: a broken multipart body, a header or a query
    /// string that does not decode, a body that ends before its announced length.
    MalformedRequest = "malformed_request", BAD_REQUEST, "Malformed request", never;
    /// No API key was sent, or it is unknown, expired or revoked. Send `Authorization: Bearer lh_…` or `x-api-key`.
    Unauthorized = "unauthorized", UNAUTHORIZED, "Not authenticated", never;
    /// The key is valid but lacks the scope that this route needs; `detail` names the scope.
    Forbidden = "forbidden", FORBIDDEN, "Not allowed", never;
    /// There is no such route, or no such thing for your key. Another tenant's id gets this answer too.
    NotFound = "not_found", NOT_FOUND, "Not found", never;
    /// The route exists but not for this method; the `Allow` header lists the methods it has.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED, "Method not allowed", never;
    /// The `Accept` header excludes every form in which this route can answer.
    NotAcceptable = "not_acceptable", NOT_ACCEPTABLE, "Not acceptable", never;
    /// The request arrived too slowly and was given up. Nothing was stored.
    RequestTimeout = "request_timeout", REQUEST_TIMEOUT, "Request timed out", again;
    /// The request contradicts the state of the thing it names, in a way that no narrower code describes.
    Conflict = "conflict", CONFLICT, "Conflict", never;
    /// Something with this name exists already.
    AlreadyExists = "already_exists", CONFLICT, "Already exists", never;
    /// This needs an ended job, and the job has not ended. Wait for it or cancel it first.
    NotTerminal = "not_terminal", CONFLICT, "Job has not ended", never;
    /// The job does not wait for input, so there is nothing to answer.
    NotWaiting = "not_waiting", CONFLICT, "Job does not wait for input", never;
    /// The job failed, so it has no result. The job's `error` says why.
    JobFailed = "job_failed", CONFLICT, "Job failed", never;
    /// The job was cancelled, so it has no result.
    JobCancelled = "job_cancelled", CONFLICT, "Job was cancelled", never;
    /// The lease token is no longer the job's current one: the lease expired, the job was cancelled, or another worker
    /// holds it. Drop the work; the write was not applied.
    LeaseLost = "lease_lost", CONFLICT, "Lease lost", never;
    /// A chunk of output is missing before this one. Send the chunks from the number that `detail` names.
    ChunkGap = "chunk_gap", CONFLICT, "Gap in the output", never;
    /// A request with the same `Idempotency-Key` is still being taken in. Repeat after a moment.
    IdempotencyInProgress = "idempotency_in_progress", CONFLICT, "Same request in progress", again;
    /// The thing was erased on request; what remains is that it existed and how it ended.
    Erased = "erased", GONE, "Erased", never;
    /// The retention time has passed and the data was removed; what remains is that it existed and how it ended.
    Expired = "expired", GONE, "Expired", never;
    /// The body is larger than this route takes; `detail` names the limit.
    PayloadTooLarge = "payload_too_large", PAYLOAD_TOO_LARGE, "Payload too large", never;
    /// The body's media type is missing or not one that this route reads, or the body is compressed.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE, "Unsupported media type", never;
    /// One or more fields have a value that cannot be used. `errors` names each one by JSON Pointer (`?name` for a
    /// query parameter, `:name` for a part of the path).
    InvalidRequest = "invalid_request", UNPROCESSABLE_ENTITY, "Invalid request", never;
    /// One or more fields are not known here, and nothing else is wrong. `errors` names each one and the nearest known
    /// field.
    UnknownField = "unknown_field", UNPROCESSABLE_ENTITY, "Unknown field", never;
    /// No built-in kind and no registered worker kind has this name; `detail` lists the known ones.
    UnknownKind = "unknown_kind", UNPROCESSABLE_ENTITY, "Unknown kind", never;
    /// The JSON is nested deeper than is accepted.
    TooDeep = "too_deep", UNPROCESSABLE_ENTITY, "JSON nested too deep", never;
    /// The model that would do this cannot do this kind of task. `detail` says which could and how to configure it.
    ModelUnsuitable = "model_unsuitable", UNPROCESSABLE_ENTITY, "Model cannot do this", never;
    /// The `Idempotency-Key` was used before with a different body. Use a new key for a new request.
    IdempotencyMismatch = "idempotency_mismatch", UNPROCESSABLE_ENTITY, "Idempotency key reused", never;
    /// You sent more than your limit allows. Wait as long as `Retry-After` says.
    RateLimited = "rate_limited", TOO_MANY_REQUESTS, "Rate limited", again;
    /// The request's head is larger than is accepted, or has too many headers.
    HeadersTooLarge = "headers_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE, "Headers too large", never;
    /// A fault of ours. It is logged under the `request_id`. Repeat with the same `Idempotency-Key`.
    Internal = "internal", INTERNAL_SERVER_ERROR, "Internal error", again;
    /// Every provider that could answer failed.
    UpstreamFailed = "upstream_failed", BAD_GATEWAY, "Upstream failed", again;
    /// The server takes no more work at the moment. Wait as long as `Retry-After` says.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE, "Overloaded", again;
    /// The server is stopping. Another instance, or this one after its restart, will take the request.
    ShuttingDown = "shutting_down", SERVICE_UNAVAILABLE, "Shutting down", again;
    /// The store cannot be reached, so nothing can be read or accepted for now.
    StoreUnavailable = "store_unavailable", SERVICE_UNAVAILABLE, "Store unavailable", again;
    /// The disk is full: nothing was stored. Reading goes on; writing resumes by itself once there is room.
    StorageFull = "storage_full", INSUFFICIENT_STORAGE, "Storage full", again;
}

impl Code {
    /// Where the code is documented: a relative reference that the server itself answers, so that it works offline.
    pub fn type_uri(self) -> String {
        format!("/docs/errors#{}", self.as_str())
    }

    /// Seconds of `Retry-After` when the problem names no better figure; `None` for codes that carry none.
    pub const fn default_retry_after_s(self) -> Option<u64> {
        match self.status() {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => Some(1),
            StatusCode::INSUFFICIENT_STORAGE => Some(10),
            _ => None,
        }
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl serde::Serialize for Code {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl utoipa::PartialSchema for Code {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .description(Some("A word from the closed list at /docs/errors."))
            .enum_values(Some(Code::ALL.iter().map(|code| code.as_str())))
            .into()
    }
}

impl utoipa::ToSchema for Code {
    fn name() -> std::borrow::Cow<'static, str> {
        "ProblemCode".into()
    }
}
